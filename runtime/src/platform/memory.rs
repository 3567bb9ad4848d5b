//! How much memory a process uses, which systems tell in `/proc` or not at all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::terminal;

/// Reads the memory of one process.
#[derive(Debug)]
pub(crate) struct ProcessMemory {
    /// `/proc/<pid>/statm`, where the system has it.
    statm: Option<File>,
    /// `/proc/<pid>/status`.
    status: PathBuf,
}

impl ProcessMemory {
    pub(crate) fn of(pid: u32) -> Self {
        Self::below(Path::new("/proc"), &pid.to_string())
    }

    #[cfg(feature = "aws")]
    pub(crate) fn of_this_process() -> Self {
        Self::below(Path::new("/proc"), "self")
    }

    fn below(proc: &Path, process: &str) -> Self {
        let folder = proc.join(process);
        Self { statm: File::open(folder.join("statm")).ok(), status: folder.join("status") }
    }

    /// Whether the system tells. The answer costs no system call.
    pub(crate) fn is_known(&self) -> bool {
        self.statm.is_some()
    }

    /// In use now, in bytes; 0 where the system does not tell.
    pub(crate) fn now(&self) -> u64 {
        self.statm.as_ref().map_or(0, resident)
    }

    /// The most ever in use, in bytes; 0 where the system does not tell.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(&self.status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    }
}

/// What `/proc/<pid>/statm` says is resident, in bytes; 0 where it says nothing.
fn resident(statm: &File) -> u64 {
    // Sizes in pages; the second is what is resident. Asked often, so not from the longer `status`.
    let mut text = [0; 128];
    let Ok(n) = statm.read_at(&mut text, 0) else { return 0 };
    let pages = std::str::from_utf8(&text[..n]).ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// What to say of a call's memory limit, if it has one and nothing enforces it.
fn unenforced(limit_mb: Option<u32>, worker: &ProcessMemory) -> Option<&'static str> {
    let is_enforced = limit_mb.is_none() || worker.is_known();
    (!is_enforced)
        .then_some("memory limits are not enforced on this system: a worker's memory cannot be read here (no /proc)")
}

/// Says once in this process that memory limits are not enforced, if a call has one and the worker that runs it
/// cannot be measured.
pub(crate) fn say_if_unenforced(limit_mb: Option<u32>, worker: &ProcessMemory) {
    static SAID: Once = Once::new();
    if let Some(note) = unenforced(limit_mb, worker) {
        SAID.call_once(|| terminal::note(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_proc_a_limit_is_not_enforced_and_that_is_said() {
        let nowhere = ProcessMemory::below(Path::new("/no/proc/is/mounted"), "1");
        assert_eq!((nowhere.is_known(), nowhere.now(), nowhere.peak()), (false, 0, 0));
        assert!(unenforced(Some(512), &nowhere).unwrap().contains("not enforced"));
        assert_eq!(unenforced(None, &nowhere), None, "who set no limit is told nothing");
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
        assert_eq!(unenforced(Some(512), &memory), None);
    }
}
