//! Attempts that fail, die or are never answered.

use super::*;

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
fn failing_functions_are_retried_as_often_as_they_ask() {
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
fn dead_machines_are_retried_with_growing_pauses() {
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
fn unanswered_tasks_count_as_not_started() {
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
fn at_most_once_is_respected() {
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
