//! The life of a local worker process: take batches from the channel, run their tasks one by one,
//! put results back.

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

/// Set in a worker process: its number, a random part by which what its functions start is found, and the driver's process.
pub(crate) const ENV: &str = "WREN_WORKER";

/// How long an idle worker watches for the next call before it sleeps. Waking a sleeper costs about
/// as much, so that watching at most doubles what an idle moment costs.
const WATCH: Duration = Duration::from_micros(60);

/// The stack of who watches over the driver, in bytes; who exports spans needs more.
const WATCH_STACK: usize = if cfg!(feature = "otel") { 512 << 10 } else { 64 << 10 };

/// Results of short calls are sent together, at least this often.
const SEND_EVERY: Duration = Duration::from_micros(500);

/// A run of results is sent when it is about this long, in bytes.
const RESULTS_BYTES: usize = 64 << 10;

/// What a worker says of a message that the driver cannot have sent.
const UNREADABLE: &str = "a message of the driver cannot be read: a function wrote into memory that is not its own, or \
                          this is a defect of wren";

/// Calls that take less than this on average cannot each have printed, since printing takes longer:
/// they are checked for output together.
const CANNOT_PRINT: Duration = Duration::from_micros(1);

/// The driver's socket, once it was moved out of the way of the program; 0 before.
static SOCKET: AtomicI32 = AtomicI32::new(0);

/// Whether this process is being ended. It ends what its functions started first, and a function that sees its child
/// killed may return; that is no result of its call.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Runs before `main`. A worker's socket comes as its standard input, for want of another way to hand it to a
/// program; here it goes elsewhere, before `main` can read from it, and standard input is empty.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = take_socket;

extern "C" fn take_socket() {
    let Some(driver) = std::env::var(ENV).ok().and_then(|name| name.rsplit('.').next()?.parse::<u32>().ok()) else {
        return;
    };
    let stdin = rustix::stdio::stdin();
    // The variable comes down also to programs that a remote function starts.
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
        // A worker that cannot reach its driver must not go on as another one.
        Err(_) => {
            // SAFETY: it ends the process, and runs nothing of the program.
            unsafe { libc::_exit(1) }
        }
    }
}

/// Becomes a worker if this process was started as one; otherwise returns at once.
pub(crate) fn become_worker_if_asked() {
    let (Some(name), fd @ 1..) = (std::env::var_os(ENV), SOCKET.swap(0, Ordering::AcqRel)) else { return };
    // SAFETY: `take_socket` opened it for this function alone, and nothing closes it by its number.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let name = name.to_string_lossy().into_owned();
    platform::name_process(&format!("wren-worker-{}", name.split('.').next().unwrap_or_default()));
    match Worker::connect(socket, name) {
        Ok(worker) => {
            // In a runtime that the program made before `init`, blocking would be refused.
            if tokio::runtime::Handle::try_current().is_ok() {
                let thread = std::thread::Builder::new().name("wren-worker".into()).stack_size(8 << 20);
                let _ = thread.spawn(|| worker.work()).map(|t| t.join());
                exit(1);
            }
            worker.work();
        }
        Err(error) => {
            eprintln!("wren: this worker process cannot reach its driver: {error}");
            exit(1);
        }
    }
}

struct Worker {
    region: Region,
    reader: Reader,
    results: Results,
    socket: Arc<Socket>,
    /// Parts that wait for the frame they belong to.
    parts: Vec<u8>,
    blobs: HashMap<u64, Arc<Blob>>,
    /// When the first frame since the last batch was there.
    began_to_read: Option<u64>,
}

impl Worker {
    /// Takes the shared memory and the driver's notifier, which come over the socket.
    fn connect(socket: BorrowedFd<'_>, name: String) -> io::Result<Self> {
        platform::end_with_parent();
        platform::adopt_orphans();
        let mut greeting = [0; 16];
        let (bytes, fds) = platform::receive(socket, &mut greeting)?;
        if bytes == 0 {
            exit(0); // The driver ended first.
        }
        let mut fds = fds.into_iter();
        let (Some(region), Some(notifier), Some(ring)) = (fds.next(), fds.next(), fds.next()) else {
            return Err(io::Error::other("the greeting is of another version of wren"));
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
            began_to_read: None,
        })
    }

    fn work(mut self) -> ! {
        function::install_hook();
        let region = self.region.clone();
        function::report_fatal_panics(move |message, location| region.panic_record().set(message, location));
        platform::mark_worker();
        platform::set_depth(1);
        // From here on, forks are told apart.
        platform::is_forked();
        end_with_the_driver(self.socket.clone(), self.results.mark.clone());
        self.region.set_ready(monotonic());
        loop {
            self.wait();
            let Some(frame) = self.reader.peek() else { continue };
            self.began_to_read.get_or_insert_with(monotonic);
            match frame.kind {
                kind::LENGTH => {
                    let (len, _) = length(frame.body);
                    if self.parts.capacity() < len {
                        self.parts = blob::spare_buffer(len);
                    }
                }
                kind::PART => self.parts.extend_from_slice(frame.body),
                kind::BLOB => {
                    let Ok(header) = codec::decode::<BlobHeader>(frame.body) else { give_up(UNREADABLE) };
                    let bytes = match header.mapped {
                        None => BlobBytes::Own(std::mem::take(&mut self.parts)),
                        Some(len) => match SharedBytes::open(&self.socket.next_descriptor(), len) {
                            Ok(bytes) => BlobBytes::Shared(bytes),
                            Err(error) => give_up(&format!("memory of the driver cannot be mapped: {error}")),
                        },
                    };
                    let blob = Blob::received(header.id, bytes);
                    if let Some(hash) = header.hash {
                        crate::store::blobs::receive(hash, &blob);
                    }
                    self.blobs.insert(header.id, blob);
                }
                kind::FORGET => {
                    let Ok(id) = codec::decode::<u64>(frame.body) else { give_up(UNREADABLE) };
                    self.blobs.remove(&id);
                }
                kind::BATCH => {
                    self.results.started = self.began_to_read.take().unwrap_or_default();
                    fly(&self.region, frame.body, &self.parts, &self.blobs, &mut self.results);
                    self.parts.clear();
                    self.parts.shrink_to(16 << 20);
                }
                _ => give_up(UNREADABLE),
            }
            self.reader.advance();
            if self.region.driver_wants_room().is_announced() {
                self.results.notifier.notify();
            }
        }
    }

    /// Returns when a frame is there.
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

/// The socket to the driver: it wakes this process, and brings memory to map.
struct Socket {
    guarded: Guarded,
    /// Descriptors that came, in the order in which they were sent.
    received: Mutex<VecDeque<OwnedFd>>,
}

impl Socket {
    fn new(guarded: Guarded) -> Self {
        Self { guarded, received: Mutex::default() }
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next descriptor that the driver sent.
    fn next_descriptor(&self) -> OwnedFd {
        loop {
            if let Some(fd) = self.received().pop_front() {
                return fd;
            }
            self.sleep();
        }
    }

    /// Sleeps until the driver writes to the socket.
    fn sleep(&self) {
        let mut rings = [0; 64];
        let Some(fd) = self.guarded.get() else {
            give_up("a function closed descriptors that it had not opened, wren's among them; the worker is replaced");
        };
        match platform::receive(fd, &mut rings) {
            Ok((0, _)) => {
                // The watching thread ends this process, and what functions started. If there is none:
                std::thread::sleep(Duration::from_secs(1));
                spans::flush();
                exit(0);
            }
            Ok((_, fds)) => self.received().extend(fds),
            Err(Errno::INTR) => {}
            Err(error) => give_up(&format!("the driver's socket cannot be read: {error}")),
        }
    }
}

/// Ends this worker, whose driver tells why.
fn give_up(why: &str) -> ! {
    eprintln!("wren: {why}");
    spans::flush();
    exit(1)
}

/// However the driver ends, so does this process, even inside a remote function, and what functions started.
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
            // Not `exit`: destructors of a running function must not delay the end.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    };
    let _ = std::thread::Builder::new().name("wren-watch".into()).stack_size(WATCH_STACK).spawn(watch);
}

/// Runs the tasks of one batch.
fn fly(region: &Region, body: &[u8], parts: &[u8], blobs: &HashMap<u64, Arc<Blob>>, results: &mut Results) {
    let Some((header, inline)) = split_header(body) else { give_up(UNREADABLE) };
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
        Err(crate::Error::UnknownFunction { registered, .. }) => Err(Failure::UnknownFunction { registered }),
        Err(error) => Err(Failure::Backend(error.to_string())),
    }
}

fn blobs_by_task(header: &BatchHeader<'_>, blobs: &HashMap<u64, Arc<Blob>>) -> BlobsByTask {
    let of_task = |ids: &[u64]| ids.iter().filter_map(|id| blobs.get(id).cloned()).collect();
    header.blobs.iter().map(|(task, ids)| (u64::from(*task), of_task(ids))).collect()
}

/// Runs tasks and sends what came of them: successes in runs, failures one by one.
struct Results {
    region: Region,
    writer: Writer,
    notifier: Notifier,
    socket: Arc<Socket>,
    /// By which processes are known that functions of this worker started.
    mark: Arc<str>,
    memory: ProcessMemory,
    memory_is_limited: bool,
    out: Encoded,
    batch_id: u64,
    /// The run being written: it lies in the ring already, unpublished.
    first: u64,
    count: u32,
    bytes: usize,
    /// When the batch came, and when it was there, by the clock of all processes.
    started: u64,
    fetched: u64,
    /// When the run being written began.
    since: Instant,
    /// `fetched` by this process's own clock.
    batch_since: Instant,
    /// Tasks between two looks at the clock: few where they are long.
    stride: u32,
    until_look: u32,
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

    /// Notes what this process holds before a task: what earlier ones left is not that one's.
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
            // A function forked, and both processes returned from it. The channel is the parent's.
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

    /// Looks at the clock: adapts the stride, waits until printed lines are read, sends what waits
    /// for long, unless the batch's end sends it at once.
    fn look(&mut self, more: bool) {
        let now = Instant::now();
        let mean = (now - self.looked) / self.stride;
        if self.stride == 1 || mean >= CANNOT_PRINT {
            let _ = io::stdout().flush();
            // Nothing outlives its call.
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
        // `room` gives a slice of the length asked for, which holds the header and RESULTS_BYTES.
        // It is shorter than RESULTS_BYTES.
        frame_write(frame, start..start + framed::SHORT, &framed::short_head(out.len()).unwrap_or_default());
        frame_write(frame, start + framed::SHORT..start + len, &out.bytes);
        self.count += 1;
        self.bytes += len;
        self.out = out;
        self.region.open_results().set(self.count, self.bytes as u32);
    }

    /// Publishes the open run.
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

    /// When what runs since `since` ran, up to now.
    fn times(&self, now: Instant) -> WorkerTimes {
        WorkerTimes {
            started: self.started,
            fetched: self.fetched,
            began: self.fetched + (self.since - self.batch_since).as_nanos() as u64,
            compute: (now - self.since).as_nanos() as u64,
            commit: 0,
        }
    }

    /// Sends one result that is too long for a run: its longer piece as parts, the rest with the header.
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

    /// Room for `len` bytes in the ring; waits while the driver reads.
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
        // The loop ended because there is room, and only this thread takes any.
        self.writer.reserve(len).unwrap_or_default()
    }
}

#[inline]
fn frame_write(frame: &mut [u8], at: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(to) = frame.get_mut(at) {
        to.copy_from_slice(bytes);
    }
}

/// How long a text of a failure that was too long may be, in bytes: ten of them fit a frame.
const SHORT: usize = MAX_BODY / 16;

/// A failure whose texts are too long to travel, with their beginnings.
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

/// Waits until the driver has read what this process printed, so that every line is shown, and
/// kept for an error, with the task that wrote it.
fn wait_until_read() {
    let unread = || {
        let count = |fd| rustix::io::ioctl_fionread(fd).unwrap_or(0);
        count(rustix::stdio::stdout()) + count(rustix::stdio::stderr())
    };
    // Bounded: a reader that is stuck must not stop the work.
    for _ in 0..2_000 {
        if unread() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}
