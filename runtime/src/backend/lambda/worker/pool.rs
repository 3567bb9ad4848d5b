//! Runs the tasks of one batch on worker processes, until they are done or the time is up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::attempt::{BatchId, Reply, TaskBlock, Timing};
use crate::aws::limits;
use crate::backend::lambda::wire::{Part, TaskTimes};
use crate::backend::{Backend, BackendContext, LocalBackend};
use crate::error::Failure;
use crate::platform::Notifier;

/// A batch ends early enough to send its outcome before Lambda ends the invocation. The margin is this fraction
/// (one tenth) of its time, but at least the first and at most the second value of [`MARGIN`].
const MARGIN_PART: u32 = 10;
const MARGIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long stopped workers may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Maximum interval between polls of the local backend.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Worker processes, one for each processor of the instance.
pub(super) struct Pool {
    backend: LocalBackend,
    notifier: Notifier,
    clock: Instant,
    workers: usize,
    memory: u64,
    batches: BatchId,
}

/// When a batch must end even if tasks are left.
#[derive(Clone)]
pub(super) struct Stop {
    start: Instant,
    at: Instant,
    /// Notified by a cancellation.
    notifier: Arc<Mutex<Option<Notifier>>>,
    cancelled: Arc<AtomicBool>,
}

impl Stop {
    /// Returns a stop some time before `deadline`.
    pub(super) fn at(deadline: Instant) -> Self {
        let start = Instant::now();
        let whole = deadline.saturating_duration_since(start);
        let margin = (whole / MARGIN_PART).clamp(MARGIN.0, MARGIN.1);
        let at = start + whole.saturating_sub(margin);
        Self { start, at, notifier: Arc::default(), cancelled: Arc::default() }
    }

    /// Stops the batch now, because its outcome is no longer needed.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        if let Some(notifier) = &*self.notifier.lock().unwrap_or_else(PoisonError::into_inner) {
            notifier.notify_always();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl Pool {
    /// Creates a pool for an instance with `memory_mb` MB, and starts its workers.
    pub(super) fn new(memory_mb: u32) -> io::Result<Self> {
        let notifier = Notifier::new()?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = processors.min(limits::vcpus(memory_mb) as usize);
        let context = BackendContext::new(workers, notifier.clone(), 1);
        let mut backend = LocalBackend::new(&context);
        let memory = u64::from(memory_mb) << 20;
        // The kernel needs some of it.
        backend.limit_memory(memory - (memory / 32).max(16 << 20));
        backend.warm_up();
        Ok(Self { backend, notifier, clock: context.clock, workers, memory, batches: 0 })
    }

    /// Runs all tasks of a block, for a batch that started at `started`. Returns the outcome of each, and the
    /// largest memory that a worker used, in bytes.
    pub(super) fn run(
        &mut self,
        block: &Arc<TaskBlock>,
        attempt: u32,
        started: Instant,
        stop: &Stop,
    ) -> (Vec<Part>, u64) {
        *stop.notifier.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.notifier.clone());
        let started = started.saturating_duration_since(self.clock);
        let mut account = TaskStates::new(block.tasks(), self.workers, self.memory, started);
        let mut replies = Vec::new();
        loop {
            self.notifier.set_asleep();
            let now = self.clock.elapsed();
            while account.in_flight.len() < self.workers
                && let Some(tasks) = account.waiting.pop_front()
            {
                self.batches += 1;
                let batch_id = self.batches;
                account.in_flight.insert(batch_id, InFlight { left: tasks.clone(), last_report: now });
                let batch = crate::attempt::Batch { id: batch_id, job_run: None, tasks, attempt, block: block.clone() };
                self.backend.invoke(batch, now, &mut replies);
            }
            let again = self.backend.poll(now, &mut replies);
            replies.drain(..).for_each(|reply| account.add(reply, now));
            if account.in_flight.is_empty() && account.waiting.is_empty() {
                return (account.parts, account.peak_memory);
            }
            if stop.is_cancelled() || Instant::now() >= stop.at {
                self.stop_all(&account);
                account.give_up(stop, now, block.limits().at_most_once);
                return (account.parts, account.peak_memory);
            }
            if !account.waiting.is_empty() && account.in_flight.len() < self.workers {
                continue;
            }
            let until_stop = stop.at.saturating_duration_since(Instant::now());
            self.notifier.sleep(Some(again.unwrap_or(POLL_EVERY).min(POLL_EVERY).min(until_stop)));
        }
    }

    /// Stops the running tasks and waits until they have ended, because Lambda may freeze this process after it
    /// responds.
    fn stop_all(&mut self, account: &TaskStates) {
        let patience = Instant::now() + PATIENCE;
        account.in_flight.keys().for_each(|batch_id| self.backend.cancel(*batch_id, self.clock.elapsed()));
        while !self.backend.is_idle() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
            self.backend.poll(self.clock.elapsed(), &mut Vec::new());
        }
        // Replaces killed workers before the next batch needs them.
        self.backend.poll(self.clock.elapsed(), &mut Vec::new());
        self.backend.warm_up();
    }
}

/// The tasks at one worker, which reports them in order.
struct InFlight {
    left: Range<u64>,
    /// Time of the last report, or of the start, on the pool's clock.
    last_report: Duration,
}

/// The state of each task.
struct TaskStates {
    waiting: VecDeque<Range<u64>>,
    in_flight: BTreeMap<BatchId, InFlight>,
    parts: Vec<Part>,
    peak_memory: u64,
    memory: u64,
    /// When the batch started, on the pool's clock.
    started: Duration,
}

impl TaskStates {
    /// Splits the tasks into pieces, several for each worker, so that one long task delays few others.
    fn new(tasks: Range<u64>, workers: usize, memory: u64, started: Duration) -> Self {
        let count = tasks.end - tasks.start;
        let size = if workers == 1 { count } else { count.div_ceil(4 * workers as u64) }.max(1);
        let starts = (0..count.div_ceil(size)).map(|n| tasks.start + n * size);
        let waiting = starts.map(|start| start..(start + size).min(tasks.end)).collect();
        Self { waiting, in_flight: BTreeMap::new(), parts: Vec::new(), peak_memory: 0, memory, started }
    }

    fn add(&mut self, reply: Reply, now: Duration) {
        match reply {
            Reply::Done { batch_id, tasks, results, timing } => {
                self.peak_memory = self.peak_memory.max(timing.peak_memory);
                self.reported(batch_id, tasks.end, now);
                self.done(&tasks, results.into_packed(), self.ran(&timing));
            }
            Reply::Failed { batch_id, task, failure, stderr, timing } => {
                self.peak_memory = self.peak_memory.max(timing.peak_memory);
                self.reported(batch_id, task + 1, now);
                let failure = self.classify(failure, timing.peak_memory);
                self.parts.push(Part::Failed { task, failure, stderr, ran: self.ran(&timing) });
            }
            // The tasks were waiting at a worker that died.
            Reply::Returned { batch_id, tasks } => {
                if let Some(in_flight) = self.in_flight.get_mut(&batch_id) {
                    in_flight.left.end = in_flight.left.end.min(tasks.start);
                }
                self.reported(batch_id, 0, now);
                self.waiting.push_front(tasks);
            }
            // A local backend never refuses a batch.
            Reply::Throttled { .. } => {}
        }
    }

    fn reported(&mut self, batch_id: BatchId, next: u64, now: Duration) {
        let Some(in_flight) = self.in_flight.get_mut(&batch_id) else { return };
        in_flight.left.start = in_flight.left.start.max(next);
        in_flight.last_report = now;
        if in_flight.left.is_empty() {
            self.in_flight.remove(&batch_id);
        }
    }

    /// Converts the times of a task, so that they count from the start of the batch.
    fn ran(&self, timing: &Timing) -> TaskTimes {
        let started = (timing.started + timing.fetch + timing.turn).saturating_sub(self.started);
        TaskTimes {
            started,
            decode: timing.decode,
            compute: timing.compute,
            encode: timing.encode,
            worker: timing.worker,
        }
    }

    fn done(&mut self, tasks: &Range<u64>, new: Vec<u8>, took: TaskTimes) {
        if let Some(Part::Done { first, count, results, ran }) = self.parts.last_mut()
            && *first + *count == tasks.start
            && ran.worker == took.worker
        {
            *count += tasks.end - tasks.start;
            ran.decode += took.decode;
            ran.compute += took.compute;
            ran.encode += took.encode;
            results.extend_from_slice(&new);
            return;
        }
        let (first, count) = (tasks.start, tasks.end - tasks.start);
        self.parts.push(Part::Done { first, count, results: new, ran: took });
    }

    /// Turns a death by SIGKILL into [`Failure::OutOfMemory`] if memory was nearly full: the kernel uses the same
    /// signal as any other sender.
    fn classify(&self, failure: Failure, peak: u64) -> Failure {
        match failure {
            Failure::WorkerDied { signal: Some(9), .. } if peak > self.memory / 10 * 8 => {
                let [limit_mb, peak_mb] = [self.memory, peak].map(|bytes| (bytes >> 20) as u32);
                Failure::OutOfMemory { limit_mb, peak_mb }
            }
            other => other,
        }
    }

    /// Records the outcome of tasks that were stopped. A task that had nearly the whole time failed with a timeout.
    /// Other tasks may run again, because they had only the time that earlier tasks left, unless they must run at most
    /// once.
    fn give_up(&mut self, stop: &Stop, now: Duration, at_most_once: bool) {
        let whole = stop.at.saturating_duration_since(stop.start);
        let nothing_done = self.parts.is_empty();
        for (_, InFlight { mut left, last_report }) in std::mem::take(&mut self.in_flight) {
            let ran = now.saturating_sub(last_report);
            let started = last_report.saturating_sub(self.started);
            let times = TaskTimes { started, compute: ran, ..TaskTimes::default() };
            if at_most_once {
                // It is unknown which tasks ran since the last report.
                let cause = Box::new(Failure::TimedOut { limit: whole });
                let failure = Failure::MayHaveRun { cause };
                let failed = |task| Part::Failed { task, failure: failure.clone(), stderr: String::new(), ran: times };
                let all: Vec<Part> = left.map(failed).collect();
                self.parts.extend(all);
                continue;
            }
            if !stop.is_cancelled() && (nothing_done || ran >= whole / 10 * 9) {
                let failure = Failure::TimedOut { limit: whole };
                let stderr = String::new();
                self.parts.push(Part::Failed { task: left.start, failure, stderr, ran: times });
                left.start += 1;
            }
            self.returned(left);
        }
        for tasks in std::mem::take(&mut self.waiting) {
            self.returned(tasks);
        }
    }

    fn returned(&mut self, tasks: Range<u64>) {
        if !tasks.is_empty() {
            self.parts.push(Part::Returned { first: tasks.start, count: tasks.end - tasks.start });
        }
    }
}
