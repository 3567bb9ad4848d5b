//! Jobs that stop before they cost more than their budget.

use super::*;

#[test]
fn budgets_are_respected() {
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
fn calls_longer_than_earlier_ones_count_while_running() {
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
fn machine_start_time_does_not_count_as_call_time() {
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
fn untimed_calls_are_not_assumed_to_be_long() {
    let settings = SchedulerConfig { usd_per_second: |_| 1.0, longest_batch: Some(900_000 * MS), ..config(4, 1) };
    let mut world = World::new(settings, Trouble::default(), |_| 10 * MS);
    let job = world.job(JobSpec { budget_usd: Some(2.0), ..JobSpec::default() }, 100, Limits::default());
    world.run();
    world.done_once(job, 100);
    assert!(world.over_budget.is_empty(), "the job has one second of work; no call may be assumed to take 15 minutes");
}
