//! The simulated Lambda, S3 and network: a heap of future events, and a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use super::capacity::{Bucket, Places};
use super::model::Model;
use super::{Durations, Workload};
use crate::attempt::{Batch, BatchId, Reply, Results, Timing};
use crate::aws::{limits, price};
use crate::error::Failure;

/// Number of keys in one page of a listing.
const PAGE: usize = 1_000;

/// An event of the simulation. Events at the same time happen in the order in which they were queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request, or an event from Lambda's queue, arrives at a function.
    Arrives { batch_id: BatchId, tries: u32 },
    /// The functions of a batch have returned.
    Computed { batch_id: BatchId, instance: usize },
    /// The outcome of a batch is written, and the instance is free.
    Ends { batch_id: BatchId, instance: usize },
    /// The instance dies, and its work is lost.
    Dies { batch_id: BatchId },
    /// The driver lists the outcomes in the store.
    Poll,
    /// The driver receives an outcome.
    Received { batch_id: BatchId },
    /// The driver receives a refusal: Lambda has no capacity.
    Refused { batch_id: BatchId },
}

/// A batch that was sent.
#[derive(Debug)]
struct InFlight {
    tasks: Range<u64>,
    /// Whether the driver awaits the response.
    direct: bool,
    function: usize,
    /// Seconds inside functions.
    compute: f64,
    /// Billed seconds.
    paid: f64,
    /// Cost in dollars, once it is known.
    usd: f64,
    /// Whether the instance died.
    died: bool,
}

#[derive(Debug)]
struct Instance {
    function: usize,
    slowness: f64,
}

/// The totals of a simulated run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) invocations: u64,
    /// Attempts of tasks that were started.
    pub(super) executed: u64,
    pub(super) events: u64,
    pub(super) cold_starts: u64,
    pub(super) refused: u64,
    pub(super) requeued: u64,
    pub(super) died: u64,
    pub(super) most_busy: usize,
    pub(super) paid_s: f64,
    pub(super) usd: f64,
}

/// See the [module](self).
pub(super) struct World<'a> {
    model: &'a Model,
    work: &'a Workload,
    durations: Durations,
    seed: u64,
    random: fastrand::Rng,
    next: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    batches: HashMap<BatchId, InFlight>,
    instances: Vec<Instance>,
    /// Free instances of each function. The most recently used one is last.
    free: Vec<Vec<usize>>,
    /// Instances that each function may still start.
    growth: Vec<Bucket>,
    /// Executions that may still start.
    rate: Bucket,
    busy: usize,
    /// Number of batches whose response the driver awaits.
    direct: usize,
    requests: Places,
    fetches: Places,
    writes: Places,
    /// Batches sent as events whose outcomes the driver looks for in the store.
    watched: HashSet<BatchId>,
    /// Batches whose outcomes were written since the last poll.
    written: Vec<BatchId>,
    /// Whether an [`Event::Poll`] is queued.
    poll_is_queued: bool,
    pause: f64,
    pub(super) tally: Tally,
}

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
}

impl<'a> World<'a> {
    pub(super) fn new(model: &'a Model, work: &'a Workload, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let functions = model.functions.max(1);
        let rate = model.rate * model.concurrency as f64;
        Self {
            model,
            work,
            durations: work.durations.resampled(&mut random),
            seed,
            random,
            next: BinaryHeap::new(),
            count: 0,
            batches: HashMap::new(),
            instances: Vec::new(),
            free: vec![Vec::new(); functions],
            growth: vec![Bucket::full(model.burst, model.growth); functions],
            rate: Bucket::full(rate, rate),
            busy: 0,
            direct: 0,
            requests: Places::new(model.requests),
            fetches: Places::new(model.fetches),
            writes: Places::new(1),
            watched: HashSet::new(),
            written: Vec::new(),
            poll_is_queued: false,
            pause: model.look.0,
            tally: Tally::default(),
        }
    }

    fn later(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.next.push(Reverse((at, self.count, event)));
    }

    fn next_at(&self) -> Option<Duration> {
        self.next.peek().map(|Reverse((at, ..))| *at)
    }

    /// Returns how long the driver lets the simulation run if it must act at `wake`, or `None` if no event is left.
    pub(super) fn wait(&self, wake: Option<Duration>) -> Option<Duration> {
        wake.or_else(|| self.next_at().map(|_| Duration::MAX))
    }

    /// Sends a batch, as the driver does.
    pub(super) fn invoke(&mut self, batch: Batch, now: Duration) {
        let Batch { id: batch_id, tasks, .. } = batch;
        let direct = self.direct < self.model.direct;
        let takes = s(self.model.request.draw(&mut self.random));
        let arrives = match direct {
            true => now + takes,
            false => self.requests.finish_at(now, takes),
        };
        if direct {
            self.direct += 1;
        } else {
            self.tally.events += 1;
            self.watched.insert(batch_id);
            self.poll_at(now);
        }
        let function = batch_id as usize % self.free.len();
        self.batches
            .insert(batch_id, InFlight { tasks, direct, function, compute: 0.0, paid: 0.0, usd: 0.0, died: false });
        self.tally.invocations += 1;
        self.later(arrives, Event::Arrives { batch_id, tries: 0 });
    }

    /// Stops looking for the outcome of a batch. The batch keeps running.
    pub(super) fn forget(&mut self, batch_id: BatchId) {
        self.watched.remove(&batch_id);
    }

    fn poll_at(&mut self, at: Duration) {
        if !self.poll_is_queued {
            self.poll_is_queued = true;
            self.later(at, Event::Poll);
        }
    }

    /// Processes the next event if it happens by `until`, and returns its time.
    pub(super) fn step(&mut self, until: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse((now, _, event)) = self.next.pop()?;
        match event {
            Event::Arrives { batch_id, tries } => self.arrives(now, batch_id, tries),
            Event::Computed { batch_id, instance } => self.computed(now, batch_id, instance),
            Event::Ends { batch_id, instance } => self.ends(now, batch_id, instance),
            Event::Dies { batch_id } => self.dies(now, batch_id),
            Event::Poll => self.poll(now),
            Event::Received { batch_id } => self.received(batch_id, replies),
            Event::Refused { batch_id } => {
                self.direct -= 1;
                self.batches.remove(&batch_id);
                let message = "Rate Exceeded".to_owned();
                replies.push(Reply::Throttled { batch_id, message });
            }
        }
        Some(now)
    }

    fn arrives(&mut self, now: Duration, batch_id: BatchId, tries: u32) {
        let Some(in_flight) = self.batches.get(&batch_id) else { return };
        let (function, direct) = (in_flight.function, in_flight.direct);
        let admitted = self.busy < self.model.concurrency && self.rate.has_one(now);
        let warm = if admitted { self.free[function].pop() } else { None };
        if let Some(instance) = warm {
            let delay = self.model.warm.draw(&mut self.random);
            return self.start(now, batch_id, instance, delay, 0.0);
        }
        if admitted && self.growth[function].has_one(now) {
            self.growth[function].take();
            let slowness = self.model.slowness.draw(&mut self.random);
            self.instances.push(Instance { function, slowness });
            self.tally.cold_starts += 1;
            let start = self.model.start.draw(&mut self.random);
            let setup = self.model.setup.draw(&mut self.random);
            return self.start(now, batch_id, self.instances.len() - 1, start + setup, setup);
        }
        if direct {
            self.tally.refused += 1;
            return self.later(now, Event::Refused { batch_id });
        }
        self.tally.requeued += 1;
        let (first, longest) = self.model.requeue;
        let pause = (first * 2_f64.powi(tries.min(30) as i32)).min(longest);
        // A random factor from 0.5 to 1.5, so that events refused together do not return together.
        let pause = pause * (0.5 + self.random.f64());
        self.later(now + s(pause), Event::Arrives { batch_id, tries: tries + 1 });
    }

    /// Starts a batch on an instance after `delay` seconds, of which `setup` seconds are billed.
    fn start(&mut self, now: Duration, batch_id: BatchId, instance: usize, delay: f64, setup: f64) {
        self.rate.take();
        self.busy += 1;
        self.tally.most_busy = self.tally.most_busy.max(self.busy);
        let slowness = self.instances[instance].slowness;
        let Some(in_flight) = self.batches.get_mut(&batch_id) else { return };
        let tasks = in_flight.tasks.end - in_flight.tasks.start;
        self.tally.executed += tasks;
        let bytes = self.work.bytes_in * tasks;
        // Base64 encodes three bytes as four.
        let inline = if in_flight.direct { limits::SYNC_PAYLOAD } else { limits::ASYNC_PAYLOAD } as u64 / 4 * 3;
        let fetch = match bytes > inline {
            true => self.model.store.draw(&mut self.random) + bytes as f64 / self.model.bandwidth,
            false => 0.0,
        };
        // Each processor of the instance takes the next task when it has finished one.
        let longest = self.work.timeout.map_or(f64::from(limits::MAX_TIMEOUT_S), |timeout| timeout.as_secs_f64());
        let processors = limits::vcpus(self.work.memory_mb).min(u32::try_from(tasks).unwrap_or(u32::MAX));
        let mut until = vec![0.0; processors.max(1) as usize];
        for task in in_flight.tasks.clone() {
            let takes = (self.durations.of(self.seed, task) * slowness).min(longest);
            in_flight.compute += takes;
            // `until` has at least one element.
            if let Some(first) = until.iter_mut().min_by(|a, b| f64::total_cmp(a, b)) {
                *first += takes;
            }
        }
        let computes = until.into_iter().fold(0.0, f64::max);
        in_flight.paid = setup + fetch + computes;
        let started = now + s(delay + fetch);
        if self.model.crash > 0.0 && self.random.f64() < self.model.crash {
            let lived = computes * self.random.f64();
            in_flight.paid = setup + fetch + lived;
            return self.later(started + s(lived), Event::Dies { batch_id });
        }
        self.later(started + s(computes), Event::Computed { batch_id, instance });
    }

    fn computed(&mut self, now: Duration, batch_id: BatchId, instance: usize) {
        let Some(in_flight) = self.batches.get_mut(&batch_id) else { return };
        let mut ends = now;
        if !in_flight.direct {
            let bytes = self.work.bytes_out * (in_flight.tasks.end - in_flight.tasks.start);
            let takes = self.model.store.draw(&mut self.random) + bytes as f64 / self.model.bandwidth;
            // The store accepts a limited number of writes per second, so each write waits for its turn.
            ends = self.writes.finish_at(now, s(1.0 / self.model.writes)) + s(takes);
            in_flight.paid += (ends - now).as_secs_f64();
        }
        self.later(ends, Event::Ends { batch_id, instance });
    }

    fn ends(&mut self, now: Duration, batch_id: BatchId, instance: usize) {
        self.busy -= 1;
        self.free[self.instances[instance].function].push(instance);
        self.pays(batch_id);
        if self.batches.get(&batch_id).is_some_and(|in_flight| in_flight.direct) {
            self.later(now, Event::Received { batch_id });
        } else {
            self.tally.usd += price::S3_WRITE;
            self.written.push(batch_id);
        }
    }

    /// Ends a batch whose instance died. If it was sent as an event, the driver gets no reply, and Lambda does not
    /// repeat it, because wren sets Lambda's retries to 0.
    fn dies(&mut self, now: Duration, batch_id: BatchId) {
        self.busy -= 1;
        self.tally.died += 1;
        self.pays(batch_id);
        if let Some(in_flight) = self.batches.get_mut(&batch_id) {
            in_flight.died = true;
            if in_flight.direct {
                self.later(now, Event::Received { batch_id });
            } else {
                self.batches.remove(&batch_id);
            }
        }
    }

    fn pays(&mut self, batch_id: BatchId) {
        let Some(in_flight) = self.batches.get_mut(&batch_id) else { return };
        // Lambda bills whole milliseconds.
        let paid = (in_flight.paid * 1e3).ceil() / 1e3;
        in_flight.usd = price::REQUEST + price::per_second(self.work.memory_mb) * paid;
        self.tally.paid_s += paid;
        self.tally.usd += in_flight.usd;
    }

    fn poll(&mut self, now: Duration) {
        let written = std::mem::take(&mut self.written);
        let pages = 1 + written.len() / PAGE;
        self.tally.usd += pages as f64 * price::S3_WRITE;
        self.pause = if written.is_empty() { (self.pause * 1.5).min(self.model.look.1) } else { self.model.look.0 };
        let listed = now + s(pages as f64 * self.model.store.draw(&mut self.random));
        for batch_id in written {
            if self.watched.remove(&batch_id) {
                let takes = s(self.model.store.draw(&mut self.random));
                let received = self.fetches.finish_at(listed, takes);
                self.tally.usd += price::S3_READ;
                self.later(received, Event::Received { batch_id });
            }
        }
        self.poll_is_queued = false;
        if !self.watched.is_empty() {
            self.poll_at(listed + s(self.pause));
        }
    }

    fn received(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        let Some(InFlight { tasks, direct, compute, usd, died, .. }) = self.batches.remove(&batch_id) else { return };
        self.direct -= usize::from(direct);
        if died {
            let timing = Timing { usd, ..Timing::default() };
            replies.extend(tasks.map(|task| Reply::Failed {
                batch_id,
                task,
                failure: Failure::WorkerDied { signal: None, exit_code: None },
                stderr: String::new(),
                timing,
            }));
            return;
        }
        let timing = Timing { compute: s(compute), usd, ..Timing::default() };
        replies.push(Reply::Done { batch_id, tasks, results: Results::default(), timing });
    }
}
