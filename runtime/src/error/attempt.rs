//! The attempt that an error belongs to.

use std::fmt;

/// The attempt that an error belongs to, with the last output of its process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The remote function, as `crate::module::name`.
    pub function: String,
    /// The task's index in its job; 0 for a single call.
    pub task: u64,
    /// Number of the task's attempt that failed last, counted from 1.
    pub attempt: u32,
    /// The last lines that the task wrote to standard error, at most 4 KiB.
    pub stderr: String,
    /// Number of other tasks of the job that had failed by then.
    pub other_failures: u64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` task {}", self.function, self.task)?;
        if self.attempt > 1 {
            write!(f, " (attempt {})", self.attempt)?;
        }
        Ok(())
    }
}
