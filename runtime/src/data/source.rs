//! The source of an input's bytes, a local file or a value of a store, and how it is read in order.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use crate::error::{Error, Result};
use crate::store::{self, Store};

/// Number of bytes of a store's value to request at once, if it is unknown how many will be needed.
const STEP: u64 = 1 << 20;

/// A file, or a value of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Source {
    /// An absolute path, or the store's URL, a slash and the key.
    path: String,
    /// Length of the store's URL in `path`; 0 for a file.
    store: usize,
    /// Bytes of the path, if they are not UTF-8: `path` then contains replacement characters.
    raw: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn file(path: PathBuf) -> Self {
        match path.into_os_string().into_string() {
            Ok(path) => Self { path, store: 0, raw: None },
            Err(path) => Self { path: path.to_string_lossy().into_owned(), store: 0, raw: Some(path.into_vec()) },
        }
    }

    pub(super) fn value(store: &str, key: &str) -> Self {
        Self { path: format!("{store}/{key}"), store: store.len(), raw: None }
    }

    /// Whether this is a local file.
    pub(super) fn is_local(&self) -> bool {
        self.store == 0
    }

    /// Returns the path for display.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the exact bytes of the path.
    pub(super) fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.path.as_bytes())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Input { path: self.path.clone(), reason: reason.into() }
    }

    /// Converts an error of reading this source into one that names it.
    pub(super) fn explain(&self, error: io::Error) -> Error {
        let text = error.to_string();
        match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(own)) => *own,
            _ => self.error(text),
        }
    }

    fn shrunk(&self, now: u64, then: u64) -> Error {
        self.error(format!("it has {now} bytes now, but had {then} when it was split; split it again"))
    }

    fn open(&self, len: u64) -> Result<From> {
        if self.store > 0 {
            let (url, key) = self.path.split_at(self.store);
            return Ok(From::Store(store::open(url)?, key[1..].to_owned()));
        }
        let cannot = |e: io::Error| {
            let elsewhere = std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some();
            let hint = if elsewhere { "; Lambda cannot read the driver's files: copy them to S3" } else { "" };
            self.error(format!("cannot open the file: {e}{hint}"))
        };
        // If a pipe has replaced the file, do not wait for its other end.
        let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(OsStr::from_bytes(self.bytes()));
        let file = open.map_err(cannot)?;
        let data = file.metadata().map_err(cannot)?;
        if len > 0 && !data.is_file() {
            return Err(self.error("it was a regular file when it was split, but is not one now; split it again"));
        }
        if data.len() < len { Err(self.shrunk(data.len(), len)) } else { Ok(From::File(file)) }
    }

    /// Returns the first `most` bytes, or all bytes if there are fewer.
    pub(super) fn head(&self, most: usize) -> Result<Vec<u8>> {
        Ok(heads([self], most)?.concat())
    }
}

/// Returns the first bytes of several files or values. Values of a store are read concurrently.
pub(super) fn heads<'a>(sources: impl IntoIterator<Item = &'a Source>, most: usize) -> Result<Vec<Vec<u8>>> {
    let opened = sources.into_iter().map(|source| Ok((source, source.open(0)?))).collect::<Result<Vec<_>>>()?;
    let read = async |(source, from): &(&Source, From)| {
        let unread = |e: &dyn std::fmt::Display| source.error(format!("cannot read at byte 0: {e}"));
        match from {
            From::Store(store, key) => store.get_range(key, 0..most as u64).await.map_err(|e| unread(&e)),
            From::File(file) => {
                let mut head = Vec::with_capacity(most);
                file.take(most as u64).read_to_end(&mut head).map_err(|e| unread(&e))?;
                Ok(head)
            }
        }
    };
    store::wait(store::all_of(opened.iter().map(read))).into_iter().collect()
}

#[derive(Debug)]
enum From {
    File(File),
    Store(Arc<dyn Store>, String),
}

/// The bytes of a source, in order, from a given offset on.
#[derive(Debug)]
pub(super) struct Stream {
    source: Source,
    from: From,
    at: u64,
    /// Length of the source when it was split. Bytes appended since are not read.
    len: u64,
    /// Parts of a store's value that are fetched in advance.
    ahead: Option<Ahead>,
    part: Vec<u8>,
    /// Number of bytes of `part` that have been read.
    taken: usize,
}

impl Stream {
    /// Opens a stream that starts at `range.start`. The bytes in `range` will certainly be read, so they are fetched in
    /// advance. Bytes after the range are fetched in smaller steps.
    pub(super) fn open(source: &Source, range: Range<u64>, len: u64) -> Result<Self> {
        let from = source.open(len)?;
        let ahead = match &from {
            From::Store(store, key) => Ahead::start(store, key, range.start..range.end.min(len))
                .map_err(|e| source.error(format!("cannot start a thread to read ahead: {e}")))?,
            From::File(_) => None,
        };
        let source = source.clone();
        Ok(Self { source, from, at: range.start, len, ahead, part: Vec::new(), taken: 0 })
    }

    /// Reads up to `buffer.len()` bytes; returns 0 at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let got = match &self.from {
            From::File(file) => read_at(file, &mut buffer[..wanted], self.at)
                .map_err(|e| self.source.error(format!("cannot read at byte {}: {e}", self.at)))?,
            From::Store(..) => {
                if self.taken == self.part.len() {
                    self.fetch()?;
                }
                let got = wanted.min(self.part.len() - self.taken);
                buffer[..got].copy_from_slice(&self.part[self.taken..self.taken + got]);
                self.taken += got;
                got
            }
        };
        if got == 0 {
            return Err(self.source.shrunk(self.at, self.len));
        }
        self.at += got as u64;
        Ok(got)
    }

    fn fetch(&mut self) -> Result<()> {
        let From::Store(store, key) = &self.from else { return Ok(()) };
        let part = match self.ahead.as_ref().and_then(Ahead::next) {
            Some(part) => part,
            None => {
                self.ahead = None;
                let end = self.len.min(self.at + STEP);
                store::wait(store.get_range(key, self.at..end)).map(|part| (end - self.at, part))
            }
        };
        let (asked, part) = part.map_err(|e| self.source.error(format!("cannot read at byte {}: {e}", self.at)))?;
        let got = part.len() as u64;
        if got < asked {
            return Err(self.source.shrunk(self.at + got, self.len));
        }
        (self.part, self.taken) = (part, 0);
        Ok(())
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(io::Error::other)
    }
}
