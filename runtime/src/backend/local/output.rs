//! The output of a worker: the lines that it prints, each with the task that wrote it, and the last part of the
//! standard error of each task.

use std::collections::VecDeque;
use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::attempt::{Batch, BatchId, OutputSink, PrintedLine};
use crate::backend::local::shm::{Region, SLOTS};
use crate::logging::frame::{Piece, Splitter};
use crate::logging::{Destination, Origin, Record};
use crate::terminal::{self, Stream};

/// Maximum length of the end of a task's standard error that is kept for its error, in bytes.
const TAIL: usize = 4 << 10;

/// Maximum number of consecutive reads of one pipe.
const READS: u32 = 4;
/// The same after the worker has ended: enough for everything that a pipe holds.
const READS_AT_THE_END: u32 = 64;

/// The origin of the lines of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    batch_id: BatchId,
    run: Option<Arc<str>>,
    attempt: u32,
    function: &'static str,
    first: u64,
}

impl Label {
    pub(super) fn new(batch: &Batch) -> Self {
        let name = batch.block.function().name;
        let function = name.rsplit("::").next().unwrap_or(name);
        let Batch { id: batch_id, job_run, attempt, tasks, .. } = batch;
        Self { batch_id: *batch_id, run: job_run.clone(), attempt: *attempt, function, first: tasks.start }
    }

    /// Passes a line of a task to the sink, unless it belongs to a single call.
    fn pass_on(&self, task: u64, worker: u32, stream: Stream, text: &str, lines: &OutputSink) {
        let Self { attempt, function, .. } = *self;
        if let Some(job_run) = &self.run {
            lines.take(&PrintedLine { job_run, task, attempt, function, worker, stream, text });
        }
    }
}

/// The output of a worker, as far as it was read.
#[derive(Debug)]
pub(super) struct Output {
    /// The number of the worker.
    number: u32,
    /// Receives the lines, beside the terminal.
    lines: OutputSink,
    labels: [Option<Label>; SLOTS],
    /// The ends of the standard error of tasks whose outcomes the driver has not read yet, latest task last. A worker
    /// continues with its next tasks, which print too, before the driver asks for the output of a failed one.
    tails: VecDeque<Tail>,
    /// The unfinished lines of standard output and standard error.
    partial: [Partial; 2],
    /// Finds the log records in standard error.
    splitter: Splitter,
}

/// The end of a task's standard error.
#[derive(Debug)]
struct Tail {
    /// The task; `None` for output of the worker between tasks.
    of: Option<(BatchId, u64)>,
    bytes: VecDeque<u8>,
}

impl Tail {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.iter().copied().collect::<Vec<_>>()).into_owned()
    }
}

impl Output {
    pub(super) fn new(number: u32, lines: OutputSink) -> Self {
        let partial = [Stream::Out, Stream::Err].map(Partial::new);
        Self {
            number,
            lines,
            labels: [const { None }; SLOTS],
            tails: VecDeque::new(),
            partial,
            splitter: Splitter::default(),
        }
    }

    /// Sets the label of the batch in a slot.
    pub(super) fn label(&mut self, slot: usize, label: Label) {
        self.labels[slot] = Some(label);
    }

    /// Returns the end of a task's standard error.
    pub(super) fn tail(&self, batch_id: BatchId, task: u64) -> String {
        let tail = self.tails.iter().rev().find(|tail| tail.of == Some((batch_id, task)));
        tail.map(Tail::text).unwrap_or_default()
    }

    /// Returns the end of the standard error that was printed last.
    pub(super) fn last_tail(&self) -> String {
        self.tails.back().map(Tail::text).unwrap_or_default()
    }

    /// Prints the unfinished lines of a batch, and discards the kept standard error of its tasks before `first_kept`.
    pub(super) fn finish_lines(&mut self, batch_id: BatchId, first_kept: u64) {
        let Self { number, lines, partial, .. } = self;
        let of_batch = |partial: &&mut Partial| partial.label.as_ref().is_some_and(|(l, _)| l.batch_id == batch_id);
        partial.iter_mut().filter(of_batch).for_each(|partial| partial.finish(*number, lines));
        self.tails.retain(|tail| tail.of.is_some_and(|(of, task)| of != batch_id || task >= first_kept));
    }

    /// Reads the available output and prints it; all of it if the worker has ended.
    pub(super) fn take(&mut self, pipe: &mut Pipe, region: &Region, all: bool) {
        // A worker that prints without end must not keep the thread from the other workers. `poll` reports the rest.
        for _ in 0..if all { READS_AT_THE_END } else { READS } {
            let label = self.running(region);
            let mut buffer = [0; 16 << 10];
            let Some(n) = pipe.read(&mut buffer) else { break };
            match pipe.stream {
                Stream::Out => self.partial[0].show(self.number, &self.lines, label, &buffer[..n]),
                Stream::Err => self.take_stderr(&label, &buffer[..n]),
            }
            // While the terminal is slow, the worker waits.
            if !all && (n < buffer.len() || !terminal::has_room(pipe.stream)) {
                break;
            }
        }
        if all {
            if pipe.stream == Stream::Err {
                let rest = self.splitter.finish();
                self.take_text(&self.running(region), &rest);
            }
            self.partial[pipe.stream as usize].finish(self.number, &self.lines);
        }
    }

    /// Takes a part of standard error, which may contain log records.
    fn take_stderr(&mut self, label: &Option<(Label, u64)>, bytes: &[u8]) {
        let mut splitter = std::mem::take(&mut self.splitter);
        splitter.split(bytes, |piece| match piece {
            Piece::Text(text) => self.take_text(label, text),
            Piece::Record(record) => self.take_record(label, record),
        });
        self.splitter = splitter;
    }

    fn take_text(&mut self, label: &Option<(Label, u64)>, text: &[u8]) {
        self.keep(label, text);
        self.partial[Stream::Err as usize].show(self.number, &self.lines, label.clone(), text);
    }

    /// Passes a log record to the logger of this process, and keeps it like the lines that a logger would have printed
    /// in the worker.
    fn take_record(&mut self, label: &Option<(Label, u64)>, record: Box<Record>) {
        let destination = record.destination();
        if destination == Destination::Nowhere {
            return;
        }
        let text = record.text();
        self.keep(label, text.as_bytes());
        self.keep(label, b"\n");
        if destination == Destination::Terminal {
            let mut whole = Partial { stream: Stream::Err, bytes: text.into(), label: label.clone() };
            return whole.finish(self.number, &self.lines);
        }
        if let Some((label, task)) = label {
            label.pass_on(*task, self.number, Stream::Err, &text, &self.lines);
        }
        let origin = label.as_ref().map(|(label, task)| Origin { function: label.function, task: *task });
        terminal::after_lines(text.len(), move || record.deliver(origin.as_ref()));
    }

    fn running(&self, region: &Region) -> Option<(Label, u64)> {
        let slot = region.active()?;
        let label = self.labels.get(slot)?.clone()?;
        let (claimed, _) = region.cursor(slot).read();
        let task = label.first + u64::from(claimed.saturating_sub(1));
        Some((label, task))
    }

    fn keep(&mut self, label: &Option<(Label, u64)>, bytes: &[u8]) {
        let of = label.as_ref().map(|(label, task)| (label.batch_id, *task));
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

/// The pipe of a worker's standard output or standard error.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: PipeReader,
    pub(super) stream: Stream,
    pub(super) ended: bool,
}

impl Pipe {
    pub(super) fn new(pipe: OwnedFd, stream: Stream) -> Self {
        // A read must not block even if `poll` reports input by mistake.
        let _ = rustix::io::ioctl_fionbio(&pipe, true);
        Self { reader: PipeReader::from(pipe), stream, ended: false }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.reader.read(buffer) {
            Ok(0) => {
                self.ended = true;
                None
            }
            Ok(n) => Some(n),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(_) => {
                self.ended = true;
                None
            }
        }
    }
}

/// An unfinished line, with the batch and the task that wrote it.
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

    fn show(&mut self, worker: u32, lines: &OutputSink, label: Option<(Label, u64)>, bytes: &[u8]) {
        if self.label != label {
            self.finish(worker, lines);
            self.label = label;
        }
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.bytes.extend_from_slice(piece);
            // A long line without an end is printed in pieces.
            if piece.ends_with(b"\n") || self.bytes.len() > 64 << 10 {
                self.finish(worker, lines);
            }
        }
    }

    fn finish(&mut self, worker: u32, lines: &OutputSink) {
        if self.bytes.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.bytes);
        let text = line.trim_end_matches(['\n', '\r']);
        let mark = self.label.as_ref().map(|(label, task)| format!("[{} {task}] ", label.function));
        terminal::line(self.stream, mark.as_deref().unwrap_or("[worker] "), text);
        if let Some((label, task)) = &self.label {
            label.pass_on(*task, worker, self.stream, text, lines);
        }
        self.bytes.clear();
    }
}
