//! Keeping inputs: what goes to the file, and who writes it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{BLOB, FILE, FRAME_HEADER, Frames, Record, TASKS};
use crate::block::Block;
use crate::envelope;

/// Keeps the inputs of one job. Writing is a thread's, or of whoever ends the job: handing a block over
/// costs the scheduler a push on a queue.
#[derive(Debug)]
pub(in crate::trace) struct Inputs(Arc<Shared>);

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
    pub(in crate::trace) fn new(folder: &Path, limit: u64) -> Self {
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
    pub(in crate::trace) fn keep(&self, block: &Arc<Block>) {
        if !self.0.full.load(Ordering::Relaxed) {
            self.push(Work::All(block.clone()));
        }
    }

    /// Keeps a task that failed.
    pub(in crate::trace) fn keep_failed(&self, block: &Arc<Block>, task: u64) {
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
    pub(in crate::trace) fn finish(&self) {
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
                let index = match indices.entry(blob.id) {
                    Entry::Occupied(known) => *known.get(),
                    // What cannot fit is not worth hashing.
                    Entry::Vacant(_) if !fits(size) || !fits(blob.bytes.len() as u64) => return Ok(false),
                    Entry::Vacant(new_one) => {
                        let hash = blob.hash();
                        if !self.blobs.contains(&hash) {
                            size += blob.bytes.len() as u64;
                            new.push((hash, blob));
                        }
                        hashes.push(*hash.as_bytes());
                        *new_one.insert(hashes.len() as u32 - 1)
                    }
                };
                of_task.push(index);
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
