//! Limits that delay tasks: concurrency, callers that take no results, backends that refuse, cancellation.

use super::*;

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
fn concurrency_counts_running_calls() {
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
fn jobs_with_untaken_results_wait() {
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
fn a_refusing_backend_gets_less_and_later_more() {
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
