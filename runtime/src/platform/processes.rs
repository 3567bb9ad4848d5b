//! Finds and ends the processes that a worker's functions started, by a mark in their environment.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, wait, waitid};

/// Maximum time to wait for children that were killed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whether this process has children, dead or alive.
pub(crate) fn has_children() -> bool {
    let ended = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    !matches!(ended, Err(Errno::CHILD))
}

/// Whether a child has ended and has not been waited for yet.
pub(crate) fn has_ended(child: u32) -> bool {
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return false };
    let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    matches!(ended, Ok(Some(_)))
}

/// Kills the children of this process and their descendants, and reaps the children that have ended.
pub(crate) fn end_children(mark: &str) {
    if !has_children() {
        return;
    }
    let started = Instant::now();
    kill_all(mark, || descendants(getpid()));
    while has_children() && started.elapsed() < PATIENCE {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            // A process that waits in the kernel takes longer to end.
            Ok(None) => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Kills all processes that inherited the mark, an entry `NAME=value` of the environment, except this process.
pub(crate) fn kill_marked(mark: &str) {
    kill_all(mark, BTreeSet::new);
}

fn kill_all(mark: &str, others: impl Fn() -> BTreeSet<i32>) {
    // Processes that are started during the search are found in the next round.
    for _ in 0..10 {
        let mut found = others();
        found.extend(marked(mark));
        found.remove(&getpid().as_raw_nonzero().get());
        found.retain(|pid| is_alive(*pid));
        if found.is_empty() {
            return;
        }
        for pid in found.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether a process runs. A zombie, which has only left its exit code for its parent, does not count.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

/// Returns the processes of this user that have the mark in their environment; empty if the system has no `/proc`.
fn marked(mark: &str) -> BTreeSet<i32> {
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_mark).collect()
}

/// Returns the children of a process and their descendants, as far as the system reports them.
pub(super) fn descendants(of: Pid) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut next = vec![of.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|child| child.parse().ok());
            next.extend(children.filter(|child| found.insert(*child)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn marked_processes_are_found_and_ended() {
        let mark = format!("MARK_OF_TEST={:016x}", crate::platform::random());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new("sh");
        // A grandchild in its own session, and a child.
        command.args(["-c", "setsid sleep 1000 & sleep 1000"]).env(name, value).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        while marked(&mark).len() < 3 {
            thread::sleep(Duration::from_millis(2));
        }
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descendants(getpid()).contains(&pid));
        kill_marked(&mark);
        child.wait().unwrap();
        let started = Instant::now();
        while marked(&mark).into_iter().any(is_alive) {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?} still run", marked(&mark));
        }
    }
}
