//! Tests of the scheduler in virtual time, with a simulated backend: a heap of events and a seed.

mod batches;
mod budget;
mod copies;
mod cost;
mod faults;
mod limits;
mod longest;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::num::NonZeroUsize;

use super::*;
use crate::function::Limits;

const MS: Duration = Duration::from_millis(1);

/// Faults of the simulated backend, as probabilities per task or per batch.
#[derive(Clone, Copy, Default)]
struct Trouble {
    crash: f64,
    duplicate: f64,
    throttle: f64,
    lose: f64,
    fail: f64,
}

struct World {
    scheduler: Scheduler,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    replies: HashMap<u64, Reply>,
    count: u64,
    random: fastrand::Rng,
    trouble: Trouble,
    duration: fn(task: u64) -> Duration,
    /// Time between sending a batch and the start of its first task.
    setup: Duration,
    batches: HashMap<BatchId, (Range<u64>, Time)>,
    done: Vec<(JobKey, u64)>,
    failed: Vec<(JobKey, u64, u32, Failure)>,
    over: HashSet<JobKey>,
    over_budget: Vec<f64>,
    /// When a job last ended, or exceeded its budget.
    ended: Time,
    retries: Vec<(u64, u32, Duration)>,
    launched: Vec<(JobKey, Range<u64>, u32, Time)>,
    /// Number of times each task was started.
    ran: HashMap<u64, u32>,
    most_at_once: u64,
    most_batches: usize,
}

impl World {
    fn new(config: SchedulerConfig, trouble: Trouble, duration: fn(u64) -> Duration) -> Self {
        let seed = config.seed;
        Self {
            scheduler: Scheduler::new(config),
            now: Time::ZERO,
            events: BinaryHeap::new(),
            replies: HashMap::new(),
            count: 0,
            random: fastrand::Rng::with_seed(seed),
            trouble,
            duration,
            setup: Duration::ZERO,
            batches: HashMap::new(),
            done: Vec::new(),
            failed: Vec::new(),
            over: HashSet::new(),
            over_budget: Vec::new(),
            ended: Time::ZERO,
            retries: Vec::new(),
            launched: Vec::new(),
            ran: HashMap::new(),
            most_at_once: 0,
            most_batches: 0,
        }
    }

    fn job(&mut self, spec: JobSpec, tasks: u64, limits: Limits) -> JobKey {
        let job = self.scheduler.open(spec);
        for first in (0..tasks).step_by(1000) {
            self.scheduler.submit(job, TaskBlock::dummy(first..tasks.min(first + 1000), "f", limits), self.now);
        }
        self.update(|s, u| s.close(job, u));
        job
    }

    fn later(&mut self, after: Duration, reply: Reply) {
        self.count += 1;
        self.events.push(Reverse((self.now + after, self.count)));
        self.replies.insert(self.count, reply);
    }

    fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.random.f64() < rate
    }

    fn invoke(&mut self, batch: Batch) {
        let Batch { id: batch_id, tasks, .. } = batch;
        self.batches.insert(batch_id, (tasks.clone(), self.now));
        self.most_batches = self.most_batches.max(self.batches.len());
        if self.happens(self.trouble.throttle) {
            return self.later(MS, Reply::Throttled { batch_id, message: "slow down".into() });
        }
        tasks.clone().for_each(|task| *self.ran.entry(task).or_default() += 1);
        if self.happens(self.trouble.lose) {
            return;
        }
        let mut at = self.setup;
        for task in tasks {
            let took = (self.duration)(task);
            at += took;
            let timing = Timing { compute: took, usd: took.as_secs_f64(), ..Timing::default() };
            let reply = |world: &mut Self| {
                let failure = if world.happens(world.trouble.crash) {
                    Failure::WorkerDied { signal: Some(9), exit_code: None }
                } else if world.happens(world.trouble.fail) {
                    let (chain, type_name, value) = Default::default();
                    Failure::Returned { message: "no".into(), chain, type_name, value, again: true }
                } else {
                    return Reply::Done {
                        batch_id,
                        tasks: task..task + 1,
                        results: Results::packed(vec![0; 4]),
                        timing,
                    };
                };
                Reply::Failed { batch_id, task, failure, stderr: String::new(), timing }
            };
            let first = reply(self);
            self.later(at, first);
            if self.happens(self.trouble.duplicate) {
                let again = reply(self);
                let pause = MS * self.random.u32(0..100);
                self.later(at + pause, again);
            }
        }
    }

    fn update(&mut self, act: impl FnOnce(&mut Scheduler, &mut Vec<Update>)) {
        let mut updates = Vec::new();
        act(&mut self.scheduler, &mut updates);
        for update in updates {
            match update {
                Update::Done { job, new, .. } => self.done.extend(new.into_iter().flatten().map(|task| (job, task))),
                Update::Failed { job, task, attempt, failure, .. } => self.failed.push((job, task, attempt, failure)),
                Update::Retry { task, attempt, at, .. } => self.retries.push((task, attempt, at - self.now)),
                Update::JobDone { job } => {
                    assert!(self.over.insert(job), "a job ends only once");
                    self.ended = self.now;
                }
                Update::OverBudget { spent_usd, .. } => {
                    self.over_budget.push(spent_usd);
                    self.ended = self.now;
                }
                Update::Cancel { batch_id } => {
                    self.batches.remove(&batch_id);
                }
                Update::CancelJob { .. } => {}
                Update::Reclaim { batch_id } => self.reclaim(batch_id),
            }
        }
    }

    /// Returns the later half of the tasks that have not started.
    fn reclaim(&mut self, batch_id: BatchId) {
        let Some((tasks, since)) = self.batches.get_mut(&batch_id) else { return };
        let mut starts_at = *since;
        let started = tasks.clone().take_while(|task| {
            let before = starts_at;
            starts_at += (self.duration)(*task);
            before <= self.now
        });
        let first = tasks.start + started.count() as u64;
        let back = first + (tasks.end - first) / 2..tasks.end;
        tasks.end = back.start;
        let gone: Vec<u64> = self
            .replies
            .iter()
            .filter(|(_, r)| matches!(r, Reply::Done { batch_id: f, tasks, .. } if *f == batch_id && back.contains(&tasks.start)))
            .map(|(event, _)| *event)
            .collect();
        gone.iter().for_each(|event| drop(self.replies.remove(event)));
        self.later(Duration::ZERO, Reply::Returned { batch_id, tasks: back });
    }

    fn launch(&mut self) {
        let now = self.now;
        while let Some(batch) = self.scheduler.next(now) {
            let job = self.scheduler.in_flight[&batch.id].job;
            self.launched.push((job, batch.tasks.clone(), batch.attempt, now));
            self.invoke(batch);
        }
        let at_once = self.scheduler.jobs.values().map(|job| job.at_once).max().unwrap_or(0);
        self.most_at_once = self.most_at_once.max(at_once);
    }

    /// Runs until no events are left.
    fn run(&mut self) {
        loop {
            let now = self.now;
            self.update(|s, u| s.tick(now, u));
            self.launch();
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let Some(next) = [event, self.scheduler.wake_at()].into_iter().flatten().min() else { return };
            self.now = self.now.max(next);
            while let Some(Reverse((at, event))) = self.events.peek().copied()
                && at <= self.now
            {
                self.events.pop();
                if let Some(reply) = self.replies.remove(&event) {
                    let now = self.now;
                    self.update(|s, u| s.handle(now, reply, u));
                }
            }
        }
    }

    fn done_once(&self, job: JobKey, tasks: u64) {
        let mut done: Vec<u64> = self.done.iter().filter(|(j, _)| *j == job).map(|(_, task)| *task).collect();
        assert_eq!(done.len() as u64, tasks, "number of tasks done");
        done.sort_unstable();
        assert!(done.into_iter().eq(0..tasks), "each task is done once");
        assert!(self.over.contains(&job));
        assert!(self.scheduler.in_flight.is_empty() && self.scheduler.jobs.is_empty(), "no batch or job is left");
    }
}

fn config(slots: usize, seed: u64) -> SchedulerConfig {
    SchedulerConfig {
        slots,
        workers: slots,
        lost_after: Some(Duration::from_secs(10)),
        attempts: 20,
        seed,
        ..SchedulerConfig::default()
    }
}

fn uneven(task: u64) -> Duration {
    Duration::from_micros(20 + task * 7919 % 3000)
}
