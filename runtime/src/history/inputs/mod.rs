//! The arguments of a job's tasks, kept so that a task can be run again: the file `inputs` in a job's folder.
//!
//! All arguments are kept up to a size limit; beyond it, only those of tasks that failed. The file is a sequence of
//! frames: one byte for the kind, the length as a little-endian `u64`, and that number of bytes. A frame of tasks
//! contains the length of a sealed [`Record`] as a little-endian `u32`, the record, and the arguments as they are sent.
//! Each large argument has its own frame, which contains its hash and its bytes. It is stored once for all tasks that
//! refer to it.

mod keep;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::codec::envelope;
use crate::function::framed::Pieces;
use crate::function::{Args, Blob, Limits};
use crate::platform;

pub(crate) use keep::Inputs;

pub(super) const FILE: &str = "inputs";

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
    /// Hashes of large arguments.
    hashes: Vec<[u8; 32]>,
    /// Tasks that have large arguments, each with the indices of these in `hashes`.
    blobs_of: Vec<(u64, Vec<u32>)>,
    /// CRC-32 of the arguments, which follow the record.
    args_checksum: u32,
}

impl Record {
    /// Reads the record and the arguments from the body of a frame.
    fn read(body: &[u8]) -> Result<(Self, &[u8]), String> {
        let (len, rest) = body.split_first_chunk::<4>().ok_or("the data is truncated")?;
        let (sealed, args) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("the data is truncated")?;
        let record: Self = envelope::open(sealed)?;
        if crc32fast::hash(args) != record.args_checksum {
            return Err("the checksum does not match the data".to_owned());
        }
        Ok((record, args))
    }
}

/// The arguments of one task of a job, as returned by [`task_input`].
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskInput {
    /// The remote function.
    pub function: String,
    /// Signature of the function when the job ran, if known.
    pub signature: Option<String>,
    /// Size of the encoded arguments, in bytes.
    pub size: u64,
    /// Limits of the task.
    pub limits: Limits,
    pub(crate) signature_hash: u64,
    pub(crate) body_hash: Option<u64>,
    pub(crate) args: Args,
}

/// Returns the arguments of a task, if they are kept in the job's folder, `.wren/jobs/<id>`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// if let Some(input) = wren::history::task_input(".wren/jobs/sweep".as_ref(), 17)? {
///     println!("task 17 called {} with {} bytes", input.function, input.size);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// Returns an error if the file cannot be read, and [`io::ErrorKind::InvalidData`] if it is damaged.
pub fn task_input(folder: &Path, task: u64) -> io::Result<Option<TaskInput>> {
    // The job may belong to this program and still have unwritten arguments.
    super::notes::write_all();
    let file = match platform::open_file(&folder.join(FILE)) {
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
            let mut body = vec![0; len as usize];
            frames.read_at(at, &mut body)?;
            let (record, args) = Record::read(&body).map_err(damaged)?;
            if (record.first..record.first.saturating_add(record.count)).contains(&task) {
                let nth = (task - record.first) as usize;
                let args = Pieces(args).nth(nth).ok_or_else(|| damaged("the data is truncated"))?;
                // Later frames replace earlier ones: they may be from a later run of the job.
                found = Some((record, args.into()));
            }
        }
    }
    let Some((record, bytes)) = found else { return Ok(None) };
    let mut args = Args { bytes, blobs: Vec::new() };
    let indices = record.blobs_of.iter().find(|(of, _)| *of == task).map_or(&[][..], |(_, indices)| indices);
    for index in indices {
        let hash = record.hashes.get(*index as usize).ok_or_else(|| damaged("a large argument has no hash"))?;
        let (at, len) = blobs.get(hash).ok_or_else(|| damaged("a large argument is missing"))?;
        let mut bytes = vec![0; *len as usize];
        frames.read_at(*at, &mut bytes)?;
        if blake3::hash(&bytes) != *hash {
            return Err(damaged("the content of a large argument does not match its hash"));
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
    io::Error::new(io::ErrorKind::InvalidData, format!("the inputs file is damaged: {reason}"))
}

/// The complete frames of a file. An incomplete frame at the end, left by a driver that was killed, is ignored.
struct Frames {
    file: BufReader<File>,
    len: u64,
    next: u64,
}

impl Frames {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self { len: file.metadata()?.len(), file: BufReader::new(file), next: 0 })
    }

    /// Returns the kind, offset and length of the next frame's body.
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

#[cfg(test)]
mod tests;
