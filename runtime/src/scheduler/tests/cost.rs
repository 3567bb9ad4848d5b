//! The time and memory of the scheduler itself.

use super::*;

/// This takes minutes if the cost of each call grows with the number of calls.
#[test]
fn scheduling_cost_does_not_grow_with_waiting_calls() {
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
fn an_endless_job_holds_only_open_tasks() {
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
