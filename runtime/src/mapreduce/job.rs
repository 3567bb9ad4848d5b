//! A MapReduce job, on the driver's side: [`map_reduce`].

use std::fmt;
use std::future::IntoFuture;

use super::clean_up::CleanUp;
use super::output::{Format, ReduceResult, Target};
use super::outputs::Outputs;
use super::plan::Plan;
use super::settings::{Settings, common_settings};
use super::stage::ReduceStage;
use super::{MapReduce, Registered, of_stages};
use crate::calls::Call;
use crate::error::Result;
use crate::executor::Executor;
use crate::shuffle::Scattered;
use crate::store::BoxFuture;

/// Runs a [`MapReduce`]: a map task for each input, then the reduce tasks.
///
/// When awaited, it returns all outputs: those of a reduce task in the order of their keys, one reduce task after
/// another. [`MapReduceJob`] lists the settings.
///
/// See [`MapReduce`] for an example.
pub fn map_reduce<T, I>(job: T, inputs: I) -> MapReduceJob<T, I::IntoIter>
where
    T: MapReduce,
    I: IntoIterator<Item = T::Input>,
{
    MapReduceJob { job, inputs: inputs.into_iter(), settings: Settings::default() }
}

/// A MapReduce job that has not started: await it, or [`write`](Self::write) its outputs to files.
#[must_use = "jobs are lazy: they run when awaited or written"]
pub struct MapReduceJob<T, I> {
    job: T,
    inputs: I,
    settings: Settings,
}

impl<T, I> fmt::Debug for MapReduceJob<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapReduceJob({:?})", self.settings)
    }
}

impl<T, I> MapReduceJob<T, I> {
    common_settings!();
}

/// The files written by [`MapReduceJob::write`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The files, one for each reduce task, in the order of the tasks.
    pub files: Vec<String>,
    /// Number of outputs in all files.
    pub records: u64,
    /// Number of bytes in all files.
    pub bytes: u64,
}

impl<T, I> MapReduceJob<T, I>
where
    T: MapReduce,
    I: Iterator<Item = T::Input>,
{
    /// Writes the outputs to files, one for each reduce task: `part-00000.tsv` and so on, in a local
    /// folder, or below a prefix of a store such as `s3://bucket/prefix`.
    ///
    /// Afterwards, the folder contains exactly these files. In a local folder, they replace those of an earlier job all
    /// at once; in a store, one by one. A local folder that contains other files, except hidden ones, is rejected.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use wren::mapreduce::{BoxError, Emitter, Format, MapReduce, Output, Values};
    /// #[derive(Serialize, Deserialize)]
    /// struct Lengths;
    ///
    /// #[wren::mapreduce]
    /// impl MapReduce for Lengths {
    ///     type Input = String;
    ///     type Key = u32;
    ///     type Value = String;
    ///     type Output = (u32, String);
    ///
    ///     fn map(&self, word: String, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
    ///         emit.emit(&(word.len() as u32), word);
    ///         Ok(())
    ///     }
    ///
    ///     fn reduce(&self, len: u32, words: &mut Values<'_, String>, out: &mut Output<(u32, String)>) -> Result<(), BoxError> {
    ///         words.try_for_each(|word| out.push((len, word)))
    ///     }
    /// }
    ///
    /// # wren::block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().to_str().unwrap();
    /// let words = ["to", "be", "or", "not"].map(str::to_owned);
    /// let written = wren::map_reduce(Lengths, words).partitions(1).write(folder, Format::Tsv).await?;
    /// assert_eq!(std::fs::read_to_string(&written.files[0]).unwrap(), "2\tto\n2\tbe\n2\tor\n3\tnot\n");
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The errors of awaiting the job, [`Error::Config`](crate::Error::Config) if the folder cannot be used, and
    /// [`Error::Store`](crate::Error::Store) if the files cannot be written.
    pub async fn write(self, folder: impl Into<String>, format: Format) -> Result<Written> {
        let folder = folder.into();
        let plan = Plan::new(self.settings, of_stages::<T>())?;
        let folder = plan.folder(&folder)?;
        let stages = Stages::new(self.job, self.inputs, plan)?;
        let outputs = stages.plan.outputs(&folder).await?;
        let target = Target::Folder { url: outputs.target().to_owned(), format };
        let reduced = stages.run(target, Some(outputs)).await?;
        Ok(Written::of(reduced))
    }
}

impl Written {
    pub(crate) fn of<T>(reduced: Vec<ReduceResult<T>>) -> Self {
        let mut all = Self { files: Vec::new(), records: 0, bytes: 0 };
        for ReduceResult { file, records, .. } in reduced {
            if let Some((file, bytes)) = file {
                all.files.push(file);
                all.bytes += bytes;
            }
            all.records += records;
        }
        all
    }
}

impl<T, I> IntoFuture for MapReduceJob<T, I>
where
    T: MapReduce + Send,
    T::Output: Send,
    I: Iterator<Item = T::Input>,
{
    type Output = Result<Vec<T::Output>>;
    type IntoFuture = BoxFuture<'static, Result<Vec<T::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let stages =
            Plan::new(self.settings, of_stages::<T>()).and_then(|plan| Stages::new(self.job, self.inputs, plan));
        Box::pin(async move {
            let reduced = stages?.run(Target::Result, None).await?;
            Ok(reduced.into_iter().flat_map(|reduced| reduced.collected).collect())
        })
    }
}

/// Both stages, with the calls of the first.
struct Stages<T> {
    job: T,
    plan: Plan,
    partitions: usize,
    map: Vec<Call<Scattered>>,
}

impl<T: MapReduce> Stages<T> {
    fn new(job: T, inputs: impl Iterator<Item = T::Input>, plan: Plan) -> Result<Self> {
        let (map, partitions) = plan.map_calls(<T as Registered>::stages()[0], &job, inputs)?;
        Ok(Self { job, plan, partitions, map })
    }

    async fn run(self, target: Target, outputs: Option<Outputs>) -> Result<Vec<ReduceResult<T::Output>>> {
        let Self { job, plan, partitions, map } = self;
        let clean_up = CleanUp::of(&plan, outputs.clone());
        loop {
            let mapped = plan.stage("map", map.iter().map(Call::copy).collect()).await?;
            let reduce = Self::reduce(&job, &plan, partitions, &mapped, &target)?;
            let reduced = plan.stage("reduce", reduce).await;
            if let Some(reduced) = plan.settle(outputs.as_ref(), reduced, &["map", "reduce"]).await? {
                clean_up.done().await;
                return Ok(reduced);
            }
        }
    }

    fn reduce(
        job: &T,
        plan: &Plan,
        partitions: usize,
        mapped: &[Scattered],
        target: &Target,
    ) -> Result<Vec<Call<ReduceResult<T::Output>>>> {
        let reduce = <T as Registered>::stages()[1];
        let stage_limits = plan.stage_limits(reduce)?;
        let shuffle = plan.shuffle("0", &stage_limits);
        let calls = (0..partitions).map(|partition| {
            let segments = mapped.iter().filter_map(|mapped| mapped.segment(partition)).collect();
            let stage = ReduceStage { shuffle: shuffle.clone(), partition, segments, target: target.clone() };
            stage_limits.call(reduce, |args| {
                args.push(job);
                args.push(&stage);
            })
        });
        Ok(calls.collect())
    }
}
