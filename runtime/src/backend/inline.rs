//! The `inline` backend: runs calls on threads of this process, for `cargo test`, for debuggers, and for calls that a
//! remote function makes itself.
//!
//! There is no worker process that could die or be killed: a crash ends the program, and `memory` is not enforced. A
//! call that exceeds its `timeout` is abandoned while its thread keeps running; an async function ends at its next
//! `await`.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::{Backend, BackendContext, BackendScheme, WakeHandle, scheme};
use crate::attempt::{Batch, BatchId, Reply, Results, RunningTask, Timing};
use crate::error::Failure;
use crate::function::framed::Pieces;
use crate::function::{self, CallClock, Conversion, Encoded, StopSignal};
use crate::history::spans::InvocationSpan;
use crate::platform;

/// Interval at which the results of short calls are reported together.
const REPORT_EVERY: Duration = Duration::from_millis(1);

/// A thread that has not run on a processor for this long is waiting for something. If all threads are waiting, it may
/// be for calls that have yet to run here.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// Interval between checks of timeouts.
const CHECK_EVERY: Duration = Duration::from_millis(2);

/// Threads of this process, started when they are first needed.
#[derive(Debug)]
struct InlineBackend {
    shared: Arc<InlinePool>,
    threads: usize,
    /// Whether the thread that waits for the calls runs them. Then a thread is started only for calls with a timeout,
    /// and for calls that no thread is waiting for.
    is_run_by_waiter: bool,
}

#[derive(Debug)]
struct InlinePool {
    state: Mutex<State>,
    work: Condvar,
    wake_handle: WakeHandle,
    /// The instant from which the scheduler's time counts.
    clock: Instant,
    /// Nesting depth of the calls that these threads make.
    depth: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Batch>,
    /// Whether a thread that runs the calls is waiting for them.
    is_awaited: bool,
    /// Wakes that thread when a batch is queued.
    waiter: Option<Waker>,
    replies: Vec<Reply>,
    /// Batches whose replies are expected: cancelled and abandoned ones are not here, though their threads may still
    /// run.
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
    /// The first task after those that the batch still has to run.
    end: u64,
    stop: Arc<StopSignal>,
    thread: Option<u32>,
    /// How often its thread has run on a processor, and when this number last changed.
    turns: (Option<u64>, Instant),
}

inventory::submit! {
    BackendScheme {
        scheme: "inline",
        open: |rest, context| {
            scheme::refuse_rest("inline", rest)?;
            Ok(open(context))
        },
    }
}

/// Opens the backend with threads that are started when they are first needed.
pub(crate) fn open(context: &BackendContext) -> Box<dyn Backend> {
    Box::new(InlineBackend::new(context))
}

/// As [`open`], but the thread that waits for the calls runs them, with [`Queued::run_one`].
pub(crate) fn open_for_waiter(context: &BackendContext) -> (Box<dyn Backend>, Queued) {
    let mut backend = InlineBackend::new(context);
    backend.is_run_by_waiter = true;
    let queued = Queued(backend.shared.clone());
    (Box::new(backend), queued)
}

/// Batches that no thread has started.
#[derive(Debug, Clone)]
pub(crate) struct Queued(Arc<InlinePool>);

impl Queued {
    /// Returns whether there are queued batches. If there are none, registers the waker, which is woken when one
    /// arrives.
    pub(crate) fn has_any_or_register(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            state.waiter = Some(waker.clone());
        }
        !state.queue.is_empty()
    }

    /// Sets whether a thread that runs the batches is waiting for them. If not, queued and future batches run on
    /// threads of their own.
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

    /// Runs the next batch on this thread, if there is one.
    pub(crate) fn run_one(&self) {
        let next = self.0.lock().next();
        next.iter().for_each(|batch| self.0.run_batch(batch, 0));
    }
}

impl InlinePool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Functions run outside the lock, and the state is consistent whenever the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InlineBackend {
    fn new(context: &BackendContext) -> Self {
        let BackendContext { workers, wake_handle, depth, clock, .. } = context.clone();
        let shared = InlinePool { state: Mutex::default(), work: Condvar::new(), wake_handle, clock, depth };
        Self { shared: Arc::new(shared), threads: workers.max(1), is_run_by_waiter: false }
    }
}

/// Takes the later half of the tasks that have not started; of one task, that task.
fn take_later_half(start: u64, end: &mut u64) -> Range<u64> {
    let middle = start + end.saturating_sub(start) / 2;
    middle..std::mem::replace(end, middle.min(*end))
}

/// Returns the builder of a thread that runs functions.
fn thread_named(name: String) -> thread::Builder {
    thread::Builder::new().name(name).stack_size(8 << 20)
}

fn fail_without_thread(batch: Batch, error: &std::io::Error, replies: &mut Vec<Reply>) {
    batch.fail(&format!("cannot start a thread: {error}"), replies);
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
        if self.is_run_by_waiter {
            // A call with a timeout needs a thread that can be abandoned, which the waiting thread cannot.
            if state.is_awaited && batch.block.limits().timeout.is_none() {
                state.queue.push_back(batch);
                state.waiter.take().into_iter().for_each(Waker::wake);
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
            // An existing thread will run the batch later.
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

    fn running(&mut self, now: Duration, running: &mut Vec<RunningTask>) -> bool {
        let state = self.shared.lock();
        running.extend(state.running.iter().map(|(batch_id, of_batch)| RunningTask {
            batch_id: *batch_id,
            task: of_batch.task,
            since: now.saturating_sub(of_batch.since.elapsed()),
        }));
        true
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
    /// Takes the next batch, and records it as running, so that its timeout counts even before its thread starts it.
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

    /// Returns whether a running or queued call has a timeout.
    fn has_limits(&self) -> bool {
        let waiting = || self.queue.iter().any(|batch| batch.block.limits().timeout.is_some());
        self.running.values().any(|running| running.timeout.is_some()) || waiting()
    }

    /// Fails one call that has exceeded its timeout, if there is one. Its thread no longer finds the batch when it
    /// returns.
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
            // Its thread is occupied for now, so another one may be started.
            self.started = self.started.saturating_sub(1);
        }
    }
}

impl InlinePool {
    /// Runs a batch on a thread of its own, or fails it if no thread can be started.
    fn run_on_thread(self: &Arc<Self>, state: &mut State, batch: Batch, replies: &mut Vec<Reply>) {
        let (shared, own) = (self.clone(), batch.clone());
        let run = move || {
            platform::set_depth(shared.depth);
            shared.run_batch(&own, 0);
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
                self.run_batch(&batch, number);
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

    fn run_batch(&self, batch: &Batch, number: u32) {
        let stop = self.lock().running.get_mut(&batch.id).map(|running| {
            running.thread = platform::this_thread();
            running.stop.clone()
        });
        // `None` if the batch was cancelled or abandoned in the meantime.
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
        let mut run = ResultBatch {
            first,
            end,
            results: Vec::new(),
            clock: self.clock,
            started,
            since: started,
            conversion: Conversion::default(),
        };
        let mut out = Encoded::default();
        let function = block.function();
        let mut span = InvocationSpan::begin(block.traceparent(), function.name, tasks, *attempt);
        for (task, args) in tasks.clone().zip(Pieces(block.args(tasks.clone()))) {
            let Some(is_last) = self.start_task(*batch_id, task) else { break };
            out.clear();
            let blobs = blobs.get(&task).copied().unwrap_or(&[]);
            let mut clock = CallClock::new(true);
            let outcome = span.task(task, is_last, || function::run(function, args, blobs, &mut out, &mut clock));
            let now = Instant::now();
            run.conversion += Conversion { decode: clock.decoding(), encode: clock.encoding(now) };
            match outcome {
                Ok(()) => {
                    out.append_to(&mut run.results);
                    run.end = task + 1;
                    if now.saturating_duration_since(run.since) > REPORT_EVERY {
                        self.report(*batch_id, run.done(*batch_id, number));
                    }
                }
                Err(failure) => {
                    let timing = run.timing(number);
                    let done = run.done(*batch_id, number);
                    (run.first, run.end) = (task + 1, task + 1);
                    let failed = Reply::Failed { batch_id: *batch_id, task, failure, stderr: String::new(), timing };
                    self.report(*batch_id, done.into_iter().chain([failed]));
                }
            }
        }
        self.report(*batch_id, run.done(*batch_id, number));
    }

    /// Records that a task starts, and returns whether it is the last one of the batch. Returns `None` if the task must
    /// not run: the batch was cancelled or abandoned, or the task was taken back.
    fn start_task(&self, batch_id: BatchId, task: u64) -> Option<bool> {
        let mut state = self.lock();
        let running = state.running.get_mut(&batch_id).filter(|running| task < running.end)?;
        (running.task, running.since) = (task, Instant::now());
        Some(task + 1 == running.end)
    }

    /// Queues replies of a batch and notifies the executor, unless the batch was cancelled or abandoned.
    fn report(&self, batch_id: BatchId, replies: impl IntoIterator<Item = Reply>) {
        let mut state = self.lock();
        if !state.running.contains_key(&batch_id) {
            return;
        }
        state.replies.extend(replies);
        drop(state);
        self.wake_handle.notify();
    }
}

/// Results of consecutive tasks that are not yet reported.
struct ResultBatch {
    first: u64,
    /// The first task after them.
    end: u64,
    results: Vec<u8>,
    /// The instant from which the scheduler's time counts.
    clock: Instant,
    /// When the batch started.
    started: Instant,
    /// When these tasks started.
    since: Instant,
    /// How much of the time since then was spent on arguments and results.
    conversion: Conversion,
}

impl ResultBatch {
    fn timing(&self, worker: u32) -> Timing {
        let (decode, compute, encode) = self.conversion.divide(self.since.elapsed());
        Timing {
            started: self.started.saturating_duration_since(self.clock),
            turn: self.since - self.started,
            decode,
            compute,
            encode,
            worker,
            ..Timing::default()
        }
    }

    fn done(&mut self, batch_id: BatchId, worker: u32) -> Option<Reply> {
        let tasks: Range<u64> = self.first..self.end;
        let timing = self.timing(worker);
        self.first = self.end;
        self.since = Instant::now();
        self.conversion = Conversion::default();
        let results = std::mem::take(&mut self.results);
        (!tasks.is_empty()).then(|| Reply::Done { batch_id, tasks, results: Results::packed(results), timing })
    }
}
