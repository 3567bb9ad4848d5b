//! What wren writes to the terminal: lines of remote functions, notes, progress.
//!
//! For each of standard output and standard error a thread writes, so that a reader who does not read holds up nobody
//! but it. Who prints waits while the reader is slow ([`has_room`]). Where nothing is read any more, lines wait up to
//! [`MOST`] bytes; later ones are dropped, and it is said how many. Before somebody gets the result of a call, what the
//! call printed is shown ([`settle`]), unless that takes too long.

mod progress;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::platform;
use progress::above_the_bar;
pub use progress::{ProgressBar, ProgressSnapshot};

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

/// How many bytes wait at most to be shown.
const MOST: u64 = 4 << 20;

/// While so many wait, who prints is to wait too.
const MANY: u64 = 256 << 10;

/// How many are written at once.
const PIECE: usize = 8 << 10;

/// A reader who reads nothing for so long does not read.
const STUCK: Duration = Duration::from_secs(1);

/// How long [`settle`] waits while nothing is read, and how long in all.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_IN_ALL: Duration = Duration::from_secs(1);

/// Shows a line that a remote function printed, behind the mark of its task.
pub(crate) fn line(stream: Stream, mark: &str, line: &str) {
    screen(stream).line(mark, line);
}

/// Shows a note of wren's own.
pub(crate) fn note(text: &str) {
    line(Stream::Err, "wren: ", text);
}

/// Whether more can be taken from who prints. Where nobody reads, it can: it is dropped.
pub(crate) fn has_room(stream: Stream) -> bool {
    screen(stream).has_room()
}

/// Waits until all that was to be shown is shown, if it is read.
pub(crate) fn settle() {
    let until = Instant::now() + PATIENCE_IN_ALL;
    OUT.settle(PATIENCE, until);
    ERR.settle(PATIENCE, until);
}

/// As [`settle`], with more patience: this program ends.
pub(crate) fn finish() {
    if platform::is_forked() {
        return;
    }
    let until = Instant::now() + 4 * STUCK;
    OUT.settle(STUCK, until);
    OUT.tell_of_dropped();
    ERR.settle(STUCK, until);
    ERR.tell_of_dropped();
    ERR.settle(STUCK, until);
}

extern "C" fn finish_at_exit() {
    finish();
}

/// The progress bar of a job, where standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    number: u64,
    name: Option<String>,
    function: String,
}

impl Bar {
    pub(crate) fn new(name: Option<&str>, function: &str) -> Option<Self> {
        static BARS: AtomicU64 = AtomicU64::new(0);
        let number = BARS.fetch_add(1, Ordering::Relaxed);
        let bar = Self { number, name: name.map(str::to_owned), function: function.to_owned() };
        io::stderr().is_terminal().then_some(bar)
    }

    pub(crate) fn update(&self, snapshot: ProgressSnapshot) {
        ERR.bar(self.number, Change::Stands(self.name.clone(), self.function.clone(), snapshot));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        ERR.bar(self.number, Change::Over);
    }
}

/// What is to be done with a bar: only the last of several changes counts.
#[derive(Debug)]
enum Change {
    Stands(Option<String>, String, ProgressSnapshot),
    Over,
}

static OUT: Screen = Screen::new(Stream::Out);
static ERR: Screen = Screen::new(Stream::Err);

fn screen(stream: Stream) -> &'static Screen {
    match stream {
        Stream::Out => &OUT,
        Stream::Err => &ERR,
    }
}

/// Standard output or standard error, and what waits for it.
#[derive(Debug)]
struct Screen {
    stream: Stream,
    /// How many bytes wait. Who only asks needs no lock.
    waiting: AtomicU64,
    state: Mutex<State>,
    /// There is something to show.
    come: Condvar,
    /// Something was shown.
    shown: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whole lines that the thread has not taken yet.
    text: Vec<u8>,
    bars: BTreeMap<u64, Change>,
    /// How many bytes were to be shown, and were, since the program began.
    queued: u64,
    written: u64,
    /// Lines for which there was no room.
    dropped: u64,
    /// Since when the thread has been writing a piece.
    writing: Option<Instant>,
    has_thread: bool,
}

impl Screen {
    const fn new(stream: Stream) -> Self {
        let state = State {
            text: Vec::new(),
            bars: BTreeMap::new(),
            queued: 0,
            written: 0,
            dropped: 0,
            writing: None,
            has_thread: false,
        };
        let waiting = AtomicU64::new(0);
        Self { stream, waiting, state: Mutex::new(state), come: Condvar::new(), shown: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&'static self, mark: &str, line: &str) {
        self.queue(mark, line, MOST);
    }

    fn queue(&'static self, mark: &str, line: &str, most: u64) {
        if platform::is_forked() {
            // The thread is the parent's, and the lock may be held for ever.
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

    fn bar(&'static self, number: u64, change: Change) {
        if platform::is_forked() {
            return;
        }
        let mut state = self.lock();
        state.bars.insert(number, change);
        self.wake(state);
    }

    fn wake(&'static self, mut state: MutexGuard<'_, State>) {
        if !state.has_thread {
            let name = match self.stream {
                Stream::Out => "wren-stdout",
                Stream::Err => "wren-stderr",
            };
            let thread = thread::Builder::new().name(name.into()).stack_size(256 << 10);
            state.has_thread = thread.spawn(|| self.run()).is_ok();
            platform::at_exit(finish_at_exit);
        }
        if state.has_thread {
            return self.come.notify_one();
        }
        // Without a thread, whoever prints writes.
        let text = std::mem::take(&mut state.text);
        state.bars.clear();
        drop(state);
        self.show(&text);
    }

    fn run(&self) {
        let mut bars = BTreeMap::new();
        let mut state = self.lock();
        loop {
            while state.text.is_empty() && state.bars.is_empty() {
                state = self.come.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (text, changes) = (std::mem::take(&mut state.text), std::mem::take(&mut state.bars));
            drop(state);
            // A bar that cannot be drawn, on a terminal that is not ready, costs the bar.
            let drawn = catch_unwind(AssertUnwindSafe(|| draw(&mut bars, changes)));
            if drawn.is_err() {
                bars = BTreeMap::new();
            }
            if catch_unwind(AssertUnwindSafe(|| self.show(&text))).is_err() {
                let mut state = self.lock();
                state.writing = None;
                state.written = state.queued - state.text.len() as u64;
                self.waiting.store(state.text.len() as u64, Ordering::Release);
                self.shown.notify_all();
            }
            self.tell_of_dropped();
            state = self.lock();
        }
    }

    /// Writes lines, piece by piece.
    fn show(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            // To the end of a line, so that others' lines do not come into it.
            let piece = match rest.iter().skip(PIECE).position(|byte| *byte == b'\n') {
                Some(end) => &rest[..=PIECE + end],
                None => rest,
            };
            self.lock().writing = Some(Instant::now());
            self.write(piece);
            rest = &rest[piece.len()..];
            let mut state = self.lock();
            state.writing = None;
            state.written += piece.len() as u64;
            self.waiting.store(state.queued - state.written, Ordering::Release);
            self.shown.notify_all();
        }
    }

    fn write(&self, text: &[u8]) {
        // Nobody to show it to is no reason to stop.
        let _ = match self.stream {
            Stream::Out => above_the_bar(io::stdout().is_terminal(), || write_all(&mut io::stdout().lock(), text)),
            Stream::Err => above_the_bar(true, || write_all(&mut io::stderr().lock(), text)),
        };
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < MANY || self.lock().is_stuck(STUCK)
    }

    /// Waits until what is queued now is shown: until then, and while the reader reads.
    fn settle(&self, patience: Duration, until: Instant) {
        if self.waiting.load(Ordering::Acquire) == 0 || platform::is_forked() {
            return;
        }
        let mut state = self.lock();
        let all = state.queued;
        while state.written < all && !state.is_stuck(patience) && Instant::now() < until {
            // It is looked again whether nothing moves.
            let waited = self.shown.wait_timeout(state, Duration::from_millis(10));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell_of_dropped(&self) {
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

fn draw(bars: &mut BTreeMap<u64, Option<ProgressBar>>, changes: BTreeMap<u64, Change>) {
    for (number, change) in changes {
        match change {
            Change::Over => drop(bars.remove(&number)),
            Change::Stands(name, function, snapshot) => {
                let bar = bars.entry(number).or_insert_with(|| ProgressBar::new(name.as_deref(), &function));
                bar.iter_mut().for_each(|bar| bar.update(&snapshot));
            }
        }
    }
}

impl State {
    fn is_stuck(&self, patience: Duration) -> bool {
        self.writing.is_some_and(|since| since.elapsed() > patience)
    }
}

/// As [`Write::write_all`], also to who is not ready to take it: a program may have made its terminal so.
fn write_all(to: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    let again = |error: &io::Error| match error.kind() {
        ErrorKind::Interrupted => true,
        ErrorKind::WouldBlock => {
            thread::sleep(Duration::from_millis(1));
            true
        }
        _ => false,
    };
    while !text.is_empty() {
        match to.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => text = &text[n..],
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if again(&error) => {}
            ended => return ended,
        }
    }
}
