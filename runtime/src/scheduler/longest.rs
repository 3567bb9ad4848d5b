//! The tasks that have run longest, for people who watch a job.

use std::collections::HashMap;

use super::{InFlight, JobKey, Scheduler, Time};
use crate::attempt::RunningTask;

/// A task that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongTask {
    /// Index of the task.
    pub task: u64,
    /// Attempt number, counted from 1.
    pub attempt: u32,
    /// When the task started.
    pub since: Time,
}

impl Scheduler {
    /// Returns the tasks of each job that have run at least since `until`, the longest first and at most `most` per
    /// job. `known` are the tasks that run now, if the backend knows them. Otherwise, each batch counts as running the
    /// first of its tasks without an outcome, since its last reply.
    pub fn longest_running(
        &self,
        until: Time,
        most: usize,
        known: Option<&[RunningTask]>,
    ) -> HashMap<JobKey, Vec<LongTask>> {
        let mut longest = HashMap::<JobKey, Vec<LongTask>>::new();
        let mut add = |batch: &InFlight, task: u64, since: Time| {
            if since <= until {
                longest.entry(batch.job).or_default().push(LongTask { task, attempt: batch.attempt, since });
            }
        };
        match known {
            Some(known) => {
                for running in known {
                    let batch = self.in_flight.get(&running.batch_id);
                    let has_task = |batch: &&InFlight| batch.outstanding.iter().any(|r| r.contains(&running.task));
                    batch.filter(has_task).into_iter().for_each(|batch| add(batch, running.task, running.since));
                }
            }
            None => {
                for batch in self.in_flight.values() {
                    let first = batch.outstanding.iter().map(|tasks| tasks.start).min();
                    first.into_iter().for_each(|task| add(batch, task, batch.last_report));
                }
            }
        }
        for tasks in longest.values_mut() {
            tasks.sort_unstable_by_key(|running| (running.since, running.task));
            tasks.truncate(most);
        }
        longest
    }
}
