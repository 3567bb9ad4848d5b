//! Pipes, sockets and shared files. Programs that remote functions start do not inherit them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::system;

/// Maximum number of descriptors in a message.
const MOST: usize = 3;

/// Creates a pipe and returns its ends, `(read, write)`; neither end blocks.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    system::pipe()
}

/// Creates two connected sockets. A write to a socket whose other side is closed fails without a signal.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    system::socket_pair()
}

/// A descriptor of wren in a worker, where functions may close or replace any descriptor. It has a high number, and
/// each use first checks that the number still refers to the same file.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// Never closed, because its number may belong to a file of a function by then.
    fd: ManuallyDrop<OwnedFd>,
    file: (u64, u64),
}

impl Guarded {
    /// Copies a descriptor to a high number.
    pub(crate) fn copy(fd: impl AsFd) -> io::Result<Self> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(1024);
        // The highest number that is possible in programs with a low limit of descriptors.
        let high = most.saturating_sub(32).clamp(3, 990) as i32;
        let copy = fcntl_dupfd_cloexec(&fd, high).or_else(|_| fcntl_dupfd_cloexec(&fd, 3))?;
        let file = identity(&copy)?;
        Ok(Self { fd: ManuallyDrop::new(copy), file })
    }

    /// Returns the descriptor, unless a function has closed it.
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.as_fd();
        (identity(fd).ok()? == self.file).then_some(fd)
    }

    /// Returns the descriptor without checking what its number refers to.
    pub(crate) fn as_fd_unchecked(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn identity(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Allows this process to have `wanted` descriptors open at once, or as many as the system's hard limit allows.
pub(crate) fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if let Some(current) = limit.current.filter(|current| *current < wanted) {
        let most = limit.maximum.map_or(wanted, |most| wanted.min(most)).max(current);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    }
}

/// Wakes the reader at the other side. If the socket is full, the reader is already awake.
pub(crate) fn wake_socket(socket: &OwnedFd) {
    let _ = rustix::net::send(socket, &[1], SendFlags::DONTWAIT | system::NO_SIGNAL);
}

/// Sends bytes and descriptors, up to three, to the other side.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, system::NO_SIGNAL)
}

/// Sends like [`send`]; if there is no room, fails with an error of the kind `WouldBlock`.
pub(crate) fn try_send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, system::NO_SIGNAL | SendFlags::DONTWAIT)
}

fn send_with(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives a message that the other side sent with [`send`]: returns the number of bytes, and the descriptors.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8]) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, system::CLOSE_RECEIVED)?;
    let fds = control.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().map(system::adopt).collect::<Result<_, _>>()?;
    Ok((message.bytes, fds))
}

/// Returns when the other side of the socket is closed. Reads nothing from the socket, because other threads read from
/// it.
pub(crate) fn wait_for_hangup(socket: BorrowedFd<'_>) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(socket, system::HANGUP)];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
            // A function closed the descriptor, so `poll` cannot report the hangup any more.
            Ok(_) if fds[0].revents().contains(PollFlags::NVAL) => std::thread::park(),
            // `poll` would report unread input again immediately.
            Ok(_) if !system::HANGUP.is_empty() => std::thread::sleep(Duration::from_millis(10)),
            _ => {}
        }
    }
}

/// Writes all bytes. If there is no room, waits, also where the descriptor does not block.
pub(crate) fn write_whole(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Creates an unnamed file of `len` zero bytes in memory, or on disk if the system has no files in memory.
pub(crate) fn shared_file(len: u64) -> io::Result<OwnedFd> {
    let file = system::memory_file().or_else(|_| temporary_file())?;
    rustix::fs::ftruncate(&file, len)?;
    Ok(file)
}

fn temporary_file() -> io::Result<OwnedFd> {
    let path = std::env::temp_dir().join(format!("wren-{}-{:016x}", std::process::id(), crate::platform::random()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(OwnedFd::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};

    fn is_private(fd: impl AsFd) -> bool {
        fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)
    }

    #[test]
    fn started_programs_inherit_no_descriptors() {
        let (read, write) = pipe().unwrap();
        let (ours, theirs) = socket_pair().unwrap();
        let files = [shared_file(4096).unwrap(), temporary_file().unwrap()];
        assert!([&read, &write, &ours, &theirs, &files[0], &files[1]].into_iter().all(is_private));
        send(&ours, b"three", &[read.as_fd(), write.as_fd(), files[0].as_fd()]).unwrap();
        let mut bytes = [0; 16];
        let (count, fds) = receive(&theirs, &mut bytes).unwrap();
        assert_eq!((&bytes[..count], fds.len()), (&b"three"[..], 3));
        assert!(fds.iter().all(is_private));
    }

    #[test]
    fn non_sockets_are_distinguished() {
        let file = shared_file(16).unwrap();
        assert_eq!(receive(&file, &mut [0; 16]).unwrap_err(), rustix::io::Errno::NOTSOCK);
    }

    #[test]
    fn hangups_are_noticed_behind_unread_input() {
        let (ours, theirs) = socket_pair().unwrap();
        let waiter = std::thread::spawn(move || wait_for_hangup(theirs.as_fd()));
        wake_socket(&ours);
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        drop(ours);
        waiter.join().unwrap();
    }

    #[test]
    fn waking_a_closed_socket_is_harmless() {
        let (ours, theirs) = socket_pair().unwrap();
        drop(theirs);
        wake_socket(&ours);
    }
}
