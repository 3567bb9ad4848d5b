//! The `local` backend: a pool of worker processes that run this same executable.

mod epoch;
mod memory;
mod outbox;
mod output;
mod process;
mod program;
mod shm;
mod spawner;
mod starts;
mod supervisor;
pub(crate) mod worker;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use super::{Backend, BackendContext, BackendScheme, WakeHandle, scheme};
use crate::attempt::{Batch, BatchId, OutputSink, Reply, RunningTask};
use crate::backend::local::shm::SLOTS;
use crate::error::{Error, Failure};
use crate::function::blob;
use crate::platform::{self, ProcessMemory};
use crate::scheduler;
use epoch::Epoch;
use process::Process;
use program::Surroundings;
use starts::Starts;
use supervisor::Supervisor;

/// Number of file descriptors that the driver needs for each worker, and for itself.
const DESCRIPTORS: (u64, u64) = (6, 128);

/// Interval between checks of limits, and of cancelled calls that have not ended by themselves.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// A pool of worker processes, which are started when they are first needed.
#[derive(Debug)]
pub(crate) struct LocalBackend {
    workers: Vec<Worker>,
    /// Batches that wait for a slot of a worker.
    waiting: VecDeque<Waiting>,
    wake_handle: WakeHandle,
    lines: OutputSink,
    epoch: Epoch,
    surroundings: Arc<Surroundings>,
    /// Supervises the workers; created with the first one.
    supervisor: Option<Arc<Supervisor>>,
    starts: Starts,
    /// The limit on the memory of this process and its workers, if there is one.
    memory: Option<Memory>,
    /// Time after which an idle worker is retired.
    idle_timeout: Option<Duration>,
    /// Maximum number of calls that a worker runs.
    max_calls: Option<NonZeroU64>,
}

/// A batch that waits for a slot of a worker.
#[derive(Debug)]
struct Waiting {
    batch: Batch,
    /// When it started to wait.
    since: Duration,
}

/// A place for a worker.
#[derive(Debug)]
enum Worker {
    None,
    Starting(Receiver<io::Result<Process>>),
    Running(Box<Process>),
}

impl Worker {
    fn process(&self) -> Option<&Process> {
        if let Self::Running(process) = self { Some(process) } else { None }
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        if let Self::Running(process) = self { Some(process) } else { None }
    }
}

/// A limit on the memory of this process and its workers together.
#[derive(Debug)]
struct Memory {
    limit: u64,
    own: ProcessMemory,
    next_check: Duration,
}

/// Returns an error if this process cannot start workers. Workers run this same program, so it must call `init` first,
/// and a worker must not start workers of its own.
fn may_start_workers() -> Result<(), Error> {
    if platform::is_worker() {
        return Err(Error::Config(
            "a worker cannot start workers of its own: calls of a remote function run on threads of its worker; remove \
             `.backend(\"local\")`, or the whole executor"
                .to_owned(),
        ));
    }
    if !platform::is_initialized() {
        return Err(Error::Config(
            "the `local` backend starts this program again as a worker, but `wren::init()` has not been called: put \
             `#[wren::main]` on `main`, or call `wren::init()` on its first line"
                .to_owned(),
        ));
    }
    Ok(())
}

inventory::submit! {
    BackendScheme {
        scheme: "local",
        open: |rest, context| {
            scheme::refuse_rest("local", rest)?;
            may_start_workers()?;
            Ok(Box::new(LocalBackend::new(context)))
        },
    }
}

impl LocalBackend {
    pub(crate) fn new(context: &BackendContext) -> Self {
        let workers: Vec<_> = std::iter::repeat_with(|| Worker::None).take(context.workers.max(1)).collect();
        let (each, own) = DESCRIPTORS;
        blob::share_with_workers();
        let own = own.saturating_add(blob::MOST_SHARED as u64);
        platform::allow_descriptors(own.saturating_add(each.saturating_mul(workers.len() as u64)));
        Self {
            workers,
            waiting: VecDeque::new(),
            wake_handle: context.wake_handle.clone(),
            lines: context.lines.clone(),
            epoch: Epoch::new(context.clock),
            surroundings: Arc::new(Surroundings::now()),
            supervisor: None,
            starts: Starts::default(),
            memory: None,
            idle_timeout: context.idle_timeout,
            max_calls: context.max_calls,
        }
    }

    /// Limits the memory of this process and its workers together, in bytes. When they exceed the limit, the largest
    /// worker is killed and its running task fails as out of memory.
    #[cfg(feature = "aws")]
    pub(crate) fn limit_memory(&mut self, limit: u64) {
        let own = ProcessMemory::of_this_process();
        self.memory = Some(Memory { limit, own, next_check: Duration::ZERO });
    }

    /// Starts the workers that do not run yet, before they are needed.
    #[cfg(feature = "aws")]
    pub(crate) fn warm_up(&mut self) {
        for index in 0..self.workers.len() {
            if matches!(self.workers[index], Worker::None) {
                // A failed start is repeated when a worker is needed.
                self.start(index);
            }
        }
    }

    /// Whether no batch runs or waits.
    #[cfg(feature = "aws")]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.processes().all(|process| process.load() == 0)
    }

    /// Kills the largest worker if this process and its workers exceed the memory limit. Returns whether there is a
    /// limit.
    fn check_memory(&mut self, now: Duration) -> bool {
        let Some(memory) = &mut self.memory else { return false };
        if now < memory.next_check {
            return true;
        }
        memory.next_check = now + CHECK_EVERY;
        let own = memory.own.now();
        let used: Vec<_> = self.workers.iter().map(|worker| worker.process().map_or(0, Process::memory)).collect();
        let total = own + used.iter().sum::<u64>();
        let largest = (0..used.len()).max_by_key(|index| used[*index]);
        if total > memory.limit
            && let Some(process) = largest.and_then(|index| self.workers[index].process_mut())
        {
            // The limit is rounded down and the peak up, so that the peak is larger in the error too.
            let (limit_mb, peak_mb) = ((memory.limit >> 20) as u32, total.div_ceil(1 << 20) as u32);
            process.stop_for(Failure::OutOfMemory { limit_mb, peak_mb });
        }
        true
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.workers.iter().filter_map(Worker::process)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.workers.iter_mut().filter_map(Worker::process_mut)
    }

    /// Assigns waiting batches to workers, and starts workers for the rest.
    fn place(&mut self, replies: &mut Vec<Reply>, now: Duration) {
        while let Some(next) = self.waiting.front() {
            let calls = next.batch.tasks.end - next.batch.tasks.start;
            self.retire_for(calls);
            if let Some(process) = self.idle().or_else(|| self.shortest_if_all_run(calls)) {
                // The loop's condition ensures that a batch waits.
                let Some(Waiting { batch, since }) = self.waiting.pop_front() else { return };
                if let Some(process) = self.workers[process].process_mut() {
                    process.launch(batch, since, now);
                    if self.max_calls.is_some_and(|most| process.calls() >= most.get()) {
                        process.retire();
                    }
                }
                continue;
            }
            if self.processes().next().is_none()
                && let Some(why) = self.starts.gave_up(now)
            {
                self.waiting.drain(..).for_each(|waiting| waiting.batch.fail(why, replies));
                return;
            }
            return self.start_some(now);
        }
    }

    /// Retires idle workers that may not run `calls` more calls.
    fn retire_for(&mut self, calls: u64) {
        let most = self.max_calls;
        for process in self.processes_mut().filter(|process| process.load() == 0) {
            if !fits(process, calls, most) {
                process.retire();
            }
        }
    }

    /// Retires workers that have been idle for too long. Returns the time until the next one may be.
    fn retire_idle(&mut self, now: Duration) -> Option<Duration> {
        let idle = self.idle_timeout?;
        // A worker that is still starting is not idle.
        let is_idle = |process: &&mut Process| process.load() == 0 && process.was_ready() && !process.is_retiring();
        let processes = self.processes_mut().filter(is_idle);
        let left = processes.filter_map(|process| {
            let left = process.last_active().saturating_add(idle).saturating_sub(now);
            if left.is_zero() {
                process.retire();
            }
            (!left.is_zero()).then_some(left)
        });
        left.min()
    }

    /// Returns the idle worker that was active last, because its caches are the warmest.
    fn idle(&self) -> Option<usize> {
        let idle = self.workers.iter().enumerate().filter_map(|(index, worker)| Some((index, worker.process()?)));
        idle.filter(|(_, p)| p.load() == 0 && !p.is_retiring())
            .max_by_key(|(_, p)| p.last_active())
            .map(|(index, _)| index)
    }

    /// Returns the worker with the fewest batches, if it has a free slot. Returns `None` while other workers are
    /// starting or can be started, unless the last start failed.
    fn shortest_if_all_run(&self, calls: u64) -> Option<usize> {
        if self.workers.iter().any(|worker| matches!(worker, Worker::None | Worker::Starting(_)))
            && !self.starts.last_failed()
        {
            return None;
        }
        let running = self.workers.iter().enumerate().filter_map(|(index, worker)| Some((index, worker.process()?)));
        running
            .filter(|(_, p)| p.load() < SLOTS && !p.is_retiring() && fits(p, calls, self.max_calls))
            .min_by_key(|(_, p)| p.load())
            .map(|(index, _)| index)
    }

    /// Starts as many workers as the waiting batches can use.
    fn start_some(&mut self, now: Duration) {
        if !self.starts.may_start(now) {
            return;
        }
        let starting = self.workers.iter().filter(|worker| matches!(worker, Worker::Starting(_))).count();
        for _ in starting..self.starts.most(self.waiting.len()) {
            let Some(free) = self.workers.iter().position(|worker| matches!(worker, Worker::None)) else { return };
            self.start(free);
        }
    }

    fn start(&mut self, index: usize) {
        let (sender, receiver) = sync_channel(1);
        let supervisor = match &self.supervisor {
            Some(supervisor) => Ok(supervisor.clone()),
            None => Supervisor::start(self.wake_handle.0.clone())
                .map(|supervisor| self.supervisor.insert(Arc::new(supervisor)).clone()),
        };
        let (notifier, epoch, lines) = (self.wake_handle.0.clone(), self.epoch, self.lines.clone());
        let surroundings = self.surroundings.clone();
        let share_mb = platform::machine_memory_mb() / u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let start = {
            let sender = sender.clone();
            move |supervisor: Arc<Supervisor>| {
                // If the pool does not wait for the process any more, it is dropped, which kills it.
                let _ = sender.send(Process::start(
                    index as u32,
                    &notifier,
                    &supervisor,
                    epoch,
                    &lines,
                    share_mb,
                    &surroundings,
                ));
                notifier.notify();
            }
        };
        let spawned = supervisor.and_then(|supervisor| spawner::spawn(move || start(supervisor)));
        if let Err(error) = spawned {
            let _ = sender.send(Err(error));
        }
        self.workers[index] = Worker::Starting(receiver);
    }

    /// Receives a worker whose start has finished.
    fn take_in(&mut self, index: usize, now: Duration) {
        let Worker::Starting(receiver) = &self.workers[index] else { return };
        let started = match receiver.try_recv() {
            Ok(started) => started,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the start ended without a result")),
        };
        match started {
            Ok(process) => self.workers[index] = Worker::Running(Box::new(process)),
            Err(error) => {
                self.workers[index] = Worker::None;
                self.starts.refused(&format!("cannot create the process: {error}"), now);
            }
        }
    }

    /// Handles the end of a worker process.
    fn reap(&mut self, index: usize, now: Duration, replies: &mut Vec<Reply>) {
        let Worker::Running(mut process) = std::mem::replace(&mut self.workers[index], Worker::None) else { return };
        let Some(exit) = process.exit() else {
            self.workers[index] = Worker::Running(process);
            return;
        };
        process.read(now, replies);
        process.read_unpublished(now, replies);
        if process.was_ready() {
            self.starts.succeeded();
        } else if process.is_late() {
            self.starts.record_late_start(now);
        } else if exit.was_killed() {
            self.starts.refused(&format!("before its first call, the process {}", exit.describe()), now);
        } else {
            self.starts.record_early_exit(&exit, now);
        }
        process.settle(&exit, now, replies);
    }

    /// Takes back the batches that wait behind a running batch, if an idle worker or a new one can run them.
    fn share(&mut self, replies: &mut Vec<Reply>) {
        let has_idle = self.workers.iter().any(|worker| match worker {
            Worker::None => !self.starts.last_failed(),
            Worker::Starting(_) => false,
            Worker::Running(process) => process.load() == 0 && !process.is_retiring(),
        });
        if self.waiting.is_empty()
            && has_idle
            && let Some(process) = self.processes_mut().find(|p| p.load() > 1)
        {
            process.take_back_waiting(replies);
        }
    }
}

impl Backend for LocalBackend {
    fn slots(&self) -> usize {
        self.workers.len() * SLOTS
    }

    fn workers(&self) -> usize {
        self.workers.len()
    }

    fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>) {
        self.waiting.push_back(Waiting { batch, since: now });
        self.place(replies, now);
    }

    fn reclaim(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        for process in self.processes_mut() {
            process.take_back(batch_id, replies);
        }
    }

    fn running(&mut self, now: Duration, running: &mut Vec<RunningTask>) -> bool {
        running.extend(self.processes_mut().filter_map(|process| process.running(now)));
        true
    }

    fn cancel(&mut self, batch_id: BatchId, now: Duration) {
        self.waiting.retain(|waiting| waiting.batch.id != batch_id);
        for process in self.processes_mut() {
            process.cancel(batch_id, now);
        }
    }

    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        for index in 0..self.workers.len() {
            self.take_in(index, now);
            if let Some(process) = self.workers[index].process_mut() {
                process.read(now, replies);
                process.write();
                if process.has_exited() {
                    self.reap(index, now, replies);
                }
            }
        }
        self.share(replies);
        self.place(replies, now);
        let mut checks = self.processes_mut().map(|p| p.check(now)).fold(false, |a, b| a | b);
        checks |= !self.waiting.is_empty();
        if self.processes().any(|process| process.load() > 0) {
            checks |= self.check_memory(now);
        }
        let idle = self.retire_idle(now);
        [checks.then_some(CHECK_EVERY), idle].into_iter().flatten().min()
    }

    fn tune(&self, config: &mut scheduler::SchedulerConfig) {
        if let Some(most) = self.max_calls {
            config.max_batch = config.max_batch.min(most.get());
        }
    }
}

/// Whether a worker may run `calls` more calls if it may run `most` in all. A worker that has run none may run any
/// number.
fn fits(process: &Process, calls: u64, most: Option<NonZeroU64>) -> bool {
    most.is_none_or(|most| process.calls() == 0 || process.calls().saturating_add(calls) <= most.get())
}
