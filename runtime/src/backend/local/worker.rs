//! A local worker process: takes batches from the shared memory, runs their tasks one by one, and writes the results
//! back.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};

use crate::backend::local::shm::{
    BatchHeader, BlobHeader, FailedTask, MAX_BODY, Reader, Region, ResultsHeader, WorkerTimes, Writer, kind, length,
    length_body,
};
use crate::codec;
use crate::error::Failure;
use crate::function::blob::{self, BlobBytes};
use crate::function::framed::{self, Pieces};
use crate::function::{self, Blob, BlobsByTask, Encoded, RemoteFn, registry};
use crate::history::spans::{self, InvocationSpan};
use crate::platform::{self, Guarded, Notifier, ProcessMemory, SharedBytes, monotonic};

/// The environment variable of worker processes: the worker's number, a random part that identifies the processes that
/// its functions start, and the driver's process id, separated by dots.
pub(crate) const ENV: &str = "WREN_WORKER";

/// Time that an idle worker watches for the next call before it sleeps. Waking a sleeping worker costs about as much,
/// so watching at most doubles the cost of an idle moment.
const WATCH: Duration = Duration::from_micros(60);

/// Stack size of the thread that watches the driver, in bytes. Exporting spans needs more.
const WATCH_STACK: usize = if cfg!(feature = "otel") { 512 << 10 } else { 64 << 10 };

/// Maximum time for which results of short calls are collected before they are sent together.
const SEND_EVERY: Duration = Duration::from_micros(500);

/// Length of a run of results, in bytes, at about which it is sent.
const RESULTS_BYTES: usize = 64 << 10;

/// The error if a message in the shared memory is not one that the driver can have sent.
const INVALID_MESSAGE: &str = "the driver's message is invalid: a function wrote to memory that it does not own, or \
                               this is a bug in wren";

/// Calls that take less time than this on average cannot each have printed, because printing takes longer. They are
/// checked for output together.
const CANNOT_PRINT: Duration = Duration::from_micros(1);

/// The driver's socket after it has been moved to a descriptor that the program does not use; 0 before.
static SOCKET: AtomicI32 = AtomicI32::new(0);

/// Whether this process is being ended. The processes that its functions started are killed first, and a function whose
/// child was killed may return. That is not a result of its call.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Runs before `main`. A worker receives its socket as standard input, because there is no other way to pass it to a
/// program. This function moves the socket before `main` can read from it, and leaves standard input empty.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = take_socket;

extern "C" fn take_socket() {
    let Some(driver) = std::env::var(ENV).ok().and_then(|name| name.rsplit('.').next()?.parse::<u32>().ok()) else {
        return;
    };
    let stdin = rustix::stdio::stdin();
    // Programs that a remote function starts inherit the variable too.
    if !platform::is_socket_of(stdin, driver) {
        return;
    }
    let moved = || {
        let socket = Guarded::copy(stdin)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok::<_, io::Error>(socket.as_fd_unchecked().as_raw_fd())
    };
    match moved() {
        Ok(socket) => SOCKET.store(socket, Ordering::Release),
        // A worker that cannot reach its driver must not become another driver.
        Err(_) => {
            // SAFETY: this ends the process, and runs no code of the program.
            unsafe { libc::_exit(1) }
        }
    }
}

/// Becomes a worker if this process was started as one; otherwise returns immediately.
pub(crate) fn become_worker_if_asked() {
    let (Some(name), fd @ 1..) = (std::env::var_os(ENV), SOCKET.swap(0, Ordering::AcqRel)) else { return };
    // SAFETY: `take_socket` opened it only for this function, and nothing closes it by its number.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let name = name.to_string_lossy().into_owned();
    platform::name_process(&format!("wren-worker-{}", name.split('.').next().unwrap_or_default()));
    match Worker::connect(socket, name) {
        Ok(worker) => {
            // If the program created a runtime before `init`, tokio does not allow this thread to block.
            if tokio::runtime::Handle::try_current().is_ok() {
                let thread = std::thread::Builder::new().name("wren-worker".into()).stack_size(8 << 20);
                let _ = thread.spawn(|| worker.work()).map(|t| t.join());
                exit(1);
            }
            worker.work();
        }
        Err(error) => {
            eprintln!("wren: this worker process cannot connect to its driver: {error}");
            exit(1);
        }
    }
}

/// The state of this worker process.
struct Worker {
    region: Region,
    reader: Reader,
    results: Results,
    socket: Arc<Socket>,
    /// Parts that have arrived before the frame that they belong to.
    parts: Vec<u8>,
    blobs: HashMap<u64, Arc<Blob>>,
    /// When the first frame since the last batch arrived.
    reading_since: Option<u64>,
}

impl Worker {
    /// Receives the shared memory and the driver's notifier over the socket.
    fn connect(socket: BorrowedFd<'_>, name: String) -> io::Result<Self> {
        platform::end_with_parent();
        platform::adopt_orphans();
        let mut handshake = [0; 16];
        let (bytes, fds) = platform::receive(socket, &mut handshake)?;
        if bytes == 0 {
            exit(0); // The driver has ended.
        }
        let mut fds = fds.into_iter();
        let (Some(region), Some(notifier), Some(ring)) = (fds.next(), fds.next(), fds.next()) else {
            return Err(io::Error::other("the driver uses another version of wren"));
        };
        let region = Region::open(&region)?;
        let socket = Arc::new(Socket::new(Guarded::copy(socket)?));
        let mark = format!("{ENV}={name}").into();
        let results = Results::new(&region, Notifier::remote(&notifier, &ring)?, socket.clone(), mark);
        Ok(Self {
            reader: Reader::new(&region, true),
            results,
            region,
            socket,
            parts: Vec::new(),
            blobs: HashMap::new(),
            reading_since: None,
        })
    }

    /// Runs batches until the process ends.
    fn work(mut self) -> ! {
        function::install_hook();
        let region = self.region.clone();
        function::report_fatal_panics(move |message, location| region.panic_record().set(message, location));
        platform::mark_worker();
        platform::set_depth(1);
        // From here on, `is_forked` detects forks of this process.
        platform::is_forked();
        end_with_the_driver(self.socket.clone(), self.results.mark.clone());
        self.region.set_ready(monotonic());
        loop {
            self.wait();
            let Some(frame) = self.reader.peek() else { continue };
            self.reading_since.get_or_insert_with(monotonic);
            match frame.kind {
                kind::LENGTH => {
                    let (len, _) = length(frame.body);
                    if self.parts.capacity() < len {
                        self.parts = blob::spare_buffer(len);
                    }
                }
                kind::PART => self.parts.extend_from_slice(frame.body),
                kind::BLOB => {
                    let Ok(header) = codec::decode::<BlobHeader>(frame.body) else { give_up(INVALID_MESSAGE) };
                    let bytes = match header.mapped {
                        None => BlobBytes::Own(std::mem::take(&mut self.parts)),
                        Some(len) => match SharedBytes::open(&self.socket.next_descriptor(), len) {
                            Ok(bytes) => BlobBytes::Shared(bytes),
                            Err(error) => give_up(&format!("cannot map the driver's memory: {error}")),
                        },
                    };
                    let blob = Blob::received(header.id, bytes);
                    if let Some(hash) = header.hash {
                        crate::store::blobs::receive(hash, &blob);
                    }
                    self.blobs.insert(header.id, blob);
                }
                kind::FORGET => {
                    let Ok(id) = codec::decode::<u64>(frame.body) else { give_up(INVALID_MESSAGE) };
                    self.blobs.remove(&id);
                }
                kind::BATCH => {
                    self.results.started = self.reading_since.take().unwrap_or_default();
                    run_batch(&self.region, frame.body, &self.parts, &self.blobs, &mut self.results);
                    self.parts.clear();
                    self.parts.shrink_to(16 << 20);
                }
                _ => give_up(INVALID_MESSAGE),
            }
            self.reader.advance();
            if self.region.driver_wants_room().is_announced() {
                self.results.notifier.notify();
            }
        }
    }

    /// Waits for a frame.
    fn wait(&mut self) {
        let start = Instant::now();
        let mut looks = 0u32;
        while !self.reader.has_frame() {
            looks += 1;
            if looks.is_multiple_of(16) {
                if start.elapsed() > WATCH {
                    break;
                }
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        while !self.reader.has_frame() {
            self.region.worker_asleep().announce();
            if !self.reader.has_frame() {
                self.socket.sleep();
            }
            self.region.worker_asleep().withdraw();
        }
    }
}

/// The socket to the driver. The driver uses it to wake this process, and to send descriptors of memory to map.
struct Socket {
    guarded: Guarded,
    /// Descriptors that have arrived, in the order in which they were sent.
    received: Mutex<VecDeque<OwnedFd>>,
}

impl Socket {
    fn new(guarded: Guarded) -> Self {
        Self { guarded, received: Mutex::default() }
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next descriptor that the driver sends.
    fn next_descriptor(&self) -> OwnedFd {
        loop {
            if let Some(fd) = self.received().pop_front() {
                return fd;
            }
            self.sleep();
        }
    }

    /// Sleeps until the driver writes to the socket. Ends this process if the socket is closed.
    fn sleep(&self) {
        let mut bytes = [0; 64];
        let Some(fd) = self.guarded.get() else {
            give_up(
                "a function closed file descriptors that it had not opened, including wren's; the worker is replaced",
            );
        };
        match platform::receive(fd, &mut bytes) {
            Ok((0, _)) => {
                // The watching thread ends this process and the processes that functions started. If there is no such
                // thread, this one ends the process.
                std::thread::sleep(Duration::from_secs(1));
                spans::flush();
                exit(0);
            }
            Ok((_, fds)) => self.received().extend(fds),
            Err(Errno::INTR) => {}
            Err(error) => give_up(&format!("cannot read the driver's socket: {error}")),
        }
    }
}

/// Prints the reason and ends this worker. The driver forwards the output.
fn give_up(why: &str) -> ! {
    eprintln!("wren: {why}");
    spans::flush();
    exit(1)
}

/// Starts a thread that waits for the end of the driver, whatever its cause. The thread then ends the processes that
/// functions started, and this process, even if it is running a remote function.
fn end_with_the_driver(socket: Arc<Socket>, mark: Arc<str>) {
    let watch = move || {
        loop {
            platform::wait_for_hangup(socket.guarded.as_fd_unchecked());
            IS_ENDING.store(true, Ordering::SeqCst);
            spans::flush();
            if platform::has_children() {
                platform::kill_marked(&mark);
            }
            if getpgrp() == getpid() {
                let _ = kill_current_process_group(Signal::KILL);
            }
            // Not `exit`, because handlers that run at exit must not delay the end.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    };
    let _ = std::thread::Builder::new().name("wren-watch".into()).stack_size(WATCH_STACK).spawn(watch);
}

/// Runs the tasks of one batch.
fn run_batch(region: &Region, body: &[u8], parts: &[u8], blobs: &HashMap<u64, Arc<Blob>>, results: &mut Results) {
    let Some((header, inline)) = split_header(body) else { give_up(INVALID_MESSAGE) };
    let args = if parts.is_empty() { inline } else { parts };
    let cursor = region.cursor(header.slot as usize);
    region.set_active(Some(header.slot as usize));
    let function = lookup(&header);
    let blobs = blobs_by_task(&header, blobs);
    results.begin(header.batch_id, header.first, header.memory_is_limited);
    let name = function.as_ref().map_or("", |function| function.name);
    let all = header.first..header.first + u64::from(header.count);
    let mut span = InvocationSpan::begin(header.traceparent, name, &all, header.attempt);
    let mut tasks = Pieces(args);
    while let Some(task) = cursor.claim() {
        let args = tasks.next().unwrap_or(&[]);
        let (next, end) = cursor.read();
        let (index, more) = (header.first + u64::from(task), next < end);
        results.run_task(index, more, |out| {
            let function = function.as_ref().map_err(Clone::clone)?;
            let blobs = if blobs.is_empty() { &[] } else { blobs.get(&u64::from(task)).map_or(&[][..], |b| b) };
            span.task(index, !more, || function::run(function, args, blobs, out))
        });
    }
    results.send(ResultsHeader::LAST);
    region.set_active(None);
}

fn split_header(body: &[u8]) -> Option<(BatchHeader<'_>, &[u8])> {
    let (len, rest) = body.split_first_chunk::<4>()?;
    let (header, args) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((codec::decode(header).ok()?, args))
}

fn lookup(header: &BatchHeader<'_>) -> Result<&'static RemoteFn, Failure> {
    match registry::find(header.function) {
        Ok(function) if function.signature_hash() == header.signature_hash => Ok(function),
        Ok(function) => Err(Failure::StaleDeployment { functions: vec![function.name.to_owned()] }),
        Err(crate::error::Error::UnknownFunction { registered, .. }) => Err(Failure::UnknownFunction { registered }),
        Err(error) => Err(Failure::Backend(error.to_string())),
    }
}

fn blobs_by_task(header: &BatchHeader<'_>, blobs: &HashMap<u64, Arc<Blob>>) -> BlobsByTask {
    let of_task = |ids: &[u64]| ids.iter().filter_map(|id| blobs.get(id).cloned()).collect();
    header.blobs.iter().map(|(task, ids)| (u64::from(*task), of_task(ids))).collect()
}

/// Runs tasks and sends their outcomes: successes in runs of consecutive tasks, failures one by one.
struct Results {
    region: Region,
    writer: Writer,
    notifier: Notifier,
    socket: Arc<Socket>,
    /// The entry of the environment that identifies the processes that functions of this worker started.
    mark: Arc<str>,
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
    started: u64,
    /// When the whole batch had arrived, on the clock of all processes.
    fetched: u64,
    /// When the first task of the run being written started.
    since: Instant,
    /// `fetched` on this process's own clock.
    batch_since: Instant,
    /// Number of tasks between two looks at the clock: few if the tasks are long.
    stride: u32,
    /// Number of tasks until the next look.
    until_look: u32,
    /// When the last look was.
    looked: Instant,
}

impl Results {
    fn new(region: &Region, notifier: Notifier, socket: Arc<Socket>, mark: Arc<str>) -> Self {
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
            batch_since: now,
            stride: 1,
            until_look: 1,
            looked: now,
        }
    }

    /// Prepares for the tasks of a batch.
    fn begin(&mut self, batch_id: u64, first: u64, memory_is_limited: bool) {
        self.memory_is_limited = memory_is_limited;
        self.measure();
        self.batch_id = batch_id;
        self.first = first;
        self.since = Instant::now();
        self.fetched = monotonic();
        self.batch_since = self.since;
        self.looked = self.since;
        self.stride = 1;
        self.until_look = 1;
    }

    /// Records the memory that this process holds before a task: memory that earlier tasks left does not count.
    fn measure(&self) {
        if self.memory_is_limited {
            self.region.baseline().store(self.memory.private(), Ordering::Release);
        }
    }

    #[inline]
    fn run_task(&mut self, task: u64, more: bool, run: impl FnOnce(&mut Encoded) -> Result<(), Failure>) {
        self.out.clear();
        let result = run(&mut self.out);
        if platform::is_forked() {
            // A function forked, and both processes returned from it. The shared memory belongs to the parent.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        while IS_ENDING.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.until_look -= 1;
        if self.until_look == 0 {
            self.look(more);
        }
        match result {
            Ok(()) => self.succeeded(task),
            Err(failure) => self.failed(task, failure),
        }
    }

    /// Looks at the clock: adapts the stride, waits until the driver has read printed lines, and sends results that
    /// have waited too long. `more` is false at the end of the batch, which sends the results anyway.
    fn look(&mut self, more: bool) {
        let now = Instant::now();
        let mean = (now - self.looked) / self.stride;
        if self.stride == 1 || mean >= CANNOT_PRINT {
            let _ = io::stdout().flush();
            // No process may outlive the call that started it.
            platform::end_children(&self.mark);
            self.measure();
        }
        wait_until_read();
        self.looked = now;
        self.stride = match mean {
            _ if mean < CANNOT_PRINT => (self.stride * 2).min(32),
            _ => 1,
        };
        self.until_look = self.stride;
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
    fn send(&mut self, last: u64) {
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
        self.since = now;
    }

    fn header(&self, count: u32, now: Instant) -> ResultsHeader {
        ResultsHeader { batch_id: self.batch_id, first: self.first, count: u64::from(count), times: self.times(now) }
    }

    /// Returns the times of the tasks that have run from `since` until `now`.
    fn times(&self, now: Instant) -> WorkerTimes {
        WorkerTimes {
            started: self.started,
            fetched: self.fetched,
            began: self.fetched + (self.since - self.batch_since).as_nanos() as u64,
            compute: (now - self.since).as_nanos() as u64,
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
        self.since = Instant::now();
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
        self.since = Instant::now();
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
