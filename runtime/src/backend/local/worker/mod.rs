//! A local worker process: takes batches from the shared memory, runs their tasks one by one, and writes the results
//! back.

mod end;
mod results;
mod socket;

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::local::shm::{BatchHeader, BlobHeader, Reader, Region, ResultsHeader, kind, length};
use crate::codec;
use crate::error::Failure;
use crate::function::blob::{self, BlobBytes};
use crate::function::framed::Pieces;
use crate::function::{self, Blob, BlobsByTask, RemoteFn, registry};
use crate::history::spans::{self, InvocationSpan};
use crate::logging;
use crate::platform::{self, Guarded, Notifier, SharedBytes, monotonic};
use end::{end_with_the_driver, give_up};
use results::ResultWriter;
use socket::Socket;

/// The environment variable of worker processes: the worker's number, a random part that identifies the processes that
/// its functions start, and the driver's process id, separated by dots.
pub(crate) const ENV: &str = "WREN_WORKER";

/// Time that an idle worker watches for the next call before it sleeps. Waking a sleeping worker costs about as much,
/// so watching at most doubles the cost of an idle moment.
const WATCH: Duration = Duration::from_micros(60);

/// The error if a message in the shared memory is not one that the driver can have sent.
const INVALID_MESSAGE: &str = "the driver's message is invalid: a function wrote to memory that it does not own, or \
                               this is a bug in wren";

/// Becomes a worker if this process was started as one; otherwise returns immediately.
pub(crate) fn become_worker_if_asked() {
    let (Some(name), Some(socket)) = (std::env::var_os(ENV), socket::taken()) else { return };
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
    results: ResultWriter,
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
        let results = ResultWriter::new(&region, Notifier::remote(&notifier, &ring)?, socket.clone(), mark);
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

/// Runs the tasks of one batch.
fn run_batch(region: &Region, body: &[u8], parts: &[u8], blobs: &HashMap<u64, Arc<Blob>>, results: &mut ResultWriter) {
    let Some((header, inline)) = split_header(body) else { give_up(INVALID_MESSAGE) };
    let args = if parts.is_empty() { inline } else { parts };
    let cursor = region.cursor(header.slot as usize);
    region.set_active(Some(header.slot as usize));
    let function = lookup(&header);
    let blobs = blobs_by_task(&header, blobs);
    results.begin(header.batch_id, header.first, header.memory_is_limited);
    let name = function.as_ref().map_or("", |function| function.name);
    spans::adopt(header.levels.exports_spans);
    logging::collect(header.levels, logging::frame::write_to_stderr);
    let all = header.first..header.first + u64::from(header.count);
    let mut span = InvocationSpan::begin(header.traceparent, name, &all, header.attempt);
    let mut tasks = Pieces(args);
    while let Some(task) = cursor.claim() {
        let args = tasks.next().unwrap_or(&[]);
        let (next, end) = cursor.read();
        let (index, more) = (header.first + u64::from(task), next < end);
        results.run_task(index, more, |out, clock| {
            let function = function.as_ref().map_err(Clone::clone)?;
            let blobs = if blobs.is_empty() { &[] } else { blobs.get(&u64::from(task)).map_or(&[][..], |b| b) };
            span.task(index, !more, || function::run(function, args, blobs, out, clock))
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
