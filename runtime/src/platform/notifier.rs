//! Wakes a thread that waits for several processes at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Guarded;

/// A flag in shared memory that says whether anybody sleeps, and a pipe to wake them by: while the
/// sleeper is awake, ringing costs one atomic operation.
#[derive(Debug, Clone)]
pub(crate) struct Notifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    page: MmapRaw,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    /// Of who sleeps.
    Sleeper { file: OwnedFd, read: OwnedFd, write: OwnedFd },
    /// Of a worker, which can only ring.
    Remote(Guarded),
}

impl Notifier {
    /// A notifier for this process to sleep at.
    pub(crate) fn new() -> io::Result<Self> {
        let file = super::shared_file(4096)?;
        let (read, write) = super::pipe()?;
        let page = map(&file)?;
        Ok(Self(Arc::new(Inner { page, ends: Ends::Sleeper { file, read, write } })))
    }

    /// The other side: a notifier that can only be rung, from the two descriptors of [`fds`](Self::fds).
    pub(crate) fn remote(file: &OwnedFd, write: &OwnedFd) -> io::Result<Self> {
        let page = map(file)?;
        Ok(Self(Arc::new(Inner { page, ends: Ends::Remote(Guarded::copy(write)?) })))
    }

    /// What another process needs to ring this notifier; none in a process that only rings.
    pub(crate) fn fds(&self) -> Option<[BorrowedFd<'_>; 2]> {
        match &self.0.ends {
            Ends::Sleeper { file, write, .. } => Some([file.as_fd(), write.as_fd()]),
            Ends::Remote(_) => None,
        }
    }

    /// Where to write a ring, unless a function has closed it, and has perhaps a file of its own under the number.
    fn end(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.ends {
            Ends::Sleeper { write, .. } => Some(write.as_fd()),
            Ends::Remote(write) => write.get(),
        }
    }

    fn asleep(&self) -> &AtomicU32 {
        // SAFETY: the mapping is one page, page-aligned, zeroed at creation, and lives as long as
        // `self`; every process touches these four bytes as an atomic only. miri cannot map files.
        unsafe { &*self.0.page.as_ptr().cast::<AtomicU32>() }
    }

    /// Wakes the sleeper, if there is one.
    pub(crate) fn notify(&self) {
        // Only who can ring takes the flag: who cannot leaves it to others.
        if self.asleep().load(Ordering::SeqCst) != 0
            && let Some(end) = self.end()
            && self.asleep().swap(0, Ordering::SeqCst) != 0
        {
            // A full pipe has rung already; a closed one has nobody to wake.
            let _ = rustix::io::write(end, &[1]);
        }
    }

    /// Wakes the sleeper whether or not it asked to be rung.
    pub(crate) fn notify_always(&self) {
        if let Some(end) = self.end() {
            let _ = rustix::io::write(end, &[1]);
        }
    }

    /// What the sleeper may wait for together with other descriptors, in place of [`sleep`](Self::sleep).
    pub(crate) fn sleeper(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.ends {
            Ends::Sleeper { read, .. } => Some(read.as_fd()),
            Ends::Remote(_) => None,
        }
    }

    /// Takes the rings that came.
    pub(crate) fn clear(&self) {
        self.asleep().store(0, Ordering::SeqCst);
        if let Some(read) = self.sleeper() {
            let mut rings = [0; 64];
            while matches!(rustix::io::read(read, &mut rings), Ok(64)) {}
        }
    }

    /// Asks to be rung from now on. Look once more for what came before, then [`sleep`](Self::sleep).
    pub(crate) fn set_asleep(&self) {
        self.asleep().store(1, Ordering::SeqCst);
    }

    /// Asks not to be rung for now, by a thread that watches in the sleeper's place. Gives whether
    /// there was a sleeper: if so, [`set_asleep`](Self::set_asleep) must follow, and one more look.
    pub(crate) fn suppress(&self) -> bool {
        self.asleep().swap(0, Ordering::SeqCst) != 0
    }

    /// Sleeps until rung, or for `limit`.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        let Some(read) = self.sleeper() else { return };
        let limit = limit.and_then(|d| Timespec::try_from(d).ok());
        let mut fds = [PollFd::from_borrowed_fd(read, PollFlags::IN)];
        // An interrupted sleep is a short one.
        if matches!(poll(&mut fds, limit.as_ref()), Ok(1..)) {
            self.clear();
        } else {
            self.asleep().store(0, Ordering::SeqCst);
        }
    }
}

fn map(file: &OwnedFd) -> io::Result<MmapRaw> {
    MmapOptions::new().len(4096).map_raw(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_ring_wakes_the_sleeper_and_only_once() {
        let notifier = Notifier::new().unwrap();
        notifier.set_asleep();
        let other = notifier.clone();
        let thread = std::thread::spawn(move || {
            other.notify();
            other.notify();
        });
        notifier.sleep(Some(Duration::from_secs(10)));
        thread.join().unwrap();
        notifier.set_asleep();
        let start = Instant::now();
        notifier.sleep(Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(15), "a second ring was left in the pipe");
    }

    #[test]
    fn a_ring_before_the_sleep_is_not_lost() {
        let notifier = Notifier::new().unwrap();
        notifier.set_asleep();
        notifier.notify();
        let start = Instant::now();
        notifier.sleep(Some(Duration::from_secs(10)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
