//! Second copies of tasks that are slow or lost.

use super::*;

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
fn unanswered_batches_are_copied_until_one_answers() {
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
fn lost_and_refused_batches_do_not_delay_the_rest() {
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
