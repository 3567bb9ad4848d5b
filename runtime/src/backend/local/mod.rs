//! The `local` backend: a pool of worker processes of this same executable.

mod minder;
mod process;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Backend, BackendScheme, FlightId, Invocation, Lines, Reply, Ringer, Setup, scheme};
use crate::channel::{SLOTS, monotonic};
use crate::error::Failure;
use crate::platform::ProcessMemory;
use crate::start;
use process::Process;

/// How often a worker may end before its first call, one after the other, until the pool gives up.
const FALSE_STARTS: u32 = 3;

/// How often limits are checked, and cancelled calls that do not end by themselves.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// Worker processes, started when they are first needed.
#[derive(Debug)]
pub(crate) struct LocalBackend {
    workers: Vec<Option<Process>>,
    /// Invocations that wait for a slot.
    waiting: VecDeque<Invocation>,
    ringer: Ringer,
    lines: Lines,
    epoch: Epoch,
    false_starts: u32,
    /// Why no worker starts.
    broken: Option<String>,
    /// What this process and its workers may use together, in bytes.
    memory: Option<Memory>,
}

/// What the clock that is shared with workers said when the scheduler's began, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Epoch(u64);

impl Epoch {
    fn new(clock: Instant) -> Self {
        Self(monotonic().saturating_sub(clock.elapsed().as_nanos() as u64))
    }

    /// A worker's time, on the scheduler's clock.
    fn time(self, at: u64) -> Duration {
        Duration::from_nanos(at.saturating_sub(self.0))
    }

    /// The scheduler's time, on the clock that is shared with workers.
    fn at(self, time: Duration) -> u64 {
        self.0.saturating_add(time.as_nanos() as u64)
    }
}

/// A limit on the memory of this process and its workers together.
#[derive(Debug)]
struct Memory {
    limit: u64,
    own: ProcessMemory,
    next_check: Duration,
}

inventory::submit! {
    BackendScheme {
        scheme: "local",
        open: |rest, setup| {
            scheme::nothing_more("local", rest)?;
            start::may_start_workers()?;
            Ok(Box::new(LocalBackend::new(setup)))
        },
    }
}

impl LocalBackend {
    pub(crate) fn new(setup: &Setup) -> Self {
        let workers = std::iter::repeat_with(|| None).take(setup.workers.max(1)).collect();
        Self {
            workers,
            waiting: VecDeque::new(),
            ringer: setup.ringer.clone(),
            lines: setup.lines.clone(),
            epoch: Epoch::new(setup.clock),
            false_starts: 0,
            broken: None,
            memory: None,
        }
    }

    /// Keeps this process and its workers below so many bytes together: what would pass them fails as
    /// out of memory, the largest first.
    #[cfg(feature = "aws")]
    pub(crate) fn limit_memory(&mut self, limit: u64) {
        let own = ProcessMemory::of_this_process();
        self.memory = Some(Memory { limit, own, next_check: Duration::ZERO });
    }

    /// Starts all workers before they are needed.
    #[cfg(feature = "aws")]
    pub(crate) fn warm_up(&mut self) {
        for index in 0..self.workers.len() {
            // One that does not start says why when it is needed.
            let _ = self.started(index);
        }
    }

    /// Whether nothing runs and nothing waits.
    #[cfg(feature = "aws")]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.workers.iter().flatten().all(|process| process.load() == 0)
    }

    /// Stops the largest worker if all together use too much. Gives whether there is such a limit.
    fn check_memory(&mut self, now: Duration) -> bool {
        let Some(memory) = &mut self.memory else { return false };
        if now < memory.next_check {
            return true;
        }
        memory.next_check = now + CHECK_EVERY;
        let own = memory.own.now();
        let used: Vec<_> = self.workers.iter().map(|p| p.as_ref().map_or(0, Process::memory)).collect();
        let total = own + used.iter().sum::<u64>();
        let largest = (0..used.len()).max_by_key(|index| used[*index]);
        if total > memory.limit
            && let Some(process) = largest.and_then(|index| self.workers[index].as_mut())
        {
            // Rounded apart, so that what is over is seen to be over.
            let (limit_mb, peak_mb) = ((memory.limit >> 20) as u32, total.div_ceil(1 << 20) as u32);
            process.stop_for(Failure::OutOfMemory { limit_mb, peak_mb });
        }
        true
    }

    fn place(&mut self, replies: &mut Vec<Reply>, now: Duration) {
        while !self.waiting.is_empty() {
            let Some(index) = self.choose() else { return };
            // `choose` found `waiting` not empty.
            let Some(invocation) = self.waiting.pop_front() else { return };
            if let Some(process) = self.started(index) {
                process.launch(invocation, now);
            } else {
                let message = self.broken.clone().unwrap_or_default();
                fail_all(invocation, &message, replies);
            }
        }
    }

    /// An idle worker, the one whose caches are warmest; or one to be started; or one with a slot.
    fn choose(&self) -> Option<usize> {
        let load = |p: &Option<Process>| p.as_ref().map(Process::load);
        let idle = self.workers.iter().enumerate().filter(|(_, p)| load(p) == Some(0));
        let warmest = idle.max_by_key(|(_, p)| p.as_ref().map(Process::last_active));
        let new = || self.workers.iter().position(Option::is_none);
        let shortest = || {
            let free = self.workers.iter().enumerate().filter(|(_, p)| load(p) < Some(SLOTS));
            free.min_by_key(|(_, p)| load(p)).map(|(index, _)| index)
        };
        warmest.map(|(index, _)| index).or_else(new).or_else(shortest)
    }

    fn started(&mut self, index: usize) -> Option<&mut Process> {
        if self.workers[index].is_none() && self.broken.is_none() {
            match Process::start(index as u32, &self.ringer.0, self.epoch, &self.lines) {
                Ok(process) => self.workers[index] = Some(process),
                Err(error) => self.broken = Some(format!("no worker process can be started: {error}")),
            }
        }
        self.workers[index].as_mut()
    }

    fn bury(&mut self, index: usize, now: Duration, replies: &mut Vec<Reply>) {
        let Some(mut process) = self.workers[index].take() else { return };
        let Some(exit) = process.exit() else {
            self.workers[index] = Some(process);
            return;
        };
        process.read(now, replies);
        process.read_unpublished(now, replies);
        if process.was_ready() {
            self.false_starts = 0;
        } else {
            self.false_starts += 1;
        }
        if self.false_starts >= FALSE_STARTS {
            self.broken = Some(format!(
                "{FALSE_STARTS} worker processes in a row ended before their first call; the last {}; is \
                 `#[wren::main]` on `main`, or `wren::init()` its first line?",
                exit.in_words()
            ));
        }
        process.settle(&exit, now, replies);
    }

    /// An idle worker takes over what waits behind a long task elsewhere.
    fn share(&mut self, replies: &mut Vec<Reply>) {
        if !self.waiting.is_empty() || !self.workers.iter().any(|p| p.as_ref().is_none_or(|p| p.load() == 0)) {
            return;
        }
        if let Some(process) = self.workers.iter_mut().flatten().find(|p| p.load() > 1) {
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

    fn invoke(&mut self, invocation: Invocation, now: Duration, replies: &mut Vec<Reply>) {
        self.waiting.push_back(invocation);
        self.place(replies, now);
    }

    fn reclaim(&mut self, flight: FlightId, replies: &mut Vec<Reply>) {
        for process in self.workers.iter_mut().flatten() {
            process.take_back(flight, replies);
        }
    }

    fn cancel(&mut self, flight: FlightId, now: Duration) {
        self.waiting.retain(|waiting| waiting.flight != flight);
        for process in self.workers.iter_mut().flatten() {
            process.cancel(flight, now);
        }
    }

    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        for index in 0..self.workers.len() {
            if let Some(process) = &mut self.workers[index] {
                process.read(now, replies);
                process.write();
                if process.has_exited() {
                    self.bury(index, now, replies);
                }
            }
        }
        self.share(replies);
        self.place(replies, now);
        let mut checks = self.workers.iter_mut().flatten().map(|p| p.check(now)).fold(false, |a, b| a | b);
        checks |= !self.waiting.is_empty();
        if self.workers.iter().flatten().any(|process| process.load() > 0) {
            checks |= self.check_memory(now);
        }
        checks.then_some(CHECK_EVERY)
    }
}

pub(super) fn fail_all(invocation: Invocation, message: &str, replies: &mut Vec<Reply>) {
    for task in invocation.tasks {
        replies.push(Reply::Failed {
            flight: invocation.flight,
            task,
            failure: Failure::Backend(message.to_owned()),
            stderr: String::new(),
            timing: Default::default(),
        });
    }
}
