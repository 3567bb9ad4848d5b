//! Supervises worker processes: one thread per pool forwards their output, records how they end, and kills the
//! processes that they leave behind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use rustix::process::{Pid, Signal, kill_process_group};

use super::output::{Label, Output, Pipe};
use crate::attempt::{BatchId, OutputSink};
use crate::backend::local::shm::Region;
use crate::error::Failure;
use crate::platform::{self, Notifier, ProcessMemory};
use crate::terminal::{self, Stream};

/// Interval between checks whether a worker has ended, if the system does not report it, and whether the terminal has
/// room again.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Time that a worker has to end by itself before it is killed.
const EXIT_WITHIN: Duration = Duration::from_millis(50);

/// How a worker ended.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    /// `None` if the program has taken the status: it ignores SIGCHLD, or waits for all its children.
    status: Option<ExitStatus>,
    pub(super) peak_memory: u64,
    /// The end of its standard error.
    stderr: String,
}

impl Exit {
    pub(super) fn failure(&self) -> Failure {
        let signal = self.status.and_then(|status| status.signal());
        Failure::WorkerDied { signal, exit_code: self.status.and_then(|status| status.code()) }
    }

    /// Whether it aborted, for example because of a panic that could not unwind.
    pub(super) fn was_aborted(&self) -> bool {
        self.status.is_some_and(|status| status.signal() == Some(Signal::ABORT.as_raw()))
    }

    /// Whether it was killed by SIGKILL, so it did not end by itself.
    pub(super) fn was_killed(&self) -> bool {
        self.status.is_some_and(|status| status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Describes the end; the text follows a subject.
    pub(super) fn describe(&self) -> String {
        let status = self.status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string());
        match self.stderr.trim() {
            "" => format!("ended with {status}"),
            stderr => format!("ended with {status} and printed to standard error: {stderr}"),
        }
    }
}

#[derive(Debug)]
struct ChildProcess {
    child: Child,
    /// From then on, its process id may belong to another process.
    was_waited_for: bool,
}

/// A supervised worker process.
#[derive(Debug)]
pub(super) struct Supervised {
    process: Mutex<ChildProcess>,
    /// The entry of the environment that identifies the processes that its functions started.
    mark: String,
    /// Reads its memory.
    pub(super) memory: ProcessMemory,
    region: Region,
    output: Mutex<Output>,
    /// Whether it has ever printed anything.
    printed: AtomicBool,
    /// How it ended, if it has.
    exit: OnceLock<Exit>,
    /// When it is killed if it has not ended by then.
    kill_at: Mutex<Option<Instant>>,
    mailbox: Arc<Mailbox>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent between any two statements, even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervised {
    pub(super) fn label(&self, slot: usize, label: Label) {
        lock(&self.output).label(slot, label);
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exit.get().is_some()
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.get().cloned()
    }

    /// Returns the end of a task's standard error.
    pub(super) fn tail(&self, batch_id: BatchId, task: u64) -> String {
        lock(&self.output).tail(batch_id, task)
    }

    /// Ends the worker and the processes that its functions started. The worker does so itself when its socket is
    /// closed, even if the driver is gone by then. If it cannot, the supervisor kills it.
    pub(super) fn kill(&self, socket: &OwnedFd) {
        let _ = rustix::net::shutdown(socket, Shutdown::Both);
        lock(&self.kill_at).get_or_insert(Instant::now() + EXIT_WITHIN);
        self.mailbox.alarm.notify_always();
    }

    fn kill_at(&self) -> Option<Instant> {
        *lock(&self.kill_at)
    }

    fn kill_now(&self) {
        let mut process = lock(&self.process);
        if !process.was_waited_for {
            kill_group(&process.child);
            let _ = process.child.kill();
        }
    }

    /// Prints the unfinished lines of a batch. When this returns, all output of the batch so far is on its way to the
    /// terminal. Discards the kept standard error of its tasks before `first_kept`, which is not needed any more.
    pub(super) fn finish_lines(&self, batch_id: BatchId, first_kept: u64) {
        // The supervisor reads the output of a task before the worker sends the result.
        if self.printed.load(Ordering::Acquire) {
            lock(&self.output).finish_lines(batch_id, first_kept);
        }
    }

    /// Records how the worker ended, if it has. Returns whether it has ended.
    fn note_end(&self, pipes: &mut [Pipe; 2]) -> bool {
        let peak_memory = self.memory.peak();
        let status = {
            let mut process = lock(&self.process);
            // Until an ended process is waited for, no other process group can have its number.
            if platform::has_ended(process.child.id()) {
                kill_group(&process.child);
            }
            let status = match process.child.try_wait() {
                Ok(Some(status)) => Some(status),
                Ok(None) => return false,
                Err(_) => None,
            };
            process.was_waited_for = true;
            status
        };
        platform::kill_marked(&self.mark);
        pipes.iter_mut().filter(|pipe| !pipe.ended).for_each(|pipe| self.take(pipe, true));
        let stderr = lock(&self.output).last_tail();
        // Set only once: the thread stops watching a worker that has ended.
        let _ = self.exit.set(Exit { status, peak_memory, stderr });
        true
    }

    /// Reads the available output and prints it. The lock is held from before the bytes leave the pipe until they are
    /// passed on and kept in the tail, because the worker goes on as soon as the pipe is empty.
    fn take(&self, pipe: &mut Pipe, all: bool) {
        let mut output = lock(&self.output);
        self.printed.store(true, Ordering::Release);
        output.take(pipe, &self.region, all);
    }
}

fn kill_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The thread that supervises all workers of a pool. It ends after this handle is dropped and all workers have ended.
#[derive(Debug)]
pub(super) struct Supervisor(Arc<Mailbox>);

#[derive(Debug)]
struct Mailbox {
    new: Mutex<Vec<Watched>>,
    closed: AtomicBool,
    /// Wakes the supervising thread.
    alarm: Notifier,
    /// Wakes the owner of the pool.
    notifier: Notifier,
}

/// A worker, and its descriptors that the thread watches.
#[derive(Debug)]
struct Watched {
    worker: Arc<Supervised>,
    pipes: [Pipe; 2],
    /// Readable when the worker has ended; `None` if the system has no such descriptors.
    end: Option<OwnedFd>,
}

impl Supervisor {
    pub(super) fn start(notifier: Notifier) -> io::Result<Self> {
        let (new, closed) = (Mutex::default(), AtomicBool::new(false));
        let mailbox = Arc::new(Mailbox { new, closed, alarm: Notifier::new()?, notifier });
        let this = mailbox.clone();
        thread::Builder::new().name("wren-supervisor".into()).stack_size(256 << 10).spawn(move || this.run())?;
        Ok(Self(mailbox))
    }

    /// Supervises a worker from now on.
    pub(super) fn supervise(
        &self,
        mut child: Child,
        mark: String,
        region: Region,
        number: u32,
        lines: OutputSink,
    ) -> io::Result<Arc<Supervised>> {
        let not_a_pipe = || io::Error::other("the worker's output is not a pipe");
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(not_a_pipe)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(not_a_pipe)?);
        let pid = child.id();
        let end = i32::try_from(pid).ok().and_then(Pid::from_raw).and_then(platform::end_of_process);
        let worker = Arc::new(Supervised {
            process: Mutex::new(ChildProcess { child, was_waited_for: false }),
            mark,
            memory: ProcessMemory::of(pid),
            region,
            output: Mutex::new(Output::new(number, lines)),
            printed: AtomicBool::new(false),
            exit: OnceLock::new(),
            kill_at: Mutex::new(None),
            mailbox: self.0.clone(),
        });
        let pipes = [Pipe::new(stdout, Stream::Out), Pipe::new(stderr, Stream::Err)];
        lock(&self.0.new).push(Watched { worker: worker.clone(), pipes, end });
        self.0.alarm.notify_always();
        Ok(worker)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.alarm.notify_always();
    }
}

impl Mailbox {
    fn run(&self) {
        let mut watched: Vec<Watched> = Vec::new();
        loop {
            self.alarm.set_asleep();
            watched.append(&mut lock(&self.new));
            if watched.is_empty() && self.closed.load(Ordering::Acquire) {
                return;
            }
            let ready = self.wait(&watched);
            let mut indices = 0..;
            watched.retain_mut(|one| {
                let index = indices.next();
                let of_one = ready.iter().filter(|(of, _)| Some(*of) == index).map(|(_, source)| *source);
                one.kill_if_due();
                one.handle(of_one) || {
                    self.notifier.notify();
                    false
                }
            });
        }
    }

    /// Waits until a worker has printed something or has ended. Returns the sources that are ready, each with the index
    /// of its worker.
    fn wait(&self, watched: &[Watched]) -> Vec<(usize, Source)> {
        let mut sources = Vec::with_capacity(3 * watched.len());
        let mut fds = vec![];
        fds.extend(self.alarm.sleeper().map(|alarm| PollFd::from_borrowed_fd(alarm, PollFlags::IN)));
        let offset = fds.len();
        let (mut must_check_ends, mut must_check_terminal) = (false, false);
        for (index, one) in watched.iter().enumerate() {
            let mut add = |fd, source| {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                sources.push((index, source));
            };
            // A closed pipe would always be ready.
            for (pipe, source) in one.pipes.iter().zip([Source::Out, Source::Err]).filter(|(pipe, _)| !pipe.ended) {
                // While the terminal is slow, the worker waits.
                match terminal::has_room(pipe.stream) {
                    true => add(pipe.fd(), source),
                    false => must_check_terminal = true,
                }
            }
            match &one.end {
                Some(end) => add(end.as_fd(), Source::End),
                None => must_check_ends = true,
            }
        }
        let now = Instant::now();
        let kills = watched.iter().filter_map(|one| Some(one.worker.kill_at()?.saturating_duration_since(now)));
        let limit = kills.chain((must_check_ends || must_check_terminal).then_some(CHECK_EVERY)).min();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        // An interrupted wait only ends early.
        let _ = poll(&mut fds, limit.as_ref());
        let mut ready: Vec<_> = fds[offset..]
            .iter()
            .zip(sources)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, source)| source)
            .collect();
        if must_check_ends {
            ready.extend((0..watched.len()).filter(|index| watched[*index].end.is_none()).map(|i| (i, Source::End)));
        }
        self.alarm.clear();
        ready
    }
}

/// A watched descriptor of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Out,
    Err,
    End,
}

impl Watched {
    fn kill_if_due(&self) {
        let now = Instant::now();
        if self.worker.kill_at().is_some_and(|at| at <= now) {
            self.worker.kill_now();
            // A process that waits in the kernel ends only after that wait.
            *lock(&self.worker.kill_at) = Some(now + Duration::from_secs(1));
        }
    }

    /// Handles the sources that are ready. Returns whether the worker still runs.
    fn handle(&mut self, ready: impl Iterator<Item = Source>) -> bool {
        for source in ready {
            match source {
                Source::Out => self.worker.take(&mut self.pipes[0], false),
                Source::Err => self.worker.take(&mut self.pipes[1], false),
                Source::End => {
                    if self.worker.note_end(&mut self.pipes) {
                        return false;
                    }
                }
            }
        }
        true
    }
}
