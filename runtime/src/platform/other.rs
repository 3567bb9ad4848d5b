//! Replacements on macOS for the functions of `linux.rs`. This file compiles, but has never been run.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::sockopt::set_socket_nosigpipe;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

/// macOS has no such flag: [`socket_pair`] sets an option of each socket once.
pub(super) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// macOS has no such flag: [`adopt`] sets it for each descriptor.
pub(super) const CLOSE_RECEIVED: RecvFlags = RecvFlags::empty();

/// On macOS, `poll` reports a hangup only if it watches for input. If only `HUP` is requested, it stops watching when
/// input arrives.
pub(super) const HANGUP: PollFlags = PollFlags::IN.union(PollFlags::HUP);

// Between the creation of a descriptor and the second call that sets its flags, another thread may start a program,
// which then inherits the descriptor. macOS has no call that does both, and the standard library has the same
// limitation.

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

/// macOS has no such files: the caller uses a file on disk instead.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns `None`, because macOS does not report how many times a thread has run: see [`turns_of_thread`].
pub(crate) fn this_thread() -> Option<u32> {
    None
}

/// See [`this_thread`].
pub(crate) fn turns_of_thread(_thread: u32) -> Option<u64> {
    None
}

/// macOS has no such files: the caller uses a file with a name instead.
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn unnamed_file(_folder: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// See [`unnamed_file`].
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn name_file(_file: &File, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns `None`: macOS provides no other path than the one that the standard library returns.
pub(super) fn started_by() -> Option<PathBuf> {
    None
}

/// macOS has no such descriptor: a caller that waits for a process must poll.
pub(crate) fn end_of_process(_pid: rustix::process::Pid) -> Option<OwnedFd> {
    None
}

/// macOS has no such signal: a worker that has closed its socket continues to run.
pub(crate) fn end_with_parent() {}

/// Does nothing: macOS passes orphans to the first process of the system.
pub(crate) fn adopt_orphans() {}

/// Whether a descriptor is a socket. macOS does not report which process created it.
pub(crate) fn is_socket_of(fd: std::os::fd::BorrowedFd<'_>, _maker: u32) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket())
}

/// Does nothing: macOS chooses the size of pages.
pub(crate) fn prefer_large_pages<T>(_numbers: &mut Vec<T>) {}

/// Exchanges two paths of one file system atomically.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// macOS cannot clear memory in forks.
pub(super) use super::fork::CreatorPid as ForkMark;

/// Whether a file is on another machine: macOS reports which volumes are local.
pub(crate) fn is_remote(file: &File) -> bool {
    /// `MNT_LOCAL` of sys/mount.h.
    const LOCAL: u32 = 0x1000;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_flags & LOCAL == 0)
}
