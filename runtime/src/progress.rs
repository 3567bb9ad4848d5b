//! The progress bar of a job: only where standard error is a terminal.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A job that is shorter than this shows no bar.
const SHOW_AFTER: Duration = Duration::from_millis(300);

fn bars() -> &'static Mutex<MultiProgress> {
    static BARS: OnceLock<Mutex<MultiProgress>> = OnceLock::new();
    // Drawn ten times a second at most.
    BARS.get_or_init(|| Mutex::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))))
}

/// Writes to the terminal without harm to the bars.
pub(crate) fn above_the_bar<T>(write: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return write();
    }
    let bars = bars().lock().unwrap_or_else(PoisonError::into_inner).clone();
    bars.suspend(write)
}

/// The bar of one job.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    enabled: bool,
    since: std::time::Instant,
    name: String,
}

impl Progress {
    pub(crate) fn new(name: &str, quiet: bool) -> Self {
        let enabled = !quiet && io::stderr().is_terminal();
        Self { bar: None, enabled, since: std::time::Instant::now(), name: name.to_owned() }
    }

    /// Shows how far the job is; `total` is `None` while it is not known.
    pub(crate) fn update(&mut self, done: u64, failed: u64, total: Option<u64>) {
        if !self.enabled || (self.bar.is_none() && self.since.elapsed() < SHOW_AFTER) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let template = "{prefix} [{bar:30}] {human_pos}/{human_len} {rate} {left} {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            // Since the job began: the bar's own rate takes what was done before it was shown for a burst.
            let per_second = |state: &ProgressState| state.pos() as f64 / state.elapsed().as_secs_f64().max(1e-9);
            let rate = move |state: &ProgressState, w: &mut dyn fmt::Write| {
                let _ = write!(w, "{:.0}/s", per_second(state));
            };
            let left = move |state: &ProgressState, w: &mut dyn fmt::Write| {
                let Some(tasks) = state.len().filter(|_| state.pos() > 0) else { return };
                let seconds = tasks.saturating_sub(state.pos()) as f64 / per_second(state);
                let _ = write!(w, "{:#}", HumanDuration(Duration::from_secs_f64(seconds.min(1e9))));
            };
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden())
                .with_style(style.progress_chars("=> ").with_key("rate", rate).with_key("left", left))
                .with_prefix(self.name.clone())
                .with_position(done)
                .with_elapsed(self.since.elapsed());
            bars().lock().unwrap_or_else(PoisonError::into_inner).add(bar)
        });
        if bar.length() != total
            && let Some(total) = total
        {
            bar.set_length(total);
        }
        bar.set_position(done);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
