//! A thread for each worker process, which shows what it prints and tells how it ended.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::backend::{FlightId, Invocation, Lines, Printed, Stream};
use crate::channel::{Bell, Region, SLOTS};
use crate::error::Failure;
use crate::platform::{HANGUP, ProcessMemory};
use crate::terminal;

/// How much of a task's standard error is kept for its error, in bytes.
const TAIL: usize = 4 << 10;

/// What the lines of a flight are marked with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    flight: FlightId,
    run: Option<Arc<str>>,
    attempt: u32,
    function: &'static str,
    first: u64,
}

impl Label {
    pub(super) fn new(invocation: &Invocation) -> Self {
        let name = invocation.block.function().name;
        let function = name.rsplit("::").next().unwrap_or(name);
        let Invocation { flight, run, attempt, tasks, .. } = invocation;
        Self { flight: *flight, run: run.clone(), attempt: *attempt, function, first: tasks.start }
    }
}

/// How a worker ended.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    status: ExitStatus,
    pub(super) peak_memory: u64,
    words: String,
}

impl Exit {
    pub(super) fn failure(&self) -> Failure {
        Failure::WorkerDied { signal: self.status.signal(), exit_code: self.status.code() }
    }

    pub(super) fn in_words(&self) -> String {
        match self.words.trim() {
            "" => format!("ended by {}", self.status),
            words => format!("ended by {} with the words: {words}", self.status),
        }
    }
}

/// A worker process and the thread that minds it.
#[derive(Debug)]
pub(super) struct Minded {
    child: Mutex<Child>,
    /// Its memory.
    pub(super) memory: ProcessMemory,
    region: Region,
    number: u32,
    lines: Lines,
    output: Mutex<Output>,
    /// Whether it ever printed anything.
    printed: AtomicBool,
    exited: AtomicBool,
}

#[derive(Debug)]
struct Output {
    labels: [Option<Label>; SLOTS],
    /// What tasks said last of which the driver has not heard yet, the latest task at the end: a worker goes
    /// on to its next tasks, which print too, before the driver asks what one that failed had said.
    tails: VecDeque<Tail>,
    /// The lines of standard output and error that have no end yet.
    partial: [Partial; 2],
    exit: Option<Exit>,
}

/// The end of what a task wrote to its standard error; `None` is what the worker wrote between tasks.
#[derive(Debug)]
struct Tail {
    of: Option<(FlightId, u64)>,
    bytes: VecDeque<u8>,
}

impl Tail {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.iter().copied().collect::<Vec<_>>()).into_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Minded {
    pub(super) fn mind(
        mut child: Child,
        socket: &OwnedFd,
        region: Region,
        bell: Bell,
        number: u32,
        lines: Lines,
    ) -> io::Result<Arc<Self>> {
        let none = || io::Error::other("the worker's output is no pipe");
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(none)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(none)?);
        let socket = rustix::io::fcntl_dupfd_cloexec(socket, 3)?;
        let pid = child.id();
        let output = Mutex::new(Output::new());
        let minded = Arc::new(Self {
            child: Mutex::new(child),
            memory: ProcessMemory::of(pid),
            region,
            number,
            lines,
            output,
            printed: AtomicBool::new(false),
            exited: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name(format!("wren-minder-{pid}")).stack_size(256 << 10);
        let this = minded.clone();
        thread
            .spawn(move || this.run(Pipe::new(stdout, Stream::Out), Pipe::new(stderr, Stream::Err), &socket, &bell))?;
        Ok(minded)
    }

    pub(super) fn label(&self, slot: usize, label: Label) {
        lock(&self.output).labels[slot] = Some(label);
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exited.load(Ordering::Acquire)
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        lock(&self.output).exit.clone()
    }

    /// The last lines that a task wrote to standard error.
    pub(super) fn tail(&self, flight: FlightId, task: u64) -> String {
        let output = lock(&self.output);
        let tail = output.tails.iter().rev().find(|tail| tail.of == Some((flight, task)));
        tail.map(Tail::text).unwrap_or_default()
    }

    pub(super) fn kill(&self) {
        // Of a child that was waited for, `kill` knows, so that no other process is hit.
        let _ = lock(&self.child).kill();
    }

    /// Shows what a flight printed last, if that lacks a line end. What it printed before was shown when
    /// this returns. What its tasks before `heard` said is not asked for any more.
    pub(super) fn finish_lines(&self, flight: FlightId, heard: u64) {
        // The worker's results come after the minder has read what it printed.
        if self.printed.load(Ordering::Acquire) {
            let mut output = lock(&self.output);
            let of_flight = |partial: &&mut Partial| partial.label.as_ref().is_some_and(|(l, _)| l.flight == flight);
            output.partial.iter_mut().filter(of_flight).for_each(|partial| partial.finish(self));
            output.tails.retain(|tail| tail.of.is_some_and(|(of, task)| of != flight || task >= heard));
        }
    }

    fn run(&self, mut stdout: Pipe, mut stderr: Pipe, socket: &OwnedFd, bell: &Bell) {
        let mut ended = false;
        while !ended {
            let open = |pipe: &Pipe| if pipe.ended { PollFlags::empty() } else { PollFlags::IN };
            let mut fds = [
                PollFd::from_borrowed_fd(stdout.reader.as_fd(), open(&stdout)),
                PollFd::from_borrowed_fd(stderr.reader.as_fd(), open(&stderr)),
                // Only the worker's end of the socket is of interest; it writes nothing there.
                PollFd::from_borrowed_fd(socket.as_fd(), HANGUP),
            ];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            ended = fds[2].revents().intersects(PollFlags::HUP | PollFlags::ERR);
            let ready = [fds[0].revents(), fds[1].revents()].map(|r| !r.is_empty());
            for (pipe, ready) in [&mut stdout, &mut stderr].into_iter().zip(ready) {
                if ready || ended {
                    self.take(pipe, ended);
                }
            }
        }
        let peak_memory = self.memory.peak();
        let status = lock(&self.child).wait();
        if let Ok(status) = status {
            let mut output = lock(&self.output);
            let words = output.tails.back().map(Tail::text).unwrap_or_default();
            output.exit = Some(Exit { status, peak_memory, words });
        }
        self.exited.store(true, Ordering::Release);
        bell.ring();
    }

    /// Reads what is there and shows it. The lock is held from before the bytes leave the pipe until
    /// they are shown and in the tail: the worker, which waits for an empty pipe, may then go on.
    fn take(&self, pipe: &mut Pipe, all: bool) {
        let mut output = lock(&self.output);
        self.printed.store(true, Ordering::Release);
        loop {
            let label = output.running(&self.region);
            let mut buffer = [0; 16 << 10];
            let Some(n) = pipe.read(&mut buffer) else { break };
            if pipe.stream == Stream::Err {
                output.keep(&label, &buffer[..n]);
            }
            output.partial[pipe.stream as usize].show(self, label, &buffer[..n]);
            if !all && n < buffer.len() {
                break;
            }
        }
        if all {
            output.partial[pipe.stream as usize].finish(self);
        }
    }
}

impl Output {
    fn new() -> Self {
        let partial = [Stream::Out, Stream::Err].map(Partial::new);
        Self { labels: [const { None }; SLOTS], tails: VecDeque::new(), partial, exit: None }
    }

    fn running(&self, region: &Region) -> Option<(Label, u64)> {
        let slot = region.active()?;
        let label = self.labels.get(slot)?.clone()?;
        let (claimed, _) = region.cursor(slot).read();
        let task = label.first + u64::from(claimed.saturating_sub(1));
        Some((label, task))
    }

    fn keep(&mut self, label: &Option<(Label, u64)>, bytes: &[u8]) {
        let of = label.as_ref().map(|(label, task)| (label.flight, *task));
        if self.tails.back().is_none_or(|tail| tail.of != of) {
            self.tails.push_back(Tail { of, bytes: VecDeque::new() });
        }
        if let Some(Tail { bytes: kept, .. }) = self.tails.back_mut() {
            kept.extend(bytes);
            let excess = kept.len().saturating_sub(TAIL);
            kept.drain(..excess);
        }
    }
}

/// One of the two pipes.
struct Pipe {
    reader: PipeReader,
    stream: Stream,
    ended: bool,
}

impl Pipe {
    fn new(pipe: OwnedFd, stream: Stream) -> Self {
        // Only so that a read after `poll` was wrong does not block.
        let _ = rustix::io::ioctl_fionbio(&pipe, true);
        Self { reader: PipeReader::from(pipe), stream, ended: false }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.reader.read(buffer) {
            Ok(0) => {
                self.ended = true;
                None
            }
            Ok(n) => Some(n),
            Err(_) => None,
        }
    }
}

/// A line that has no end yet, and whose it is.
#[derive(Debug)]
struct Partial {
    stream: Stream,
    bytes: Vec<u8>,
    label: Option<(Label, u64)>,
}

impl Partial {
    fn new(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new(), label: None }
    }

    fn show(&mut self, worker: &Minded, label: Option<(Label, u64)>, bytes: &[u8]) {
        if self.label != label {
            self.finish(worker);
            self.label = label;
        }
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.bytes.extend_from_slice(piece);
            // A long line without an end is shown in pieces.
            if piece.ends_with(b"\n") || self.bytes.len() > 64 << 10 {
                self.finish(worker);
            }
        }
    }

    fn finish(&mut self, worker: &Minded) {
        if self.bytes.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.bytes);
        let text = line.trim_end_matches(['\n', '\r']);
        let mark = self.label.as_ref().map(|(label, task)| format!("[{} {task}] ", label.function));
        terminal::line(self.stream, mark.as_deref().unwrap_or("[worker] "), text);
        if let Some((Label { run: Some(run), attempt, function, .. }, task)) = &self.label {
            let (stream, attempt) = (self.stream, *attempt);
            worker.lines.take(&Printed { run, task: *task, attempt, function, worker: worker.number, stream, text });
        }
        self.bytes.clear();
    }
}
