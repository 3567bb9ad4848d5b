//! Routes the lines that tasks print to the logs of their jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::attempt::PrintedLine;
use crate::history::{Note, SharedLog, WeakLog};

/// The logs of jobs, by the job's run, for lines that tasks print. They are outside of [`Core`](super::core::Core), so
/// that a line does not wait for the scheduler.
#[derive(Debug, Default)]
pub(super) struct TaskOutput(Mutex<Logs>);

#[derive(Debug, Default)]
pub(super) struct Logs {
    by_run: HashMap<Arc<str>, WeakLog>,
    /// Number of logs at which the logs of ended jobs are removed next.
    full: usize,
}

impl TaskOutput {
    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, run: &Arc<str>, log: &SharedLog) {
        let mut logs = self.logs();
        if logs.by_run.len() >= logs.full {
            logs.by_run.retain(|_, log| log.is_held());
            // The limit doubles, so that even thousands of open logs are scanned only a few times.
            logs.full = 2 * logs.by_run.len() + 16;
        }
        logs.by_run.insert(run.clone(), log.downgrade());
    }

    pub(super) fn take(&self, line: &PrintedLine<'_>) {
        let log = self.logs().by_run.get(line.job_run).and_then(WeakLog::upgrade);
        if let Some(log) = log {
            log.note(Note::PrintedLine(line.into()));
        }
    }
}
