//! Handles a worker's reports: results, failures and, after the worker's end, the outcome of its tasks.

use std::sync::Arc;
use std::time::Duration;

use super::{Process, SentBatch};
use crate::attempt::{Reply, Results, Timing};
use crate::backend::local::outbox::SentLarge;
use crate::backend::local::shm::{FailedTask, ResultsHeader, WorkerTimes, kind, length};
use crate::backend::local::supervisor::Exit;
use crate::codec::{self, Aligned};
use crate::error::Failure;

impl Process {
    /// Handles all frames that have arrived.
    pub(in crate::backend::local) fn read(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        while let Some(frame) = self.reader.peek() {
            match frame.kind {
                kind::LENGTH => {
                    let (len, align) = length(frame.body);
                    self.parts = Aligned::with_capacity(align, len);
                }
                kind::PART => self.parts.extend_from_slice(frame.body),
                kind::RESULTS => {
                    let header = ResultsHeader::read(frame.body);
                    let Some((header, start)) = header.zip(frame.body.get(ResultsHeader::LEN..)) else {
                        return self.stop_for(unreadable());
                    };
                    let results = Results::apart(start.to_vec(), std::mem::take(&mut self.parts));
                    self.reader.advance();
                    self.ran(header, results, now, replies);
                    continue;
                }
                kind::FAILED => {
                    let Ok(failed) = codec::decode::<FailedTask>(frame.body) else {
                        return self.stop_for(unreadable());
                    };
                    self.reader.advance();
                    self.failed(failed, replies);
                    continue;
                }
                _ => return self.stop_for(unreadable()),
            }
            self.reader.advance();
        }
        if self.reader.is_broken() {
            return self.stop_for(unreadable());
        }
        self.wake(&self.region.worker_wants_room());
    }

    /// Converts the times that the worker measured for a batch.
    fn timing(&self, times: &WorkerTimes, sent: &SentBatch) -> Timing {
        let WorkerTimes { started, fetched, began, decode, compute, encode, commit } = *times;
        Timing {
            started: self.epoch.time(started),
            free: sent.free,
            setup: self.setup(sent),
            cold: sent.cold,
            fetch: Duration::from_nanos(fetched.saturating_sub(started)),
            turn: Duration::from_nanos(began.saturating_sub(fetched)),
            decode: Duration::from_nanos(decode),
            compute: Duration::from_nanos(compute),
            encode: Duration::from_nanos(encode),
            commit: Duration::from_nanos(commit),
            worker: self.number,
            ..Timing::default()
        }
    }

    /// Estimates the times of a batch whose worker cannot report them any more, from the last change that the driver
    /// saw.
    fn last_known(&self, sent: &SentBatch, now: Duration) -> WorkerTimes {
        let since = self.watched_since.max(sent.waited_since + self.setup(sent));
        let began = self.epoch.at(since);
        let compute = now.saturating_sub(since).as_nanos() as u64;
        WorkerTimes { started: began, fetched: began, began, compute, ..WorkerTimes::default() }
    }

    /// Returns how long the batch waited for the worker's program to start.
    pub(super) fn setup(&self, sent: &SentBatch) -> Duration {
        let ready = self.region.ready_since().filter(|_| sent.cold);
        ready.map_or(Duration::ZERO, |at| self.epoch.time(at).saturating_sub(self.spawned.max(sent.waited_since)))
    }

    /// Handles results of consecutive tasks.
    fn ran(&mut self, header: ResultsHeader, results: Results, now: Duration, replies: &mut Vec<Reply>) {
        self.last_active = now;
        let (count, last) = (header.count & !ResultsHeader::LAST, header.count & ResultsHeader::LAST != 0);
        let Some(index) = self.batches.iter().position(|sent| sent.batch.id == header.batch_id) else {
            return self.stop_for(unreadable());
        };
        let mut timing = self.timing(&header.times, &self.batches[index]);
        let sent = &mut self.batches[index];
        let tasks = header.first..header.first.saturating_add(count);
        // The worker reports all tasks in order, and none that was taken back.
        if count > 0 && (tasks.start != sent.next || tasks.end > sent.end) {
            return self.stop_for(unreadable());
        }
        self.supervised.finish_lines(header.batch_id, tasks.end);
        if count > 0 {
            sent.next = tasks.end;
            if sent.kill_at.is_none() {
                timing.peak_memory = self.memory.peak(&self.supervised.memory, now);
                sent.report_large(&mut timing, &mut self.unreported_large);
                replies.push(Reply::Done { batch_id: header.batch_id, tasks, results, timing });
            }
        }
        if last && self.batches[index].next != self.batches[index].end {
            // The worker has finished the batch without reporting all of its tasks.
            return self.stop_for(unreadable());
        }
        if last {
            let mut sent = self.batches.remove(index);
            let limits = sent.batch.block.limits();
            sent.leave_large(&mut self.unreported_large);
            let free = self.epoch.time(header.times.ended());
            if let Some(next) = self.batches.first_mut() {
                next.free = free;
            }
            self.watched = None;
            self.watched_since = now;
            self.is_retiring |= self.memory.has_grown(&self.supervised.memory, limits.memory_mb, now);
            if self.is_retiring {
                self.retire();
            }
        }
    }

    /// Handles the failure of one task.
    fn failed(&mut self, failed: FailedTask, replies: &mut Vec<Reply>) {
        let FailedTask { batch_id: id, task, failure, times } = failed;
        let index = self.batches.iter().position(|sent| sent.batch.id == id);
        let Some(index) = index.filter(|index| task == self.batches[*index].next && task < self.batches[*index].end)
        else {
            return self.stop_for(unreadable());
        };
        let mut timing = self.timing(&times, &self.batches[index]);
        let sent = &mut self.batches[index];
        sent.next = task + 1;
        if sent.kill_at.is_none() {
            sent.report_large(&mut timing, &mut self.unreported_large);
            self.supervised.finish_lines(id, task);
            let stderr = self.supervised.tail(id, task);
            replies.push(Reply::Failed { batch_id: id, task, failure, stderr, timing });
        }
    }

    /// Takes the results that a dead worker had written but not published.
    pub(in crate::backend::local) fn read_unpublished(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        if self.reader.has_frame() || self.reader.is_broken() {
            // `read` has stopped at an invalid frame.
            return;
        }
        let (count, bytes) = self.region.open_results().get();
        let Some(slot) = self.region.active().filter(|_| count > 0) else { return };
        let Some(sent) = self.batches.iter().find(|sent| sent.slot == slot) else { return };
        let (id, first) = (sent.batch.id, sent.next);
        // The time since the last report counts for the task that was running when the worker died.
        let times = WorkerTimes { compute: 0, ..self.last_known(sent, now) };
        let body = self.reader.unpublished(ResultsHeader::LEN + bytes as usize);
        if let Some(results) = body.get(ResultsHeader::LEN..).filter(|r| r.len() == bytes as usize) {
            let header = ResultsHeader { batch_id: id, first, count: u64::from(count), times };
            let results = Results::packed(results.to_vec());
            self.ran(header, results, now, replies);
        }
    }

    /// Reports all remaining tasks of a dead worker: those that ran as failed, the others as returned.
    pub(in crate::backend::local) fn settle(mut self, exit: &Exit, now: Duration, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        for mut sent in std::mem::take(&mut self.batches) {
            if sent.kill_at.is_some() {
                continue;
            }
            let id = sent.batch.id;
            let mut left = sent.next..sent.end;
            let (claimed, _) = self.region.cursor(sent.slot).read();
            let ran_one = sent.batch.tasks.start + u64::from(claimed) > left.start;
            if active == Some(sent.slot) && ran_one && !left.is_empty() {
                let failure = self.kill_reason.take().unwrap_or_else(|| self.failure_by(exit));
                let mut timing = self.timing(&self.last_known(&sent, now), &sent);
                timing.peak_memory = exit.peak_memory;
                sent.report_large(&mut timing, &mut self.unreported_large);
                // The tasks before the running one ran as well, but their results could not be read.
                let claimed_end = sent.batch.tasks.start.saturating_add(claimed.into());
                let at_most_once = sent.batch.block.limits().at_most_once;
                let end = if at_most_once { claimed_end.min(left.end) } else { left.start + 1 };
                for task in left.start..end {
                    let (failure, stderr) = (failure.clone(), self.supervised.tail(id, task));
                    replies.push(Reply::Failed { batch_id: id, task, failure, stderr, timing });
                    (timing.sent_values, timing.sent_bytes) = (0, 0);
                }
                left.start = end;
            }
            if !left.is_empty() {
                replies.push(Reply::Returned { batch_id: id, tasks: left });
            }
        }
    }

    /// Returns the failure of the task that was running when the worker ended.
    fn failure_by(&self, exit: &Exit) -> Failure {
        let panic = if exit.was_aborted() { self.region.panic_record().get() } else { None };
        panic.map_or_else(
            || exit.failure(),
            |(message, location)| Failure::Panicked { message, location, backtrace: None },
        )
    }
}

impl SentBatch {
    /// Adds the large arguments that were sent for the batch, and those that an earlier batch of its job left
    /// `unreported`, to the first report about it.
    fn report_large(&mut self, timing: &mut Timing, unreported: &mut Option<(Arc<str>, SentLarge)>) {
        let SentLarge { values, bytes } = self.take_large(unreported);
        (timing.sent_values, timing.sent_bytes) = (values, bytes);
    }

    /// Leaves these arguments to the next batch of the job, if no report of this one has them.
    fn leave_large(&mut self, unreported: &mut Option<(Arc<str>, SentLarge)>) {
        let large = self.take_large(unreported);
        if let Some(job_run) = self.batch.job_run.clone().filter(|_| large.values > 0) {
            *unreported = Some((job_run, large));
        }
    }

    fn take_large(&mut self, unreported: &mut Option<(Arc<str>, SentLarge)>) -> SentLarge {
        let sent = std::mem::take(&mut self.sent_large);
        let of_this_job = unreported.take_if(|(job_run, _)| self.batch.job_run.as_ref() == Some(job_run));
        let before = of_this_job.map_or(SentLarge::default(), |(_, large)| large);
        SentLarge { values: sent.values.saturating_add(before.values), bytes: sent.bytes.saturating_add(before.bytes) }
    }
}

/// Returns the failure of a task whose worker sent an invalid message.
fn unreadable() -> Failure {
    Failure::Backend(
        "the worker sent an invalid message and was killed: a function wrote to memory that it does not own, or this \
         is a bug in wren"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Batch, TaskBlock};
    use crate::function::Limits;

    fn sent(job_run: &str, values: u32) -> SentBatch {
        let batch = Batch {
            id: 1,
            job_run: Some(job_run.into()),
            tasks: 0..1,
            attempt: 1,
            block: TaskBlock::dummy(0..1, "demo::f", Limits::default()),
        };
        let sent_large = SentLarge { values, bytes: 1_000 * u64::from(values) };
        let waited_since = Duration::ZERO;
        SentBatch {
            batch,
            slot: 0,
            waited_since,
            cold: false,
            sent_large,
            free: Duration::ZERO,
            next: 0,
            end: 1,
            kill_at: None,
        }
    }

    #[test]
    fn values_sent_for_tasks_that_were_taken_back_count_for_the_next_batch_of_their_job() {
        let mut unreported = None;
        sent("job", 2).leave_large(&mut unreported);
        let mut report = |mut batch: SentBatch| {
            let mut timing = Timing::default();
            batch.report_large(&mut timing, &mut unreported);
            (timing.sent_values, timing.sent_bytes)
        };
        assert_eq!(report(sent("another", 1)), (1, 1_000));
        assert_eq!(report(sent("job", 1)), (3, 3_000));
        assert_eq!(report(sent("job", 0)), (0, 0));
    }

    #[test]
    fn values_sent_for_several_batches_that_were_taken_back_are_added() {
        let mut unreported = None;
        sent("job", 2).leave_large(&mut unreported);
        sent("job", 1).leave_large(&mut unreported);
        // It has been reported, so it leaves nothing.
        sent("another", 0).leave_large(&mut unreported);
        let mut timing = Timing::default();
        sent("job", 0).report_large(&mut timing, &mut unreported);
        assert_eq!((timing.sent_values, timing.sent_bytes), (3, 3_000));
    }
}
