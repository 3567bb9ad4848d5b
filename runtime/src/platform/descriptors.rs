//! Pipes, sockets and shared files that programs which remote functions start do not get.

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

/// How many descriptors a message brings at most.
const MOST: usize = 3;

/// A pipe, `(to read, to write)`; neither end blocks.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    system::pipe()
}

/// Two sockets that are connected. A write to one whose other side is gone fails, and no signal comes of it.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    system::socket_pair()
}

/// A descriptor of wren's in a worker, where functions may do with descriptors what they like: it has a high
/// number, and before each use it is made sure that the number still means the same.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// Never closed by its number, which may belong to a function's file by then.
    fd: ManuallyDrop<OwnedFd>,
    file: (u64, u64),
}

impl Guarded {
    /// Takes a copy of a descriptor out of the way.
    pub(crate) fn copy(fd: impl AsFd) -> io::Result<Self> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(1024);
        // As high as programs with few descriptors can have them.
        let high = most.saturating_sub(32).clamp(3, 990) as i32;
        let copy = fcntl_dupfd_cloexec(&fd, high).or_else(|_| fcntl_dupfd_cloexec(&fd, 3))?;
        let file = identity(&copy)?;
        Ok(Self { fd: ManuallyDrop::new(copy), file })
    }

    /// The descriptor, unless a function has closed it.
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.as_fd();
        (identity(fd).ok()? == self.file).then_some(fd)
    }

    /// The descriptor, from its number.
    pub(crate) fn as_fd_unchecked(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn identity(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Lets this process have so many descriptors open at once, if the system's hard limit allows it.
pub(crate) fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if let Some(current) = limit.current.filter(|current| *current < wanted) {
        let most = limit.maximum.map_or(wanted, |most| wanted.min(most)).max(current);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    }
}

/// Wakes who reads at the other side; a socket that is full has woken already.
pub(crate) fn nudge(socket: &OwnedFd) {
    let _ = rustix::net::send(socket, &[1], SendFlags::DONTWAIT | system::NO_SIGNAL);
}

/// Sends bytes and descriptors, up to three, to the other side.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, system::NO_SIGNAL)
}

/// As [`send`]; where there is no room, it is an error of the kind `WouldBlock`.
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

/// Takes what the other side sent by [`send`]: how many bytes came, and the descriptors.
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

/// Returns when the other side of the socket is gone. It takes nothing from the socket, from which others read.
pub(crate) fn wait_for_hangup(socket: BorrowedFd<'_>) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(socket, system::HANGUP)];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
            // Input that nobody has read yet would be told of again at once.
            // A function closed it. What it was is told no more.
            Ok(_) if fds[0].revents().contains(PollFlags::NVAL) => std::thread::park(),
            Ok(_) if !system::HANGUP.is_empty() => std::thread::sleep(Duration::from_millis(10)),
            _ => {}
        }
    }
}

/// An unnamed file in memory, of `len` zero bytes; or on disk, where the system has no such files.
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
    fn programs_that_are_started_get_none_of_them() {
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
    fn what_is_no_socket_is_told_apart() {
        let file = shared_file(16).unwrap();
        assert_eq!(receive(&file, &mut [0; 16]).unwrap_err(), rustix::io::Errno::NOTSOCK);
    }

    #[test]
    fn an_end_is_noticed_behind_input_that_nobody_reads() {
        let (ours, theirs) = socket_pair().unwrap();
        let waiter = std::thread::spawn(move || wait_for_hangup(theirs.as_fd()));
        nudge(&ours);
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        drop(ours);
        waiter.join().unwrap();
    }

    #[test]
    fn nobody_there_to_be_nudged_is_no_harm() {
        let (ours, theirs) = socket_pair().unwrap();
        drop(theirs);
        nudge(&ours);
    }
}
