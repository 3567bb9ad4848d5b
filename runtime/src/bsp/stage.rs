//! The stages, as workers run them.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::{Bsp, Inbox, Messages, Outbox, Step};
use crate::codec;
use crate::error::Failure;
use crate::function::Invoke;
use crate::mapreduce::{BoxError, MapStage, Output, Pairs, ReduceResult, Shuffle, Target, failure, gathered};
use crate::shuffle::{Scattered, Segment};
use crate::store;

/// The parameters of a partition's step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepStage {
    /// The shuffle of the received messages.
    pub(super) from: Shuffle,
    pub(super) segments: Vec<Segment>,
    /// The shuffle of the sent messages.
    pub(super) to: Shuffle,
    /// Key of the state in the store; empty in the first step.
    pub(super) state: String,
    pub(super) number: u64,
    pub(super) partitions: usize,
    pub(super) partition: usize,
}

/// The result of a partition's step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StepResult<S> {
    pub(super) state: String,
    pub(super) sent: Scattered,
    pub(super) summary: S,
}

/// The parameters of a partition's last task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FinishStage {
    pub(super) shuffle: Shuffle,
    pub(super) state: String,
    pub(super) partition: usize,
    pub(super) target: Target,
}

/// Runs a loading task; generated code uses it.
#[doc(hidden)]
pub fn load_entry<T: Bsp>(invoke: &mut Invoke<'_>) -> Result<(), Failure> {
    let (mut args, output) = invoke.split();
    let job: T = args.next("job")?;
    let stage: MapStage = args.next("stage")?;
    let input: T::Input = args.next("input")?;
    args.finish()?;
    let sent = load(&job, &stage, input).map_err(|error| failure(&error))?;
    output.write(&sent)
}

fn load<T: Bsp>(job: &T, stage: &MapStage, input: T::Input) -> Result<Scattered, BoxError> {
    let store = store::open(&stage.shuffle.store)?;
    let mut send = Outbox(Pairs::new(Messages(job), &stage.shuffle, stage.partitions, store.scratch()));
    job.load(input, &mut send)?;
    send.0.finish(&*store, &stage.shuffle.key(stage.task))
}

/// Runs a partition's step; generated code uses it.
#[doc(hidden)]
pub fn step_entry<T: Bsp>(invoke: &mut Invoke<'_>) -> Result<(), Failure> {
    let (mut args, output) = invoke.split();
    let job: T = args.next("job")?;
    let stage: StepStage = args.next("stage")?;
    let summaries = args.next("summaries")?;
    args.finish()?;
    let stepped = step(&job, stage, summaries).map_err(|error| failure(&error))?;
    output.write(&stepped)
}

fn step<T: Bsp>(job: &T, stage: StepStage, summaries: Vec<T::Summary>) -> Result<StepResult<T::Summary>, BoxError> {
    let StepStage { from, segments, to, state, number, partitions, partition } = stage;
    let step = Step { number, partitions, partition, summaries };
    let store = store::open(&to.store)?;
    let mut held = state_of::<T>(&*store, &state)?;
    let merged = gathered(Messages(job), &from, segments)?;
    let mut send = Outbox(Pairs::new(Messages(job), &to, step.partitions, store.scratch()));
    let summary = job.step(&step, &mut held, Inbox { merged, job: PhantomData }, &mut send)?;
    let sent = send.0.finish(&*store, &to.key(step.partition))?;
    let state = format!("{}/state-{}.{:016x}", to.prefix, step.partition, crate::platform::random());
    store::wait(store.put(&state, &codec::encode(&held)?))?;
    Ok(StepResult { state, sent, summary })
}

fn state_of<T: Bsp>(store: &dyn store::Store, key: &str) -> Result<T::State, BoxError> {
    if key.is_empty() {
        return Ok(T::State::default());
    }
    Ok(codec::decode(&store::wait(store.get(key))?)?)
}

/// Runs a partition's last task; generated code uses it.
#[doc(hidden)]
pub fn finish_entry<T: Bsp>(invoke: &mut Invoke<'_>) -> Result<(), Failure> {
    let (mut args, output) = invoke.split();
    let job: T = args.next("job")?;
    let stage: FinishStage = args.next("stage")?;
    args.finish()?;
    let finished = finish(&job, &stage).map_err(|error| failure(&error))?;
    output.write(&finished)
}

fn finish<T: Bsp>(job: &T, stage: &FinishStage) -> Result<ReduceResult<T::Output>, BoxError> {
    let store = store::open(&stage.shuffle.store)?;
    let mut out = Output::new(&stage.target, &stage.shuffle, stage.partition)?;
    job.finish(state_of::<T>(&*store, &stage.state)?, &mut out)?;
    Ok(out.finish()?)
}
