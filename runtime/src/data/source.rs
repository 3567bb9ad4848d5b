//! Where the bytes of an input lie, a local file or a key of a store, and how they are read in order.

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

/// How much of a store's value is asked for at once where nobody knows how much will be needed.
const STEP: u64 = 1 << 20;

/// A file, or a value of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Source {
    /// An absolute path, or the store's URL and behind a slash the key.
    path: String,
    /// Length of the store's URL in it; 0 for a file.
    store: usize,
    /// The path's bytes, where they are not UTF-8: it then is shown with other characters in place of some.
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

    /// Whether it is a file of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.store == 0
    }

    /// The path, as it can be shown.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path as it is.
    pub(super) fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.path.as_bytes())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Input { path: self.path.clone(), reason: reason.into() }
    }

    /// Turns what a reader of this source failed by into an error that names it.
    pub(super) fn explain(&self, error: io::Error) -> Error {
        let text = error.to_string();
        match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(own)) => *own,
            _ => self.error(text),
        }
    }

    fn shrunk(&self, now: u64, then: u64) -> Error {
        self.error(format!("it has {now} bytes now, and had {then} when it was split; split it again"))
    }

    fn open(&self, len: u64) -> Result<From> {
        if self.store > 0 {
            let (url, key) = self.path.split_at(self.store);
            return Ok(From::Store(store::open(url)?, key[1..].to_owned()));
        }
        let cannot = |e: io::Error| {
            let elsewhere = std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some();
            let mend = if elsewhere { "; Lambda sees no files of the driver: put them to S3" } else { "" };
            self.error(format!("it cannot be opened: {e}{mend}"))
        };
        // Nothing waits for the other end of a pipe that has come in place of the file.
        let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(OsStr::from_bytes(self.bytes()));
        let file = open.map_err(cannot)?;
        let data = file.metadata().map_err(cannot)?;
        if len > 0 && !data.is_file() {
            return Err(self.error("it was a file when it was split, and is something else now; split it again"));
        }
        if data.len() < len { Err(self.shrunk(data.len(), len)) } else { Ok(From::File(file)) }
    }

    /// The first bytes, `most` of them where there are as many.
    pub(super) fn head(&self, most: usize) -> Result<Vec<u8>> {
        Ok(heads([self], most)?.concat())
    }
}

/// The first bytes of several files or values, those of a store at once.
pub(super) fn heads<'a>(sources: impl IntoIterator<Item = &'a Source>, most: usize) -> Result<Vec<Vec<u8>>> {
    let opened = sources.into_iter().map(|source| Ok((source, source.open(0)?))).collect::<Result<Vec<_>>>()?;
    let read = async |(source, from): &(&Source, From)| {
        let unread = |e: &dyn std::fmt::Display| source.error(format!("it cannot be read at byte 0: {e}"));
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

/// The bytes of a source, in order, from some place on.
#[derive(Debug)]
pub(super) struct Stream {
    source: Source,
    from: From,
    at: u64,
    /// The source's length when it was split: what was appended since is not read.
    len: u64,
    /// Parts of a store's value, fetched before they are asked for.
    ahead: Option<Ahead>,
    part: Vec<u8>,
    /// What of `part` has been read.
    taken: usize,
}

impl Stream {
    /// Reads from `range.start` on. What lies in `range` will be read for certain, and is fetched
    /// ahead; what is read behind it is fetched in smaller steps.
    pub(super) fn open(source: &Source, range: Range<u64>, len: u64) -> Result<Self> {
        let from = source.open(len)?;
        let ahead = match &from {
            From::Store(store, key) => Ahead::start(store, key, range.start..range.end.min(len))
                .map_err(|e| source.error(format!("the system gives no thread to read ahead: {e}")))?,
            From::File(_) => None,
        };
        let source = source.clone();
        Ok(Self { source, from, at: range.start, len, ahead, part: Vec::new(), taken: 0 })
    }

    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let got = match &self.from {
            From::File(file) => read_at(file, &mut buffer[..wanted], self.at)
                .map_err(|e| self.source.error(format!("it cannot be read at byte {}: {e}", self.at)))?,
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
        let (asked, part) =
            part.map_err(|e| self.source.error(format!("it cannot be read at byte {}: {e}", self.at)))?;
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
