//! The line that a worker on Lambda prints when it starts a batch. `cargo wren logs` finds the output of a job by it.

use std::fmt;
use std::ops::Range;

/// Names the tasks that the following lines belong to. Its text is `wren job=<run> tasks=<first>..<end> attempt=<n>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLine<'a> {
    /// The run of the job: the prefix of its keys in the store.
    pub job_run: &'a str,
    /// The batch's tasks.
    pub tasks: Range<u64>,
    /// Which attempt of the tasks it is, from 1.
    pub attempt: u32,
}

const START: &str = "wren job=";
const TASKS: &str = " tasks=";
const ATTEMPT: &str = " attempt=";

impl fmt::Display for BatchLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job_run, tasks: Range { start, end }, attempt } = self;
        write!(f, "{START}{job_run}{TASKS}{start}..{end}{ATTEMPT}{attempt}")
    }
}

impl<'a> BatchLine<'a> {
    /// Parses a line, or returns `None` for any other line.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (job_run, rest) = line.trim().strip_prefix(START)?.split_once(TASKS)?;
        let (tasks, attempt) = rest.split_once(ATTEMPT)?;
        let (first, end) = tasks.split_once("..")?;
        Some(Self { job_run, tasks: first.parse().ok()?..end.parse().ok()?, attempt: attempt.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_lines_can_be_parsed() {
        let line = BatchLine { job_run: "3f.k7", tasks: 10..20, attempt: 2 };
        assert_eq!(line.to_string(), "wren job=3f.k7 tasks=10..20 attempt=2");
        assert_eq!(BatchLine::parse(&format!("{line}\n")), Some(line));
        for other in ["", "wren job=3f.k7", "wren job=3f.k7 tasks=10 attempt=2", "wren job=a tasks=x..y attempt=1"] {
            assert_eq!(BatchLine::parse(other), None, "{other}");
        }
    }
}
