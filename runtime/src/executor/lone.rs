//! Shows that the program waits for single calls, if they take long. Jobs have a progress bar instead.

use std::time::Duration;

use crate::scheduler::Time;
use crate::terminal::Activity;

/// A single call is shown after this time.
const SHOW_AFTER: Duration = Duration::from_secs(2);

/// A single call that the program waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoneCall {
    pub(super) function: &'static str,
    pub(super) since: Time,
}

/// The status line of the single calls of an executor.
#[derive(Debug)]
pub(super) struct LoneCalls {
    /// Whether standard error shows a status line, and the executor is not quiet.
    shows: bool,
    line: Option<Activity>,
}

impl LoneCalls {
    pub(super) fn new(shows: bool) -> Self {
        Self { shows, line: None }
    }

    /// Returns when a call that starts now must be shown, if it is still running then.
    pub(super) fn due(&self, now: Time) -> Option<Time> {
        self.shows.then(|| now.saturating_add(SHOW_AFTER))
    }

    /// Shows the calls that are running, or nothing if all of them are short. Returns when the next one is due.
    pub(super) fn show(&mut self, calls: impl Iterator<Item = LoneCall>, now: Time) -> Option<Time> {
        if !self.shows {
            return None;
        }
        let (count, first) = calls.fold((0_u64, None::<LoneCall>), |(count, first), call| {
            (count + 1, Some(first.filter(|first| first.since <= call.since).unwrap_or(call)))
        });
        let due = first.map(|first| first.since.saturating_add(SHOW_AFTER));
        match first.filter(|_| due.is_some_and(|due| due <= now)) {
            None => self.line = None,
            Some(first) => {
                let text = text(count, &first, now);
                self.line = self.line.take().or_else(Activity::new);
                self.line.iter().for_each(|line| line.say(text.clone(), Duration::ZERO));
            }
        }
        due
    }

    pub(super) fn is_shown(&self) -> bool {
        self.line.is_some()
    }

    /// Removes the line, because the program gets the outcome of a call and may print it.
    pub(super) fn end(&mut self) {
        self.line = None;
    }
}

fn text(count: u64, first: &LoneCall, now: Time) -> String {
    let name = first.function.rsplit("::").next().unwrap_or(first.function);
    let seconds = now.saturating_sub(first.since).as_secs();
    match count {
        1 => format!("waiting for `{name}`, {seconds} s"),
        _ => format!("waiting for {count} calls, {seconds} s for the first, `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_calls_are_shown() {
        let call = |seconds, function| LoneCall { function, since: Time::from_secs(seconds) };
        let now = Time::from_secs(10);
        assert_eq!(LoneCalls::new(false).due(now), None);
        let mut shown = LoneCalls::new(true);
        assert_eq!(shown.due(now), Some(Time::from_secs(12)));
        assert_eq!(shown.show([call(9, "a::f"), call(10, "a::g")].into_iter(), now), Some(Time::from_secs(11)));
        assert!(shown.line.is_none());
        assert_eq!(shown.show(std::iter::empty(), now), None);
        assert_eq!(text(1, &call(7, "a::nap"), now), "waiting for `nap`, 3 s");
        assert_eq!(text(3, &call(7, "a::nap"), now), "waiting for 3 calls, 3 s for the first, `nap`");
    }
}
