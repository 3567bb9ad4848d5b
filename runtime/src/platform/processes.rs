//! Other processes: those that a worker's functions started, found by a mark in their environment.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, wait, waitid};

/// How long children that were killed are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whether this process has children, dead or alive.
pub(crate) fn has_children() -> bool {
    let ended = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    !matches!(ended, Err(Errno::CHILD))
}

/// Whether a child has ended and nobody has waited for it yet.
pub(crate) fn has_ended(child: u32) -> bool {
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return false };
    let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    matches!(ended, Ok(Some(_)))
}

/// Ends what this process started, and what that started, and forgets those that ended.
pub(crate) fn end_children(mark: &str) {
    if !has_children() {
        return;
    }
    let begun = Instant::now();
    kill_all(mark, || descendants(getpid()));
    while has_children() && begun.elapsed() < PATIENCE {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            // A process that the system holds takes its time.
            Ok(None) => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Ends all processes that inherited the mark, an entry `NAME=value` of the environment, but this one.
pub(crate) fn kill_marked(mark: &str) {
    kill_all(mark, BTreeSet::new);
}

fn kill_all(mark: &str, others: impl Fn() -> BTreeSet<i32>) {
    // What is started while the others are looked for is found in the next round.
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

/// Whether a process runs, and has not just left its exit code for its parent.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

/// Processes of this user with that entry in their environment. None where the system has no `/proc`.
fn marked(mark: &str) -> BTreeSet<i32> {
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_mark).collect()
}

/// Children of a process, and theirs, as far as the system tells.
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
        // A grandchild in a session of its own, and a child.
        command.args(["-c", "setsid sleep 1000 & sleep 1000"]).env(name, value).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        while marked(&mark).len() < 3 {
            thread::sleep(Duration::from_millis(2));
        }
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descendants(getpid()).contains(&pid));
        kill_marked(&mark);
        child.wait().unwrap();
        let begun = Instant::now();
        while marked(&mark).into_iter().any(is_alive) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?} go on", marked(&mark));
        }
    }
}
