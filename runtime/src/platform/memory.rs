//! The memory that a process uses. Systems report it in `/proc` or not at all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Reads the memory of one process.
#[derive(Debug)]
pub(crate) struct ProcessMemory {
    /// `/proc/<pid>/statm`, if the system has it.
    statm: Option<File>,
    /// `/proc/<pid>/status`.
    status: PathBuf,
    /// None for this process itself.
    pid: Option<u32>,
}

impl ProcessMemory {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid: Some(pid), ..Self::below(Path::new("/proc"), &pid.to_string()) }
    }

    pub(crate) fn of_this_process() -> Self {
        Self::below(Path::new("/proc"), "self")
    }

    fn below(proc: &Path, process: &str) -> Self {
        let folder = proc.join(process);
        Self { statm: File::open(folder.join("statm")).ok(), status: folder.join("status"), pid: None }
    }

    /// Whether the system reports the memory. This check makes no system call.
    pub(crate) fn is_known(&self) -> bool {
        self.statm.is_some()
    }

    /// Returns the memory in use now, in bytes; 0 if the system does not report it.
    pub(crate) fn now(&self) -> u64 {
        self.statm.as_ref().map_or(0, |statm| pages(statm).0)
    }

    /// Returns the memory in use now that belongs only to the process, in bytes: neither files nor shared memory.
    pub(crate) fn private(&self) -> u64 {
        self.statm.as_ref().map_or(0, |statm| {
            let (resident, shared) = pages(statm);
            resident.saturating_sub(shared)
        })
    }

    /// Returns the memory that the kernel cannot reclaim without swapping, in bytes: all memory except mapped files.
    pub(crate) fn held(&self) -> u64 {
        let status = std::fs::read_to_string(&self.status).unwrap_or_default();
        let of = |name: &str| kilobytes(&status, name).unwrap_or(0) << 10;
        of("RssAnon:") + of("RssShmem:")
    }

    /// Returns the sum of [`held`](Self::held) over the children of the process and their descendants, in bytes.
    pub(crate) fn held_by_children(&self) -> u64 {
        let pid = self.pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        let children = pid.map(super::processes::descendants).unwrap_or_default();
        children.into_iter().filter_map(|child| u32::try_from(child).ok()).map(|child| Self::of(child).held()).sum()
    }

    /// Returns the most memory that was ever in use, in bytes; 0 if the system does not report it.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(&self.status).unwrap_or_default();
        kilobytes(&status, "VmHWM:").unwrap_or(0) << 10
    }
}

/// Returns the value, in kB, of a line of `/proc/<pid>/status` or `/proc/meminfo`.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the resident memory that `/proc/<pid>/statm` reports, and the part of it that is shared or in files, in
/// bytes; 0 if they cannot be read.
fn pages(statm: &File) -> (u64, u64) {
    // The second and the third size, in pages. They are read often, so they are not taken from the longer `status`.
    let mut text = [0; 128];
    let Ok(n) = statm.read_at(&mut text, 0) else { return (0, 0) };
    let mut fields = std::str::from_utf8(&text[..n]).unwrap_or_default().split(' ').skip(1);
    let mut next = || {
        let pages = fields.next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
        pages.saturating_mul(rustix::param::page_size() as u64)
    };
    (next(), next())
}

/// Returns the memory of this machine, in MB; `u32::MAX` if the system does not report it.
pub(crate) fn machine_memory_mb() -> u32 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&text, "MemTotal:").map_or(u32::MAX, |total| u32::try_from(total >> 10).unwrap_or(u32::MAX))
}

/// Returns the note for a call with a memory limit that is not enforced, because the memory of its worker cannot be
/// read.
pub(crate) fn unenforced_limit(limit_mb: Option<u32>, worker: &ProcessMemory) -> Option<&'static str> {
    let is_enforced = limit_mb.is_none() || worker.is_known();
    (!is_enforced)
        .then_some("memory limits are not enforced on this system: a worker's memory cannot be read here (no /proc)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_proc_limits_are_reported_as_unenforced() {
        let nowhere = ProcessMemory::below(Path::new("/no/proc/is/mounted"), "1");
        assert_eq!((nowhere.is_known(), nowhere.now(), nowhere.peak()), (false, 0, 0));
        assert!(unenforced_limit(Some(512), &nowhere).unwrap().contains("not enforced"));
        assert_eq!(unenforced_limit(None, &nowhere), None, "a call without a limit has no note");
    }

    #[test]
    fn with_proc_a_limit_is_enforced() {
        let proc = tempfile::tempdir().unwrap();
        let folder = proc.path().join("7");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("statm"), "100 3 2 1 0 0 0\n").unwrap();
        std::fs::write(folder.join("status"), "Name:\tx\nVmHWM:\t    2048 kB\nThreads:\t1\n").unwrap();
        let memory = ProcessMemory::below(proc.path(), "7");
        assert_eq!(memory.now(), 3 * rustix::param::page_size() as u64);
        assert_eq!(memory.peak(), 2 << 20);
        assert_eq!(unenforced_limit(Some(512), &memory), None);
    }
}
