//! Measures the memory of instances, and kills instances. Both apply to a process and all its descendants, which are
//! read from `/proc`. On systems without `/proc`, memory is not limited, and descendants in other process groups stay
//! alive.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Pause between two measurements of memory. It is longer if measuring would take more than a tenth of the time.
const INTERVAL: Duration = Duration::from_millis(20);

/// The process of an instance and its descendants. The process leads its own session, so that a descendant is found
/// even after its parent has ended.
pub(super) struct Tree {
    root: i32,
    limit: u64,
    peak: AtomicU64,
    over: AtomicBool,
    busy: AtomicBool,
    ended: AtomicBool,
}

impl Tree {
    /// Returns the highest measured memory, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Whether it was killed because it exceeded its memory limit.
    pub(super) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Measures the memory of the first process only, for calls that are too short for the other measurements.
    pub(super) fn look(&self) {
        let memory = Memory::of(self.root);
        self.peak.fetch_max(memory.own + memory.shared, Ordering::Relaxed);
    }
}

/// Watches all trees on one thread.
pub(super) struct Meter {
    state: Mutex<State>,
    busy: AtomicUsize,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    trees: HashMap<i32, Arc<Tree>>,
    stopped: bool,
}

impl Meter {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let meter = Arc::new(Self { state: Mutex::default(), busy: AtomicUsize::new(0), wake: Condvar::new() });
        let watching = meter.clone();
        std::thread::Builder::new().name("memory".to_owned()).spawn(move || watching.watch())?;
        Ok(meter)
    }

    /// Adds a tree. Its memory is measured while it is busy.
    pub(super) fn register(&self, root: i32, limit: u64) -> Arc<Tree> {
        let (peak, over, busy, ended) = Default::default();
        let tree = Arc::new(Tree { root, limit, peak, over, busy, ended });
        let mut state = self.state();
        state.trees.insert(root, tree.clone());
        let stopped = state.stopped;
        drop(state);
        if stopped {
            self.end([&*tree]);
        }
        tree
    }

    pub(super) fn busy(&self, tree: &Tree, busy: bool) {
        if tree.busy.swap(busy, Ordering::Relaxed) == busy {
            return;
        }
        if !busy {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        } else if self.busy.fetch_add(1, Ordering::Relaxed) == 0 {
            // With the lock held, so that the watching thread cannot start to wait between its check and this.
            let _state = self.state();
            self.wake.notify_one();
        }
    }

    /// Kills these trees and removes them.
    pub(super) fn end<'a>(&self, trees: impl IntoIterator<Item = &'a Tree>) {
        let mut roots = Vec::new();
        for tree in trees {
            self.busy(tree, false);
            if !tree.ended.swap(true, Ordering::Relaxed) {
                self.state().trees.remove(&tree.root);
                roots.push(tree.root);
            }
        }
        kill(&roots);
    }

    /// Kills all trees, including those that are registered later.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let trees: Vec<_> = state.trees.values().cloned().collect();
        drop(state);
        self.wake.notify_one();
        self.end(trees.iter().map(|tree| &**tree));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        loop {
            let mut state = self.state();
            while !state.stopped && self.busy.load(Ordering::Relaxed) == 0 {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            let busy: HashMap<_, _> = (state.trees.iter())
                .filter(|(_, tree)| tree.busy.load(Ordering::Relaxed))
                .map(|(root, tree)| (*root, tree.clone()))
                .collect();
            drop(state);
            let start = Instant::now();
            measure(&busy);
            std::thread::sleep(INTERVAL.max(start.elapsed() * 9));
        }
    }
}

fn measure(trees: &HashMap<i32, Arc<Tree>>) {
    let mut memory: HashMap<i32, Memory> = HashMap::new();
    for (pid, root) in members(|pid| trees.contains_key(&pid)) {
        let process = Memory::of(pid);
        let sum = memory.entry(root).or_default();
        sum.own += process.own;
        sum.shared = sum.shared.max(process.shared);
    }
    let mut over = Vec::new();
    for (root, tree) in trees {
        let Some(memory) = memory.get(root) else { continue };
        let bytes = memory.own + memory.shared;
        tree.peak.fetch_max(bytes, Ordering::Relaxed);
        if bytes > tree.limit && !tree.over.swap(true, Ordering::Relaxed) {
            over.push(*root);
        }
    }
    kill(&over);
}

/// Kills all processes of these trees, including those that are started in the meantime.
fn kill(roots: &[i32]) {
    #[cfg(not(target_os = "linux"))]
    for root in roots.iter().copied().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(root, Signal::KILL);
    }
    let mut killed: Vec<i32> = Vec::new();
    for _ in 0..if roots.is_empty() { 0 } else { 5 } {
        let found: Vec<_> = members(|pid| roots.contains(&pid)).map(|(pid, _)| pid).collect();
        if found.iter().all(|pid| killed.contains(pid)) {
            break;
        }
        for &pid in &found {
            if let Some(pid) = Pid::from_raw(pid) {
                // An error means that the process has just ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        killed.extend(found);
    }
}

/// Resident memory of a process, in bytes. Shared pages, of a program's file or of shared memory, are mostly the same
/// in all processes of a tree, so they count once.
#[derive(Default)]
struct Memory {
    own: u64,
    shared: u64,
}

impl Memory {
    /// Returns zero if the process has ended.
    fn of(pid: i32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let mut pages = text.split(' ').skip(1).map(|field| field.parse().unwrap_or(0));
        let (resident, shared): (u64, u64) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        let page = rustix::param::page_size() as u64;
        Self { own: resident.saturating_sub(shared) * page, shared: shared * page }
    }
}

/// The properties of a process in `/proc`.
struct Process {
    parent: i32,
    session: i32,
}

/// Returns the live processes that belong to a root, each with its root.
fn members(is_root: impl Fn(i32) -> bool) -> impl Iterator<Item = (i32, i32)> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid
            && let Some(process) = process(pid)
        {
            found.insert(pid, process);
        }
    }
    let root_of = |pid: i32| {
        let mut at = pid;
        // Limited because `/proc` is not read atomically, so that parents might appear to form a cycle.
        for _ in 0..64 {
            if is_root(at) {
                return Some((pid, at));
            }
            let process = found.get(&at)?;
            if is_root(process.session) {
                return Some((pid, process.session));
            }
            at = process.parent;
        }
        None
    };
    found.keys().filter_map(|&pid| root_of(pid)).collect::<Vec<_>>().into_iter()
}

/// Reads a process from `/proc`. Returns `None` if it has ended, even if its parent has not waited for it.
fn process(pid: i32) -> Option<Process> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain any character.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (!["Z", "X"].contains(&state)).then_some(Process { parent, session })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_tree_ends_with_all_its_descendants() {
        // The grandchild leads a process group of its own.
        let script = "set -m; sh -c 'sleep 1000 & wait' & wait";
        let mut child = Command::new("bash").args(["-c", script]).spawn().unwrap();
        let root = i32::try_from(child.id()).unwrap();
        let of = || members(|pid| pid == root).map(|(pid, _)| pid).collect::<Vec<_>>();
        let deadline = Instant::now() + Duration::from_secs(60);
        while of().len() < 3 {
            assert!(Instant::now() < deadline, "{:?}", of());
            std::thread::sleep(Duration::from_millis(5));
        }
        let all = of();
        kill(&[root]);
        child.wait().unwrap();
        while all.iter().any(|&pid| process(pid).is_some()) {
            assert!(Instant::now() < deadline, "some processes are still alive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
