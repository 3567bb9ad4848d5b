//! The driver's side of one worker process: its start, its batches, and its limits.

mod reports;

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::CHECK_EVERY;
use super::epoch::Epoch;
use super::memory::{WatchedMemory, note_unenforced_limit};
use super::outbox::{Outbox, SentLarge};
use super::output::Label;
use super::program::{self, Surroundings, ended_before, send_handshake};
use crate::attempt::{Batch, BatchId, OutputSink, Reply, RunningTask};
use crate::backend::local::shm::{Reader, Region, SLOTS};
use crate::backend::local::supervisor::{Exit, Supervised, Supervisor};
use crate::backend::local::worker::ENV;
use crate::codec::Aligned;
use crate::error::Failure;
use crate::function::Limits;
use crate::history::spans;
use crate::platform::{self, Notifier, SleepFlag, monotonic};

/// Time that a cancelled task may continue before its worker is killed. Starting another worker costs a few
/// milliseconds, so a short task may as well end by itself.
const GRACE: Duration = Duration::from_millis(10);

/// Time that a worker's program may take until it accepts batches. Loading it from a remote file system takes seconds.
pub(super) const START_LIMIT: Duration = Duration::from_secs(20);

/// A worker process and its batches.
pub(super) struct Process {
    number: u32,
    epoch: Epoch,
    /// When its program was started.
    spawned: Duration,
    region: Region,
    reader: Reader,
    socket: OwnedFd,
    supervised: Arc<Supervised>,
    batches: Vec<SentBatch>,
    outbox: Outbox,
    /// Parts that have arrived before the frame that they belong to.
    parts: Aligned,
    /// Why the driver killed it, if it did.
    kill_reason: Option<Failure>,
    /// The batch that ran at the last check, and the number of its tasks that were claimed.
    watched: Option<(BatchId, u64)>,
    /// When `watched` last changed.
    watched_since: Duration,
    next_check: Duration,
    /// The task that ran when [`running`](Self::running) was last called.
    observed: Option<RunningTask>,
    memory: WatchedMemory,
    /// The large arguments that were sent for a batch whose tasks were all taken back, until a batch of its job is
    /// reported.
    unreported_large: Option<(Arc<str>, SentLarge)>,
    is_retiring: bool,
    /// Number of calls that it was given.
    calls: u64,
    last_active: Duration,
    /// Whether it has not been given a batch yet.
    is_new: bool,
    /// Whether it was killed because it did not accept batches in time.
    is_late: bool,
}

/// A batch that was sent to the worker.
struct SentBatch {
    batch: Batch,
    slot: usize,
    /// When it started to wait for a worker.
    waited_since: Duration,
    /// Whether it is the first batch of this worker.
    cold: bool,
    /// The large arguments that were sent for it, until they are reported.
    sent_large: SentLarge,
    /// When the worker finished the batch before it.
    free: Duration,
    /// The next task that the worker will report. It reports tasks in order.
    next: u64,
    /// The end of its tasks, which decreases when tasks are taken back.
    end: u64,
    /// When the worker is killed if the batch was cancelled and still runs.
    kill_at: Option<Duration>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({} with {} batches)", self.number, self.batches.len())
    }
}

impl Process {
    pub(super) fn start(
        number: u32,
        notifier: &Notifier,
        supervisor: &Supervisor,
        epoch: Epoch,
        lines: &OutputSink,
        share_mb: u32,
        surroundings: &Surroundings,
    ) -> io::Result<Self> {
        let region = Region::new()?;
        let (ours, theirs) = platform::socket_pair()?;
        // The random part identifies the processes that its functions start.
        let name = format!("{number}.{:016x}.{}", platform::random(), std::process::id());
        let child = program::start(&name, theirs, surroundings)?;
        let spawned = epoch.time(monotonic());
        let supervised = supervisor.supervise(child, format!("{ENV}={name}"), region.clone(), number, lines.clone())?;
        // If it has already ended, the supervisor reports how.
        let handshake = send_handshake(&ours, &region, notifier);
        if !ended_before(&handshake) {
            handshake.inspect_err(|_| supervised.kill(&ours))?;
        }
        Ok(Self {
            number,
            epoch,
            spawned,
            outbox: Outbox::new(&region),
            reader: Reader::new(&region, false),
            region,
            socket: ours,
            supervised,
            batches: Vec::new(),
            parts: Aligned::default(),
            kill_reason: None,
            watched: None,
            watched_since: Duration::ZERO,
            next_check: Duration::ZERO,
            observed: None,
            memory: WatchedMemory::new(share_mb),
            unreported_large: None,
            is_retiring: false,
            calls: 0,
            last_active: spawned,
            is_new: true,
            is_late: false,
        })
    }

    /// Returns the number of batches that it holds.
    pub(super) fn load(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn last_active(&self) -> Duration {
        self.last_active
    }

    pub(super) fn was_ready(&self) -> bool {
        self.region.ready_since().is_some()
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    pub(super) fn has_exited(&self) -> bool {
        self.supervised.has_exited()
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.supervised.exit()
    }

    /// Sends a batch that has waited since `since`. [`load`](Self::load) must be less than [`SLOTS`].
    pub(super) fn launch(&mut self, batch: Batch, since: Duration, now: Duration) {
        note_unenforced_limit(batch.block.limits().memory_mb, &self.supervised.memory);
        let taken = |slot: &usize| self.batches.iter().any(|sent| sent.slot == *slot);
        let slot = (0..SLOTS).find(|slot| !taken(slot)).unwrap_or(0);
        let Range { start, end } = batch.tasks;
        self.calls = self.calls.saturating_add(end - start);
        self.region.cursor(slot).reset((end - start) as u32);
        self.supervised.label(slot, Label::new(&batch));
        let sent_large = self.outbox.send(&batch, slot);
        if self.batches.is_empty() {
            self.watched_since = now;
            self.watched = None;
        }
        let cold = std::mem::take(&mut self.is_new);
        self.batches.push(SentBatch {
            batch,
            slot,
            waited_since: since,
            cold,
            sent_large,
            free: Duration::ZERO,
            next: start,
            end,
            kill_at: None,
        });
        self.last_active = now;
        self.write();
    }

    /// Writes waiting messages to the ring, as far as there is room, and wakes the worker.
    pub(super) fn write(&mut self) {
        self.outbox.write(&self.socket, &self.region.driver_wants_room());
        self.wake(&self.region.worker_asleep());
    }

    fn wake(&self, worker: &SleepFlag<'_>) {
        if worker.is_announced() && worker.take() {
            // If the worker is gone, the supervisor reports it.
            platform::wake_socket(&self.socket);
        }
    }

    /// Takes back the later half of the unclaimed tasks of a running batch, or all tasks of a waiting batch.
    pub(super) fn take_back(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        let Some(sent) = self.batches.iter_mut().find(|sent| sent.batch.id == batch_id) else { return };
        sent.take_back(&self.region, active == Some(sent.slot), replies);
    }

    /// Takes back the batches that wait behind the running one.
    pub(super) fn take_back_waiting(&mut self, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        for sent in self.batches.iter_mut().skip(1) {
            if active != Some(sent.slot) {
                sent.take_back(&self.region, false, replies);
            }
        }
    }

    pub(super) fn cancel(&mut self, batch_id: BatchId, now: Duration) {
        if let Some(sent) = self.batches.iter_mut().find(|sent| sent.batch.id == batch_id) {
            sent.take_back(&self.region, false, &mut Vec::new());
            sent.kill_at.get_or_insert(now + GRACE);
        }
    }

    /// Kills the worker if its running task has exceeded a limit or was cancelled, or if it does not accept batches in
    /// time. Returns whether it must be checked again.
    pub(super) fn check(&mut self, now: Duration) -> bool {
        if !self.was_ready() {
            if now.saturating_sub(self.spawned) > START_LIMIT {
                self.is_late = true;
                self.supervised.kill(&self.socket);
            }
            return true;
        }
        let active = self.region.active();
        let Some(sent) = self.batches.iter().find(|sent| active == Some(sent.slot)) else {
            return self.batches.iter().any(SentBatch::is_limited);
        };
        if !sent.is_limited() {
            return false;
        }
        if now < self.next_check {
            return true;
        }
        self.next_check = now + CHECK_EVERY;
        let (claimed, _) = self.region.cursor(sent.slot).read();
        let running = (sent.batch.id, u64::from(claimed));
        if self.watched != Some(running) {
            self.watched = Some(running);
            self.watched_since = now;
        }
        let kill_reason = if sent.kill_at.is_some_and(|at| now >= at) {
            Some(Failure::Cancelled)
        } else {
            let limits = sent.batch.block.limits();
            self.over_limit(limits, now)
        };
        if let Some(kill_reason) = kill_reason {
            self.stop_for(kill_reason);
        }
        true
    }

    /// Returns the task that runs. It has run since its batch started if it is the batch's first one. When a later task
    /// started is unknown to the driver, so it counts from the first call that sees it.
    pub(super) fn running(&mut self, now: Duration) -> Option<RunningTask> {
        let active = self.region.active();
        let sent = self.batches.iter().find(|sent| active == Some(sent.slot))?;
        let (claimed, _) = self.region.cursor(sent.slot).read();
        let task = sent.batch.tasks.start.checked_add(u64::from(claimed.checked_sub(1)?))?;
        let seen = self.observed.filter(|before| (before.batch_id, before.task) == (sent.batch.id, task));
        let since = match (seen, claimed) {
            (Some(before), _) => before.since,
            (None, 1) => sent.free.max(sent.waited_since.saturating_add(self.setup(sent))),
            (None, _) => now,
        };
        self.observed = Some(RunningTask { batch_id: sent.batch.id, task, since });
        self.observed
    }

    /// Kills the worker. Its running task fails with `kill_reason`.
    pub(super) fn stop_for(&mut self, kill_reason: Failure) {
        if self.kill_reason.is_none() {
            self.kill_reason = Some(kill_reason);
            self.supervised.kill(&self.socket);
        }
    }

    /// Returns the memory in use now, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.supervised.memory.now()
    }

    /// Returns the failure if the running task has exceeded its time or its memory.
    fn over_limit(&mut self, limits: Limits, now: Duration) -> Option<Failure> {
        if let Some(limit) = limits.timeout.filter(|limit| now - self.watched_since > *limit) {
            return Some(Failure::TimedOut { limit });
        }
        let limit_mb = limits.memory_mb?;
        // The values that it has mapped are the driver's memory.
        let before = || {
            let baseline = self.region.baseline().load(Ordering::Acquire);
            baseline.saturating_add(Region::size()).saturating_add(self.outbox.mapped())
        };
        self.memory.over_limit(&self.supervised.memory, limit_mb, before, now)
    }

    /// Accepts no more batches, and ends when the current ones are done.
    pub(super) fn retire(&mut self) {
        self.is_retiring = true;
        if self.batches.is_empty() {
            self.supervised.kill(&self.socket);
        }
    }

    /// Returns the number of calls that it was given.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether it accepts no more batches.
    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A worker that exports spans is not killed: it sends them after its socket is closed, and then ends.
        if !spans::are_exported() {
            self.supervised.kill(&self.socket);
        }
    }
}

impl SentBatch {
    fn take_back(&mut self, region: &Region, half: bool, replies: &mut Vec<Reply>) {
        let taken = region.cursor(self.slot).take_back(half);
        let start = self.batch.tasks.start;
        // If the end is another one, or the tasks have run, a function overwrote the cursor. The worker's reports will
        // show that.
        let fits = start + u64::from(taken.end) == self.end && start + u64::from(taken.start) >= self.next;
        if !taken.is_empty() && fits {
            self.end = start + u64::from(taken.start);
            let tasks = self.end..start + u64::from(taken.end);
            replies.push(Reply::Returned { batch_id: self.batch.id, tasks });
        }
    }

    fn is_limited(&self) -> bool {
        let limits = self.batch.block.limits();
        self.kill_at.is_some() || limits.timeout.is_some() || limits.memory_mb.is_some()
    }
}
