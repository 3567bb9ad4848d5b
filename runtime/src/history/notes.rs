//! Notes: a queue between the events of jobs and the logs on disk.
//!
//! Neither the scheduler nor the readers of task output may wait for a disk, so they only queue notes. A thread writes
//! the notes to the logs of all jobs several times per second. The end of the program also writes them. If other
//! processes know the job by its log, the end of the job writes them too.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::failures::tasks_in_words;
use super::inputs::Inputs;
use super::{DriverWork, JobLog, Sizes, TaskReport};
use crate::attempt::{PrintedLine, TaskBlock};
use crate::error::Failure;
use crate::platform;
use crate::scheduler::{LongTask, Progress};
use crate::terminal::{self, Stream};

/// Interval between writes of the thread.
const EVERY: Duration = Duration::from_millis(100);

/// With this many waiting notes, or bytes, the thread writes at once.
const MANY: usize = 1024;
const MANY_BYTES: usize = 1 << 20;

/// With `MANY_QUEUED` waiting blocks of arguments the thread also writes at once. With `MAX_QUEUED`, further blocks are
/// not kept.
const MANY_QUEUED: usize = 64;
const MAX_QUEUED: usize = 4096;

/// Maximum number of waiting notes, and bytes. Later notes are lost and counted.
const MOST: usize = 64 << 10;
const MOST_BYTES: usize = 64 << 20;

/// How long the end of a job waits for the writing thread.
const PATIENCE: Duration = Duration::from_millis(100);

static TASKS: AtomicU64 = AtomicU64::new(0);
static TASKS_DONE: AtomicU64 = AtomicU64::new(0);

/// Returns how many tasks were done so far, for the message that is printed when the program is interrupted.
pub(crate) fn tally() -> String {
    let (done, tasks) = (TASKS_DONE.load(Ordering::Relaxed), TASKS.load(Ordering::Relaxed));
    let were = if done == 1 { "was" } else { "were" };
    format!("{done} of {} {were} done", tasks_in_words(tasks))
}

/// An event of a job.
#[derive(Debug)]
pub(crate) enum Note {
    /// This many tasks were submitted.
    Submitted(u64),
    /// The results of this many tasks were there from an earlier run.
    Earlier(u64),
    /// `tasks` succeeded; `new` of them had no result before.
    Done { tasks: Range<u64>, new: u64, ran: TaskReport, sizes: Sizes },
    /// A task failed permanently.
    Failed { task: u64, ran: TaskReport, failure: Failure, stderr: String },
    /// A task failed and will run again.
    Retry { task: u64, ran: TaskReport, failure: Failure, after: Duration },
    /// A task printed a line.
    PrintedLine(OwnLine),
    /// The job will end early, for this reason, which concerns no single task.
    Reason(String),
    /// The job ended: `done`, `failed` or `cancelled`.
    End(&'static str),
}

impl Note {
    /// Returns the approximate heap memory of the note, in bytes.
    fn size(&self) -> usize {
        match self {
            Note::Failed { stderr, failure, .. } => stderr.len() + size_of(failure),
            Note::Retry { failure, .. } => size_of(failure),
            Note::PrintedLine(line) => line.text.len(),
            Note::Reason(reason) => reason.len(),
            Note::Submitted(_) | Note::Earlier(_) | Note::Done { .. } | Note::End(_) => 0,
        }
    }
}

fn size_of(failure: &Failure) -> usize {
    match failure {
        Failure::Returned { message, chain, value, .. } => {
            message.len() + value.len() + chain.iter().map(String::len).sum::<usize>()
        }
        Failure::Panicked { message, backtrace, .. } => message.len() + backtrace.as_ref().map_or(0, String::len),
        _ => 0,
    }
}

/// An owned [`PrintedLine`], without the job.
#[derive(Debug)]
pub(crate) struct OwnLine {
    task: u64,
    attempt: u32,
    function: Box<str>,
    worker: u32,
    stream: Stream,
    text: Box<str>,
}

impl OwnLine {
    pub(super) fn printed(&self) -> PrintedLine<'_> {
        let Self { task, attempt, function, worker, stream, text } = self;
        PrintedLine { job_run: "", task: *task, attempt: *attempt, function, worker: *worker, stream: *stream, text }
    }
}

impl From<&PrintedLine<'_>> for OwnLine {
    fn from(line: &PrintedLine<'_>) -> Self {
        let PrintedLine { task, attempt, function, worker, stream, text, job_run: _ } = *line;
        Self { task, attempt, function: function.into(), worker, stream, text: text.into() }
    }
}

/// The log of a job, to which the executor and the awaiting caller add notes. It starts with the first task and ends
/// with the job. If the job is never ended, the log ends when its last owner drops it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedLog(Arc<LogState>);

#[derive(Debug, Default)]
struct LogState {
    pending: Mutex<Pending>,
    /// `None` before the log starts and after it ends.
    log: Mutex<Option<JobLog>>,
    /// Whether the log has started and has not ended.
    is_open: AtomicBool,
    /// How many more bytes of arguments may be kept.
    room_for_queued: AtomicU64,
    /// Arguments that wait to be written.
    queued: Mutex<Vec<QueuedInputs>>,
    /// The file for the arguments, if they are kept.
    inputs: Mutex<Option<Inputs>>,
    /// Whether another process asked to cancel the job.
    cancel_requested: AtomicBool,
    /// Whether the job announced its number of tasks, which are then in the tally from the start.
    is_counted: AtomicBool,
    driver: DriverWork,
    traceparent: OnceLock<Option<Arc<str>>>,
}

/// Arguments to be kept in the inputs file.
#[derive(Debug)]
enum QueuedInputs {
    /// The arguments of all tasks of a block.
    All(Arc<TaskBlock>),
    /// The arguments of one task that failed.
    Failed(Arc<TaskBlock>, u64),
}

#[derive(Debug, Default)]
struct Pending {
    notes: VecDeque<(Instant, Note)>,
    bytes: usize,
    /// The latest progress of the job.
    progress: Option<Progress>,
    /// The tasks that have run longest, if they were looked up again.
    longest: Option<Vec<LongTask>>,
    /// Number of notes that were lost because the queue was full.
    lost: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave the guarded data inconsistent, so a poisoned mutex is still usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedLog {
    /// Starts the log. `inputs` is the file for the arguments of tasks, with the number of bytes to keep.
    pub(crate) fn begin(&self, log: JobLog, inputs: Option<(Inputs, u64)>) {
        let _ = self.0.traceparent.set(log.traceparent());
        if let Some((inputs, limit)) = inputs {
            self.0.room_for_queued.store(limit, Ordering::Relaxed);
            *lock(&self.0.inputs) = Some(inputs);
        }
        if let Some(tasks) = log.tasks() {
            TASKS.fetch_add(tasks, Ordering::Relaxed);
            self.0.is_counted.store(true, Ordering::Relaxed);
        }
        *lock(&self.0.log) = Some(log);
        self.0.is_open.store(true, Ordering::Release);
        write_regularly(&self.0);
    }

    pub(crate) fn downgrade(&self) -> WeakLog {
        WeakLog(Arc::downgrade(&self.0))
    }

    /// Returns the `traceparent` of the job's span for its tasks, if spans are exported.
    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        self.0.traceparent.get().cloned().flatten()
    }

    /// Returns whether the log accepts notes: it has started and has not ended.
    fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire)
    }

    pub(crate) fn submitted(&self, block: &Arc<TaskBlock>) {
        if !self.is_open() {
            return;
        }
        let tasks = block.tasks();
        self.count(tasks.end - tasks.start);
        self.note(Note::Submitted(tasks.end - tasks.start));
        self.0.driver.count_large(block);
        // Large arguments are not counted here: tasks may share them, which becomes known when they are written.
        let len = block.args(tasks).len() as u64;
        let take = |room: u64| room.checked_sub(len).filter(|left| *left > 0);
        if self.0.room_for_queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            self.0.keep(QueuedInputs::All(block.clone()));
        } else {
            // Stops here, so that the kept arguments have no gaps.
            self.0.room_for_queued.store(0, Ordering::Relaxed);
        }
    }

    /// Counts tasks for the tally, unless the job announced their number.
    fn count(&self, tasks: u64) {
        if !self.0.is_counted.load(Ordering::Relaxed) {
            TASKS.fetch_add(tasks, Ordering::Relaxed);
        }
    }

    /// Records that the results of tasks were there from an earlier run.
    pub(crate) fn earlier(&self, tasks: u64) {
        if tasks > 0 && self.is_open() {
            self.count(tasks);
            TASKS_DONE.fetch_add(tasks, Ordering::Relaxed);
            self.note(Note::Earlier(tasks));
        }
    }

    /// Keeps the arguments of a task that failed.
    pub(crate) fn keep_failed(&self, block: Arc<TaskBlock>, task: u64) {
        if self.is_open() {
            self.0.keep(QueuedInputs::Failed(block, task));
        }
    }

    pub(crate) fn done(&self, tasks: Range<u64>, new: u64, ran: TaskReport, sizes: Sizes) {
        if self.is_open() {
            TASKS_DONE.fetch_add(new, Ordering::Relaxed);
            self.note(Note::Done { tasks, new, ran, sizes });
        }
    }

    /// Records for how long the driver took calls from the program's iterator.
    pub(crate) fn encoded_for(&self, took: Duration) {
        self.0.driver.encode.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Records for how long the driver decoded results.
    pub(crate) fn decoded_for(&self, took: Duration) {
        self.0.driver.decode.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Queues a note, without waiting for a disk.
    pub(crate) fn note(&self, note: Note) {
        if !self.is_open() {
            return;
        }
        let mut pending = lock(&self.0.pending);
        let bytes = pending.bytes.saturating_add(note.size());
        if (pending.notes.len() >= MOST || bytes > MOST_BYTES) && !matches!(note, Note::End(_)) {
            pending.lost += 1;
            return;
        }
        pending.bytes = bytes;
        pending.notes.push_back((Instant::now(), note));
        if pending.notes.len() == MANY || bytes > MANY_BYTES {
            LOGS.wake.notify_one();
        }
    }

    /// Records the progress of the job.
    pub(crate) fn report_progress(&self, progress: Progress) {
        lock(&self.0.pending).progress = Some(progress);
    }

    /// Records the tasks that have run longest.
    pub(crate) fn report_longest(&self, longest: Vec<LongTask>) {
        lock(&self.0.pending).longest = Some(longest);
    }

    /// Returns whether another process has asked to cancel the job since the last call.
    pub(crate) fn takes_cancellation(&self) -> bool {
        self.0.cancel_requested.swap(false, Ordering::AcqRel)
    }

    /// Ends the log if it has started, and prints the summary of the job. `state` is `done`, `failed` or `cancelled`.
    pub(crate) fn end(&self, state: &'static str) {
        self.note(Note::End(state));
        let started = Instant::now();
        // The thread may be writing to a slow disk. In that case the thread also ends the log.
        let mut open = loop {
            match self.0.log.try_lock() {
                Ok(log) => break Some(log),
                Err(TryLockError::Poisoned(log)) => break Some(log.into_inner()),
                Err(TryLockError::WouldBlock) if started.elapsed() > PATIENCE => break None,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        };
        if let Some(log) = open.as_mut().and_then(|open| open.as_mut()) {
            self.0.take(log);
            if log.is_shared() {
                self.0.write_to(log);
            }
        }
        drop(open);
        terminal::settle();
    }
}

/// A weak reference to a [`SharedLog`], which does not keep the log open.
#[derive(Debug, Clone)]
pub(crate) struct WeakLog(Weak<LogState>);

impl WeakLog {
    /// Returns the log if it still has an owner.
    pub(crate) fn upgrade(&self) -> Option<SharedLog> {
        self.0.upgrade().map(SharedLog)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl LogState {
    fn keep(&self, queued: QueuedInputs) {
        let mut waiting = lock(&self.queued);
        // Each entry may keep a block of arguments in memory while the disk is stuck.
        if waiting.len() >= MAX_QUEUED {
            return;
        }
        waiting.push(queued);
        if waiting.len() == MANY_QUEUED {
            LOGS.wake.notify_one();
        }
    }

    /// Writes the waiting arguments to the inputs file, in order.
    fn keep_queued_inputs(&self) {
        let mut inputs = lock(&self.inputs);
        let waiting = std::mem::take(&mut *lock(&self.queued));
        let Some(inputs) = &mut *inputs else { return };
        for queued in waiting {
            match queued {
                QueuedInputs::All(block) => inputs.keep(&block),
                QueuedInputs::Failed(block, task) => inputs.keep_failed(&block, task),
            }
        }
        if inputs.is_full() {
            self.room_for_queued.store(0, Ordering::Relaxed);
        }
    }

    /// Moves the waiting notes to the log.
    fn take(&self, log: &mut JobLog) {
        let Pending { notes, progress, longest, lost, .. } = std::mem::take(&mut *lock(&self.pending));
        if lost > 0 {
            log.lost(lost);
        }
        longest.into_iter().for_each(|longest| log.report_longest(longest));
        log.set_driver(self.driver.totals());
        progress.into_iter().for_each(|progress| log.report_progress(progress));
        for (at, note) in notes {
            if matches!(note, Note::End(_)) {
                self.is_open.store(false, Ordering::Release);
            }
            log.take(at, note);
        }
    }

    /// Writes all waiting notes and arguments to disk.
    fn write(&self) {
        let mut open = lock(&self.log);
        if let Some(log) = &mut *open {
            self.take(log);
            self.write_to(log);
            if log.cancel_requested() {
                self.cancel_requested.store(true, Ordering::Release);
            }
            if !self.is_open.load(Ordering::Acquire) {
                *open = None;
            }
        }
    }

    /// Writes the inputs and then the log. After the end of the log, other processes may use its folder.
    fn write_to(&self, log: &mut JobLog) {
        log.open();
        self.keep_queued_inputs();
        log.write();
    }

    /// Returns whether the log has, or may still get, anything to write. The list of open logs holds one of the strong
    /// references.
    fn is_needed(self: &Arc<Self>) -> bool {
        let is_open = self.is_open.load(Ordering::Acquire);
        // A log that is being written is still needed.
        let has_log = || self.log.try_lock().map_or(true, |log| log.is_some());
        if is_open { Arc::strong_count(self) > 1 } else { has_log() || !lock(&self.queued).is_empty() }
    }
}

/// The open logs, for the thread that writes them.
static LOGS: Logs = Logs { open: Mutex::new((Vec::new(), false)), wake: Condvar::new() };

struct Logs {
    /// The logs, and whether the thread was started.
    open: Mutex<(Vec<Arc<LogState>>, bool)>,
    wake: Condvar,
}

/// Writes the waiting notes of all logs of this process.
pub(super) fn write_all() {
    if platform::is_forked() {
        return;
    }
    let logs = lock(&LOGS.open).0.clone();
    for log in logs {
        log.write();
    }
}

extern "C" fn write_all_at_exit() {
    write_all();
}

/// Adds a log to those that the thread writes.
fn write_regularly(log: &Arc<LogState>) {
    let mut open = lock(&LOGS.open);
    open.0.push(log.clone());
    if !open.1 {
        platform::at_exit(write_all_at_exit);
        let thread = thread::Builder::new().name("wren-log".into()).stack_size(256 << 10);
        // If the thread cannot be started, the notes are written at the end of the program.
        open.1 = thread.spawn(|| LOGS.write()).is_ok();
    } else if open.0.len() == 1 {
        LOGS.wake.notify_one();
    }
}

impl Logs {
    fn write(&self) {
        let mut open = lock(&self.open);
        loop {
            let logs = open.0.clone();
            drop(open);
            for log in logs {
                log.write();
            }
            open = lock(&self.open);
            let left = open.0.extract_if(.., |log| !log.is_needed()).collect::<Vec<_>>();
            drop(open);
            // A log without other owners ends when it is dropped here.
            left.iter().for_each(|log| log.write());
            drop(left);
            open = lock(&self.open);
            open = if open.0.is_empty() {
                self.wake.wait(open).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.wake.wait_timeout(open, EVERY).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}
