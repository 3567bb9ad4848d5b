//! The two stages, as workers run them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::combined::Combined;
use super::emit::{Emits, Emitter, NO_KEY, Pairs};
use super::output::{Output, ReduceResult, Target};
use super::values::Values;
use super::{BoxError, Key, MapReduce};
use crate::error::{Error, Failure};
use crate::function::Invoke;
use crate::function::errors;
use crate::shuffle::{Merged, Scattered, Segment, Segments, Sorter};
use crate::store;

/// The parameters of the shuffle that both stages use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shuffle {
    /// URL of the store that contains the shuffle objects.
    pub(crate) store: String,
    /// Prefix of their keys.
    pub(crate) prefix: String,
    /// Whether their blocks are compressed.
    pub(crate) compress: bool,
    /// Memory that a task may use, in MB of 2^20 bytes.
    pub(crate) memory_mb: u32,
}

/// Memory that a worker needs for other things than records, in bytes: the program, stacks, buffers.
const BESIDE: usize = 32 << 20;

impl Shuffle {
    /// Returns the memory for records, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let all = (self.memory_mb as usize) << 20;
        all.saturating_sub(BESIDE).max(all / 4) / 3 * 2
    }

    /// Returns the key of a map task's object. Every attempt has its own key; the result of the committed attempt names
    /// the one to use.
    pub(crate) fn key(&self, task: usize) -> String {
        format!("{}/{task}.{:016x}", self.prefix, crate::platform::random())
    }
}

/// The parameters of a map task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MapStage {
    pub(crate) shuffle: Shuffle,
    pub(crate) partitions: usize,
    pub(crate) task: usize,
}

/// The parameters of a reduce task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReduceStage {
    pub(crate) shuffle: Shuffle,
    pub(crate) partition: usize,
    pub(crate) segments: Vec<Segment>,
    pub(crate) target: Target,
}

/// Runs a map task; generated code uses it.
#[doc(hidden)]
pub fn map_entry<T: MapReduce>(invoke: &mut Invoke<'_>) -> Result<(), Failure> {
    let (mut args, output) = invoke.split();
    let job: T = args.next("job")?;
    let stage: MapStage = args.next("stage")?;
    let input: T::Input = args.next("input")?;
    args.finish()?;
    let mapped = map_task(&job, &stage, input).map_err(|error| failure(&error))?;
    output.write(&mapped)
}

fn map_task<T: MapReduce>(job: &T, stage: &MapStage, input: T::Input) -> Result<Scattered, BoxError> {
    let store = store::open(&stage.shuffle.store)?;
    let mut emit = Emitter(Pairs::new(job, &stage.shuffle, stage.partitions, store.scratch()));
    job.map(input, &mut emit)?;
    emit.0.finish(&*store, &stage.shuffle.key(stage.task))
}

/// Runs a reduce task; generated code uses it.
#[doc(hidden)]
pub fn reduce_entry<T: MapReduce>(invoke: &mut Invoke<'_>) -> Result<(), Failure> {
    let (mut args, output) = invoke.split();
    let job: T = args.next("job")?;
    let stage: ReduceStage = args.next("stage")?;
    args.finish()?;
    let reduced = reduce_task(&job, stage).map_err(|error| failure(&error))?;
    output.write(&reduced)
}

fn reduce_task<T: MapReduce>(job: &T, stage: ReduceStage) -> Result<ReduceResult<T::Output>, BoxError> {
    let ReduceStage { shuffle, partition, segments, target } = stage;
    let merged = gathered(job, &shuffle, segments)?;
    let mut out = Output::new(&target, &shuffle, partition)?;
    each_key::<T::Key, T::Value>(merged, |key, values| job.reduce(key, values, &mut out))?;
    Ok(out.finish()?)
}

/// Returns the pairs of a partition, sorted by key and combined if possible.
pub(crate) fn gathered<E: Emits>(emits: E, shuffle: &Shuffle, segments: Vec<Segment>) -> Result<Merged, BoxError>
where
    E::Value: DeserializeOwned,
{
    if !E::COMBINES {
        return Ok(sorted(shuffle, segments)?);
    }
    let store = store::open(&shuffle.store)?;
    let mut combined = Combined::new(emits, shuffle.memory(), store.scratch());
    Segments::new(store, segments, shuffle.memory()).read(|records| combined.add(&records))?;
    combined.finish()
}

/// Returns the records of a partition, in order.
pub(crate) fn sorted(shuffle: &Shuffle, segments: Vec<Segment>) -> Result<Merged, Error> {
    let store = store::open(&shuffle.store)?;
    let mut sorter = Sorter::new(shuffle.memory(), store.scratch());
    Segments::new(store, segments, shuffle.memory()).read(|records| sorter.add(records))?;
    Ok(sorter.finish()?)
}

/// Passes each key with its values to `take`.
pub(crate) fn each_key<K: Key + ?Sized, V>(
    mut merged: Merged,
    mut take: impl FnMut(K::View<'_>, &mut Values<'_, V>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut key = Vec::new();
    while let Some(record) = merged.record() {
        key.clear();
        key.extend_from_slice(record.key());
        let view = K::decode(&key).ok_or(NO_KEY)?;
        let mut values = Values::new(&mut merged, &key);
        take(view, &mut values)?;
        values.finish()?;
    }
    Ok(())
}

/// Converts an error. A failure of the store remains one, so that the task runs again; any other error is the
/// function's.
pub(crate) fn failure(error: &BoxError) -> Failure {
    let store = error.downcast_ref::<store::StoreError>();
    let own = error.downcast_ref::<Error>();
    match (store, own) {
        (Some(error), _) | (_, Some(Error::Store(error))) => Failure::Store(error.clone()),
        _ => errors::of_error::<BoxError>(&**error),
    }
}
