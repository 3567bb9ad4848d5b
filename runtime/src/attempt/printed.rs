//! Lines that tasks print, on their way from a backend to the [`OutputSink`].

use std::fmt;
use std::sync::Arc;

use crate::terminal::Stream;

/// A line that a task printed.
#[derive(Debug, Clone, Copy)]
pub struct PrintedLine<'a> {
    /// The `job_run` of the [`Batch`](super::Batch).
    pub job_run: &'a str,
    /// Index of the task in its job.
    pub task: u64,
    /// Number of the task's attempt, counted from 1.
    pub attempt: u32,
    /// The last part of the function's name.
    pub function: &'a str,
    /// Number of the worker.
    pub worker: u32,
    /// The stream that the line was printed to.
    pub stream: Stream,
    /// The line, without its line end.
    pub text: &'a str,
}

type Take = dyn Fn(&PrintedLine<'_>) + Send + Sync;

/// Receives the lines that tasks print, from any thread.
#[derive(Clone, Default)]
pub struct OutputSink(Option<Arc<Take>>);

impl OutputSink {
    pub(crate) fn new(take: impl Fn(&PrintedLine<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(take)))
    }

    /// Passes a line to the sink.
    pub fn take(&self, line: &PrintedLine<'_>) {
        if let Some(take) = &self.0 {
            take(line);
        }
    }
}

impl fmt::Debug for OutputSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OutputSink(kept)" } else { "OutputSink(dropped)" })
    }
}
