//! One simulated run: wren's scheduler over the world of [`super::world`], in virtual time.

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

/// The driver takes what came in so long together.
const TURN: Duration = Duration::from_millis(10);

/// Tasks of a block, as a map submits them.
const BLOCK: u64 = 1_024;

/// What one simulated run came to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SimulatedRun {
    /// Seconds from the begin of the job to its end.
    pub wall_s: f64,
    /// Seconds inside functions, of the execution of each task that counted.
    pub compute_s: f64,
    /// Seconds of instances that are paid for.
    pub paid_s: f64,
    /// What AWS asks for all of it, in dollars of [`crate::aws::price`].
    pub usd: f64,
    /// Tasks that succeeded.
    pub done: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Executions beyond each task's first: after a failure, and second copies.
    pub retried: u64,
    /// Invocations that the driver sent.
    pub invocations: u64,
    /// Those of them that were events, with their outcomes in the store.
    pub events: u64,
    /// Instances that were started.
    pub instances: u64,
    /// Executions at once at most.
    pub most_at_once: usize,
    /// Requests that Lambda refused for want of room.
    pub refused: u64,
    /// Times that an event went back to Lambda's queue for want of room.
    pub requeued: u64,
    /// Instances that died under an invocation.
    pub died: u64,
    /// Processors of an instance.
    pub processors: u32,
}

impl SimulatedRun {
    /// Compute time as a part of what the processors in use at the busiest moment could have computed in
    /// the whole wall time: `compute / (wall × most at once × processors of an instance)`.
    pub fn efficiency(&self) -> f64 {
        let could = self.wall_s * self.most_at_once as f64 * f64::from(self.processors);
        if could > 0.0 { self.compute_s / could } else { 0.0 }
    }
}

/// Stands for the function of the tasks; nobody calls it.
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

/// Runs a job of the workload on the model; equal arguments give equal runs.
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
        // As the executor does it: replies, then time, then what can begin.
        for reply in replies.drain(..) {
            scheduler.handle(now, reply, &mut updates);
        }
        scheduler.tick(now, &mut updates);
        while let Some(invocation) = scheduler.next(now) {
            world.invoke(invocation, now);
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
                // Lambda has no part of a batch back, and a job without a budget does not pass it.
                Update::Retry { .. }
                | Update::Reclaim { .. }
                | Update::CancelJob { .. }
                | Update::OverBudget { .. } => {}
            }
        }
        if over {
            break;
        }
        // Nothing will ever happen: what is left of the job is lost.
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
