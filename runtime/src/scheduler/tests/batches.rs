//! Which tasks go into a batch, and how batches share the workers.

use super::*;

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
fn short_calls_are_batched_and_long_ones_are_not() {
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
fn idle_workers_take_tasks_waiting_behind_a_long_one() {
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
fn only_long_calls_start_a_thousand_machines() {
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
fn tasks_that_wait_at_a_worker_do_not_count_as_running() {
    let settings = SchedulerConfig { slots: 4, workers: 2, ..config(4, 1) };
    let mut scheduler = Scheduler::new(settings);
    let jobs: Vec<_> = (0..2)
        .map(|_| {
            let job = scheduler.open(JobSpec { chunk: NonZeroUsize::new(10), ..JobSpec::default() });
            scheduler.submit(job, TaskBlock::dummy(0..100, "f", Limits::default()), Time::ZERO);
            job
        })
        .collect();
    let batches = std::iter::from_fn(|| scheduler.next(Time::ZERO)).count();
    assert_eq!(batches, 4, "each worker has a batch, and another one behind it");
    let running = scheduler.running_calls();
    let progress: Vec<_> = jobs.iter().filter_map(|job| scheduler.progress(*job, &running)).collect();
    assert_eq!(progress.iter().map(|now| now.running).sum::<u64>(), 2, "{progress:?}");
    assert!(progress.iter().all(|now| now.running + now.queued == 100), "{progress:?}");
    // A call that waits for other calls occupies no worker.
    scheduler.set_blocked(1);
    let running = scheduler.running_calls();
    let more: u64 = jobs.iter().filter_map(|job| scheduler.progress(*job, &running)).map(|now| now.running).sum();
    assert_eq!(more, 3);
}
