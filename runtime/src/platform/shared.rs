//! Memory that processes share, for large values.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapMut, MmapOptions};

use super::shared_file;

/// Bytes in memory that another process can map, or that another one has made and this one has mapped.
pub(crate) struct SharedBytes {
    map: Map,
    len: usize,
}

enum Map {
    /// Of who made it.
    Own(MmapMut, OwnedFd),
    Received(Mmap),
}

impl SharedBytes {
    /// Zeros, which this process writes before it shares them.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let file = shared_file(len as u64)?;
        // SAFETY: the file has no name, and other processes get it only to read. It keeps its length. miri cannot map files.
        let map = unsafe { MmapOptions::new().len(len).map_mut(&file)? };
        Ok(Self { map: Map::Own(map, file), len })
    }

    /// What another process has made, its first `len` bytes.
    pub(crate) fn open(file: &OwnedFd, len: usize) -> io::Result<Self> {
        // SAFETY: who made it writes to it again only when no call is left that reads it. It keeps its length.
        let map = unsafe { MmapOptions::new().len(len).populate().map(file)? };
        Ok(Self { map: Map::Received(map), len })
    }

    /// What another process needs to open it, of one that this process made.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.map {
            Map::Own(_, file) => Some(file.as_fd()),
            Map::Received(_) => None,
        }
    }

    /// Whether this process made it.
    pub(crate) fn is_writable(&self) -> bool {
        self.fd().is_some()
    }

    /// How many bytes it can have.
    pub(crate) fn capacity(&self) -> usize {
        match &self.map {
            Map::Own(map, _) => map.len(),
            Map::Received(map) => map.len(),
        }
    }

    /// Has it be so long, at most [`capacity`](Self::capacity).
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// To write, where this process made it; nothing otherwise.
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
    fn what_one_writes_the_other_reads() {
        let mut ours = SharedBytes::new(100_000).unwrap();
        ours.as_mut().fill(7);
        let file = ours.fd().unwrap().try_clone_to_owned().unwrap();
        let theirs = SharedBytes::open(&file, 100_000).unwrap();
        assert_eq!(*theirs, [7; 100_000]);
        assert!(ours.is_writable() && !theirs.is_writable());
        ours.set_len(10);
        ours.as_mut().fill(8);
        assert_eq!((*ours).len(), 10);
        // Where it is mapped it stays, whoever is gone.
        drop((ours, file));
        assert_eq!(theirs[9..11], [8, 7]);
    }
}
