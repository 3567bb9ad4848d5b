//! The tasks that have run longest.

use super::*;
use crate::attempt::RunningTask;

/// Starts batches of two tasks each, one per slot.
fn started(scheduler: &mut Scheduler, tasks: u64, now: Time) -> Vec<Batch> {
    let job = scheduler.open(JobSpec { chunk: NonZeroUsize::new(2), ..JobSpec::default() });
    scheduler.submit(job, TaskBlock::dummy(0..tasks, "f", Limits::default()), now);
    std::iter::from_fn(|| scheduler.next(now)).collect()
}

#[test]
fn the_longest_tasks_come_first_and_short_ones_do_not_count() {
    let second = Duration::from_secs(1);
    let mut scheduler = Scheduler::new(config(3, 1));
    let batches = started(&mut scheduler, 6, second);
    // One task of the second batch is done.
    let (id, first) = (batches[1].id, batches[1].tasks.start);
    let results = Results::packed(vec![0; 4]);
    let done = Reply::Done { batch_id: id, tasks: first..first + 1, results, timing: Timing::default() };
    scheduler.handle(2 * second, done, &mut Vec::new());
    let (job, _) = scheduler.longest_running(second, 9, None).into_iter().next().unwrap();
    let longest = |until, most, known: Option<&[RunningTask]>| {
        let mut longest = scheduler.longest_running(until, most, known);
        let tasks = longest.remove(&job).unwrap_or_default();
        assert!(longest.is_empty());
        tasks.iter().map(|running| (running.task, running.since)).collect::<Vec<_>>()
    };
    let starts = [batches[0].tasks.start, batches[2].tasks.start];
    let oldest = starts.map(|task| (task, second));
    assert_eq!(longest(second, 9, None), oldest);
    assert_eq!(longest(2 * second, 9, None), [oldest[0], oldest[1], (first + 1, 2 * second)]);
    assert_eq!(longest(2 * second, 1, None), oldest[..1]);
    // The backend knows better. What it knows of batches and tasks that are over does not count.
    let known = [(batches[0].id, starts[0] + 1), (id, first), (99, 0)];
    let known = known.map(|(batch_id, task)| RunningTask { batch_id, task, since: second });
    assert_eq!(longest(2 * second, 9, Some(&known)), [(starts[0] + 1, second)]);
}
