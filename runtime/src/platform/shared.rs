//! Memory that processes share, for large values.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapMut, MmapOptions};

use super::shared_file;

/// Bytes in memory that another process can map, or that another process created and this process has mapped.
pub(crate) struct SharedBytes {
    map: Map,
    len: usize,
}

enum Map {
    /// In the process that created the memory.
    Own(MmapMut, OwnedFd),
    Received(Mmap),
}

impl SharedBytes {
    /// Creates zeroed memory, which this process fills before it shares the memory.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let file = shared_file(len as u64)?;
        // SAFETY: the file has no name, and other processes get it only for reading. Its length does not change. miri
        // cannot map files.
        let map = unsafe { MmapOptions::new().len(len).map_mut(&file)? };
        Ok(Self { map: Map::Own(map, file), len })
    }

    /// Maps the first `len` bytes of memory that another process created.
    pub(crate) fn open(file: &OwnedFd, len: usize) -> io::Result<Self> {
        // SAFETY: the process that created the file writes to it again only when no call reads it any more. Its length
        // does not change.
        let map = unsafe { MmapOptions::new().len(len).populate().map(file)? };
        Ok(Self { map: Map::Received(map), len })
    }

    /// Returns the descriptor that another process needs to open the memory; `None` if this process did not create it.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.map {
            Map::Own(_, file) => Some(file.as_fd()),
            Map::Received(_) => None,
        }
    }

    /// Whether this process created the memory.
    pub(crate) fn is_writable(&self) -> bool {
        self.fd().is_some()
    }

    /// Returns the maximum length in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match &self.map {
            Map::Own(map, _) => map.len(),
            Map::Received(map) => map.len(),
        }
    }

    /// Sets the length, at most [`capacity`](Self::capacity).
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// Returns the bytes for writing; empty if this process did not create the memory.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.map {
            Map::Own(map, _) => &mut map[..self.len],
            Map::Received(_) => &mut [],
        }
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.map {
            Map::Own(map, _) => &map[..self.len],
            Map::Received(map) => &map[..self.len],
        }
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} of {})", self.len, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_writers_bytes() {
        let mut ours = SharedBytes::new(100_000).unwrap();
        ours.as_mut().fill(7);
        let file = ours.fd().unwrap().try_clone_to_owned().unwrap();
        let theirs = SharedBytes::open(&file, 100_000).unwrap();
        assert_eq!(*theirs, [7; 100_000]);
        assert!(ours.is_writable() && !theirs.is_writable());
        ours.set_len(10);
        ours.as_mut().fill(8);
        assert_eq!((*ours).len(), 10);
        // A mapping stays valid after the creator is dropped and the file is closed.
        drop((ours, file));
        assert_eq!(theirs[9..11], [8, 7]);
    }
}
