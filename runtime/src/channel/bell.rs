//! Wakes a thread that waits for several processes at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::platform;

/// A flag in shared memory that says whether anybody sleeps, and a pipe to wake them by: while the
/// sleeper is awake, ringing costs one atomic operation.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    page: MmapRaw,
    file: OwnedFd,
    read: Option<OwnedFd>,
    write: OwnedFd,
}

impl Bell {
    /// A bell for this process to sleep at.
    pub(crate) fn new() -> io::Result<Self> {
        let file = platform::shared_file(4096)?;
        let (read, write) = platform::pipe()?;
        Self::map(file, Some(read), write)
    }

    /// The other side: a bell that can only be rung, from the two descriptors of [`fds`](Self::fds).
    pub(crate) fn ringer(file: OwnedFd, write: OwnedFd) -> io::Result<Self> {
        Self::map(file, None, write)
    }

    fn map(file: OwnedFd, read: Option<OwnedFd>, write: OwnedFd) -> io::Result<Self> {
        let page = MmapOptions::new().len(4096).map_raw(&file)?;
        Ok(Self(Arc::new(Inner { page, file, read, write })))
    }

    /// What another process needs to ring this bell.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.0.file.as_fd(), self.0.write.as_fd()]
    }

    fn asleep(&self) -> &AtomicU32 {
        // SAFETY: the mapping is one page, page-aligned, zeroed at creation, and lives as long as
        // `self`; every process touches these four bytes as an atomic only. miri cannot map files.
        unsafe { &*self.0.page.as_ptr().cast::<AtomicU32>() }
    }

    /// Wakes the sleeper, if there is one.
    pub(crate) fn ring(&self) {
        if self.asleep().load(Ordering::SeqCst) != 0 && self.asleep().swap(0, Ordering::SeqCst) != 0 {
            // A full pipe has rung already; a closed one has nobody to wake.
            let _ = rustix::io::write(&self.0.write, &[1]);
        }
    }

    /// Wakes the sleeper whether or not it asked to be rung.
    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&self.0.write, &[1]);
    }

    /// Asks to be rung from now on. Look once more for what came before, then [`sleep`](Self::sleep).
    pub(crate) fn set_asleep(&self) {
        self.asleep().store(1, Ordering::SeqCst);
    }

    /// Asks not to be rung for now, by a thread that watches in the sleeper's place. Gives whether
    /// there was a sleeper: if so, [`set_asleep`](Self::set_asleep) must follow, and one more look.
    pub(crate) fn hush(&self) -> bool {
        self.asleep().swap(0, Ordering::SeqCst) != 0
    }

    /// Sleeps until rung, or for `limit`.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        let Some(read) = &self.0.read else { return };
        let limit = limit.and_then(|d| Timespec::try_from(d).ok());
        let mut fds = [PollFd::new(read, PollFlags::IN)];
        // An interrupted sleep is a short one.
        let woken = poll(&mut fds, limit.as_ref());
        self.asleep().store(0, Ordering::SeqCst);
        if matches!(woken, Ok(1..)) {
            let mut rings = [0; 64];
            while matches!(rustix::io::read(read, &mut rings), Ok(64)) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_ring_wakes_the_sleeper_and_only_once() {
        let bell = Bell::new().unwrap();
        bell.set_asleep();
        let other = bell.clone();
        let thread = std::thread::spawn(move || {
            other.ring();
            other.ring();
        });
        bell.sleep(Some(Duration::from_secs(10)));
        thread.join().unwrap();
        bell.set_asleep();
        let start = Instant::now();
        bell.sleep(Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(15), "a second ring was left in the pipe");
    }

    #[test]
    fn a_ring_before_the_sleep_is_not_lost() {
        let bell = Bell::new().unwrap();
        bell.set_asleep();
        bell.ring();
        let start = Instant::now();
        bell.sleep(Some(Duration::from_secs(10)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
