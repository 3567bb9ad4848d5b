//! Output to the terminal: lines of remote functions, notes, progress.
//!
//! Standard output and standard error have one thread each that writes, so a reader that does not read blocks only that
//! thread. While the reader is slow, the senders of lines wait ([`has_room`]). If the reader stops reading, up to
//! [`MAX_QUEUED`] bytes are queued; later lines are dropped, and their number is reported. Before the caller gets the
//! result of a call, the lines that the call printed are written ([`settle`]), unless that takes too long.

mod act;
mod bar;
mod fit;
mod lines;
mod progress;
mod snapshot;
mod style;
mod write;

use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::platform;
use act::Act;
pub(crate) use bar::{Activity, Bar};
use bar::{Bars, Changes};
pub(crate) use lines::shows_bars;
use lines::{Number, print_above};
pub use progress::ProgressBar;
pub use snapshot::ProgressSnapshot;
pub(crate) use style::{Style, paint};
use write::write_all;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    #[serde(rename = "stdout")]
    Out,
    /// Standard error.
    #[serde(rename = "stderr")]
    Err,
}

/// Limit on queued output, in bytes.
const MAX_QUEUED: u64 = 4 << 20;

/// Number of queued bytes from which the senders of lines wait.
const NO_ROOM: u64 = 256 << 10;

/// Size of the pieces in which output is written, in bytes; a piece continues to the end of its line.
const PIECE: usize = 8 << 10;

/// Stack size of the threads, in bytes: one of them calls the program's logger.
const STACK: usize = 1 << 20;

/// Time after which a reader that reads nothing counts as stopped.
const STUCK: Duration = Duration::from_secs(1);

/// Time that [`settle`] waits while nothing is read.
const PATIENCE: Duration = Duration::from_millis(100);

/// Time that [`settle`] waits in total.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(1);

/// Prints a line of a remote function, prefixed with the mark of its task.
pub(crate) fn line(stream: Stream, mark: &str, line: &str) {
    screen(stream).line(mark, line);
}

/// Prints a note from wren.
pub(crate) fn note(text: &str) {
    line(Stream::Err, "wren: ", text);
}

/// Calls `act`, which may print to standard error, after the lines for standard error that are queued now. It counts as
/// `bytes` queued bytes.
pub(crate) fn after_lines(bytes: usize, act: impl FnOnce() + Send + 'static) {
    ERR.queue_act(bytes as u64, Box::new(act));
}

/// Returns whether more lines can be accepted. If the reader has stopped, they can: lines beyond the limit are dropped.
pub(crate) fn has_room(stream: Stream) -> bool {
    screen(stream).has_room()
}

/// Waits until all queued output is written, as long as the reader reads.
pub(crate) fn settle() {
    let until = Instant::now() + PATIENCE_IN_ALL;
    OUT.settle(PATIENCE, until);
    ERR.settle(PATIENCE, until);
}

/// Removes the progress bars and shows no more, because the program is about to end.
pub(crate) fn end_bars() {
    if !platform::is_forked() {
        ERR.end_bars();
    }
}

/// Like [`settle`], but waits longer, because the program is about to end. Also removes the progress bars.
pub(crate) fn finish() {
    if platform::is_forked() {
        return;
    }
    end_bars();
    let until = Instant::now() + 4 * STUCK;
    OUT.settle(STUCK, until);
    OUT.report_dropped();
    ERR.settle(STUCK, until);
    ERR.report_dropped();
    ERR.settle(STUCK, until);
    ERR.wait_for_bars(until);
}

extern "C" fn finish_at_exit() {
    finish();
}

static OUT: Screen = Screen::new(Stream::Out);
static ERR: Screen = Screen::new(Stream::Err);

fn screen(stream: Stream) -> &'static Screen {
    match stream {
        Stream::Out => &OUT,
        Stream::Err => &ERR,
    }
}

/// Standard output or standard error, with its queue.
#[derive(Debug)]
struct Screen {
    stream: Stream,
    /// Number of queued bytes, readable without the lock.
    waiting: AtomicU64,
    /// Whether a bar must be removed that the thread may still show, readable without the lock.
    removes_bar: AtomicBool,
    state: Mutex<State>,
    /// Signals that there is something to write.
    ready: Condvar,
    /// Signals that something was written.
    shown: Condvar,
}

#[derive(Debug)]
struct State {
    /// Complete lines that the thread has not taken yet.
    text: Vec<u8>,
    acts: Vec<Act>,
    /// Changes of bars that the thread has not taken yet.
    changes: Changes,
    /// Whether the thread shows bars, or is about to.
    has_bars: bool,
    /// Number of bytes queued since the program started.
    queued: u64,
    /// Number of bytes written since the program started.
    written: u64,
    /// Number of lines dropped because the queue was full.
    dropped: u64,
    /// Time at which the thread started to write the current piece.
    writing: Option<Instant>,
    has_thread: bool,
}

impl Screen {
    const fn new(stream: Stream) -> Self {
        let state = State {
            text: Vec::new(),
            acts: Vec::new(),
            changes: Changes::new(),
            has_bars: false,
            queued: 0,
            written: 0,
            dropped: 0,
            writing: None,
            has_thread: false,
        };
        let waiting = AtomicU64::new(0);
        let removes_bar = AtomicBool::new(false);
        Self { stream, waiting, removes_bar, state: Mutex::new(state), ready: Condvar::new(), shown: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic under the lock does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&'static self, mark: &str, line: &str) {
        self.queue(mark, line, MAX_QUEUED);
    }

    fn queue(&'static self, mark: &str, line: &str, most: u64) {
        if platform::is_forked() {
            // The fork has no writer thread, and the lock may stay locked for ever.
            return self.write(format!("{mark}{line}\n").as_bytes());
        }
        let mut state = self.lock();
        let len = (mark.len() + line.len() + 1) as u64;
        if (state.queued - state.written).saturating_add(len) > most {
            state.dropped += 1;
            return;
        }
        for part in [mark, line, "\n"] {
            state.text.extend_from_slice(part.as_bytes());
        }
        state.queued += len;
        self.waiting.store(state.queued - state.written, Ordering::Release);
        self.wake(state);
    }

    fn queue_act(&'static self, bytes: u64, act: Box<dyn FnOnce() + Send>) {
        if platform::is_forked() {
            return act();
        }
        let mut state = self.lock();
        if (state.queued - state.written).saturating_add(bytes) > MAX_QUEUED {
            state.dropped += 1;
            return;
        }
        let at = state.text.len();
        state.acts.push(Act { at, bytes, act });
        state.queued += bytes;
        self.waiting.store(state.queued - state.written, Ordering::Release);
        self.wake(state);
    }

    fn change_bars(&'static self, change: impl FnOnce(&mut Changes)) {
        if platform::is_forked() {
            return;
        }
        let mut state = self.lock();
        change(&mut state.changes);
        if !state.changes.is_empty() {
            state.has_bars = true;
            self.wake(state);
        }
    }

    fn remove_bar(&'static self, number: Number) {
        self.change_bars(|changes| {
            changes.remove(number);
            self.removes_bar.store(!changes.is_empty(), Ordering::Release);
        });
    }

    fn end_bars(&'static self) {
        let mut state = self.lock();
        let has_bars = state.has_bars;
        state.changes.end(has_bars);
        // Without bars there may be no thread, and there is nothing to remove.
        if has_bars {
            self.wake(state);
        }
    }

    /// Waits until the thread has drawn the changes of bars, and has removed those that ended.
    fn wait_for_bars(&self, until: Instant) {
        let mut state = self.lock();
        while state.has_bars && Instant::now() < until {
            let waited = self.shown.wait_timeout(state, Duration::from_millis(10));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&'static self, mut state: MutexGuard<'_, State>) {
        if !state.has_thread {
            let name = match self.stream {
                Stream::Out => "wren-stdout",
                Stream::Err => "wren-stderr",
            };
            let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
            state.has_thread = thread.spawn(|| self.run()).is_ok();
            platform::at_exit(finish_at_exit);
        }
        if state.has_thread {
            return self.ready.notify_one();
        }
        // If the thread cannot be started, the caller writes.
        let (text, acts) = (std::mem::take(&mut state.text), std::mem::take(&mut state.acts));
        state.changes.clear();
        state.has_bars = false;
        self.removes_bar.store(false, Ordering::Release);
        drop(state);
        self.show_all(&text, acts);
    }

    fn run(&self) {
        let mut bars = Bars::default();
        let mut state = self.lock();
        loop {
            while state.text.is_empty() && state.acts.is_empty() && state.changes.is_empty() && !bars.are_due() {
                state = match bars.due_in() {
                    None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(wait) => self.ready.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                };
            }
            let (text, acts) = (std::mem::take(&mut state.text), std::mem::take(&mut state.acts));
            let changes = state.changes.take();
            drop(state);
            // If drawing panics, for instance because the terminal is not ready, only the bars are lost.
            if catch_unwind(AssertUnwindSafe(|| bars.draw(changes))).is_err() {
                bars = Bars::default();
            }
            if catch_unwind(AssertUnwindSafe(|| self.show_all(&text, acts))).is_err() {
                let mut state = self.lock();
                state.writing = None;
                let waiting = state.text.len() as u64 + state.acts.iter().map(|act| act.bytes).sum::<u64>();
                state.written = state.queued - waiting;
                self.waiting.store(waiting, Ordering::Release);
                self.shown.notify_all();
            }
            self.report_dropped();
            state = self.lock();
            if state.has_bars && state.changes.is_empty() {
                state.has_bars = !bars.is_empty();
                self.removes_bar.store(false, Ordering::Release);
                self.shown.notify_all();
            }
        }
    }

    /// Writes lines, and acts between them.
    fn show_all(&self, text: &[u8], acts: Vec<Act>) {
        let mut shown = 0;
        for Act { at, bytes, act } in acts {
            self.show(&text[shown..at]);
            shown = at;
            self.step(bytes, || {
                // An act that panics, such as a user's logger, must not stop the others.
                let _ = print_above(true, || catch_unwind(AssertUnwindSafe(act)));
            });
        }
        self.show(&text[shown..]);
    }

    /// Writes lines, piece by piece.
    fn show(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            // Continue to the end of a line, so that lines of other writers do not land inside it.
            let piece = match rest.iter().skip(PIECE).position(|byte| *byte == b'\n') {
                Some(end) => &rest[..=PIECE + end],
                None => rest,
            };
            self.step(piece.len() as u64, || self.write(piece));
            rest = &rest[piece.len()..];
        }
    }

    /// Does something that may block, and counts `bytes` as written after it.
    fn step(&self, bytes: u64, act: impl FnOnce()) {
        self.lock().writing = Some(Instant::now());
        act();
        let mut state = self.lock();
        state.writing = None;
        state.written += bytes;
        self.waiting.store(state.queued - state.written, Ordering::Release);
        self.shown.notify_all();
    }

    fn write(&self, text: &[u8]) {
        // The program goes on even if its output cannot be written.
        let _ = match self.stream {
            Stream::Out => print_above(io::stdout().is_terminal(), || write_all(&mut io::stdout().lock(), text)),
            Stream::Err => print_above(true, || write_all(&mut io::stderr().lock(), text)),
        };
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < NO_ROOM || self.lock().is_stuck(STUCK)
    }

    /// Waits until all bytes that are queued now are written and the bars that ended are removed, until `until`, or
    /// until the reader has read nothing for `patience`.
    fn settle(&self, patience: Duration, until: Instant) {
        let removes_bar = || self.removes_bar.load(Ordering::Acquire);
        if (self.waiting.load(Ordering::Acquire) == 0 && !removes_bar()) || platform::is_forked() {
            return;
        }
        let mut state = self.lock();
        let all = state.queued;
        while (state.written < all || removes_bar()) && !state.is_stuck(patience) && Instant::now() < until {
            // Wake up regularly to check whether the reader is stuck.
            let waited = self.shown.wait_timeout(state, Duration::from_millis(10));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn report_dropped(&self) {
        let dropped = std::mem::take(&mut self.lock().dropped);
        if dropped > 0 {
            let name = match self.stream {
                Stream::Out => "standard output",
                Stream::Err => "standard error",
            };
            let note = format!("{dropped} lines are missing: {name} was not read");
            ERR.queue("wren: ", &note, u64::MAX);
        }
    }
}

impl State {
    fn is_stuck(&self, patience: Duration) -> bool {
        self.writing.is_some_and(|since| since.elapsed() > patience)
    }
}
