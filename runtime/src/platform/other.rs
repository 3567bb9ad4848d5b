//! What macOS does in place of what Linux has. It compiles, and nobody has run it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::sockopt::set_socket_nosigpipe;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

/// There is no such flag: [`socket_pair`] sets it for the socket, once.
pub(super) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// There is no such flag: [`adopt`] sets it for each descriptor.
pub(super) const CLOSE_RECEIVED: RecvFlags = RecvFlags::empty();

/// `poll` of macOS tells of a hangup only where it watches for input. Asked for `HUP` alone, it stops to watch when
/// input comes.
pub(super) const HANGUP: PollFlags = PollFlags::IN.union(PollFlags::HUP);

// Between the making of a descriptor and the second call that marks it, another thread may start a program, which
// then has it too. The system has no call that does both, and the standard library lives with the same.

pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe()?;
    for end in [&read, &write] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
        ioctl_fionbio(end, true)?;
    }
    Ok((read, write))
}

pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    for end in [&one, &other] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
        set_socket_nosigpipe(end, true)?;
    }
    Ok((one, other))
}

pub(super) fn adopt(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// There are no such files: the caller takes one on disk.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The system does not say how often a thread has run: see [`turns_of_thread`].
pub(crate) fn this_thread() -> Option<u32> {
    None
}

/// See [`this_thread`].
pub(crate) fn turns_of_thread(_thread: u32) -> Option<u64> {
    None
}

/// There are no such files: the caller takes one with a name.
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn unnamed_file(_folder: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// See [`unnamed_file`].
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn name_file(_file: &File, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is known beyond what the standard library finds.
pub(super) fn started_by() -> Option<PathBuf> {
    None
}

/// There is no such descriptor: who waits for a process asks again and again.
pub(crate) fn end_of_process(_pid: rustix::process::Pid) -> Option<OwnedFd> {
    None
}

/// There is no such signal: a worker that has closed its socket goes on.
pub(crate) fn end_with_parent() {}

/// Orphans go to the first process of the system.
pub(crate) fn adopt_orphans() {}

/// Whether a descriptor is a socket at all: whose it is, the system does not tell.
pub(crate) fn is_socket_of(fd: std::os::fd::BorrowedFd<'_>, _maker: u32) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket())
}

/// The system chooses the size of pages.
pub(crate) fn prefer_large_pages<T>(_numbers: &mut Vec<T>) {}

/// Lets two paths of one file system change places at once.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Nothing is cleared in forks.
pub(super) use super::fork::Maker as ForkMark;

/// Whether a file lies on another machine: the system says which volumes are local.
pub(crate) fn is_remote(file: &File) -> bool {
    /// `MNT_LOCAL` of sys/mount.h.
    const LOCAL: u32 = 0x1000;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_flags & LOCAL == 0)
}
