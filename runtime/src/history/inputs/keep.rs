//! Writes the arguments that are kept to the inputs file.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{BLOB, FILE, FRAME_HEADER, Frames, Record, TASKS};
use crate::attempt::TaskBlock;
use crate::codec::envelope;

/// Writes the inputs of one job.
#[derive(Debug)]
pub(crate) struct Inputs {
    path: PathBuf,
    limit: u64,
    /// Opened when the first input is written.
    file: Option<File>,
    /// Whether the file cannot be written. Only the inputs are lost then.
    broken: bool,
    /// Whether a block did not fit. No later block is kept, so that the kept inputs have no gaps.
    full: bool,
    /// Size of the file in bytes, over all runs.
    bytes: u64,
    /// The inputs of all tasks of this run before this one are kept.
    kept_until: u64,
    /// Hashes of the large arguments that this run kept.
    blobs: HashSet<blake3::Hash>,
    failed: HashSet<u64>,
    failed_bytes: u64,
}

impl Inputs {
    /// Creates a writer that keeps up to `limit` bytes of all inputs, and about as much again for tasks that failed.
    pub(crate) fn new(folder: &Path, limit: u64) -> Self {
        Self {
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
        }
    }

    /// Returns whether only the inputs of failed tasks are still kept, or none at all.
    pub(in crate::history) fn is_full(&self) -> bool {
        self.full || self.broken
    }

    /// Keeps the inputs of a block, if there is room. Blocks must come in the order of their tasks.
    pub(in crate::history) fn keep(&mut self, block: &TaskBlock) {
        if self.is_full() {
            return;
        }
        let tasks = block.tasks();
        let end = tasks.end;
        match self.opened().and_then(|()| self.write(block, tasks, Some(self.limit))) {
            Ok(true) => self.kept_until = end,
            Ok(false) => self.full = true,
            Err(_) => self.broken = true,
        }
    }

    /// Keeps the input of a task that failed.
    pub(in crate::history) fn keep_failed(&mut self, block: &TaskBlock, task: u64) {
        let known = task < self.kept_until || self.failed.contains(&task);
        // The input that exceeds the limit is still kept, because it may be the only one.
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
            // New frames go after those of an earlier run. An incomplete frame of a killed driver is cut off.
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

    /// Writes tasks of a block, together with the large arguments that are not in the file yet. Returns false and
    /// writes nothing if they do not fit.
    fn write(&mut self, block: &TaskBlock, tasks: Range<u64>, limit: Option<u64>) -> io::Result<bool> {
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
                    // A large argument that cannot fit is not worth hashing.
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
            function: function.id().to_owned(),
            signature: function.signature.to_owned(),
            signature_hash: function.signature_hash(),
            body_hash: function.body_hash,
            limits: block.limits(),
            first: tasks.start,
            count: tasks.end - tasks.start,
            hashes,
            blobs_of,
            args_checksum: crc32fast::hash(args),
        };
        // Different blobs may have equal content.
        for (hash, blob) in new.into_iter().filter(|(hash, _)| self.blobs.insert(*hash)).collect::<Vec<_>>() {
            self.frame(BLOB, &[hash.as_bytes(), &blob.bytes])?;
        }
        let sealed = envelope::seal(&record).map_err(io::Error::other)?;
        let len = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        self.frame(TASKS, &[&len.to_le_bytes(), &sealed, args])?;
        Ok(true)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let len = parts.iter().map(|part| part.len()).sum::<usize>() as u64;
        let mut start = vec![kind];
        start.extend_from_slice(&len.to_le_bytes());
        if let [short @ .., long] = parts {
            short.iter().for_each(|part| start.extend_from_slice(part));
            file.write_all(&start)?;
            file.write_all(long)?;
        }
        self.bytes += FRAME_HEADER as u64 + len;
        Ok(())
    }
}
