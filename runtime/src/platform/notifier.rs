//! Wakes a thread that waits for work from several threads and processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Guarded, SleepFlag};

/// A [`SleepFlag`] in shared memory, and a pipe that wakes the sleeper. While the sleeper is awake, a notification
/// costs a fence and a load.
#[derive(Debug, Clone)]
pub(crate) struct Notifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    page: MmapRaw,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    /// Both ends of the pipe, in the process that sleeps.
    Sleeper { file: OwnedFd, read: OwnedFd, write: OwnedFd },
    /// The writing end, in a process that only notifies.
    Remote(Guarded),
}

impl Notifier {
    /// Creates a notifier for a thread of this process.
    pub(crate) fn new() -> io::Result<Self> {
        let file = super::shared_file(4096)?;
        let (read, write) = super::pipe()?;
        let page = map(&file)?;
        Ok(Self(Arc::new(Inner { page, ends: Ends::Sleeper { file, read, write } })))
    }

    /// Opens the notifier of another process from the two descriptors of [`fds`](Self::fds).
    pub(crate) fn remote(file: &OwnedFd, write: &OwnedFd) -> io::Result<Self> {
        let page = map(file)?;
        Ok(Self(Arc::new(Inner { page, ends: Ends::Remote(Guarded::copy(write)?) })))
    }

    /// Returns the descriptors that another process needs to notify this one; `None` in a process that only notifies.
    pub(crate) fn fds(&self) -> Option<[BorrowedFd<'_>; 2]> {
        match &self.0.ends {
            Ends::Sleeper { file, write, .. } => Some([file.as_fd(), write.as_fd()]),
            Ends::Remote(_) => None,
        }
    }

    /// Returns the writing end of the pipe, unless a remote function has closed it: its number may belong to another
    /// file.
    fn end(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.ends {
            Ends::Sleeper { write, .. } => Some(write.as_fd()),
            Ends::Remote(write) => write.get(),
        }
    }

    fn flag(&self) -> SleepFlag<'_> {
        // SAFETY: the mapping is one page, page-aligned, zeroed at creation, and lives as long as `self`. Every process
        // accesses these eight bytes as an atomic only. miri cannot map files.
        SleepFlag(unsafe { &*self.0.page.as_ptr().cast::<AtomicU64>() })
    }

    /// Wakes the sleeper if it sleeps or is about to.
    pub(crate) fn notify(&self) {
        let flag = self.flag();
        // A process whose end of the pipe is closed must not take the flag: another process can still wake the sleeper.
        if flag.is_announced()
            && let Some(end) = self.end()
            && flag.take()
        {
            wake(end);
        }
    }

    /// Wakes the sleeper even if it did not announce itself.
    pub(crate) fn notify_always(&self) {
        self.end().into_iter().for_each(wake);
    }

    /// Returns the reading end of the pipe, to be polled together with other descriptors instead of
    /// [`sleep`](Self::sleep).
    pub(crate) fn sleeper(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.ends {
            Ends::Sleeper { read, .. } => Some(read.as_fd()),
            Ends::Remote(_) => None,
        }
    }

    /// Clears the flag, and removes notifications from the pipe.
    pub(crate) fn clear(&self) {
        self.flag().withdraw();
        if let Some(read) = self.sleeper() {
            let mut bytes = [0; 64];
            while matches!(rustix::io::read(read, &mut bytes), Ok(64)) {}
        }
    }

    /// Announces a sleep: from now on [`notify`](Self::notify) writes to the pipe. Look for work once more, then
    /// [`sleep`](Self::sleep).
    pub(crate) fn set_asleep(&self) {
        self.flag().announce();
    }

    /// Suppresses notifications while the calling thread polls in the sleeper's place. Returns whether the sleeper was
    /// asleep: then [`set_asleep`](Self::set_asleep) and one more look for work must follow.
    pub(crate) fn suppress(&self) -> bool {
        self.flag().take()
    }

    /// Sleeps until notified, or for `limit`.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        let Some(read) = self.sleeper() else { return };
        let limit = limit.and_then(|d| Timespec::try_from(d).ok());
        let mut fds = [PollFd::from_borrowed_fd(read, PollFlags::IN)];
        // An interrupted sleep only ends early.
        if matches!(poll(&mut fds, limit.as_ref()), Ok(1..)) {
            self.clear();
        } else {
            self.flag().withdraw();
        }
    }
}

/// Writes to the pipe. A full pipe wakes the sleeper already, and a closed one has no reader left.
fn wake(end: BorrowedFd<'_>) {
    let _ = rustix::io::write(end, &[1]);
}

fn map(file: &OwnedFd) -> io::Result<MmapRaw> {
    MmapOptions::new().len(4096).map_raw(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Time after which a notification counts as lost.
    const LOST: Duration = Duration::from_secs(60);

    /// Returns whether a notification is in the pipe.
    fn is_notified(notifier: &Notifier) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(notifier.sleeper().unwrap(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_ring_wakes_the_sleeper_and_only_once() {
        let notifier = Notifier::new().unwrap();
        notifier.set_asleep();
        let other = notifier.clone();
        let thread = std::thread::spawn(move || {
            other.notify();
            other.notify();
        });
        let start = Instant::now();
        notifier.sleep(Some(LOST));
        assert!(start.elapsed() < LOST, "nothing ended the sleep");
        thread.join().unwrap();
        notifier.set_asleep();
        assert!(!is_notified(&notifier), "a second notification was left in the pipe");
    }

    #[test]
    fn a_ring_before_the_sleep_is_not_lost() {
        let notifier = Notifier::new().unwrap();
        notifier.set_asleep();
        notifier.notify();
        assert!(is_notified(&notifier));
        let start = Instant::now();
        notifier.sleep(Some(LOST));
        assert!(start.elapsed() < LOST, "nothing ended the sleep");
    }
}
