//! Identifies a process on a machine, and checks whether that process has ended.

use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// Identifies a process among all processes of all machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    /// The boot of the machine, and the namespace in which `pid` is valid; empty if they are unknown.
    space: String,
    pub(crate) pid: u32,
    /// When the process started, in clock ticks since the machine started: another process may get the same `pid`
    /// later.
    started: u64,
    /// The machine's name, for people.
    pub(crate) machine: String,
}

impl ProcessIdentity {
    /// Returns the identity of this process.
    pub(crate) fn of_this_process() -> &'static Self {
        static INSTANCE: OnceLock<ProcessIdentity> = OnceLock::new();
        INSTANCE.get_or_init(|| {
            let pid = std::process::id();
            let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
            Self { space: space(), pid, started: started(pid).flatten().unwrap_or(0), machine }
        })
    }

    /// Whether the process has ended, as far as this process can determine. For a process of another machine, this is
    /// always `false`.
    pub(crate) fn has_ended(&self) -> bool {
        let is_here = !self.space.is_empty() && self.space == Self::of_this_process().space;
        is_here && (!is_there(self.pid) || started(self.pid).is_some_and(|started| started != Some(self.started)))
    }
}

/// Whether there is a process with that number. The system may hide everything else about the processes of other users.
fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Returns the boot and the namespace of process numbers: the process numbers of a container are not valid outside it.
fn space() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let numbers = std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
    match numbers {
        Ok(numbers) if !boot.trim().is_empty() => format!("{} {numbers}", boot.trim()),
        _ => String::new(),
    }
}

/// Returns when a process started: the 22nd field of its `stat`, see proc_pid_stat(5). The inner `None` means that the
/// process has ended; the outer `None` means that the field cannot be read.
fn started(pid: u32) -> Option<Option<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name, which may contain any characters.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next(), Some("Z" | "X")) {
        return Some(None);
    }
    Some(Some(fields.nth(18)?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn ended_processes_are_recognized() {
        let this = ProcessIdentity::of_this_process();
        assert!(!this.has_ended() && this.started > 0);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let other = ProcessIdentity { pid: child.id(), started: started(child.id()).unwrap().unwrap(), ..this.clone() };
        assert!(!other.has_ended());
        let later = ProcessIdentity { started: other.started + 1, ..other.clone() };
        assert!(later.has_ended(), "another process has its number now");
        child.kill().unwrap();
        while !other.has_ended() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(other.has_ended());
        let elsewhere = ProcessIdentity { space: "another machine".to_owned(), ..other };
        assert!(!elsewhere.has_ended(), "nothing is known about a process of another machine");
    }
}
