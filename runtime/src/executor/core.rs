//! The state of an executor, behind its lock: backend, scheduler and jobs.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::lone::{LoneCall, LoneCalls};
use super::{Outcome, OutcomeQueue, Pending, ResultCommitter};
use crate::attempt::{Reply, TaskBlock};
use crate::backend::Backend;
use crate::error::Error;
use crate::history::{Note, SharedLog, Sizes, TaskReport};
use crate::platform::{self, UNKNOWN_DEPTH};
use crate::scheduler::{JobKey, LongTask, Scheduler, Update};

/// Interval for progress updates and cancel checks.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(200);

/// How often the tasks that have run longest are reported, how long they must have run, and how many are reported of
/// each job. They are for people, and the log of a job of short tasks has none.
const LONGEST_EVERY: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(1);
const MOST_LONGEST: usize = 8;

/// Delay before polling the backend again after giving it work: it may now have limits to enforce, and it does not
/// notify the reactor while a call just runs.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Interval for checking whether all running calls wait for others.
const LOOK_FOR_BLOCKED: Duration = Duration::from_millis(250);

/// Maximum size of a job's results that were not taken yet, in bytes. Above it, the job starts no more calls.
const MOST_RESULTS: usize = 64 << 20;

pub(super) struct Core {
    pub(super) scheduler: Scheduler,
    pub(super) backend: Box<dyn Backend>,
    pub(super) jobs: HashMap<JobKey, Entry>,
    replies: Vec<Reply>,
    pub(super) updates: Vec<Update>,
    pub(super) wakers: Vec<Waker>,
    /// When the reactor checks again without being notified.
    pub(super) next_look: Option<Duration>,
    /// Whether the backend got work or a cancellation after it last returned when to poll it again.
    is_unpolled: bool,
    /// When to check next whether all running calls wait for others.
    blocked_at: Duration,
    /// Jobs that start no calls until their results are taken.
    held: Vec<JobKey>,
    /// When to look next for the tasks that have run longest.
    longest_at: Duration,
    /// When to report progress next; `None` while there are no jobs with a log and no single calls to show.
    pub(super) next_report: Option<Duration>,
    lone_calls: LoneCalls,
    pub(super) stopped: bool,
    /// The error of all jobs after the scheduler or the backend has panicked.
    broken: Option<Error>,
    /// Whether the program was asked to exit, so that no new jobs start.
    pub(super) refuses: bool,
}

pub(super) struct Entry {
    pub(super) outcomes: Arc<OutcomeQueue>,
    /// Calls that were taken from the job's iterator and are not submitted yet.
    pub(super) pending: Option<Arc<Pending>>,
    /// Commits results before they reach `outcomes`, if the job's results go to the store first.
    pub(super) committer: Option<Arc<ResultCommitter>>,
    pub(super) log: Option<SharedLog>,
    /// Set if the job is a single call.
    pub(super) lone: Option<LoneCall>,
    /// Whether a running call may wait for this job, because the job comes from a thread that a call may have started.
    pub(super) may_be_awaited: bool,
}

impl Entry {
    pub(super) fn new(outcomes: Arc<OutcomeQueue>) -> Self {
        // In a worker, calls from such threads go to another executor.
        let may_be_awaited = matches!(platform::depth(), 0 | UNKNOWN_DEPTH) && thread::current().name() != Some("main");
        Self { outcomes, pending: None, committer: None, log: None, lone: None, may_be_awaited }
    }

    pub(super) fn give(&self, outcome: Outcome, wakers: &mut Vec<Waker>) {
        match &self.committer {
            Some(committer) => committer.give(outcome),
            None => self.outcomes.give(outcome, wakers),
        }
    }

    /// Returns the size of the results that were not taken, or not committed, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.outcomes.bytes().saturating_add(self.committer.as_ref().map_or(0, |committer| committer.bytes()))
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({} jobs)", self.jobs.len())
    }
}

impl Core {
    pub(super) fn new(scheduler: Scheduler, backend: Box<dyn Backend>, shows_calls: bool) -> Self {
        Self {
            scheduler,
            backend,
            jobs: HashMap::new(),
            replies: Vec::new(),
            updates: Vec::new(),
            wakers: Vec::new(),
            next_look: None,
            is_unpolled: false,
            blocked_at: Duration::ZERO,
            longest_at: Duration::ZERO,
            held: Vec::new(),
            next_report: None,
            lone_calls: LoneCalls::new(shows_calls),
            stopped: false,
            broken: None,
            refuses: false,
        }
    }

    /// Runs `act`, unless an earlier `act` has panicked. If this one panics, all jobs end with an error, and so do
    /// later jobs, because the state after a panic is not reliable.
    pub(super) fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.broken.is_some() {
            return None;
        }
        // The state is not used again after a panic.
        let acted = catch_unwind(AssertUnwindSafe(|| act(self)));
        acted.map_err(|panic| self.fail_permanently(&crate::function::message_of(&*panic))).ok()
    }

    fn fail_permanently(&mut self, message: &str) {
        self.broken = Some(Error::Backend(format!(
            "the scheduler or the backend panicked: {message}; this executor runs no more calls. This is a bug in \
             wren, or in the backend"
        )));
        for (_, entry) in std::mem::take(&mut self.jobs) {
            self.refuse(&entry);
        }
    }

    /// Ends a job that cannot run.
    pub(super) fn refuse(&mut self, entry: &Entry) {
        // Not `Outcome::Cancelled`: only this program exits. Another program may continue the job.
        let error = self.broken.clone().unwrap_or(Error::Cancelled { done: 0 });
        entry.give(Outcome::Broken(error), &mut self.wakers);
        match &entry.committer {
            Some(committer) => committer.finish(),
            None => entry.outcomes.finish(&mut self.wakers),
        }
    }

    /// Adds a job to report about, the first time at `report_at`.
    pub(super) fn add(&mut self, job: JobKey, entry: Entry, report_at: Option<Duration>) {
        self.jobs.insert(job, entry);
        self.next_report = [self.next_report, report_at].into_iter().flatten().min();
    }

    /// Adds a single call.
    pub(super) fn add_lone(&mut self, job: JobKey, mut entry: Entry, function: &'static str, now: Duration) {
        entry.lone = Some(LoneCall { function, since: now });
        let due = self.lone_calls.due(now);
        self.add(job, entry, due);
    }

    pub(super) fn submit(&mut self, job: JobKey, mut block: TaskBlock, now: Duration) {
        let log = self.jobs.get(&job).and_then(|entry| entry.log.as_ref());
        block.set_traceparent(log.and_then(SharedLog::traceparent));
        let block = Arc::new(block);
        log.into_iter().for_each(|log| log.submitted(&block));
        self.scheduler.submit(job, block, now);
    }

    /// Submits calls that were taken from iterators, of jobs whose threads are blocked in their iterator.
    pub(super) fn submit_for_idle_workers(&mut self, now: Duration) {
        let mut blocks = Vec::new();
        for (job, entry) in &self.jobs {
            let Some(pending) = &entry.pending else { continue };
            if !self.scheduler.has_use_for(*job) {
                continue;
            }
            blocks.extend(pending.take_for_idle_workers().map(|block| (*job, block)));
            if let Some(committer) = &entry.committer {
                let missing = pending.lookups.act_for_idle_workers(committer, &entry.outcomes);
                blocks.extend(missing.into_iter().map(|block| (*job, block)));
            }
        }
        for (job, block) in blocks {
            self.submit(job, block, now);
        }
    }

    /// Resumes held jobs whose results were taken.
    fn release(&mut self) {
        let Self { held, jobs, scheduler, .. } = self;
        held.retain(|job| {
            let is_held = jobs.get(job).is_some_and(|entry| entry.bytes() > MOST_RESULTS / 2);
            if !is_held {
                scheduler.hold(*job, false);
            }
            is_held
        });
    }

    /// Handles the backend's replies, delivers outcomes and starts all batches that can start. Returns when to check
    /// again.
    pub(super) fn pump(&mut self, now: Duration) -> Option<Duration> {
        let mut poll_after;
        loop {
            self.is_unpolled = false;
            poll_after = self.backend.poll(now, &mut self.replies);
            for reply in self.replies.drain(..) {
                self.scheduler.handle(now, reply, &mut self.updates);
            }
            self.scheduler.tick(now, &mut self.updates);
            self.deliver(now);
            if !self.held.is_empty() {
                self.release();
            }
            if self.next_report.is_some_and(|at| at <= now) {
                self.report_progress(now);
            }
            if self.blocked_at <= now {
                self.look_for_blocked(now);
            }
            while let Some(batch) = self.scheduler.next(now) {
                self.is_unpolled = true;
                self.backend.invoke(batch, now, &mut self.replies);
            }
            if self.replies.is_empty() && self.updates.is_empty() {
                break;
            }
        }
        let unpolled = self.is_unpolled.then_some(LOOK_AGAIN);
        let polled = [poll_after, unpolled].into_iter().flatten().min().map(|after| now + after);
        [polled, self.scheduler.wake_at(), self.next_report].into_iter().flatten().min()
    }

    /// Lets more calls start if all running calls may be waiting for them.
    fn look_for_blocked(&mut self, now: Duration) {
        self.blocked_at = now + LOOK_FOR_BLOCKED;
        let may_be = self.jobs.values().any(|entry| entry.may_be_awaited);
        let blocked = if may_be { self.backend.blocked() } else { 0 };
        self.scheduler.set_blocked(blocked);
    }

    /// Reports the progress of jobs, and cancels those for which that was requested.
    fn report_progress(&mut self, now: Duration) {
        let mut longest = (self.longest_at <= now).then(|| self.longest_running(now));
        let Self { jobs, scheduler, updates, wakers, next_report, lone_calls, .. } = self;
        let next_lone = lone_calls.show(jobs.values().filter_map(|entry| entry.lone), now);
        *next_report = next_lone.map(|due| due.max(now + REPORT_EVERY));
        let running = scheduler.running_calls();
        for (job, entry) in jobs.iter() {
            let Some(log) = &entry.log else { continue };
            *next_report = Some(now + REPORT_EVERY);
            if let Some(longest) = &mut longest {
                log.report_longest(longest.remove(job).unwrap_or_default());
            }
            log.report_progress(scheduler.progress(*job, &running).unwrap_or_default());
            if log.takes_cancellation() {
                scheduler.cancel(*job, updates);
                log.note(Note::Reason("another process cancelled the job, as `cargo wren cancel` does".to_owned()));
                log.note(Note::End("cancelled"));
                entry.give(Outcome::Cancelled, wakers);
            }
        }
    }

    /// Returns the tasks of each job that have run longest.
    fn longest_running(&mut self, now: Duration) -> HashMap<JobKey, Vec<LongTask>> {
        self.longest_at = now + LONGEST_EVERY;
        let mut running = Vec::new();
        let is_known = self.backend.running(now, &mut running);
        let until = now.saturating_sub(LONG);
        self.scheduler.longest_running(until, MOST_LONGEST, is_known.then_some(&running))
    }

    fn deliver(&mut self, now: Duration) {
        // The list is put back below, so that its memory is reused.
        let mut updates = std::mem::take(&mut self.updates);
        for update in updates.drain(..) {
            self.deliver_one(update, now);
        }
        if self.updates.is_empty() {
            self.updates = updates;
        }
    }

    fn deliver_one(&mut self, update: Update, now: Duration) {
        if self.lone_calls.is_shown()
            && let Update::Done { job, .. } | Update::Failed { job, .. } = &update
            && self.jobs.get(job).is_some_and(|entry| entry.lone.is_some())
        {
            self.lone_calls.end();
        }
        match update {
            Update::Cancel { batch_id } => {
                self.is_unpolled = true;
                self.backend.cancel(batch_id, now);
            }
            Update::CancelJob { run } => self.backend.cancel_job(&run),
            Update::Reclaim { batch_id } => self.backend.reclaim(batch_id, &mut self.replies),
            Update::Done { job, tasks, new, results, attempt, bytes_in, large_in, sent, timing } => {
                let Some(entry) = self.jobs.get_mut(&job) else { return };
                if let Some(log) = &entry.log {
                    let new = new.iter().map(|range| range.end - range.start).sum();
                    let ran = TaskReport { attempt, function: "", sent, timing };
                    log.done(tasks.clone(), new, ran, Sizes { bytes_in, large_in, bytes_out: results.size() });
                }
                entry.give(Outcome::Done { tasks, new, results, attempt }, &mut self.wakers);
                if entry.bytes() > MOST_RESULTS && !self.held.contains(&job) {
                    self.scheduler.hold(job, true);
                    self.held.push(job);
                }
            }
            Update::Failed { job, task, attempt, failure, stderr, block, sent, timing, function } => {
                let Some(entry) = self.jobs.get_mut(&job) else { return };
                if let Some(log) = &entry.log {
                    let ran = TaskReport { attempt, function, sent, timing };
                    let (failure, stderr) = (failure.clone(), stderr.clone());
                    log.note(Note::Failed { task, ran, failure, stderr });
                    log.keep_failed(block, task);
                }
                entry.give(Outcome::Failed { task, attempt, function, failure, stderr }, &mut self.wakers);
            }
            Update::Retry { job, task, attempt, failure, block, at, sent, timing } => {
                if let Some(log) = self.jobs.get(&job).and_then(|entry| entry.log.as_ref()) {
                    let ran = TaskReport { attempt, function: block.function().name, sent, timing };
                    log.note(Note::Retry { task, ran, failure, after: at.saturating_sub(now) });
                    log.keep_failed(block, task);
                }
            }
            Update::OverBudget { job, spent_usd } => {
                if let Some(entry) = self.jobs.get(&job) {
                    entry.give(Outcome::OverBudget { spent_usd }, &mut self.wakers);
                }
            }
            Update::JobDone { job } => {
                if let Some(entry) = self.jobs.remove(&job) {
                    match entry.committer {
                        Some(committer) => committer.finish(),
                        None => entry.outcomes.finish(&mut self.wakers),
                    }
                }
            }
        }
    }
}
