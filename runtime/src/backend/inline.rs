//! The `inline` backend: threads of this process, for `cargo test`, a debugger, and calls that a
//! remote function makes itself.
//!
//! There is no process to lose or to kill: a crash ends the program, `memory` is not enforced, and
//! a call that passes its `timeout` is given up while its thread runs on; an async function ends at its next `await`.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::{Backend, BackendContext, BackendScheme, WakeHandle, scheme};
use crate::attempt::{Batch, BatchId, Reply, Results, Timing};
use crate::error::Failure;
use crate::function::framed::Pieces;
use crate::function::{self, Encoded, StopSignal};
use crate::history::spans::InvocationSpan;
use crate::platform;

/// Results of short calls are given together, at least this often.
const GIVE_EVERY: Duration = Duration::from_millis(1);

/// A thread that has not run for so long waits for something. Where all do, it may be for calls that are to run here.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How often timeouts are checked.
const CHECK_EVERY: Duration = Duration::from_millis(2);

/// Threads of this process, started when they are first needed.
#[derive(Debug)]
struct InlineBackend {
    shared: Arc<InlinePool>,
    threads: usize,
    /// Whether who waits for calls runs them, and no thread is started but for those with a timeout.
    is_run_by_who_waits: bool,
}

#[derive(Debug)]
struct InlinePool {
    state: Mutex<State>,
    work: Condvar,
    wake_handle: WakeHandle,
    /// When the scheduler's time began.
    clock: Instant,
    /// How deep calls that these threads make are nested.
    depth: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Batch>,
    /// Whether somebody waits for the calls who runs them, and who.
    is_awaited: bool,
    waits: Option<Waker>,
    replies: Vec<Reply>,
    /// Batches that somebody waits for: not those that were cancelled or given up, though their threads may run on.
    running: HashMap<BatchId, Running>,
    idle: usize,
    started: usize,
    stopped: bool,
}

#[derive(Debug)]
struct Running {
    task: u64,
    since: Instant,
    timeout: Option<Duration>,
    /// The first task that the batch does not run.
    end: u64,
    stop: Arc<StopSignal>,
    thread: Option<u32>,
    /// How often its thread has run, and since when that is so.
    turns: (Option<u64>, Instant),
}

inventory::submit! {
    BackendScheme {
        scheme: "inline",
        open: |rest, setup| {
            scheme::nothing_more("inline", rest)?;
            Ok(open(setup))
        },
    }
}

/// Threads that are started when they are first needed.
pub(crate) fn open(setup: &BackendContext) -> Box<dyn Backend> {
    Box::new(InlineBackend::new(setup))
}

/// As [`open`], but whoever waits for the calls runs them, by [`Queued::run_one`].
pub(crate) fn run_by_who_waits(setup: &BackendContext) -> (Box<dyn Backend>, Queued) {
    let mut backend = InlineBackend::new(setup);
    backend.is_run_by_who_waits = true;
    let queued = Queued(backend.shared.clone());
    (Box::new(backend), queued)
}

/// Batches that nobody has begun with.
#[derive(Debug, Clone)]
pub(crate) struct Queued(Arc<InlinePool>);

impl Queued {
    /// Whether there are any; if not, the waker is woken when there are.
    pub(crate) fn has_any_or_register(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            state.waits = Some(waker.clone());
        }
        !state.queue.is_empty()
    }

    /// Says whether somebody waits who runs them. If nobody does, threads run those there are, and those that come.
    pub(crate) fn set_awaited(&self, is_awaited: bool) {
        let mut state = self.0.lock();
        state.is_awaited = is_awaited;
        if !is_awaited {
            let (queue, mut replies) = (std::mem::take(&mut state.queue), std::mem::take(&mut state.replies));
            queue.into_iter().for_each(|batch| self.0.run_on_thread(&mut state, batch, &mut replies));
            state.replies = replies;
        }
        drop(state);
        self.0.wake_handle.notify();
    }

    /// Runs one of them, if there is one, on this thread.
    pub(crate) fn run_one(&self) {
        let next = self.0.lock().next();
        next.iter().for_each(|batch| self.0.fly(batch, 0));
    }
}

impl InlinePool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Functions run outside the lock; the state is whole whenever it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InlineBackend {
    fn new(setup: &BackendContext) -> Self {
        let BackendContext { workers, wake_handle, depth, clock, .. } = setup.clone();
        let shared = InlinePool { state: Mutex::default(), work: Condvar::new(), wake_handle, clock, depth };
        Self { shared: Arc::new(shared), threads: workers.max(1), is_run_by_who_waits: false }
    }
}

/// Takes the later half of tasks that have not begun, and one that is alone.
fn take_later_half(start: u64, end: &mut u64) -> Range<u64> {
    let middle = start + end.saturating_sub(start) / 2;
    middle..std::mem::replace(end, middle.min(*end))
}

/// A thread that runs functions.
fn thread_named(name: String) -> thread::Builder {
    thread::Builder::new().name(name).stack_size(8 << 20)
}

fn fail_without_thread(batch: Batch, error: &std::io::Error, replies: &mut Vec<Reply>) {
    batch.fail(&format!("no thread can be started: {error}"), replies);
}

impl Drop for InlineBackend {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
    }
}

impl Backend for InlineBackend {
    fn slots(&self) -> usize {
        self.threads
    }

    fn workers(&self) -> usize {
        self.threads
    }

    fn invoke(&mut self, batch: Batch, _now: Duration, replies: &mut Vec<Reply>) {
        function::install_hook();
        let mut state = self.shared.lock();
        if self.is_run_by_who_waits {
            // Nobody can end what the thread runs that waits.
            if state.is_awaited && batch.block.limits().timeout.is_none() {
                state.queue.push_back(batch);
                state.waits.take().into_iter().for_each(Waker::wake);
            } else {
                self.shared.run_on_thread(&mut state, batch, replies);
            }
            return;
        }
        state.queue.push_back(batch);
        if state.idle >= state.queue.len() {
            self.shared.work.notify_one();
            return;
        }
        let shared = self.shared.clone();
        let number = state.started as u32;
        match thread_named(format!("wren-inline-{number}")).spawn(move || shared.work(number)) {
            Ok(_) => state.started += 1,
            // Some thread will come to it, if there is one.
            Err(_) if state.started > 0 && self.shared.depth != platform::UNKNOWN_DEPTH => {}
            Err(error) => {
                let queue = std::mem::take(&mut state.queue);
                queue.into_iter().for_each(|batch| fail_without_thread(batch, &error, replies));
            }
        }
    }

    fn blocked(&mut self) -> usize {
        let mut state = self.shared.lock();
        let mut are_blocked = state.running.len() >= self.threads;
        for running in state.running.values_mut() {
            let turns = running.thread.and_then(platform::turns_of_thread);
            if turns.is_none() || turns != running.turns.0 {
                running.turns = (turns, Instant::now());
            }
            are_blocked &= running.turns.1.elapsed() > BLOCKED_AFTER;
        }
        if are_blocked { state.running.len() } else { 0 }
    }

    fn cancel(&mut self, batch_id: BatchId, _now: Duration) {
        let mut state = self.shared.lock();
        state.queue.retain(|waiting| waiting.id != batch_id);
        if let Some(running) = state.running.remove(&batch_id) {
            drop(state);
            running.stop.set();
        }
    }

    fn reclaim(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        let mut state = self.shared.lock();
        let taken = match state.queue.iter_mut().find(|waiting| waiting.id == batch_id) {
            Some(waiting) => take_later_half(waiting.tasks.start, &mut waiting.tasks.end),
            None => match state.running.get_mut(&batch_id) {
                Some(running) => take_later_half(running.task + 1, &mut running.end),
                None => return,
            },
        };
        if !taken.is_empty() {
            replies.push(Reply::Returned { batch_id, tasks: taken });
        }
    }

    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        let mut state = self.shared.lock();
        state.give_up_late(now);
        replies.append(&mut state.replies);
        state.has_limits().then_some(CHECK_EVERY)
    }
}

impl State {
    /// The next batch. From now on it counts as running: it has a limit even before its thread begins with it.
    fn next(&mut self) -> Option<Batch> {
        let batch = self.queue.pop_front()?;
        self.note_running(&batch);
        Some(batch)
    }

    fn note_running(&mut self, batch: &Batch) {
        let Batch { id: batch_id, tasks, block, .. } = batch;
        let (task, end, timeout, since) = (tasks.start, tasks.end, block.limits().timeout, Instant::now());
        let running = Running { task, since, timeout, end, stop: Arc::default(), thread: None, turns: (None, since) };
        self.running.insert(*batch_id, running);
    }

    /// Whether a call has a limit, or will have.
    fn has_limits(&self) -> bool {
        let waiting = || self.queue.iter().any(|batch| batch.block.limits().timeout.is_some());
        self.running.values().any(|running| running.timeout.is_some()) || waiting()
    }

    /// Fails the calls that run for too long; their threads do not find the batch any more when they return.
    fn give_up_late(&mut self, now: Duration) {
        let late = |r: &Running| r.timeout.filter(|limit| r.since.elapsed() > *limit);
        let found = self.running.iter().find_map(|(batch_id, r)| Some((*batch_id, late(r)?)));
        let Some((batch_id, limit)) = found else { return };
        if let Some(Running { task, since, end, stop, .. }) = self.running.remove(&batch_id) {
            stop.set();
            let compute = since.elapsed();
            let timing = Timing { started: now.saturating_sub(compute), compute, ..Timing::default() };
            let failure = Failure::TimedOut { limit };
            self.replies.push(Reply::Failed { batch_id, task, failure, stderr: String::new(), timing });
            self.replies.push(Reply::Returned { batch_id, tasks: task + 1..end });
            // Its thread is lost for now, so that another may be started.
            self.started = self.started.saturating_sub(1);
        }
    }
}

impl InlinePool {
    /// Runs a batch on a thread of its own; where none can be started, it fails.
    fn run_on_thread(self: &Arc<Self>, state: &mut State, batch: Batch, replies: &mut Vec<Reply>) {
        let (shared, own) = (self.clone(), batch.clone());
        let run = move || {
            platform::set_depth(shared.depth);
            shared.fly(&own, 0);
        };
        state.note_running(&batch);
        if let Err(error) = thread_named("wren-inline".into()).spawn(run) {
            state.running.remove(&batch.id);
            fail_without_thread(batch, &error, replies);
        }
    }

    fn work(&self, number: u32) {
        platform::set_depth(self.depth);
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.next() {
                drop(state);
                self.fly(&batch, number);
                state = self.lock();
                continue;
            }
            if state.stopped {
                return;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn fly(&self, batch: &Batch, number: u32) {
        let stop = self.lock().running.get_mut(&batch.id).map(|running| {
            running.thread = platform::this_thread();
            running.stop.clone()
        });
        // None where it was given up already.
        if let Some(stop) = stop {
            function::stopped_by(&stop, || self.run_tasks(batch, number));
            self.lock().running.remove(&batch.id);
        }
    }

    fn run_tasks(&self, batch: &Batch, number: u32) {
        let Batch { id: batch_id, tasks, attempt, block, .. } = batch;
        let blobs: HashMap<_, _> = block.blobs(tasks.clone()).collect();
        let started = Instant::now();
        let (first, end) = (tasks.start, tasks.start);
        let mut run = ResultBatch { first, end, results: Vec::new(), clock: self.clock, started, since: started };
        let mut out = Encoded::default();
        let function = block.function();
        let mut span = InvocationSpan::begin(block.traceparent(), function.name, tasks, *attempt);
        for (task, args) in tasks.clone().zip(Pieces(block.args(tasks.clone()))) {
            let Some(is_last) = self.begin(*batch_id, task) else { break };
            out.clear();
            let blobs = blobs.get(&task).copied().unwrap_or(&[]);
            match span.task(task, is_last, || function::run(function, args, blobs, &mut out)) {
                Ok(()) => {
                    out.append_to(&mut run.results);
                    run.end = task + 1;
                    if run.since.elapsed() > GIVE_EVERY {
                        self.give(*batch_id, run.done(*batch_id, number));
                    }
                }
                Err(failure) => {
                    let timing = run.timing(number);
                    let done = run.done(*batch_id, number);
                    (run.first, run.end) = (task + 1, task + 1);
                    let failed = Reply::Failed { batch_id: *batch_id, task, failure, stderr: String::new(), timing };
                    self.give(*batch_id, done.into_iter().chain([failed]));
                }
            }
        }
        self.give(*batch_id, run.done(*batch_id, number));
    }

    /// Notes that a task begins. Gives whether it is the batch's last one; none if it is not to be run: nobody waits for
    /// the batch, or the task was taken back.
    fn begin(&self, batch_id: BatchId, task: u64) -> Option<bool> {
        let mut state = self.lock();
        let running = state.running.get_mut(&batch_id).filter(|running| task < running.end)?;
        (running.task, running.since) = (task, Instant::now());
        Some(task + 1 == running.end)
    }

    fn give(&self, batch_id: BatchId, replies: impl IntoIterator<Item = Reply>) {
        let mut state = self.lock();
        if !state.running.contains_key(&batch_id) {
            return;
        }
        state.replies.extend(replies);
        drop(state);
        self.wake_handle.notify();
    }
}

/// Consecutive successes that were not given yet.
struct ResultBatch {
    first: u64,
    /// The first task after them.
    end: u64,
    results: Vec<u8>,
    /// When the scheduler's time began.
    clock: Instant,
    /// When the batch began.
    started: Instant,
    /// When these tasks began.
    since: Instant,
}

impl ResultBatch {
    fn timing(&self, worker: u32) -> Timing {
        Timing {
            started: self.started.saturating_duration_since(self.clock),
            turn: self.since - self.started,
            compute: self.since.elapsed(),
            worker,
            ..Timing::default()
        }
    }

    fn done(&mut self, batch_id: BatchId, worker: u32) -> Option<Reply> {
        let tasks: Range<u64> = self.first..self.end;
        let timing = self.timing(worker);
        self.first = self.end;
        self.since = Instant::now();
        let results = std::mem::take(&mut self.results);
        (!tasks.is_empty()).then(|| Reply::Done { batch_id, tasks, results: Results::packed(results), timing })
    }
}
