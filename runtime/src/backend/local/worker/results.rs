//! The outcomes of a worker's tasks on their way to the driver: successes in runs of consecutive tasks, failures one by
//! one.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::end::IS_ENDING;
use super::socket::Socket;
use crate::backend::local::shm::{FailedTask, MAX_BODY, Region, ResultsHeader, WorkerTimes, Writer, kind, length_body};
use crate::codec;
use crate::error::Failure;
use crate::function::{CallClock, Conversion, Encoded, framed};
use crate::platform::{self, Notifier, ProcessMemory, monotonic};

/// Maximum time for which results of short calls are collected before they are sent together.
const SEND_EVERY: Duration = Duration::from_micros(500);

/// Length of a run of results, in bytes, at about which it is sent.
const RESULTS_BYTES: usize = 64 << 10;

/// Calls that take less time than this on average cannot each have printed, because printing takes longer. They are
/// checked for output together.
const CANNOT_PRINT: Duration = Duration::from_micros(1);

/// Runs tasks and sends their outcomes: successes in runs of consecutive tasks, failures one by one.
pub(super) struct ResultWriter {
    region: Region,
    writer: Writer,
    pub(super) notifier: Notifier,
    socket: Arc<Socket>,
    /// The entry of the environment that identifies the processes that functions of this worker started.
    pub(super) mark: Arc<str>,
    memory: ProcessMemory,
    memory_is_limited: bool,
    out: Encoded,
    batch_id: u64,
    /// The first task of the run being written, which already lies in the ring, unpublished.
    first: u64,
    /// Number of its tasks.
    count: u32,
    /// Length of its results.
    bytes: usize,
    /// When the first frame of the batch arrived, on the clock of all processes.
    pub(super) started: u64,
    /// When the whole batch had arrived, on the clock of all processes.
    fetched: u64,
    /// When the first task of the run being written started.
    since: Instant,
    /// How much of the time since then was spent on arguments and results, as far as it was measured.
    conversion: Conversion,
    /// `fetched` on this process's own clock.
    batch_since: Instant,
    /// Number of tasks between two clock reads: few if the tasks are long.
    stride: u32,
    /// Number of tasks until the next clock read.
    until_clock: u32,
    /// When the clock was last read.
    clock_read: Instant,
}

impl ResultWriter {
    pub(super) fn new(region: &Region, notifier: Notifier, socket: Arc<Socket>, mark: Arc<str>) -> Self {
        let now = Instant::now();
        Self {
            region: region.clone(),
            writer: Writer::new(region, false),
            notifier,
            socket,
            mark,
            memory: ProcessMemory::of_this_process(),
            memory_is_limited: false,
            out: Encoded::default(),
            batch_id: 0,
            first: 0,
            count: 0,
            bytes: 0,
            started: 0,
            fetched: 0,
            since: now,
            conversion: Conversion::default(),
            batch_since: now,
            stride: 1,
            until_clock: 1,
            clock_read: now,
        }
    }

    /// Prepares for the tasks of a batch.
    pub(super) fn begin(&mut self, batch_id: u64, first: u64, memory_is_limited: bool) {
        self.memory_is_limited = memory_is_limited;
        self.measure();
        self.batch_id = batch_id;
        self.first = first;
        self.restart(Instant::now());
        self.fetched = monotonic();
        self.batch_since = self.since;
        self.clock_read = self.since;
        self.stride = 1;
        self.until_clock = 1;
    }

    /// Records the memory that this process holds before a task: memory that earlier tasks left does not count.
    fn measure(&self) {
        if self.memory_is_limited {
            self.region.baseline().store(self.memory.private(), Ordering::Release);
        }
    }

    /// Runs a task with `run`, and reports its outcome. `more` is false for the last task of the batch.
    #[inline]
    pub(super) fn run_task(
        &mut self,
        task: u64,
        more: bool,
        run: impl FnOnce(&mut Encoded, &mut CallClock) -> Result<(), Failure>,
    ) {
        self.out.clear();
        // Among tasks that take next to no time, only those are timed after which the clock is read anyway.
        let mut clock = CallClock::new(self.until_clock == 1);
        let result = run(&mut self.out, &mut clock);
        if platform::is_forked() {
            // A function forked, and both processes returned from it. The shared memory belongs to the parent.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        while IS_ENDING.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.conversion.decode += clock.decoding();
        self.until_clock -= 1;
        if self.until_clock == 0 {
            self.look(more, &clock);
        }
        match result {
            Ok(()) => self.succeeded(task),
            Err(failure) => self.failed(task, failure),
        }
    }

    /// Looks at the clock: adapts the stride, waits until the driver has read printed lines, and sends results that
    /// have waited too long. `more` is false at the end of the batch, which sends the results anyway.
    fn look(&mut self, more: bool, clock: &CallClock) {
        let now = Instant::now();
        self.conversion.encode += clock.encoding(now);
        let mean = (now - self.clock_read) / self.stride;
        if self.stride == 1 || mean >= CANNOT_PRINT {
            let _ = io::stdout().flush();
            // No process may outlive the call that started it.
            platform::end_children(&self.mark);
            self.measure();
        }
        wait_until_read();
        self.clock_read = now;
        self.stride = match mean {
            _ if mean < CANNOT_PRINT => (self.stride * 2).min(32),
            _ => 1,
        };
        self.until_clock = self.stride;
        if more && now - self.since > SEND_EVERY {
            self.send(0);
        }
    }

    #[inline]
    fn succeeded(&mut self, task: u64) {
        let len = self.out.len() + framed::SHORT;
        if len > RESULTS_BYTES {
            self.send(0);
            return self.send_large(task);
        }
        if self.count > 0 && (self.bytes + len > RESULTS_BYTES || self.first + u64::from(self.count) != task) {
            self.send(0);
        }
        if self.count == 0 {
            self.first = task;
        }
        let start = ResultsHeader::LEN + self.bytes;
        let out = std::mem::take(&mut self.out);
        let frame = self.reserve(ResultsHeader::LEN + RESULTS_BYTES);
        // The slice has the requested length, so there is room for the run. The result is shorter than RESULTS_BYTES,
        // so `short_head` returns its length.
        frame_write(frame, start..start + framed::SHORT, &framed::short_head(out.len()).unwrap_or_default());
        frame_write(frame, start + framed::SHORT..start + len, &out.bytes);
        self.count += 1;
        self.bytes += len;
        self.out = out;
        self.region.open_results().set(self.count, self.bytes as u32);
    }

    /// Publishes the open run. `last` is [`ResultsHeader::LAST`] at the end of the batch, otherwise 0.
    pub(super) fn send(&mut self, last: u64) {
        if self.count == 0 && last == 0 {
            return;
        }
        let now = Instant::now();
        let mut header = self.header(self.count, now);
        header.count |= last;
        let len = ResultsHeader::LEN + self.bytes;
        header.write(self.reserve(ResultsHeader::LEN + RESULTS_BYTES));
        self.region.open_results().set(0, 0);
        self.writer.publish(kind::RESULTS, len);
        self.notifier.notify();
        self.first += u64::from(self.count);
        self.count = 0;
        self.bytes = 0;
        self.restart(now);
    }

    /// Starts to measure the next run of tasks.
    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.conversion = Conversion::default();
    }

    fn header(&self, count: u32, now: Instant) -> ResultsHeader {
        ResultsHeader { batch_id: self.batch_id, first: self.first, count: u64::from(count), times: self.times(now) }
    }

    /// Returns the times of the tasks that have run from `since` until `now`.
    fn times(&self, now: Instant) -> WorkerTimes {
        let (decode, compute, encode) = self.conversion.divide(now - self.since);
        WorkerTimes {
            started: self.started,
            fetched: self.fetched,
            began: self.fetched + (self.since - self.batch_since).as_nanos() as u64,
            decode: decode.as_nanos() as u64,
            compute: compute.as_nanos() as u64,
            encode: encode.as_nanos() as u64,
            commit: 0,
        }
    }

    /// Sends one result that is too long for a run: its long piece as parts, the rest with the header.
    fn send_large(&mut self, task: u64) {
        self.first = task;
        let computed = Instant::now();
        let mut header = self.header(1, computed);
        let mut out = std::mem::take(&mut self.out);
        let (start, rest) = if out.long.is_empty() { (&[][..], &out.bytes[..]) } else { (&out.bytes[..], &*out.long) };
        let length = length_body(rest.len(), out.long.align());
        self.reserve(length.len()).copy_from_slice(&length);
        self.writer.publish(kind::LENGTH, length.len());
        for part in rest.chunks(MAX_BODY) {
            self.reserve(part.len()).copy_from_slice(part);
            self.writer.publish(kind::PART, part.len());
            self.notifier.notify();
        }
        let head = framed::head(out.len());
        let start_at = ResultsHeader::LEN + head.len();
        let len = start_at + start.len();
        header.times.commit = computed.elapsed().as_nanos() as u64;
        let frame = self.reserve(len);
        header.write(frame);
        frame_write(frame, ResultsHeader::LEN..start_at, &head);
        frame_write(frame, start_at..len, start);
        self.writer.publish(kind::RESULTS, len);
        self.notifier.notify();
        self.first += 1;
        self.restart(Instant::now());
        out.clear();
        out.bytes.shrink_to(16 << 20);
        self.out = out;
    }

    fn failed(&mut self, task: u64, failure: Failure) {
        self.send(0);
        let times = self.times(Instant::now());
        wait_until_read();
        let mut message = FailedTask { batch_id: self.batch_id, task, failure, times };
        let mut body = codec::encode(&message).unwrap_or_default();
        if body.is_empty() || body.len() > MAX_BODY {
            message.failure = shortened(message.failure);
            body = codec::encode(&message).unwrap_or_default();
        }
        self.reserve(body.len()).copy_from_slice(&body);
        self.writer.publish(kind::FAILED, body.len());
        self.notifier.notify();
        self.first = task + 1;
        self.restart(Instant::now());
    }

    /// Returns room for `len` bytes in the ring. While there is none, waits for the driver to read.
    #[inline]
    fn reserve(&mut self, len: usize) -> &mut [u8] {
        while self.writer.reserve(len).is_none() {
            self.notifier.notify();
            self.region.worker_wants_room().announce();
            if self.writer.reserve(len).is_none() {
                self.socket.sleep();
            }
            self.region.worker_wants_room().withdraw();
        }
        // The loop ended because there is room, and only this thread uses it up.
        self.writer.reserve(len).unwrap_or_default()
    }
}

#[inline]
fn frame_write(frame: &mut [u8], at: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(to) = frame.get_mut(at) {
        to.copy_from_slice(bytes);
    }
}

/// Maximum length of each text of a shortened failure, in bytes: ten of them fit into a frame.
const SHORT: usize = MAX_BODY / 16;

/// Shortens the texts of a failure that is too long for a frame.
fn shortened(failure: Failure) -> Failure {
    let short = |mut text: String| {
        if text.len() > SHORT {
            text.truncate(text.floor_char_boundary(SHORT));
            text.push_str(" ..");
        }
        text
    };
    match failure {
        Failure::Returned { message, chain, type_name, again, .. } => Failure::Returned {
            message: short(message),
            chain: chain.into_iter().take(8).map(short).collect(),
            type_name: short(type_name),
            value: Vec::new(),
            again,
        },
        Failure::Panicked { message, location, .. } => {
            Failure::Panicked { message: short(message), location: short(location), backtrace: None }
        }
        other => Failure::Backend(short(format!("{other:?}"))),
    }
}

/// Waits until the driver has read the output of this process, so that each line is printed, and kept for an error,
/// with the task that wrote it.
fn wait_until_read() {
    let unread = || {
        let count = |fd| rustix::io::ioctl_fionread(fd).unwrap_or(0);
        count(rustix::stdio::stdout()) + count(rustix::stdio::stderr())
    };
    // The wait is bounded, because a stuck reader must not stop the work.
    for _ in 0..2_000 {
        if unread() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}
