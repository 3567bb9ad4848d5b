//! The arguments of a job's tasks, so that a task can be run again: `inputs` in a job's folder.
//!
//! All are kept while they are few; beyond that, those of tasks that failed. The file is a sequence of
//! frames: a byte for the kind, the length as a little-endian `u64`, and so many bytes. Large arguments
//! are frames of their own, behind their hash, once for all the tasks that name them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::block::{Args, Blob, Block, Limits};
use crate::envelope;
use crate::worker::Tasks;

const FILE: &str = "inputs";

/// Kinds of frames.
const TASKS: u8 = 1;
const BLOB: u8 = 2;
const FRAME_HEADER: usize = 9;

/// Consecutive tasks with their arguments.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    function: String,
    signature: String,
    signature_hash: u64,
    body_hash: u64,
    limits: Limits,
    first: u64,
    count: u64,
    /// Hashes of large arguments, and for tasks that have some, which of these they are.
    hashes: Vec<[u8; 32]>,
    blobs_of: Vec<(u64, Vec<u32>)>,
    #[serde(with = "crate::codec::bytes")]
    args: Vec<u8>,
}

/// The arguments of one task of a job, as [`task_input`] finds them.
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskInput {
    /// The remote function.
    pub function: String,
    /// Its signature when the job ran, where that is known.
    pub signature: Option<String>,
    /// Size of the encoded arguments, in bytes.
    pub size: u64,
    /// What the task might use.
    pub limits: Limits,
    pub(crate) signature_hash: u64,
    pub(crate) body_hash: Option<u64>,
    pub(crate) args: Args,
}

/// The arguments of a task, if they are kept in the job's folder, `.wren/jobs/<id>`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// if let Some(input) = wren::trace::task_input(".wren/jobs/sweep".as_ref(), 17)? {
///     println!("task 17 called {} with {} bytes", input.function, input.size);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// Of reading the file, and [`io::ErrorKind::InvalidData`] where it is damaged.
pub fn task_input(folder: &Path, task: u64) -> io::Result<Option<TaskInput>> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut frames = Frames::new(file)?;
    let (mut found, mut blobs) = (None, HashMap::new());
    while let Some((kind, at, len)) = frames.next()? {
        if kind == BLOB && len >= 32 {
            let mut hash = [0; 32];
            frames.read_at(at, &mut hash)?;
            blobs.insert(hash, (at + 32, len - 32));
        } else if kind == TASKS {
            let mut sealed = vec![0; len as usize];
            frames.read_at(at, &mut sealed)?;
            let record: Record = envelope::open(&sealed).map_err(damaged)?;
            if (record.first..record.first.saturating_add(record.count)).contains(&task) {
                // A later run of the job counts.
                found = Some(record);
            }
        }
    }
    let Some(record) = found else { return Ok(None) };
    let args = Tasks(&record.args).nth((task - record.first) as usize).ok_or_else(|| damaged("it is cut short"))?;
    let mut args = Args { bytes: args.into(), blobs: Vec::new() };
    let indices = record.blobs_of.iter().find(|(of, _)| *of == task).map_or(&[][..], |(_, indices)| indices);
    for index in indices {
        let hash = record.hashes.get(*index as usize).ok_or_else(|| damaged("it names no large argument"))?;
        let (at, len) = blobs.get(hash).ok_or_else(|| damaged("a large argument is missing"))?;
        let mut bytes = vec![0; *len as usize];
        frames.read_at(*at, &mut bytes)?;
        if blake3::hash(&bytes) != *hash {
            return Err(damaged("a large argument is not what its name says"));
        }
        args.blobs.push(Blob::new(bytes));
    }
    Ok(Some(TaskInput {
        function: record.function,
        signature: Some(record.signature),
        size: args.size(),
        limits: record.limits,
        signature_hash: record.signature_hash,
        body_hash: Some(record.body_hash),
        args,
    }))
}

fn damaged(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file of inputs is damaged: {reason}"))
}

/// The whole frames of a file; what a driver that was killed left of another is passed over.
struct Frames {
    file: BufReader<File>,
    len: u64,
    next: u64,
}

impl Frames {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self { len: file.metadata()?.len(), file: BufReader::new(file), next: 0 })
    }

    /// Kind, place and length of the next frame.
    fn next(&mut self) -> io::Result<Option<(u8, u64, u64)>> {
        let at = self.next + FRAME_HEADER as u64;
        if at > self.len {
            return Ok(None);
        }
        let mut header = [0; FRAME_HEADER];
        self.read_at(self.next, &mut header)?;
        let [kind, len @ ..] = header;
        let len = u64::from_le_bytes(len);
        match at.checked_add(len).filter(|end| *end <= self.len) {
            Some(end) => self.next = end,
            None => return Ok(None),
        }
        Ok(Some((kind, at, len)))
    }

    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(bytes)
    }
}

/// Keeps the inputs of one job. Writing is a thread's, or of whoever ends the job: handing a block over
/// costs the scheduler a push on a queue.
#[derive(Debug)]
pub(super) struct Inputs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pending: Mutex<VecDeque<Work>>,
    writer: Mutex<Writer>,
    /// Whether inputs of tasks that have not failed are kept no more.
    full: AtomicBool,
}

#[derive(Debug)]
enum Work {
    All(Arc<Block>),
    Failed(Arc<Block>, u64),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inputs {
    /// Keeps `limit` bytes of all inputs, and as many again of those of tasks that failed.
    pub(super) fn new(folder: &Path, limit: u64) -> Self {
        let writer = Writer {
            path: folder.join(FILE),
            limit,
            file: None,
            broken: false,
            full: false,
            bytes: 0,
            kept_until: 0,
            blobs: HashSet::new(),
            failed: HashSet::new(),
            failed_bytes: 0,
        };
        let full = AtomicBool::new(false);
        Self(Arc::new(Shared { pending: Mutex::default(), writer: Mutex::new(writer), full }))
    }

    /// Keeps a block of tasks, if there is room. Blocks come in the order of their tasks.
    pub(super) fn keep(&self, block: &Arc<Block>) {
        if !self.0.full.load(Ordering::Relaxed) {
            self.push(Work::All(block.clone()));
        }
    }

    /// Keeps a task that failed.
    pub(super) fn keep_failed(&self, block: &Arc<Block>, task: u64) {
        self.push(Work::Failed(block.clone(), task));
    }

    fn push(&self, work: Work) {
        let mut pending = lock(&self.0.pending);
        pending.push_back(work);
        if pending.len() == 1 {
            drop(pending);
            hand_to_thread(&self.0);
        }
    }

    /// Writes what waits.
    pub(super) fn finish(&self) {
        self.0.drain();
    }
}

/// Has the thread that writes inputs of all jobs of this process look at one.
fn hand_to_thread(shared: &Arc<Shared>) {
    static JOBS: Mutex<(VecDeque<Arc<Shared>>, bool)> = Mutex::new((VecDeque::new(), false));
    static COME: Condvar = Condvar::new();
    let mut jobs = lock(&JOBS);
    jobs.0.push_back(shared.clone());
    if jobs.1 {
        COME.notify_one();
        return;
    }
    let work = || {
        let mut jobs = lock(&JOBS);
        loop {
            match jobs.0.pop_front() {
                Some(job) => {
                    drop(jobs);
                    job.drain();
                    jobs = lock(&JOBS);
                }
                None => jobs = COME.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    // Without a thread, whoever ends the job writes.
    jobs.1 = thread::Builder::new().name("wren-inputs".into()).stack_size(256 << 10).spawn(work).is_ok();
}

impl Shared {
    fn drain(&self) {
        let mut writer = lock(&self.writer);
        loop {
            let Some(work) = lock(&self.pending).pop_front() else { return };
            match work {
                // What was handed over before it was full comes too late as well.
                Work::All(_) if self.full.load(Ordering::Relaxed) => {}
                Work::All(block) => self.full.store(!writer.keep(&block), Ordering::Relaxed),
                Work::Failed(block, task) => writer.keep_failed(&block, task),
            }
        }
    }
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    limit: u64,
    /// Opened by the first input.
    file: Option<File>,
    /// Whether it cannot be written: that costs the inputs, and nothing else.
    broken: bool,
    /// Whether a block had no room. No later one is kept, so that what is kept has no gaps.
    full: bool,
    /// How much the file has, of all runs.
    bytes: u64,
    /// Of the tasks of this run that come before, all are kept.
    kept_until: u64,
    /// Large arguments that this run kept.
    blobs: HashSet<blake3::Hash>,
    failed: HashSet<u64>,
    failed_bytes: u64,
}

impl Writer {
    /// Gives whether there is room for more.
    fn keep(&mut self, block: &Block) -> bool {
        let tasks = block.tasks();
        let end = tasks.end;
        match self.opened().and_then(|()| self.write(block, tasks, Some(self.limit))) {
            Ok(true) => self.kept_until = end,
            Ok(false) => self.full = true,
            Err(_) => self.broken = true,
        }
        !self.full && !self.broken
    }

    fn keep_failed(&mut self, block: &Block, task: u64) {
        let known = task < self.kept_until || self.failed.contains(&task);
        // The one that passes the limit is still kept: it may be the only one.
        if self.broken || known || self.failed_bytes > self.limit {
            return;
        }
        match self.opened().and_then(|()| self.write(block, task..task + 1, None)) {
            Ok(_) => {
                self.failed.insert(task);
                self.failed_bytes += block.args(task..task + 1).len() as u64;
                self.failed_bytes +=
                    block.blobs(task..task + 1).flat_map(|(_, b)| b).map(|b| b.bytes.len() as u64).sum::<u64>();
            }
            Err(_) => self.broken = true,
        }
    }

    fn opened(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = File::options().create(true).read(true).append(true).mode(0o600).open(&self.path)?;
            // Behind what another run left; half a frame of a driver that was killed goes.
            let mut frames = Frames::new(file)?;
            while frames.next()?.is_some() {}
            self.bytes = frames.next;
            let file = frames.file.into_inner();
            if frames.len > frames.next {
                file.set_len(frames.next)?;
            }
            self.file = Some(file);
        }
        Ok(())
    }

    /// Writes tasks of a block, and the large arguments that are not there; gives false, and writes
    /// nothing, if they do not fit.
    fn write(&mut self, block: &Block, tasks: Range<u64>, limit: Option<u64>) -> io::Result<bool> {
        let args = block.args(tasks.clone());
        let (mut hashes, mut blobs_of, mut new) = (Vec::new(), Vec::new(), Vec::new());
        let mut indices: HashMap<u64, u32> = HashMap::new();
        let mut size = self.bytes + args.len() as u64;
        let fits = |size: u64| limit.is_none_or(|limit| size <= limit);
        for (task, blobs) in block.blobs(tasks.clone()) {
            let mut of_task = Vec::with_capacity(blobs.len());
            for blob in blobs {
                if !indices.contains_key(&blob.id) {
                    // What cannot fit is not worth hashing.
                    if !fits(size) || !fits(blob.bytes.len() as u64) {
                        return Ok(false);
                    }
                    let hash = blob.hash();
                    if !self.blobs.contains(&hash) {
                        size += blob.bytes.len() as u64;
                        new.push((hash, blob));
                    }
                    indices.insert(blob.id, hashes.len() as u32);
                    hashes.push(*hash.as_bytes());
                }
                of_task.extend(indices.get(&blob.id));
            }
            blobs_of.push((task, of_task));
        }
        if !fits(size) {
            return Ok(false);
        }
        let function = block.function();
        let record = Record {
            function: function.name.to_owned(),
            signature: function.signature.to_owned(),
            signature_hash: function.signature_hash(),
            body_hash: function.body_hash,
            limits: block.limits(),
            first: tasks.start,
            count: tasks.end - tasks.start,
            hashes,
            blobs_of,
            args: args.to_vec(),
        };
        // Equal values may be blobs of their own.
        for (hash, blob) in new.into_iter().filter(|(hash, _)| self.blobs.insert(*hash)).collect::<Vec<_>>() {
            self.frame(BLOB, &[hash.as_bytes(), &blob.bytes])?;
        }
        self.frame(TASKS, &[&envelope::seal(&record).map_err(io::Error::other)?])?;
        Ok(true)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let len = parts.iter().map(|part| part.len()).sum::<usize>() as u64;
        let mut header = [kind; FRAME_HEADER];
        header[1..].copy_from_slice(&len.to_le_bytes());
        let slices = std::iter::once(&header[..]).chain(parts.iter().copied());
        slices.clone().try_for_each(|part| file.write_all(part))?;
        self.bytes += FRAME_HEADER as u64 + len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::ArgsEncoder;

    fn args(push: impl FnOnce(&mut ArgsEncoder)) -> Args {
        let mut encoder = ArgsEncoder::new();
        push(&mut encoder);
        encoder.finish().unwrap()
    }

    fn block(first: u64, all: Vec<Args>) -> Arc<Block> {
        let limits = Limits { memory_mb: Some(7), ..Limits::default() };
        let mut block = Block::new(Block::dummy(0..0, "demo::f", limits).function(), limits, first);
        all.into_iter().for_each(|args| block.push(args));
        Arc::new(block)
    }

    fn numbers(tasks: Range<u64>) -> Arc<Block> {
        block(tasks.start, tasks.map(|task| args(|e| e.push(&task))).collect())
    }

    fn assert_kept(folder: &Path, tasks: impl IntoIterator<Item = u64>, kept: bool) {
        for task in tasks {
            let input = task_input(folder, task).unwrap();
            assert_eq!(input.is_some(), kept, "task {task}");
            if let Some(input) = input {
                assert_eq!(input.args.bytes, args(|e| e.push(&task)).bytes, "task {task}");
                assert_eq!((input.function.as_str(), input.limits.memory_mb), ("demo::f", Some(7)));
            }
        }
    }

    #[test]
    fn all_are_kept_while_they_are_few_and_then_those_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        assert_kept(folder.path(), [0, 1], false);
        let inputs = Inputs::new(folder.path(), 1_000);
        let blocks = [numbers(0..20), numbers(20..420), numbers(420..430)];
        blocks.iter().for_each(|block| inputs.keep(block));
        inputs.keep_failed(&blocks[0], 3);
        inputs.keep_failed(&blocks[1], 77);
        inputs.keep_failed(&blocks[1], 77);
        inputs.finish();
        assert_kept(folder.path(), (0..20).chain([77]), true);
        assert_kept(folder.path(), [20, 76, 78, 425, 1_000], false);
        let len = folder.path().join(FILE).metadata().unwrap().len();
        // Another run, after a driver was killed while it wrote.
        let half = File::options().append(true).open(folder.path().join(FILE)).unwrap();
        (&half).write_all(&[TASKS, 200, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]).unwrap();
        let inputs = Inputs::new(folder.path(), 10_000);
        inputs.keep(&numbers(20..25));
        inputs.finish();
        assert_kept(folder.path(), (0..25).chain([77]), true);
        assert!(folder.path().join(FILE).metadata().unwrap().len() < 2 * len);
    }

    #[test]
    fn a_large_argument_is_kept_once_for_all_tasks_that_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = vec![0.5f64; 20_000];
        let of = |task: u64| {
            args(|e| {
                e.push(&task);
                e.push(&model);
            })
        };
        let inputs = Inputs::new(folder.path(), 300_000);
        inputs.keep(&block(0, (0..3).map(of).collect()));
        inputs.keep(&block(3, (3..6).map(of).collect()));
        inputs.finish();
        assert!(folder.path().join(FILE).metadata().unwrap().len() < 300_000);
        for task in [0, 2, 3, 5] {
            let input = task_input(folder.path(), task).unwrap().unwrap();
            assert_eq!((input.args.bytes, input.args.blobs.len()), (of(task).bytes, 1));
            assert_eq!(input.args.blobs[0].bytes, of(task).blobs[0].bytes);
        }
        // One that is larger than the limit is kept if its task fails, and others that name it with it.
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(folder.path(), 100_000);
        let large = block(0, (0..3).map(of).collect());
        inputs.keep(&large);
        inputs.keep_failed(&large, 1);
        inputs.keep_failed(&large, 2);
        inputs.finish();
        assert_eq!(task_input(folder.path(), 1).unwrap().unwrap().args.blobs[0].bytes, of(1).blobs[0].bytes);
        assert!(task_input(folder.path(), 0).unwrap().is_none() && task_input(folder.path(), 2).unwrap().is_none());
    }

    #[test]
    fn damage_is_an_error_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(folder.path(), 10_000);
        inputs.keep(&numbers(0..20));
        inputs.finish();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in FRAME_HEADER..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = task_input(folder.path(), 3).unwrap_err();
            assert!(error.to_string().starts_with("the file of inputs is damaged: "), "{error}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(task_input(folder.path(), 3).unwrap().is_none());
        }
    }
}
