//! One worker process as the driver sees it.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{CHECK_EVERY, Epoch};
use crate::attempt::{Block, FlightId, Invocation, Lines, Reply, Results, Timing};
use crate::backend::local::shm::{
    BlobHeader, Clocked, FailedTask, FlightHeader, MAX_BODY, Reader, Region, RunHeader, SLOTS, Writer, kind, length,
    length_body,
};
use crate::backend::local::supervisor::{Exit, Label, Minded, Minder};
use crate::backend::local::worker::ENV;
use crate::codec::{self, Aligned};
use crate::error::Failure;
use crate::function::{Blob, Limits};
use crate::history::spans;
use crate::platform::{self, Bell, ProcessMemory, SharedBytes, monotonic};
use crate::terminal;
use std::sync::Once;

/// How long a cancelled task may go on before its worker is killed: starting another worker costs
/// a few milliseconds, so short tasks may as well end by themselves.
const GRACE: Duration = Duration::from_millis(10);

/// How often it is looked what processes that functions started hold: that costs as much for each.
const CHILDREN_EVERY: Duration = Duration::from_millis(50);

/// How long a worker's program may take until it takes flights. From a file system far away it takes seconds.
pub(super) const START_LIMIT: Duration = Duration::from_secs(20);

/// How often a worker's peak memory is read: that costs some microseconds.
const PEAK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Process {
    number: u32,
    epoch: Epoch,
    /// When its program was started.
    spawned: Duration,
    region: Region,
    writer: Writer,
    reader: Reader,
    socket: OwnedFd,
    minded: Arc<Minded>,
    flights: Vec<Flight>,
    outbox: VecDeque<Outgoing>,
    /// Parts that wait for the frame they belong to.
    parts: Aligned,
    /// Blobs the worker has.
    blobs: HashMap<u64, Weak<Blob>>,
    /// Why it was killed, if by us.
    verdict: Option<Failure>,
    /// What ran at the last check, and since when.
    watched: Option<(FlightId, u64)>,
    watched_since: Duration,
    next_check: Duration,
    peak_memory: u64,
    peak_known_until: Duration,
    /// What its functions' own processes hold.
    held_by_children: u64,
    children_known_until: Duration,
    /// What it may hold when it runs nothing, in MB: the most that any of its calls might, or else a share of the
    /// machine's memory.
    most_mb: u32,
    share_mb: u32,
    memory_known_until: Duration,
    is_retiring: bool,
    /// Calls that it was given.
    calls: u64,
    last_active: Duration,
    /// Whether it had no flight yet.
    is_new: bool,
    /// Whether it was killed because it did not come to take flights.
    is_late: bool,
}

struct Flight {
    invocation: Invocation,
    slot: usize,
    /// Since when it waited for a worker, and whether it was the first of this one.
    asked: Duration,
    cold: bool,
    /// When the worker was through with the one before.
    free: Duration,
    /// The next task to be reported; the worker reports in order.
    next: u64,
    /// Where it ends, which comes down when tasks are taken back.
    end: u64,
    /// When it is killed, if it was cancelled.
    kill_at: Option<Duration>,
}

/// Environment and working directory of the moment that the pool was made. A program that changes its own later does not
/// give some of its workers others than the rest.
#[derive(Debug)]
pub(super) struct Surroundings {
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn now() -> Self {
        Self { variables: std::env::vars_os().collect(), directory: std::env::current_dir().ok() }
    }

    fn give(&self, command: &mut Command) {
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        // One that was removed can be had no more; the worker then is where the program is.
        if let Some(directory) = self.directory.as_ref().filter(|directory| directory.is_dir()) {
            command.current_dir(directory);
        }
    }
}

/// What waits for room in the ring.
enum Outgoing {
    Frame(u32, Vec<u8>),
    /// A large value, of which so many bytes are sent.
    Blob(Arc<Blob>, usize),
    /// One that the worker maps, and whether its descriptor is sent.
    Shared(Arc<Blob>, bool),
    /// Arguments of tasks, of which so many bytes are sent.
    Args(Arc<Block>, Range<u64>, usize),
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({} with {} flights)", self.number, self.flights.len())
    }
}

impl Process {
    pub(super) fn start(
        number: u32,
        bell: &Bell,
        minder: &Minder,
        epoch: Epoch,
        lines: &Lines,
        share_mb: u32,
        surroundings: &Surroundings,
    ) -> io::Result<Self> {
        let region = Region::new()?;
        let (ours, theirs) = platform::socket_pair()?;
        let mut command = Command::new(platform::own_program()?);
        let mut args = std::env::args_os();
        command.arg0(args.next().unwrap_or_else(|| "wren-worker".into())).args(args);
        // By the random part is found what its functions start.
        let name = format!("{number}.{:016x}.{}", platform::random(), std::process::id());
        surroundings.give(&mut command);
        command.env(ENV, &name).stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C at the terminal is for the driver, which then ends the workers.
        let child = command.process_group(0).spawn()?;
        drop(command);
        let spawned = epoch.time(monotonic());
        let minded = minder.mind(child, format!("{ENV}={name}"), region.clone(), number, lines.clone())?;
        // Where it has ended already, the minder tells how.
        let greeted = greet(&ours, &region, bell);
        if !ended_before(&greeted) {
            greeted.inspect_err(|_| minded.kill(&ours))?;
        }
        Ok(Self {
            number,
            epoch,
            spawned,
            writer: Writer::new(&region, true),
            reader: Reader::new(&region, false),
            region,
            socket: ours,
            minded,
            flights: Vec::new(),
            outbox: VecDeque::new(),
            parts: Aligned::default(),
            blobs: HashMap::new(),
            verdict: None,
            watched: None,
            watched_since: Duration::ZERO,
            next_check: Duration::ZERO,
            peak_memory: 0,
            peak_known_until: Duration::ZERO,
            held_by_children: 0,
            children_known_until: Duration::ZERO,
            most_mb: 0,
            share_mb,
            memory_known_until: Duration::ZERO,
            is_retiring: false,
            calls: 0,
            last_active: spawned,
            is_new: true,
            is_late: false,
        })
    }

    /// How many flights it holds.
    pub(super) fn load(&self) -> usize {
        self.flights.len()
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
        self.minded.has_exited()
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.minded.exit()
    }

    /// Sends a flight, which waited since then; `load` must be below [`SLOTS`].
    pub(super) fn launch(&mut self, invocation: Invocation, since: Duration, now: Duration) {
        note_unenforced_limit(invocation.block.limits().memory_mb, &self.minded.memory);
        let taken = |slot: &usize| self.flights.iter().any(|f| f.slot == *slot);
        let slot = (0..SLOTS).find(|slot| !taken(slot)).unwrap_or(0);
        let Range { start, end } = invocation.tasks;
        self.calls = self.calls.saturating_add(end - start);
        self.forget_dropped_blobs();
        self.send_blobs(&invocation);
        self.region.cursor(slot).reset((end - start) as u32);
        self.minded.label(slot, Label::new(&invocation));
        self.send_args(&invocation, slot);
        if self.flights.is_empty() {
            self.watched_since = now;
            self.watched = None;
        }
        let cold = std::mem::take(&mut self.is_new);
        self.flights.push(Flight {
            invocation,
            slot,
            asked: since,
            cold,
            free: Duration::ZERO,
            next: start,
            end,
            kill_at: None,
        });
        self.last_active = now;
        self.write();
    }

    fn send_blobs(&mut self, invocation: &Invocation) {
        for (_, blobs) in invocation.block.blobs(invocation.tasks.clone()) {
            for blob in blobs {
                if self.blobs.insert(blob.id, Arc::downgrade(blob)).is_none() {
                    self.outbox.push_back(match blob.shared() {
                        Some(_) => Outgoing::Shared(blob.clone(), false),
                        None => Outgoing::Blob(blob.clone(), 0),
                    });
                }
            }
        }
    }

    fn forget_dropped_blobs(&mut self) {
        let outbox = &mut self.outbox;
        self.blobs.retain(|id, blob| {
            let alive = blob.strong_count() > 0;
            if !alive {
                outbox.push_back(Outgoing::Frame(kind::FORGET, encoded(id)));
            }
            alive
        });
    }

    fn send_args(&mut self, invocation: &Invocation, slot: usize) {
        let Invocation { flight, tasks, attempt, block, .. } = invocation;
        let function = block.function();
        let ids = |blobs: &[Arc<Blob>]| blobs.iter().map(|b| b.id).collect();
        let blobs = block.blobs(tasks.clone());
        let header = encoded(&FlightHeader {
            flight: *flight,
            slot: slot as u32,
            first: tasks.start,
            count: (tasks.end - tasks.start) as u32,
            attempt: *attempt,
            function: function.id(),
            signature_hash: function.signature_hash(),
            memory_is_limited: block.limits().memory_mb.is_some(),
            traceparent: block.traceparent(),
            blobs: blobs.map(|(task, blobs)| ((task - tasks.start) as u32, ids(blobs))).collect(),
        });
        let len = (header.len() as u32).to_le_bytes();
        let args = block.args(tasks.clone());
        let parts: [&[u8]; 3] = [&len, &header, args];
        let total = parts.iter().map(|p| p.len()).sum::<usize>();
        if total > MAX_BODY {
            self.outbox.push_back(Outgoing::Args(block.clone(), tasks.clone(), 0));
            self.outbox.push_back(Outgoing::Frame(kind::FLIGHT, [&len[..], &header].concat()));
        } else if !self.outbox.is_empty() || !self.writer.send(kind::FLIGHT, &parts) {
            self.outbox.push_back(Outgoing::Frame(kind::FLIGHT, parts.concat()));
        }
    }

    /// Moves what waits into the ring, as far as there is room, and wakes the worker.
    pub(super) fn write(&mut self) {
        let wants_room = self.region.driver_wants_room();
        while let Some(front) = self.outbox.front_mut() {
            if front.write(&mut self.writer, &self.socket) {
                self.outbox.pop_front();
            } else if wants_room.swap(1, Ordering::SeqCst) != 0 {
                // Asked already, and looked again since.
                break;
            }
        }
        if self.outbox.is_empty() {
            wants_room.store(0, Ordering::SeqCst);
        }
        self.wake(self.region.worker_asleep());
    }

    fn wake(&self, asleep: &std::sync::atomic::AtomicU64) {
        if asleep.load(Ordering::SeqCst) != 0 && asleep.swap(0, Ordering::SeqCst) != 0 {
            // A worker that is gone is told of by its minder.
            platform::nudge(&self.socket);
        }
    }

    /// Takes all frames that have come.
    pub(super) fn read(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        while let Some(frame) = self.reader.peek() {
            match frame.kind {
                kind::LENGTH => {
                    let (len, align) = length(frame.body);
                    self.parts = Aligned::with_capacity(align, len);
                }
                kind::PART => self.parts.extend_from_slice(frame.body),
                kind::RUN => {
                    let header = RunHeader::read(frame.body);
                    let Some((header, start)) = header.zip(frame.body.get(RunHeader::LEN..)) else {
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
        self.wake(self.region.worker_wants_room());
    }

    /// What the worker tells of a flight.
    fn timing(&self, clocked: &Clocked, flight: &Flight) -> Timing {
        let Clocked { started, fetched, began, compute, commit } = *clocked;
        Timing {
            started: self.epoch.time(started),
            free: flight.free,
            setup: self.setup(flight),
            cold: flight.cold,
            fetch: Duration::from_nanos(fetched.saturating_sub(started)),
            turn: Duration::from_nanos(began.saturating_sub(fetched)),
            compute: Duration::from_nanos(compute),
            commit: Duration::from_nanos(commit),
            worker: self.number,
            ..Timing::default()
        }
    }

    /// What is known of a flight of which the worker can tell no more: since when it ran, if it did.
    fn last_known(&self, flight: &Flight, now: Duration) -> Clocked {
        let since = self.watched_since.max(flight.asked + self.setup(flight));
        let began = self.epoch.at(since);
        let compute = now.saturating_sub(since).as_nanos() as u64;
        Clocked { started: began, fetched: began, began, compute, commit: 0 }
    }

    /// How long the flight waited for the worker's program to come up.
    fn setup(&self, flight: &Flight) -> Duration {
        let ready = self.region.ready_since().filter(|_| flight.cold);
        ready.map_or(Duration::ZERO, |at| self.epoch.time(at).saturating_sub(self.spawned.max(flight.asked)))
    }

    fn ran(&mut self, header: RunHeader, results: Results, now: Duration, replies: &mut Vec<Reply>) {
        self.last_active = now;
        let (count, last) = (header.count & !RunHeader::LAST, header.count & RunHeader::LAST != 0);
        let Some(index) = self.flights.iter().position(|f| f.invocation.flight == header.flight) else {
            return self.stop_for(unreadable());
        };
        let mut timing = self.timing(&header.clocked, &self.flights[index]);
        let flight = &mut self.flights[index];
        let tasks = header.first..header.first.saturating_add(count);
        // It tells of all tasks in order, and of none that was taken back.
        if count > 0 && (tasks.start != flight.next || tasks.end > flight.end) {
            return self.stop_for(unreadable());
        }
        self.minded.finish_lines(header.flight, tasks.end);
        if count > 0 {
            flight.next = tasks.end;
            if flight.kill_at.is_none() {
                if now >= self.peak_known_until {
                    self.peak_known_until = now + PEAK_EVERY;
                    self.peak_memory = self.minded.memory.peak();
                }
                timing.peak_memory = self.peak_memory;
                replies.push(Reply::Done { flight: header.flight, tasks, results, timing });
            }
        }
        if last && self.flights[index].next != self.flights[index].end {
            // It is through, and has not told of all.
            return self.stop_for(unreadable());
        }
        if last {
            let limits = self.flights.remove(index).invocation.block.limits();
            let Clocked { began, compute, commit, .. } = header.clocked;
            let free = self.epoch.time(began.saturating_add(compute).saturating_add(commit));
            if let Some(next) = self.flights.first_mut() {
                next.free = free;
            }
            self.watched = None;
            self.watched_since = now;
            if now >= self.memory_known_until {
                self.memory_known_until = now + PEAK_EVERY;
                self.retire_if_it_has_grown(limits.memory_mb);
            }
            if self.is_retiring {
                self.retire();
            }
        }
    }

    fn failed(&mut self, failed: FailedTask, replies: &mut Vec<Reply>) {
        let FailedTask { flight: id, task, failure, clocked } = failed;
        let index = self.flights.iter().position(|f| f.invocation.flight == id);
        let Some(index) = index.filter(|index| task == self.flights[*index].next && task < self.flights[*index].end)
        else {
            return self.stop_for(unreadable());
        };
        let timing = self.timing(&clocked, &self.flights[index]);
        let flight = &mut self.flights[index];
        flight.next = task + 1;
        if flight.kill_at.is_none() {
            self.minded.finish_lines(id, task);
            let stderr = self.minded.tail(id, task);
            replies.push(Reply::Failed { flight: id, task, failure, stderr, timing });
        }
    }

    /// Takes what a dead worker had finished and not sent.
    pub(super) fn read_unpublished(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        if self.reader.has_frame() || self.reader.is_broken() {
            // What it wrote cannot be read.
            return;
        }
        let (count, bytes) = self.region.open_run().get();
        let Some(slot) = self.region.active().filter(|_| count > 0) else { return };
        let Some(flight) = self.flights.iter().find(|f| f.slot == slot) else { return };
        let (id, first) = (flight.invocation.flight, flight.next);
        // What it did last is counted as time of the task that it died in.
        let clocked = Clocked { compute: 0, ..self.last_known(flight, now) };
        let body = self.reader.unpublished(RunHeader::LEN + bytes as usize);
        if let Some(results) = body.get(RunHeader::LEN..).filter(|r| r.len() == bytes as usize) {
            let header = RunHeader { flight: id, first, count: u64::from(count), clocked };
            let results = Results::packed(results.to_vec());
            self.ran(header, results, now, replies);
        }
    }

    /// Accounts for everything a dead worker leaves.
    pub(super) fn settle(mut self, exit: &Exit, now: Duration, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        for flight in std::mem::take(&mut self.flights) {
            if flight.kill_at.is_some() {
                continue;
            }
            let id = flight.invocation.flight;
            let mut left = flight.next..flight.end;
            let (claimed, _) = self.region.cursor(flight.slot).read();
            let ran_one = flight.invocation.tasks.start + u64::from(claimed) > left.start;
            if active == Some(flight.slot) && ran_one && !left.is_empty() {
                let failure = self.verdict.take().unwrap_or_else(|| self.failure_by(exit));
                let mut timing = self.timing(&self.last_known(&flight, now), &flight);
                timing.peak_memory = exit.peak_memory;
                // Those before the one that it died in ran as well, if their results cannot be read.
                let begun = flight.invocation.tasks.start.saturating_add(claimed.into());
                let at_most_once = flight.invocation.block.limits().at_most_once;
                let end = if at_most_once { begun.min(left.end) } else { left.start + 1 };
                for task in left.start..end {
                    let (failure, stderr) = (failure.clone(), self.minded.tail(id, task));
                    replies.push(Reply::Failed { flight: id, task, failure, stderr, timing });
                }
                left.start = end;
            }
            if !left.is_empty() {
                replies.push(Reply::Returned { flight: id, tasks: left });
            }
        }
    }

    /// What the end of the worker is to the task that ran.
    fn failure_by(&self, exit: &Exit) -> Failure {
        let panic = if exit.was_aborted() { self.region.last_words().get() } else { None };
        panic.map_or_else(
            || exit.failure(),
            |(message, location)| Failure::Panicked { message, location, backtrace: None },
        )
    }

    /// Takes back the later half of what is unclaimed in a flight, or all of one that waits.
    pub(super) fn take_back(&mut self, flight: FlightId, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        let Some(flight) = self.flights.iter_mut().find(|f| f.invocation.flight == flight) else { return };
        flight.take_back(&self.region, active == Some(flight.slot), replies);
    }

    /// Takes back the flights that wait behind the one that runs.
    pub(super) fn take_back_waiting(&mut self, replies: &mut Vec<Reply>) {
        let active = self.region.active();
        for flight in self.flights.iter_mut().skip(1) {
            if active != Some(flight.slot) {
                flight.take_back(&self.region, false, replies);
            }
        }
    }

    pub(super) fn cancel(&mut self, flight: FlightId, now: Duration) {
        if let Some(flight) = self.flights.iter_mut().find(|f| f.invocation.flight == flight) {
            flight.take_back(&self.region, false, &mut Vec::new());
            flight.kill_at.get_or_insert(now + GRACE);
        }
    }

    /// Kills the worker if what it runs is past its limits or was cancelled. Gives whether there is
    /// anything to check again.
    pub(super) fn check(&mut self, now: Duration) -> bool {
        if !self.was_ready() {
            if now.saturating_sub(self.spawned) > START_LIMIT {
                self.is_late = true;
                self.minded.kill(&self.socket);
            }
            return true;
        }
        let active = self.region.active();
        let Some(flight) = self.flights.iter().find(|f| active == Some(f.slot)) else {
            return self.flights.iter().any(Flight::is_limited);
        };
        if !flight.is_limited() {
            return false;
        }
        if now < self.next_check {
            return true;
        }
        self.next_check = now + CHECK_EVERY;
        let (claimed, _) = self.region.cursor(flight.slot).read();
        let running = (flight.invocation.flight, u64::from(claimed));
        if self.watched != Some(running) {
            self.watched = Some(running);
            self.watched_since = now;
        }
        let verdict = if flight.kill_at.is_some_and(|at| now >= at) {
            Some(Failure::Cancelled)
        } else {
            let limits = flight.invocation.block.limits();
            self.over_limit(limits, now)
        };
        if let Some(verdict) = verdict {
            self.stop_for(verdict);
        }
        true
    }

    /// Kills the worker; what it runs fails by that.
    pub(super) fn stop_for(&mut self, verdict: Failure) {
        if self.verdict.is_none() {
            self.verdict = Some(verdict);
            self.minded.kill(&self.socket);
        }
    }

    /// Memory in use now, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.minded.memory.now()
    }

    fn over_limit(&mut self, limits: Limits, now: Duration) -> Option<Failure> {
        if let Some(limit) = limits.timeout.filter(|limit| now - self.watched_since > *limit) {
            return Some(Failure::TimedOut { limit });
        }
        let limit_mb = limits.memory_mb?;
        if now >= self.children_known_until {
            self.children_known_until = now + CHILDREN_EVERY;
            self.held_by_children = self.minded.memory.held_by_children();
        }
        let limit = u64::from(limit_mb) << 20;
        // All that is resident is more than what counts, and cheaper to ask for.
        if self.minded.memory.now().saturating_add(self.held_by_children) <= limit {
            return None;
        }
        // Values that it has mapped are the driver's.
        let mapped = self
            .blobs
            .values()
            .filter_map(Weak::upgrade)
            .filter(|blob| blob.is_shared())
            .map(|blob| blob.bytes.len() as u64)
            .sum::<u64>();
        let before =
            self.region.baseline().load(Ordering::Acquire).saturating_add(Region::size()).saturating_add(mapped);
        let used = self.minded.memory.held().saturating_sub(before).saturating_add(self.held_by_children);
        let peak_mb = u32::try_from(used.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        (used > limit).then_some(Failure::OutOfMemory { limit_mb, peak_mb })
    }

    /// Has the worker replaced, when it is through with what it has, if calls left too much memory in it.
    fn retire_if_it_has_grown(&mut self, limit_mb: Option<u32>) {
        self.most_mb = self.most_mb.max(limit_mb.unwrap_or(self.share_mb));
        let held = self.minded.memory.private();
        self.is_retiring |= held > (u64::from(self.most_mb) << 20) / 5 * 4;
    }

    /// Takes no more flights, and ends when it is through with those it has.
    pub(super) fn retire(&mut self) {
        self.is_retiring = true;
        if self.flights.is_empty() {
            self.minded.kill(&self.socket);
        }
    }

    /// Calls that it was given.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether it takes no more flights.
    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has spans to send, it ends with its socket, when it has sent them.
        if !spans::are_exported() {
            self.minded.kill(&self.socket);
        }
    }
}

impl Flight {
    fn take_back(&mut self, region: &Region, half: bool, replies: &mut Vec<Reply>) {
        let taken = region.cursor(self.slot).take_back(half);
        let start = self.invocation.tasks.start;
        // Another end, or tasks that were run: the cursor was overwritten, which shows when the worker is through.
        let fits = start + u64::from(taken.end) == self.end && start + u64::from(taken.start) >= self.next;
        if !taken.is_empty() && fits {
            self.end = start + u64::from(taken.start);
            let tasks = self.end..start + u64::from(taken.end);
            replies.push(Reply::Returned { flight: self.invocation.flight, tasks });
        }
    }

    fn is_limited(&self) -> bool {
        let limits = self.invocation.block.limits();
        self.kill_at.is_some() || limits.timeout.is_some() || limits.memory_mb.is_some()
    }
}

impl Outgoing {
    /// Writes as much as there is room for; gives whether that was all.
    fn write(&mut self, writer: &mut Writer, socket: &OwnedFd) -> bool {
        match self {
            Outgoing::Frame(kind, body) => writer.send(*kind, &[body]),
            Outgoing::Args(block, tasks, sent) => Self::write_parts(block.args(tasks.clone()), sent, writer),
            Outgoing::Blob(blob, sent) => {
                let header = BlobHeader { id: blob.id, hash: blob.known_hash(), mapped: None };
                Self::write_parts(&blob.bytes, sent, writer) && writer.send(kind::BLOB, &[&encoded(&header)])
            }
            Outgoing::Shared(blob, true) => {
                let header = BlobHeader { id: blob.id, hash: None, mapped: Some(blob.bytes.len()) };
                writer.send(kind::BLOB, &[&encoded(&header)])
            }
            Outgoing::Shared(blob, is_sent) => {
                match blob.shared().and_then(SharedBytes::fd).map(|fd| platform::try_send(socket, &[1], &[fd])) {
                    Some(Ok(())) => *is_sent = true,
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    // A `Ref` names it by now; or too many descriptors are under way; or nobody is there any more, which
                    // the minder tells.
                    Some(Err(_)) | None => *self = Outgoing::Blob(blob.clone(), 0),
                }
                self.write(writer, socket)
            }
        }
    }

    /// Writes a long message as parts.
    fn write_parts(bytes: &[u8], sent: &mut usize, writer: &mut Writer) -> bool {
        if *sent == 0 && !writer.send(kind::LENGTH, &[&length_body(bytes.len(), 1)]) {
            return false;
        }
        while *sent < bytes.len() {
            let part = &bytes[*sent..bytes.len().min(*sent + MAX_BODY)];
            if !writer.send(kind::PART, &[part]) {
                return false;
            }
            *sent += part.len();
        }
        true
    }
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Headers are plain structs, which always encode; an empty frame would be passed over.
    codec::encode(value).unwrap_or_default()
}

/// Of a worker whose messages are none. What it did before it is killed is not known.
fn unreadable() -> Failure {
    Failure::Backend(
        "a message of the worker cannot be read, and it was killed: a function wrote into memory that is not its own, \
         or this is a defect of wren"
            .to_owned(),
    )
}

/// Gives the new worker its side of the shared memory and the bell.
fn greet(socket: &OwnedFd, region: &Region, bell: &Bell) -> io::Result<()> {
    let (Some([page, ring]), Some(region)) = (bell.fds(), region.fd()) else { return Ok(()) };
    platform::send(socket, b"wren worker 1", &[region, page, ring])
}

/// Whether nobody is there any more to be greeted.
fn ended_before(greeted: &io::Result<()>) -> bool {
    let kind = greeted.as_ref().err().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset))
}

/// Notes once in this process that memory limits are not enforced, for a call that has one.
fn note_unenforced_limit(limit_mb: Option<u32>, worker: &ProcessMemory) {
    static NOTED: Once = Once::new();
    if let Some(note) = platform::unenforced_limit(limit_mb, worker) {
        NOTED.call_once(|| terminal::note(note));
    }
}
