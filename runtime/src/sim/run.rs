//! One simulated run: wren's scheduler with the simulated Lambda of [`super::world`], in virtual time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use super::{Model, Workload};
use crate::attempt::{Reply, TaskBlock};
use crate::aws::{limits, price};
use crate::backend::lambda_tuning;
use crate::function::{Args, Limits, RemoteFn};
use crate::scheduler::{JobSpec, Scheduler, SchedulerConfig, Time, Update};

/// The driver handles replies together that arrive within this time.
const TURN: Duration = Duration::from_millis(10);

/// Tasks per block, as in a real map.
const BLOCK: u64 = 1_024;

/// The result of one simulated run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SimulatedRun {
    /// Seconds from the start of the job to its end.
    pub wall_s: f64,
    /// Seconds inside functions, only of the successful attempt of each task.
    pub compute_s: f64,
    /// Billed seconds of instances.
    pub paid_s: f64,
    /// Total cost in dollars, with the prices of [`crate::aws::price`].
    pub usd: f64,
    /// Tasks that succeeded.
    pub done: u64,
    /// Tasks that failed permanently.
    pub failed: u64,
    /// Attempts beyond each task's first: retries after failures, and second copies.
    pub retried: u64,
    /// Batches that the driver sent.
    pub invocations: u64,
    /// Batches that were sent as events, with their outcomes in the store.
    pub events: u64,
    /// Instances that were started.
    pub instances: u64,
    /// Maximum number of executions at once.
    pub most_at_once: usize,
    /// Requests that Lambda refused because it had no capacity.
    pub refused: u64,
    /// Times that an event went back to Lambda's queue because there was no capacity.
    pub requeued: u64,
    /// Instances that died while they ran a batch.
    pub died: u64,
    /// Processors per instance.
    pub processors: u32,
}

impl SimulatedRun {
    /// Returns the compute time as a fraction of the available time of all processors that were in use at the busiest
    /// moment: `compute / (wall × most at once × processors per instance)`.
    pub fn efficiency(&self) -> f64 {
        let could = self.wall_s * self.most_at_once as f64 * f64::from(self.processors);
        if could > 0.0 { self.compute_s / could } else { 0.0 }
    }
}

/// A placeholder for the function of the tasks. It is never called.
static SIMULATED: RemoteFn = RemoteFn::dummy("wren::sim::task");

fn settings(model: &Model, work: &Workload, seed: u64) -> SchedulerConfig {
    let mut config = SchedulerConfig {
        slots: model.concurrency.max(1),
        workers: model.concurrency.max(1),
        usd_per_second: |memory_mb| price::per_second(memory_mb.unwrap_or(limits::DEFAULT_MEMORY_MB)),
        seed,
        ..SchedulerConfig::default()
    };
    if model.is_wren {
        let longest = work.timeout.unwrap_or(Duration::from_secs(limits::MAX_TIMEOUT_S.into()));
        lambda_tuning::tune(&mut config, Some(longest));
    }
    config
}

/// Simulates a job on a model. Equal arguments give equal runs.
pub fn simulate(model: &Model, work: &Workload, seed: u64) -> SimulatedRun {
    let mut world = World::new(model, work, seed);
    let mut scheduler = Scheduler::new(settings(model, work, seed));
    let chunk = if model.is_wren { work.chunk } else { Some(work.chunk.unwrap_or(1)) };
    let spec = JobSpec { chunk: chunk.and_then(NonZeroUsize::new), ..JobSpec::default() };
    let job = scheduler.open(spec);
    let asked = Limits { memory_mb: Some(work.memory_mb), timeout: work.timeout, ..Limits::default() };
    for first in (0..work.tasks).step_by(BLOCK as usize) {
        let mut block = TaskBlock::new(&SIMULATED, asked, first);
        (first..work.tasks.min(first + BLOCK)).for_each(|_| block.push(Args::default()));
        scheduler.submit(job, Arc::new(block), Time::ZERO);
    }
    let mut updates = Vec::new();
    scheduler.close(job, &mut updates);

    let mut run = SimulatedRun {
        wall_s: 0.0,
        compute_s: 0.0,
        paid_s: 0.0,
        usd: 0.0,
        done: 0,
        failed: 0,
        retried: 0,
        invocations: 0,
        events: 0,
        instances: 0,
        most_at_once: 0,
        refused: 0,
        requeued: 0,
        died: 0,
        processors: limits::vcpus(work.memory_mb),
    };
    let mut now = Time::ZERO;
    let mut over = work.tasks == 0;
    let mut replies: Vec<Reply> = Vec::new();
    while !over {
        // The same order as in the executor: replies, then the tick, then new batches.
        for reply in replies.drain(..) {
            scheduler.handle(now, reply, &mut updates);
        }
        scheduler.tick(now, &mut updates);
        while let Some(batch) = scheduler.next(now) {
            world.invoke(batch, now);
        }
        for update in updates.drain(..) {
            match update {
                Update::Done { tasks, new, timing, .. } => {
                    let count: u64 = new.iter().map(|range| range.end - range.start).sum();
                    run.done += count;
                    run.compute_s += timing.compute.as_secs_f64() * count as f64 / (tasks.end - tasks.start) as f64;
                }
                Update::Failed { .. } => run.failed += 1,
                Update::Cancel { batch_id } => world.forget(batch_id),
                Update::JobDone { .. } => over = true,
                // Lambda cannot return part of a batch, and a job without a budget cannot exceed it.
                Update::Retry { .. }
                | Update::Reclaim { .. }
                | Update::CancelJob { .. }
                | Update::OverBudget { .. } => {}
            }
        }
        if over {
            break;
        }
        // No event is left, so the remaining tasks are lost.
        let Some(mut until) = world.wait(scheduler.wake_at()) else { break };
        while let Some(at) = world.step(until, &mut replies) {
            if !replies.is_empty() {
                until = until.min(at + TURN);
            }
        }
        now = now.max(until);
    }
    run.wall_s = now.as_secs_f64();
    let tally = world.tally;
    run.paid_s = tally.paid_s;
    run.usd = tally.usd;
    run.invocations = tally.invocations;
    run.events = tally.events;
    run.instances = tally.cold_starts;
    run.most_at_once = tally.most_busy;
    run.refused = tally.refused;
    run.requeued = tally.requeued;
    run.died = tally.died;
    run.retried = tally.executed.saturating_sub(work.tasks);
    run
}
