//! Parts of error messages.

use std::fmt;

use super::Cause;

pub(super) struct Causes<'a>(pub(super) &'a Option<Box<Cause>>);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes = std::iter::successors(self.0.as_deref(), |cause| cause.source.as_deref());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

pub(super) struct ExitReason<'a>(pub(super) &'a Option<i32>, pub(super) &'a Option<i32>);

impl fmt::Display for ExitReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(signal), _) => write!(f, "was killed by signal {signal}{}", name_of(*signal)),
            (None, Some(code)) => write!(f, "exited with code {code}"),
            (None, None) => write!(f, "ended"),
        }
    }
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 if cfg!(panic = "abort") => {
            " (SIGABRT: an abort, a stack overflow, or a panic, because this program is built with \
             `panic = \"abort\"`; build it with `panic = \"unwind\"` to get panics as errors)"
        }
        6 => " (SIGABRT: an abort or a stack overflow)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: sent by another process, or by the kernel because memory ran out)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

pub(super) struct Tail<'a>(pub(super) &'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => Ok(()),
            text => write!(f, "; its last output on standard error: {text}"),
        }
    }
}

pub(super) struct List<'a>(pub(super) &'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// Formats an amount of money with 4 to 12 decimals: as many as show two significant digits.
pub(super) fn dollars(usd: f64) -> String {
    let decimals = (4..12).find(|decimals| usd == 0.0 || usd.abs() * 10f64.powi(*decimals) >= 10.0).unwrap_or(12);
    format!("{usd:.*} USD", decimals as usize)
}
