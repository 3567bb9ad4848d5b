//! Tests of the scheduler in virtual time, with a simulated backend: a heap of events and a seed.

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

#[test]
fn a_hundred_thousand_tasks_under_all_faults_are_each_done_once() {
    let trouble = Trouble { crash: 0.02, duplicate: 0.05, throttle: 0.01, lose: 0.002, fail: 0.0 };
    for seed in 0..3 {
        let mut world = World::new(config(16, seed), trouble, uneven);
        let job = world.job(JobSpec::default(), 100_000, Limits::default());
        world.run();
        world.done_once(job, 100_000);
        assert!(world.retries.len() > 1_000);
    }
}

#[test]
fn thousands_of_small_jobs_of_any_shape_lose_nothing() {
    for seed in 0..3_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rate = || if random.bool() { 0.0 } else { random.f64() * 0.3 };
        let trouble = Trouble { crash: rate(), duplicate: rate(), throttle: rate(), lose: rate() / 3.0, fail: 0.0 };
        let mut random = fastrand::Rng::with_seed(seed + 1_000_000);
        let mut world = World::new(config(random.usize(1..6), seed), trouble, uneven);
        let mut option = |n: usize| NonZeroUsize::new(random.usize(0..n));
        let spec = JobSpec { concurrency: option(6), chunk: option(5), ..JobSpec::default() };
        let tasks = fastrand::Rng::with_seed(seed).u64(0..60);
        let job = world.job(spec, tasks, Limits::default());
        world.run();
        world.done_once(job, tasks);
    }
}

#[test]
fn functions_that_fail_are_run_again_as_often_as_they_ask() {
    for retries in [None, Some(0), Some(3)] {
        let trouble = Trouble { fail: 1.0, ..Trouble::default() };
        let mut world = World::new(config(1, 7), trouble, uneven);
        world.job(JobSpec::default(), 1, Limits { retries, ..Limits::default() });
        world.run();
        assert_eq!(world.failed.len(), 1);
        assert_eq!(world.failed[0].2, retries.unwrap_or(0) + 1, "attempts with retries {retries:?}");
    }
}

#[test]
fn machines_that_die_are_tried_again_with_growing_pauses() {
    assert_eq!(SchedulerConfig::default().attempts, 3);
    let trouble = Trouble { crash: 1.0, ..Trouble::default() };
    let settings = SchedulerConfig { attempts: 8, ..config(4, 3) };
    let mut world = World::new(settings, trouble, uneven);
    world.job(JobSpec::default(), 200, Limits::default());
    world.run();
    assert_eq!(world.failed.len(), 200);
    assert!(world.failed.iter().all(|(_, _, attempt, _)| *attempt == 8));
    let longest = |attempt: u32| world.retries.iter().filter(|r| r.1 == attempt).map(|r| r.2).max().unwrap();
    for attempt in 1..8 {
        let limit = 10 * MS * (1 << (attempt - 1));
        assert!(longest(attempt) <= limit && longest(attempt) > limit / 2, "pause after attempt {attempt}");
    }
}

#[test]
fn what_is_never_answered_is_never_started() {
    let trouble = Trouble { lose: 1.0, ..Trouble::default() };
    let settings = SchedulerConfig { attempts: 2, ..config(1, 1) };
    let mut world = World::new(settings, trouble, uneven);
    world.job(JobSpec::default(), 1, Limits { timeout: Some(Duration::from_secs(5)), ..Limits::default() });
    world.run();
    assert!(
        matches!(world.failed[..], [(_, 0, 2, Failure::NeverStarted { waited })] if waited == Duration::from_secs(15))
    );
}

#[test]
fn concurrency_and_chunks_are_kept() {
    let spec = JobSpec { concurrency: NonZeroUsize::new(6), chunk: NonZeroUsize::new(3), ..JobSpec::default() };
    let mut world = World::new(config(16, 1), Trouble::default(), uneven);
    let job = world.job(spec, 1_000, Limits::default());
    world.run();
    world.done_once(job, 1_000);
    assert_eq!(world.most_at_once, 6);
    // At the end of the job, tasks that wait in a chunk behind a call move to idle workers.
    let whole = |tasks: &Range<u64>| tasks.start.is_multiple_of(3) && tasks.end - tasks.start <= 3;
    assert!(world.launched.iter().all(|(_, tasks, ..)| whole(tasks) || tasks.start > 950));
}

#[test]
fn concurrency_counts_calls_that_run() {
    let limit = |concurrency, chunk| JobSpec {
        concurrency: NonZeroUsize::new(concurrency),
        chunk: NonZeroUsize::new(chunk),
        ..JobSpec::default()
    };
    // Four workers, 16 calls of 100 ms: chunks of eight keep all of them busy.
    let mut world = World::new(config(4, 1), Trouble::default(), |_| 100 * MS);
    let job = world.job(limit(4, 8), 16, Limits::default());
    world.run();
    world.done_once(job, 16);
    assert!(world.ended <= 500 * MS && world.most_at_once == 4, "{:?}, {}", world.ended, world.most_at_once);
    // Two calls at once, whatever the chunk size.
    let mut world = World::new(config(4, 1), Trouble::default(), |_| 100 * MS);
    let job = world.job(limit(2, 3), 12, Limits::default());
    world.run();
    world.done_once(job, 12);
    assert!((600 * MS..=700 * MS).contains(&world.ended) && world.most_at_once == 2, "{:?}", world.ended);
    // Batches that run four calls at once count four times.
    for (concurrency, most) in [(1, 1), (3, 3), (4, 4), (8, 8), (9, 9)] {
        let settings = SchedulerConfig { calls_at_once: |_| 4, ..config(16, 1) };
        let mut world = World::new(settings, Trouble::default(), |_| 100 * MS);
        let job = world.job(limit(concurrency, 8), 64, Limits::default());
        world.run();
        world.done_once(job, 64);
        assert_eq!(world.most_at_once, most, "{concurrency}");
    }
}

#[test]
fn a_job_whose_results_nobody_takes_waits() {
    let mut world = World::new(config(2, 1), Trouble::default(), |_| 100 * MS);
    let job = world.job(JobSpec::default(), 100, Limits::default());
    world.launch();
    world.scheduler.hold(job, true);
    world.run();
    assert_eq!(world.done.len(), 2, "running tasks finish, and no new ones start");
    world.scheduler.hold(job, false);
    world.run();
    world.done_once(job, 100);
}

#[test]
fn what_is_to_run_at_most_once_does() {
    let once =
        Limits { at_most_once: true, retries: Some(5), timeout: Some(Duration::from_secs(1)), ..Limits::default() };
    let trouble = Trouble { crash: 0.2, fail: 0.2, lose: 0.05, duplicate: 0.2, throttle: 0.1 };
    let speculation = Some(Speculation { done_fraction: 0.1, factor: 2.0, at_least: 10 * MS });
    for seed in 0..20 {
        let mut world = World::new(SchedulerConfig { speculation, ..config(8, seed) }, trouble, uneven);
        let job = world.job(JobSpec::default(), 500, once);
        world.run();
        assert!(world.over.contains(&job) && world.scheduler.in_flight.is_empty());
        let mut ended: Vec<u64> = world.done.iter().map(|(_, task)| *task).collect();
        ended.extend(world.failed.iter().map(|(_, task, ..)| *task));
        ended.sort_unstable();
        assert!(ended.into_iter().eq(0..500), "each task has one outcome");
        let lost = |failure: &Failure| matches!(failure, Failure::MayHaveRun { .. } | Failure::Returned { .. });
        assert!(world.failed.iter().all(|(.., failure)| lost(failure)), "{:?}", world.failed);
        // Refused batches never ran, so they may be sent again.
        assert_eq!(world.ran.values().max(), Some(&1));
    }
}

/// This takes minutes if the cost of each call grows with the number of calls.
#[test]
fn what_many_waiting_calls_cost_is_not_what_all_of_them_cost_each_time() {
    let mut scheduler = Scheduler::new(config(2, 1));
    let mut updates = Vec::new();
    let mut jobs = Vec::new();
    for _ in 0..100_000 {
        let job = scheduler.open(JobSpec::default());
        scheduler.submit(job, TaskBlock::dummy(0..1, "f", Limits::default()), Time::ZERO);
        scheduler.close(job, &mut updates);
        while scheduler.next(Time::ZERO).is_some() {}
        let _ = scheduler.wake_at();
        jobs.push(job);
    }
    // Cancels all jobs except the last; two of the cancelled ones run.
    jobs[..99_999].iter().for_each(|job| scheduler.cancel(*job, &mut updates));
    assert_eq!(updates.len(), 2);
    assert_eq!(scheduler.next(Time::ZERO).map(|batch| batch.tasks), Some(0..1));
    assert!(scheduler.next(Time::ZERO).is_none() && scheduler.turns.len() < 100);
}

#[test]
fn a_single_call_is_not_stuck_behind_a_large_job() {
    let mut world = World::new(config(2, 1), Trouble::default(), |_| 10 * MS);
    let large = world.job(JobSpec::default(), 5_000, Limits::default());
    world.launch();
    let single = world.job(JobSpec::default(), 1, Limits::default());
    world.run();
    let position = world.launched.iter().position(|(job, ..)| *job == single).unwrap();
    assert!(position <= 4, "the single call was launched at position {position}");
    assert!(world.over.contains(&large) && world.over.contains(&single));
}

#[test]
fn short_calls_travel_together_and_long_ones_alone() {
    let mut short = World::new(config(2, 1), Trouble::default(), |_| Duration::from_micros(1));
    let job = short.job(JobSpec::default(), 50_000, Limits::default());
    short.run();
    short.done_once(job, 50_000);
    assert!(short.launched.len() < 150, "{} batches of short calls", short.launched.len());
    let mut long = World::new(config(2, 1), Trouble::default(), |_| 5 * MS);
    long.job(JobSpec::default(), 500, Limits::default());
    long.run();
    assert_eq!(long.launched.len(), 500);
}

#[test]
fn idle_workers_take_over_what_waits_behind_a_long_task() {
    // The mean is short, and then one long task follows.
    fn duration(task: u64) -> Duration {
        if task == 2_000 { 1_000 * MS } else { Duration::from_micros(10) }
    }
    let mut world = World::new(config(2, 1), Trouble::default(), duration);
    let job = world.job(JobSpec::default(), 4_000, Limits::default());
    world.run();
    world.done_once(job, 4_000);
    assert!(world.now < 1_050 * MS, "it took {:?}", world.now);
}

#[test]
fn a_straggler_gets_a_copy_and_the_first_to_finish_counts() {
    fn duration(task: u64) -> Duration {
        if task == 50 { Duration::from_secs(1_000) } else { 10 * MS }
    }
    let rule = Speculation { done_fraction: 0.9, factor: 3.0, at_least: 50 * MS };
    let settings = SchedulerConfig { speculation: Some(rule), lost_after: None, attempts: 2, ..config(4, 1) };
    let mut world = World::new(settings, Trouble::default(), duration);
    let job = world.job(JobSpec::default(), 100, Limits::default());
    world.run();
    world.done_once(job, 100);
    assert_eq!(world.launched.iter().filter(|(_, tasks, ..)| tasks.contains(&50)).count(), 2);
}

#[test]
fn batches_without_an_answer_are_copied_until_one_comes() {
    let rule = Speculation { done_fraction: 0.7, factor: 5.0, at_least: 50 * MS };
    for (seed, chunk) in [(1, None), (2, NonZeroUsize::new(7)), (3, NonZeroUsize::new(40))] {
        let trouble = Trouble { lose: 0.2, duplicate: 0.1, ..Trouble::default() };
        let settings = SchedulerConfig { speculation: Some(rule), lost_after: None, ..config(1_000, seed) };
        let mut world = World::new(settings, trouble, |_| 10 * MS);
        let job = world.job(JobSpec { chunk, ..JobSpec::default() }, 2_000, Limits::default());
        world.run();
        world.done_once(job, 2_000);
    }
}

/// A backend that refuses batches has a small window. Lost batches must not fill it.
#[test]
fn what_is_lost_and_what_is_refused_do_not_hold_up_the_rest() {
    let rule = Speculation { done_fraction: 0.75, factor: 4.0, at_least: 2_000 * MS };
    for seed in 0..5 {
        let trouble = Trouble { lose: 0.01, throttle: 0.05, duplicate: 0.05, ..Trouble::default() };
        let chunk = NonZeroUsize::new(1);
        let settings = SchedulerConfig {
            speculation: Some(rule),
            lost_after: Some(Duration::from_secs(1_000)),
            ..config(32, seed)
        };
        let settings = SchedulerConfig { throttle_attempts: 1_000, attempts: 4, ..settings };
        let mut world = World::new(settings, trouble, |_| 10 * MS);
        let job = world.job(JobSpec { chunk, ..JobSpec::default() }, 10_000, Limits::default());
        world.run();
        world.done_once(job, 10_000);
        assert!(world.now < Duration::from_secs(120), "it took {:?}", world.now);
    }
}

#[test]
fn short_calls_do_not_start_a_thousand_machines_and_long_ones_do() {
    let probe = Probe { batches: 20, wait: 300 * MS };
    let settings = SchedulerConfig {
        probe: Some(probe),
        batch: 500 * MS,
        least_batch: 50 * MS,
        lost_after: None,
        ..config(1_000, 1)
    };
    let mut world = World::new(settings.clone(), Trouble::default(), |_| MS);
    let job = world.job(JobSpec::default(), 10_000, Limits::default());
    world.run();
    world.done_once(job, 10_000);
    assert!(world.launched.len() < 300 && world.most_batches < 300, "{} batches", world.launched.len());

    let mut world = World::new(settings, Trouble::default(), |_| Duration::from_secs(60));
    let job = world.job(JobSpec::default(), 1_000, Limits::default());
    world.run();
    world.done_once(job, 1_000);
    assert_eq!(world.most_batches, 1_000);
    assert!(world.now < Duration::from_secs(61), "it took {:?}", world.now);
}

#[test]
fn a_backend_that_refuses_gets_less_and_then_more_again() {
    let mut world = World::new(config(64, 1), Trouble { throttle: 0.3, ..Trouble::default() }, |_| 5 * MS);
    let job = world.job(JobSpec::default(), 2_000, Limits::default());
    world.run();
    world.done_once(job, 2_000);
    let mut window = Window::new(64);
    window.refused(Time::ZERO);
    window.refused(MS);
    assert!(!window.admits(44, 100 * MS) && window.admits(43, 100 * MS), "the window shrinks once per round");
    (0..20 * 64).for_each(|_| window.admitted());
    assert!(window.admits(63, 100 * MS), "the window is full again after twenty rounds");
}

#[test]
fn a_cancelled_job_is_forgotten_and_frees_its_slots() {
    let mut world = World::new(config(2, 1), Trouble::default(), |_| 10 * MS);
    let first = world.job(JobSpec::default(), 1_000, Limits::default());
    world.launch();
    world.update(|s, u| s.cancel(first, u));
    world.update(|s, u| s.cancel(first, u));
    let second = world.job(JobSpec::default(), 10, Limits::default());
    world.run();
    world.done_once(second, 10);
    assert!(world.done.iter().all(|(job, _)| *job == second));
}

#[test]
fn a_budget_is_not_passed() {
    let settings = SchedulerConfig { usd_per_second: |_| 1.0, ..config(4, 1) };
    let mut world = World::new(settings, Trouble::default(), |_| 100 * MS);
    let spec = JobSpec { budget_usd: Some(5.05), ..JobSpec::default() };
    world.job(spec, 1_000, Limits { timeout: Some(Duration::from_millis(200)), ..Limits::default() });
    world.run();
    assert_eq!(world.over_budget.len(), 1);
    assert!(world.over_budget[0] <= 5.05 && world.over_budget[0] > 4.0, "{:?}", world.over_budget);
    assert_eq!(world.done.len(), 50);
}

#[test]
fn what_runs_longer_than_others_did_counts_as_it_runs() {
    // Twenty calls of 10 ms, then 60 of one second: the first ones do not predict the later ones.
    fn duration(task: u64) -> Duration {
        if task < 20 { 10 * MS } else { 1_000 * MS }
    }
    for slots in [1, 4, 16] {
        let stops_within = 50 * MS;
        let settings = SchedulerConfig { usd_per_second: |_| 1.0, stops_within, ..config(slots, 1) };
        let mut world = World::new(settings, Trouble::default(), duration);
        let spec = JobSpec { budget_usd: Some(6.0), ..JobSpec::default() };
        world.job(spec, 80, Limits::default());
        world.run();
        let [spent] = world.over_budget[..] else { panic!("{:?}", world.over_budget) };
        let ran = |(_, tasks, _, started): &(JobKey, Range<u64>, u32, Time)| {
            tasks.clone().map(duration).sum::<Duration>().min(world.ended - *started).as_secs_f64()
        };
        let ran: f64 = world.launched.iter().map(ran).sum();
        assert!(ran <= 6.0 + 0.1 * slots as f64, "{ran} s on {slots}");
        assert!((4.0..=6.0 + 0.1 * slots as f64).contains(&spent), "{spent} on {slots}");
        assert!((20..27).contains(&world.done.len()), "{}", world.done.len());
    }
}

#[test]
fn the_time_until_machines_are_up_is_not_taken_for_that_of_calls() {
    let (probe, stops_within) = (Some(Probe { batches: 4, wait: 10_000 * MS }), 5_000 * MS);
    let settings = SchedulerConfig { usd_per_second: |_| 1.0, stops_within, probe, batch: 100 * MS, ..config(100, 1) };
    let mut world = World::new(settings, Trouble::default(), |_| 100 * MS);
    world.setup = 1_000 * MS;
    let job = world.job(JobSpec { budget_usd: Some(150.0), ..JobSpec::default() }, 1_000, Limits::default());
    world.run();
    world.done_once(job, 1_000);
    assert!(world.over_budget.is_empty());
}

#[test]
fn a_function_that_nobody_has_timed_is_stopped_in_time() {
    let settings = SchedulerConfig { usd_per_second: |_| 1.0, longest_batch: Some(900_000 * MS), ..config(4, 1) };
    let mut world = World::new(settings, Trouble::default(), |_| 10 * MS);
    let job = world.job(JobSpec { budget_usd: Some(2.0), ..JobSpec::default() }, 100, Limits::default());
    world.run();
    world.done_once(job, 100);
    assert!(world.over_budget.is_empty(), "the job has one second of work; no call may be assumed to take 15 minutes");
}

#[test]
fn an_endless_job_holds_what_is_not_done() {
    let mut world = World::new(config(4, 1), Trouble::default(), |_| Duration::from_micros(1));
    let job = world.scheduler.open(JobSpec::default());
    for first in (0..1_000_000).step_by(1_000) {
        world.scheduler.submit(job, TaskBlock::dummy(first..first + 1_000, "f", Limits::default()), world.now);
        world.run();
    }
    assert_eq!(world.done.len(), 1_000_000);
    let state = &world.scheduler.jobs[&job];
    assert!(state.done.size() < 10 && state.ready.is_empty() && state.tried.is_empty());
}
