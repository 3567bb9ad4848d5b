//! What happens to jobs, on its way to their logs.
//!
//! Neither the scheduler nor who reads what tasks print may wait for a disk: they leave notes. A thread writes them into
//! the logs of all jobs, some times a second, and so does the end of the program; of a job that others know by its log,
//! so does the end of the job.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::inputs::Inputs;
use super::{JobLog, TaskReport};
use crate::attempt::{PrintedLine, TaskBlock};
use crate::error::Failure;
use crate::platform;
use crate::scheduler::Progress;
use crate::terminal::{self, Stream};

/// How often the thread writes.
const EVERY: Duration = Duration::from_millis(100);

/// When so many notes wait, or so many bytes, it writes at once.
const MANY: usize = 1024;
const MANY_BYTES: usize = 1 << 20;

/// The same of blocks of arguments that are to be kept; beyond the second number, none are.
const MANY_GIVEN: usize = 64;
const MOST_GIVEN: usize = 4096;

/// No more wait; later ones are lost, and counted.
const MOST: usize = 64 << 10;
const MOST_BYTES: usize = 64 << 20;

/// How long the end of a job waits for the thread that writes.
const PATIENCE: Duration = Duration::from_millis(100);

static TASKS: AtomicU64 = AtomicU64::new(0);
static TASKS_DONE: AtomicU64 = AtomicU64::new(0);

/// What was done so far, for who interrupts the program.
pub(crate) fn tally() -> String {
    let (done, tasks) = (TASKS_DONE.load(Ordering::Relaxed), TASKS.load(Ordering::Relaxed));
    format!("{done} of {tasks} tasks were done")
}

/// Something that happened to a job.
#[derive(Debug)]
pub(crate) enum Note {
    /// So many more tasks are to be run.
    Submitted(u64),
    /// `tasks` were executed; `new` of them had no result before.
    Done { tasks: Range<u64>, new: u64, ran: TaskReport, bytes_in: usize, bytes_out: usize },
    /// A task failed for good.
    Failed { task: u64, ran: TaskReport, failure: Failure, stderr: String },
    /// A task failed, and is run again.
    Retry { task: u64, ran: TaskReport, failure: Failure, after: Duration },
    /// A task printed a line.
    PrintedLine(OwnLine),
    /// The job ended: `done`, `failed` or `cancelled`.
    End(&'static str),
}

impl Note {
    /// What it keeps from being freed, in bytes.
    fn size(&self) -> usize {
        match self {
            Note::Failed { stderr, failure, .. } => stderr.len() + size_of(failure),
            Note::Retry { failure, .. } => size_of(failure),
            Note::PrintedLine(line) => line.text.len(),
            Note::Submitted(_) | Note::Done { .. } | Note::End(_) => 0,
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

/// A [`PrintedLine`] line of its own.
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

/// The log of a job, where whoever runs the job and whoever awaits it leave notes: begun with the first
/// task, ended by who ends the job. If nobody does, it ends when nobody has it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedLog(Arc<LogState>);

#[derive(Debug, Default)]
struct LogState {
    pending: Mutex<Pending>,
    /// None before the beginning, and after the end.
    log: Mutex<Option<JobLog>>,
    is_begun: AtomicBool,
    /// What tasks were given: how much of it may still be kept, in bytes, what waits to be, and where it goes.
    room_for_given: AtomicU64,
    given: Mutex<Vec<Given>>,
    inputs: Mutex<Option<Inputs>>,
    /// Whether somebody asked for the job's end.
    is_to_be_cancelled: AtomicBool,
    traceparent: OnceLock<Option<Arc<str>>>,
}

/// Arguments to be kept.
#[derive(Debug)]
enum Given {
    All(Arc<TaskBlock>),
    /// Of a task that failed.
    Failed(Arc<TaskBlock>, u64),
}

#[derive(Debug, Default)]
struct Pending {
    notes: VecDeque<(Instant, Note)>,
    bytes: usize,
    /// Where the job stands.
    progress: Option<Progress>,
    lost: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedLog {
    /// Begins it. `inputs` is where the arguments of tasks are kept, and how many bytes of them.
    pub(crate) fn begin(&self, log: JobLog, inputs: Option<(Inputs, u64)>) {
        let _ = self.0.traceparent.set(log.traceparent());
        if let Some((inputs, limit)) = inputs {
            self.0.room_for_given.store(limit, Ordering::Relaxed);
            *lock(&self.0.inputs) = Some(inputs);
        }
        *lock(&self.0.log) = Some(log);
        self.0.is_begun.store(true, Ordering::Release);
        write_now_and_then(&self.0);
    }

    pub(crate) fn downgrade(&self) -> WeakLog {
        WeakLog(Arc::downgrade(&self.0))
    }

    /// The job's span, for its tasks, where spans are exported.
    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        self.0.traceparent.get().cloned().flatten()
    }

    /// Whether notes count: it has begun, and has not ended.
    fn is_open(&self) -> bool {
        self.0.is_begun.load(Ordering::Acquire)
    }

    pub(crate) fn submitted(&self, block: &Arc<TaskBlock>) {
        if !self.is_open() {
            return;
        }
        let tasks = block.tasks();
        TASKS.fetch_add(tasks.end - tasks.start, Ordering::Relaxed);
        self.note(Note::Submitted(tasks.end - tasks.start));
        // Large arguments that many tasks share count once, which is known when they are written.
        let len = block.args(tasks).len() as u64;
        let take = |room: u64| room.checked_sub(len).filter(|left| *left > 0);
        if self.0.room_for_given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            self.0.keep(Given::All(block.clone()));
        } else {
            // So that what is kept has no gaps.
            self.0.room_for_given.store(0, Ordering::Relaxed);
        }
    }

    /// Keeps the arguments of a task that failed.
    pub(crate) fn keep_failed(&self, block: Arc<TaskBlock>, task: u64) {
        if self.is_open() {
            self.0.keep(Given::Failed(block, task));
        }
    }

    pub(crate) fn done(&self, tasks: Range<u64>, new: u64, ran: TaskReport, bytes_in: usize, bytes_out: usize) {
        if self.is_open() {
            TASKS_DONE.fetch_add(new, Ordering::Relaxed);
            self.note(Note::Done { tasks, new, ran, bytes_in, bytes_out });
        }
    }

    /// Leaves a note. Nothing is waited for.
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
            LOGS.come.notify_one();
        }
    }

    /// Notes where the job stands.
    pub(crate) fn report_progress(&self, progress: Progress) {
        lock(&self.0.pending).progress = Some(progress);
    }

    /// Whether somebody asked for the job's end, and was not heard yet.
    pub(crate) fn takes_cancellation(&self) -> bool {
        self.0.is_to_be_cancelled.swap(false, Ordering::AcqRel)
    }

    /// Ends the log, if it has begun, and says what came of the job; `state` is `done`, `failed` or `cancelled`.
    pub(crate) fn end(&self, state: &'static str) {
        self.note(Note::End(state));
        let begun = Instant::now();
        // The thread may be writing, to a disk that takes long: then it ends the log as well.
        let mut open = loop {
            match self.0.log.try_lock() {
                Ok(log) => break Some(log),
                Err(TryLockError::Poisoned(log)) => break Some(log.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => break None,
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

/// A [`SharedLog`] that does not keep the log from its end.
#[derive(Debug, Clone)]
pub(crate) struct WeakLog(Weak<LogState>);

impl WeakLog {
    /// The log, if anybody holds it.
    pub(crate) fn upgrade(&self) -> Option<SharedLog> {
        self.0.upgrade().map(SharedLog)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl LogState {
    fn keep(&self, given: Given) {
        let mut waiting = lock(&self.given);
        // Each may keep a block of arguments in memory, while a disk takes none.
        if waiting.len() >= MOST_GIVEN {
            return;
        }
        waiting.push(given);
        if waiting.len() == MANY_GIVEN {
            LOGS.come.notify_one();
        }
    }

    /// Keeps what tasks were given, in order.
    fn keep_given(&self) {
        let mut inputs = lock(&self.inputs);
        let waiting = std::mem::take(&mut *lock(&self.given));
        let Some(inputs) = &mut *inputs else { return };
        for given in waiting {
            match given {
                Given::All(block) => inputs.keep(&block),
                Given::Failed(block, task) => inputs.keep_failed(&block, task),
            }
        }
        if inputs.is_full() {
            self.room_for_given.store(0, Ordering::Relaxed);
        }
    }

    /// Takes what waits into the log.
    fn take(&self, log: &mut JobLog) {
        let Pending { notes, progress, lost, .. } = std::mem::take(&mut *lock(&self.pending));
        if lost > 0 {
            log.lost(lost);
        }
        progress.into_iter().for_each(|progress| log.report_progress(progress));
        for (at, note) in notes {
            if matches!(note, Note::End(_)) {
                self.is_begun.store(false, Ordering::Release);
            }
            log.take(at, note);
        }
    }

    /// Writes what waits.
    fn write(&self) {
        let mut open = lock(&self.log);
        if let Some(log) = &mut *open {
            self.take(log);
            self.write_to(log);
            if log.is_to_be_cancelled() {
                self.is_to_be_cancelled.store(true, Ordering::Release);
            }
            if !self.is_begun.load(Ordering::Acquire) {
                *open = None;
            }
        }
    }

    /// Inputs first: with the end of the log, others may have its folder.
    fn write_to(&self, log: &mut JobLog) {
        log.open();
        self.keep_given();
        log.write();
    }

    /// Whether there is, or may come, something to write; the thread has one of them.
    fn is_needed(self: &Arc<Self>) -> bool {
        let is_open = self.is_begun.load(Ordering::Acquire);
        // One that is being written is needed.
        let has_log = || self.log.try_lock().map_or(true, |log| log.is_some());
        if is_open { Arc::strong_count(self) > 1 } else { has_log() || !lock(&self.given).is_empty() }
    }
}

/// The logs that are open, for the thread that writes them.
static LOGS: Logs = Logs { open: Mutex::new((Vec::new(), false)), come: Condvar::new() };

struct Logs {
    /// And whether there is a thread.
    open: Mutex<(Vec<Arc<LogState>>, bool)>,
    come: Condvar,
}

/// Writes what waits for all logs of this process.
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

/// Has the thread write a log from now on.
fn write_now_and_then(log: &Arc<LogState>) {
    let mut open = lock(&LOGS.open);
    open.0.push(log.clone());
    if !open.1 {
        platform::at_exit(write_all_at_exit);
        let thread = thread::Builder::new().name("wren-log".into()).stack_size(256 << 10);
        // Without a thread, the end of the program writes.
        open.1 = thread.spawn(|| LOGS.write()).is_ok();
    } else if open.0.len() == 1 {
        LOGS.come.notify_one();
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
            // One that nobody has any more ends as it is dropped.
            left.iter().for_each(|log| log.write());
            drop(left);
            open = lock(&self.open);
            open = if open.0.is_empty() {
                self.come.wait(open).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.come.wait_timeout(open, EVERY).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}
