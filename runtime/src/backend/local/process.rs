//! The driver's side of one worker process.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::memory::{WatchedMemory, note_unenforced_limit};
use super::outbox::Outbox;
use super::program::{self, Surroundings, ended_before, send_handshake};
use super::{CHECK_EVERY, Epoch};
use crate::attempt::{Batch, BatchId, OutputSink, Reply, Results, Timing};
use crate::backend::local::shm::{FailedTask, Reader, Region, ResultsHeader, SLOTS, WorkerTimes, kind, length};
use crate::backend::local::supervisor::{Exit, Label, Supervised, Supervisor};
use crate::backend::local::worker::ENV;
use crate::codec::{self, Aligned};
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
    /// Since when `watched` has not changed.
    watched_since: Duration,
    next_check: Duration,
    memory: WatchedMemory,
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
    /// Since when it waited for a worker.
    waited_since: Duration,
    /// Whether it is the first batch of this worker.
    cold: bool,
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
            memory: WatchedMemory::new(share_mb),
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
        self.outbox.send(&batch, slot);
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
            platform::nudge(&self.socket);
        }
    }

    /// Handles all frames that have arrived.
    pub(super) fn read(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        while let Some(frame) = self.reader.peek() {
            match frame.kind {
                kind::LENGTH => {
                    let (len, align) = length(frame.body);
                    self.parts = Aligned::with_capacity(align, len);
                }
                kind::PART => self.parts.extend_from_slice(frame.body),
                kind::RESULTS => {
                    let header = ResultsHeader::read(frame.body);
                    let Some((header, start)) = header.zip(frame.body.get(ResultsHeader::LEN..)) else {
                        return self.stop_for(unreadable());
                    };
                    let results = Results::apart(start.to_vec(), std::mem::take(&mut self.parts));
                    self.reader.advance();
                    self.ran(header, results, now, replies);
                    continue;
                }
                kind::FAILED => {
                    let Ok(failed) = codec::decode::<FailedTask>(frame.body) else {
                        return self.stop_for(unreadable());
                    };
                    self.reader.advance();
                    self.failed(failed, replies);
                    continue;
                }
                _ => return self.stop_for(unreadable()),
            }
            self.reader.advance();
        }
        if self.reader.is_broken() {
            return self.stop_for(unreadable());
        }
        self.wake(&self.region.worker_wants_room());
    }

    /// Converts the times that the worker measured for a batch.
    fn timing(&self, times: &WorkerTimes, sent: &SentBatch) -> Timing {
        let WorkerTimes { started, fetched, began, compute, commit } = *times;
        Timing {
            started: self.epoch.time(started),
            free: sent.free,
            setup: self.setup(sent),
            cold: sent.cold,
            fetch: Duration::from_nanos(fetched.saturating_sub(started)),
            turn: Duration::from_nanos(began.saturating_sub(fetched)),
            compute: Duration::from_nanos(compute),
            commit: Duration::from_nanos(commit),
            worker: self.number,
            ..Timing::default()
        }
    }

    /// Estimates the times of a batch whose worker cannot report them any more, from the last change that the driver
    /// saw.
    fn last_known(&self, sent: &SentBatch, now: Duration) -> WorkerTimes {
        let since = self.watched_since.max(sent.waited_since + self.setup(sent));
        let began = self.epoch.at(since);
        let compute = now.saturating_sub(since).as_nanos() as u64;
        WorkerTimes { started: began, fetched: began, began, compute, commit: 0 }
    }

    /// Returns how long the batch waited for the worker's program to start.
    fn setup(&self, sent: &SentBatch) -> Duration {
        let ready = self.region.ready_since().filter(|_| sent.cold);
        ready.map_or(Duration::ZERO, |at| self.epoch.time(at).saturating_sub(self.spawned.max(sent.waited_since)))
    }

    /// Handles results of consecutive tasks.
    fn ran(&mut self, header: ResultsHeader, results: Results, now: Duration, replies: &mut Vec<Reply>) {
        self.last_active = now;
        let (count, last) = (header.count & !ResultsHeader::LAST, header.count & ResultsHeader::LAST != 0);
        let Some(index) = self.batches.iter().position(|sent| sent.batch.id == header.batch_id) else {
            return self.stop_for(unreadable());
        };
        let mut timing = self.timing(&header.times, &self.batches[index]);
        let sent = &mut self.batches[index];
        let tasks = header.first..header.first.saturating_add(count);
        // The worker reports all tasks in order, and none that was taken back.
        if count > 0 && (tasks.start != sent.next || tasks.end > sent.end) {
            return self.stop_for(unreadable());
        }
        self.supervised.finish_lines(header.batch_id, tasks.end);
        if count > 0 {
            sent.next = tasks.end;
            if sent.kill_at.is_none() {
                timing.peak_memory = self.memory.peak(&self.supervised.memory, now);
                replies.push(Reply::Done { batch_id: header.batch_id, tasks, results, timing });
            }
        }
        if last && self.batches[index].next != self.batches[index].end {
            // The worker has finished the batch without reporting all of its tasks.
            return self.stop_for(unreadable());
        }
        if last {
            let limits = self.batches.remove(index).batch.block.limits();
            let WorkerTimes { began, compute, commit, .. } = header.times;
            let free = self.epoch.time(began.saturating_add(compute).saturating_add(commit));
            if let Some(next) = self.batches.first_mut() {
                next.free = free;
            }
            self.watched = None;
            self.watched_since = now;
            self.is_retiring |= self.memory.has_grown(&self.supervised.memory, limits.memory_mb, now);
            if self.is_retiring {
                self.retire();
            }
        }
    }

    /// Handles the failure of one task.
    fn failed(&mut self, failed: FailedTask, replies: &mut Vec<Reply>) {
        let FailedTask { batch_id: id, task, failure, times } = failed;
        let index = self.batches.iter().position(|sent| sent.batch.id == id);
        let Some(index) = index.filter(|index| task == self.batches[*index].next && task < self.batches[*index].end)
        else {
            return self.stop_for(unreadable());
        };
        let timing = self.timing(&times, &self.batches[index]);
        let sent = &mut self.batches[index];
        sent.next = task + 1;
        if sent.kill_at.is_none() {
            self.supervised.finish_lines(id, task);
            let stderr = self.supervised.tail(id, task);
            replies.push(Reply::Failed { batch_id: id, task, failure, stderr, timing });
        }
    }

    /// Takes the results that a dead worker had written but not published.
    pub(super) fn read_unpublished(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        if self.reader.has_frame() || self.reader.is_broken() {
            // `read` has stopped at an invalid frame.
            return;
        }
        let (count, bytes) = self.region.open_results().get();
        let Some(slot) = self.region.active().filter(|_| count > 0) else { return };
        let Some(sent) = self.batches.iter().find(|sent| sent.slot == slot) else { return };
        let (id, first) = (sent.batch.id, sent.next);
        // The time since the last report counts for the task that was running when the worker died.
        let times = WorkerTimes { compute: 0, ..self.last_known(sent, now) };
        let body = self.reader.unpublished(ResultsHeader::LEN + bytes as usize);
        if let Some(results) = body.get(ResultsHeader::LEN..).filter(|r| r.len() == bytes as usize) {
            let header = ResultsHeader { batch_id: id, first, count: u64::from(count), times };
            let results = Results::packed(results.to_vec());
            self.ran(header, results, now, replies);
        }
    }

    /// Reports all remaining tasks of a dead worker: those that ran as failed, the others as returned.
    pub(super) fn settle(mut self, exit: &Exit, now: Duration, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        for sent in std::mem::take(&mut self.batches) {
            if sent.kill_at.is_some() {
                continue;
            }
            let id = sent.batch.id;
            let mut left = sent.next..sent.end;
            let (claimed, _) = self.region.cursor(sent.slot).read();
            let ran_one = sent.batch.tasks.start + u64::from(claimed) > left.start;
            if active == Some(sent.slot) && ran_one && !left.is_empty() {
                let failure = self.kill_reason.take().unwrap_or_else(|| self.failure_by(exit));
                let mut timing = self.timing(&self.last_known(&sent, now), &sent);
                timing.peak_memory = exit.peak_memory;
                // The tasks before the running one ran as well, but their results could not be read.
                let claimed_end = sent.batch.tasks.start.saturating_add(claimed.into());
                let at_most_once = sent.batch.block.limits().at_most_once;
                let end = if at_most_once { claimed_end.min(left.end) } else { left.start + 1 };
                for task in left.start..end {
                    let (failure, stderr) = (failure.clone(), self.supervised.tail(id, task));
                    replies.push(Reply::Failed { batch_id: id, task, failure, stderr, timing });
                }
                left.start = end;
            }
            if !left.is_empty() {
                replies.push(Reply::Returned { batch_id: id, tasks: left });
            }
        }
    }

    /// Returns the failure of the task that was running when the worker ended.
    fn failure_by(&self, exit: &Exit) -> Failure {
        let panic = if exit.was_aborted() { self.region.panic_record().get() } else { None };
        panic.map_or_else(
            || exit.failure(),
            |(message, location)| Failure::Panicked { message, location, backtrace: None },
        )
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

/// Returns the failure of a task whose worker sent an invalid message.
fn unreadable() -> Failure {
    Failure::Backend(
        "the worker sent an invalid message and was killed: a function wrote to memory that it does not own, or this \
         is a bug in wren"
            .to_owned(),
    )
}
