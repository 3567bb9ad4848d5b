//! Durations, as options give them and as output shows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest duration that is accepted, ten years: subtracted from the current time, it stays after 1970.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// Parses a duration such as `2.5`, `300ms`, `1.5s`, `5m`, `2h` or `7d`. Without a unit, it is in seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ if number.trim().is_empty() => {
            return Err("expected a number with `ms`, `s`, `m`, `h` or `d`, such as `300ms`, `5m` or `7d`".to_owned());
        }
        _ => return Err(format!("unknown unit `{unit}`; expected `ms`, `s`, `m`, `h` or `d`")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("`{number}` is not a number; write `2.5` or `5m`"))?;
    match Duration::try_from_secs_f64(number * factor) {
        Ok(duration) if !duration.is_zero() => Ok(duration.min(LONGEST)),
        _ => Err("a duration must be greater than 0; write `2.5` or `5m`".to_owned()),
    }
}

/// Parses a number of days, or a duration with a unit. 0 means everything.
pub(crate) fn parse_days(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 86_400;
    match text.parse::<u32>() {
        Ok(days) => Ok(Duration::from_secs(u64::from(days) * DAY).min(LONGEST)),
        Err(_)
            if !text.ends_with(|c: char| c.is_ascii_alphabetic())
                || !text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            Err("expected a number of days, such as 7, or a time such as `12h`".to_owned())
        }
        Err(_) => parse(text),
    }
}

/// A duration in seconds with one decimal, in the unit that fits: `1.5s`, `20.0ms`.
pub(crate) fn short(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX) {
        Duration::ZERO => "0s".to_owned(),
        duration => format!("{duration:.1?}"),
    }
}

/// A duration in its largest whole unit: `12 hours`, `90 seconds`.
pub(crate) fn exact(duration: Duration) -> String {
    let counted = |n: u64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    match duration.as_secs() {
        s if s % 86_400 == 0 => counted(s / 86_400, "day"),
        s if s % 3_600 == 0 => counted(s / 3_600, "hour"),
        s if s % 60 == 0 => counted(s / 60, "minute"),
        s => counted(s, "second"),
    }
}

/// How long ago a time in milliseconds since 1970 was: `5 min ago`.
pub(crate) fn ago(unix_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    age(unix_ms, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The same as [`ago`], at a time in milliseconds since 1970.
pub(crate) fn age(unix_ms: u64, now: u64) -> String {
    let seconds = now.saturating_sub(unix_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let cases = [
            ("2.5", 2_500),
            ("300ms", 300),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("5 m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("99999999999999d"), Ok(LONGEST));
        for wrong in ["5 days", "m", "-1", "0", "inf", "1e400", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_alone_can_be_days() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3_600));
        assert_eq!((parse_days("7"), parse_days("0"), parse_days("12h")), (hours(168), hours(0), hours(12)));
        for wrong in ["yesterday", "-1", "1.5", "", "5 days"] {
            assert!(parse_days(wrong).is_err_and(|error| error.contains("expected")), "{wrong}");
        }
        assert!(parse("yesterday").is_err_and(|error| error.contains("such as `300ms`")));
    }

    #[test]
    fn the_largest_whole_unit_is_shown() {
        let shown = [7 * 86_400, 86_400, 43_200, 1_800, 90].map(|s| exact(Duration::from_secs(s)));
        assert_eq!(shown, ["7 days", "1 day", "12 hours", "30 minutes", "90 seconds"]);
    }

    #[test]
    fn ages_have_a_fitting_unit() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let shown = ago(now - 5_000);
        let seconds = shown.strip_suffix(" s ago").map(|seconds| seconds.parse::<u64>().unwrap());
        // The clock goes on after it was read.
        assert!(seconds.is_some_and(|seconds| (5..65).contains(&seconds)), "{shown}");
        for (seconds, text) in [(600, "10 min ago"), (10_000, "2 h ago"), (300_000, "3 days ago")] {
            assert_eq!(ago(now - seconds * 1_000), text);
        }
        assert_eq!(ago(now + 60_000), "0 s ago");
    }
}
