//! Functions that Linux provides and other systems do not.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags, linkat, memfd_create, open};
use rustix::mm::{Advice, madvise};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, pidfd_open, set_child_subreaper, set_parent_process_death_signal,
};

use super::fork::CreatorPid;

/// The flag of sends to a socket: if the other side is closed, no signal is raised.
pub(super) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;

/// The flag of receives: `exec` closes received descriptors.
pub(super) const CLOSE_RECEIVED: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// The events to request from `poll` for a hangup: none, because Linux always reports hangups.
pub(super) const HANGUP: PollFlags = PollFlags::empty();

pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Returns a received descriptor, which already has the right flags on Linux.
pub(super) fn adopt(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    Ok(fd)
}

/// Creates an empty file in memory, without a name.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    Ok(memfd_create("wren", MemfdFlags::CLOEXEC)?)
}

/// Returns the system's number of the calling thread.
pub(crate) fn this_thread() -> Option<u32> {
    u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok()
}

/// Returns how many times a thread of this process has run on a processor, by the number of the thread. The count does
/// not change while the thread waits.
pub(crate) fn turns_of_thread(thread: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    stat.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// Creates a file without a name in a folder. The file disappears when it is closed, however the process ends. Not all
/// file systems support such files.
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn unnamed_file(folder: &Path) -> io::Result<File> {
    // Without `/proc`, `name_file` cannot refer to the file.
    if !Path::new("/proc/self/fd").exists() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mode = Mode::from_raw_mode(0o666);
    Ok(open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)?.into())
}

/// Gives a name to a file from [`unnamed_file`], in the same file system.
#[cfg_attr(not(feature = "data"), allow(dead_code, reason = "jobs on data write files"))]
pub(crate) fn name_file(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Distinguishes a process from its forks without a system call.
#[derive(Debug)]
pub(super) enum ForkMark {
    /// A page that the kernel clears in forks.
    Page(MmapRaw),
    /// For kernels before 4.14, which cannot clear pages in forks.
    CreatorPid(CreatorPid),
}

impl ForkMark {
    pub(super) fn new() -> Self {
        let page = || {
            let page = MmapRaw::from(MmapOptions::new().len(rustix::param::page_size()).map_anon()?);
            // SAFETY: the page is anonymous, belongs only to this mark, and has no references into it yet; a fork reads
            // zeros from it, which `is_forked` expects. miri has no `madvise`.
            unsafe { madvise(page.as_mut_ptr().cast(), page.len(), Advice::LinuxWipeOnFork)? };
            Ok::<_, io::Error>(page)
        };
        let Ok(page) = page() else { return Self::CreatorPid(CreatorPid::new()) };
        let mark = Self::Page(page);
        if let Some(byte) = mark.byte() {
            byte.store(1, Ordering::Relaxed);
        }
        mark
    }

    fn byte(&self) -> Option<&AtomicU8> {
        let Self::Page(page) = self else { return None };
        // SAFETY: the mapping is at least a page, is writable, and lives as long as `self`; it is accessed only as this
        // atomic. miri has no `madvise`, so it never executes this.
        Some(unsafe { AtomicU8::from_ptr(page.as_mut_ptr()) })
    }

    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        match self {
            Self::Page(_) => self.byte().is_some_and(|byte| byte.load(Ordering::Relaxed) == 0),
            Self::CreatorPid(maker) => maker.is_forked(),
        }
    }
}

/// Returns a descriptor that `poll` reports as readable when the process has ended; `None` before Linux 5.3.
pub(crate) fn end_of_process(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Requests a signal that is sent when the thread that started this process ends. The signal ends a program that is
/// executed in place of this one. This program ignores it: it watches its parent itself, and does more than exit.
pub(crate) fn end_with_parent() {
    /// A signal that is otherwise unused. Its default action, which `exec` restores, ends the process.
    const PARENT_IS_GONE: i32 = 63;
    extern "C" fn pass_over(_signal: i32) {}
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    }
    // SAFETY: the handler does nothing, so it may run at any time; the number is that of a real-time signal, of which
    // Linux has numbers up to 64. miri runs no workers.
    let handled = unsafe { signal(PARENT_IS_GONE, pass_over) } != usize::MAX;
    if handled {
        // SAFETY: as above.
        let number = unsafe { Signal::from_raw_unchecked(PARENT_IS_GONE) };
        let _ = set_parent_process_death_signal(Some(number));
    }
}

/// Makes this process the parent of the processes that its children leave behind.
pub(crate) fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Whether a descriptor is a socket that the process `maker` created, even if that process has ended.
pub(crate) fn is_socket_of(fd: BorrowedFd<'_>, maker: u32) -> bool {
    socket_peercred(fd).is_ok_and(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()) == Ok(maker))
}

/// Minimum size in bytes of memory for which large pages are requested. They have 2 MiB on most machines.
const LARGE: usize = 4 << 20;

/// Requests large pages for the spare room of a `Vec`, if there is much of it: getting small pages one by one costs
/// more than filling the memory.
pub(crate) fn prefer_large_pages<T>(numbers: &mut Vec<T>) {
    let room = numbers.spare_capacity_mut();
    if size_of_val(room) < LARGE {
        return;
    }
    let page = rustix::param::page_size();
    let before = room.as_ptr().cast::<u8>().align_offset(page);
    let len = size_of_val(room).saturating_sub(before) / page * page;
    // SAFETY: the pages lie within the room that the `Vec` owns, and their size does not change their contents. miri
    // does not support this call.
    let _ = unsafe { madvise(room.as_mut_ptr().cast::<u8>().add(before).cast(), len, Advice::LinuxHugepage) };
}

/// Exchanges two paths of one file system atomically.
pub(crate) fn exchange(one: &std::path::Path, other: &std::path::Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Whether a file is on another machine. Compares the file system with the magic numbers of statfs(2) for NFS, SMB and
/// CIFS, AFS, 9p, Ceph, Lustre, GPFS and FUSE, which may be SSH.
pub(crate) fn is_remote(file: &std::fs::File) -> bool {
    const REMOTE: [u32; 9] = [
        0x6969,
        0xfe53_4d42,
        0xff53_4d42,
        0x5346_414f,
        0x0102_1997,
        0x00c3_6400,
        0x0bd0_0bd0,
        0x4750_4653,
        0x6573_5546,
    ];
    rustix::fs::fstatfs(file).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

/// Returns the path by which this program was started. The kernel passes it to every program, with or without `/proc`.
/// A relative path is valid only while the working directory is the initial one.
pub(super) fn started_by() -> Option<PathBuf> {
    let path = rustix::param::linux_execfn().to_bytes();
    (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(path)))
}
