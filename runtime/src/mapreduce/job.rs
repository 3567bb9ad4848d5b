//! The driver's side: [`map_reduce`].

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::output::{Format, Reduced, Target, is_local};
use super::outputs::Outputs;
use super::stage::{MapStage, ReduceStage, Shuffle};
use super::stage_limits::StageLimits;
use super::{MapReduce, Registered};
use crate::calls::Call;
use crate::calls::map::{Map, gather};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::function::{Limits, RemoteFn};
use crate::platform::new_id;
use crate::shuffle::{Model, Scattered};
use crate::store::{self, BoxFuture, Requests, Store, StoreError};

/// Maximum number of ranges that the driver hands out: one of every map task's object for each reduce task. Each range
/// takes about 60 bytes of the driver's memory.
const MOST_RANGES: usize = 4 << 20;

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

/// The settings of a job with a shuffle.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settings {
    pub(crate) partitions: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) shuffle: Option<String>,
    pub(crate) run: RunSettings,
}

/// The settings of every stage.
#[derive(Debug, Default, Clone)]
pub(crate) struct RunSettings {
    pub(crate) name: Option<String>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) budget_usd: Option<f64>,
    pub(crate) quiet: bool,
    pub(crate) executor: Option<Executor>,
}

macro_rules! common_settings {
    () => {
        /// Sets the number of partitions: of reduce tasks, or of tasks in each superstep. 0 is treated as 1. By
        /// default, a sort uses the number that its cost model gives; other jobs use one per worker, but no more than
        /// inputs.
        pub fn partitions(mut self, n: usize) -> Self {
            self.settings.partitions = Some(n.max(1));
            self
        }

        /// Allows each worker `mb` megabytes of memory; data that does not fit goes to disk. The default is 512, or on
        /// AWS Lambda the memory of the deployed function.
        pub fn memory(mut self, mb: u32) -> Self {
            self.settings.limits.memory_mb = Some(mb);
            self
        }

        /// Sets the time limit of each task.
        pub fn timeout(mut self, limit: Duration) -> Self {
            self.settings.limits.timeout = Some(limit);
            self
        }

        /// Runs a task again up to `retries` times if it panics or returns `Err`.
        pub fn retries(mut self, retries: u32) -> Self {
            self.settings.limits.retries = Some(retries);
            self
        }

        /// Keeps the data between the stages in the store of this URL, such as `redis://host:port`, instead of the
        /// executor's store.
        pub fn shuffle(mut self, url: impl Into<String>) -> Self {
            self.settings.shuffle = Some(url.into());
            self
        }

        /// Names the job, so that it can be resumed: if it runs again with the same name, program and inputs, it
        /// executes only the tasks that have not succeeded.
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.settings.run.name = Some(name.into());
            self
        }

        /// Runs at most `n` tasks at once. 0 is treated as 1.
        pub fn concurrency(mut self, n: usize) -> Self {
            self.settings.run.concurrency = Some(n);
            self
        }

        /// Stops each stage before it costs more than `usd` dollars. Local work costs nothing.
        pub fn budget(mut self, usd: f64) -> Self {
            self.settings.run.budget_usd = Some(usd);
            self
        }

        /// Hides the progress bar and the summary.
        pub fn quiet(mut self) -> Self {
            self.settings.run.quiet = true;
            self
        }

        /// Runs the job on this executor instead of the default one.
        pub fn on(mut self, executor: &Executor) -> Self {
            self.settings.run.executor = Some(executor.clone());
            self
        }
    };
}
pub(crate) use common_settings;

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
    /// The errors of awaiting the job, [`Error::Config`] if the folder cannot be used, and [`Error::Store`] if the
    /// files cannot be written.
    pub async fn write(self, folder: impl Into<String>, format: Format) -> Result<Written> {
        let folder = folder.into();
        let plan = Plan::new(self.settings)?;
        let folder = plan.folder(&folder)?;
        let stages = Stages::new(self.job, self.inputs, plan)?;
        let outputs = stages.plan.outputs(&folder).await?;
        let target = Target::Folder { url: outputs.target().to_owned(), format };
        let reduced = stages.run(target, Some(outputs)).await?;
        Ok(Written::of(reduced))
    }
}

impl Written {
    pub(crate) fn of<T>(reduced: Vec<Reduced<T>>) -> Self {
        let mut all = Self { files: Vec::new(), records: 0, bytes: 0 };
        for Reduced { file, records, .. } in reduced {
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
        let stages = Plan::new(self.settings).and_then(|plan| Stages::new(self.job, self.inputs, plan));
        Box::pin(async move {
            let reduced = stages?.run(Target::Result, None).await?;
            Ok(reduced.into_iter().flat_map(|reduced| reduced.collected).collect())
        })
    }
}

/// A job with a shuffle, ready to run.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) executor: Executor,
    pub(crate) store: Arc<dyn Store>,
    /// Prefix of the job's objects.
    pub(crate) id: String,
    /// Whether the results of a named job's stages were already removed once, to run the stages again.
    has_forgotten: AtomicBool,
}

impl Plan {
    /// # Errors
    /// [`Error::Config`] if workers cannot access the store of the shuffle.
    pub(crate) fn new(mut settings: Settings) -> Result<Self> {
        let executor = settings.run.executor.take().map_or_else(Executor::current, Executor::for_caller)?;
        let store = match &settings.shuffle {
            Some(url) => store::open(url)?,
            None => executor.store(),
        };
        if !executor.shares(&*store) {
            let other = if executor.is_local() { "file:.." } else { "s3://bucket/prefix" };
            return Err(Error::Config(format!(
                "worker processes cannot access the store {}, which the shuffle needs; set another with \
                 `.shuffle(\"{other}\")` or WREN_STORE",
                store.url()
            )));
        }
        let id = settings.run.name.clone().unwrap_or_else(new_id);
        Ok(Self { settings, executor, store, id, has_forgotten: AtomicBool::new(false) })
    }

    /// Switches to the Redis server of the key-value storage, if the program chose no store for the shuffle and the
    /// model predicts that Redis is faster for `bytes` bytes from `maps` map tasks.
    pub(crate) fn choose_store(&mut self, bytes: u64, maps: usize, stage_limits: &StageLimits) {
        if self.settings.shuffle.is_some() {
            return;
        }
        let Some(url) = self.executor.reactor().config.kv.clone().filter(|url| url.starts_with("redis:")) else {
            return;
        };
        let memory = self.shuffle("0", stage_limits).memory() as u64;
        let better = Model::is_better(&url, &self.store.url(), bytes, maps, self.executor.workers(), memory);
        // If the URL is not valid for a store, for example because it has a password, keep the current store.
        if better && let Ok(store) = store::open(&url) {
            self.store = store;
        }
    }

    /// Prepares the outputs in a folder that [`Plan::folder`] returned.
    pub(crate) async fn outputs(&self, folder: &str) -> Result<Outputs> {
        Outputs::of(&self.id, self.settings.run.name.is_some(), folder).await
    }

    /// Returns the folder for outputs, under the name by which workers find it.
    pub(crate) fn folder(&self, folder: &str) -> Result<String> {
        let is_seen =
            if is_local(folder) { self.executor.is_local() } else { self.executor.shares(&*store::open(folder)?) };
        if !is_seen {
            return Err(Error::Config(format!(
                "cannot write outputs to `{folder}`: the driver does not share it with workers on other machines; name \
                 a shared store, such as `s3://bucket/prefix`, or set WREN_BACKEND=local to run here"
            )));
        }
        if !is_local(folder) {
            return Ok(folder.to_owned());
        }
        let absolute =
            std::path::absolute(folder).map_err(|e| Error::Config(format!("invalid output folder `{folder}`: {e}")))?;
        absolute.into_os_string().into_string().map_err(|path| {
            let path = std::path::Path::new(&path);
            Error::Config(format!("the path of the folder {} is not UTF-8; use another folder", path.display()))
        })
    }

    pub(crate) fn shuffle(&self, stage: &str, stage_limits: &StageLimits) -> Shuffle {
        let store = self.store.url();
        Shuffle {
            // Disk and memory of this machine are faster than any compression; a network is not.
            compress: !store.starts_with("file:") && !store.starts_with("memory:"),
            store,
            prefix: format!("{}/shuffle/{stage}", self.id),
            memory_mb: stage_limits.share_mb,
        }
    }

    /// Returns the limits of a stage's tasks: those of the builder, or else those of the attribute.
    pub(crate) fn stage_limits(&self, function: &RemoteFn) -> Result<StageLimits> {
        StageLimits::of(&self.executor, function.name, Limits::of(function).under(&self.settings.limits))
    }

    /// Returns the number of partitions. The default is the number of workers, but no more than inputs.
    fn partitions(&self, inputs: usize) -> usize {
        self.settings.partitions.unwrap_or_else(|| self.executor.workers().min(inputs).max(1))
    }

    /// Returns the calls of the first stage, one for each input, and the number of partitions that they fill.
    pub(crate) fn map_calls<T: Serialize, I: Serialize>(
        &self,
        function: &'static RemoteFn,
        job: &T,
        inputs: impl Iterator<Item = I>,
    ) -> Result<(Vec<Call<Scattered>>, usize)> {
        let inputs: Vec<I> = inputs.collect();
        let partitions = self.partitions(inputs.len());
        self.check(inputs.len(), partitions)?;
        let stage_limits = self.stage_limits(function)?;
        let shuffle = self.shuffle("0", &stage_limits);
        let calls = inputs.iter().enumerate().map(|(task, input)| {
            let stage = MapStage { shuffle: shuffle.clone(), partitions, task };
            stage_limits.call(function, |args| {
                args.push(job);
                args.push(&stage);
                args.push(input);
            })
        });
        Ok((calls.collect(), partitions))
    }

    /// Runs one stage.
    pub(crate) fn stage<R>(&self, name: &str, calls: Vec<Call<R>>) -> Map<std::vec::IntoIter<Call<R>>, R> {
        let run = &self.settings.run;
        let mut map = gather(calls).on(&self.executor);
        if let Some(job) = &run.name {
            map = map.named(format!("{job}-{name}"));
        }
        if let Some(n) = run.concurrency {
            map = map.concurrency(n);
        }
        if let Some(usd) = run.budget_usd {
            map = map.budget(usd);
        }
        if run.quiet { map.quiet() } else { map }
    }

    /// Puts the outputs of a job in place. Returns `None` if the stages must run again: an earlier run of a named job
    /// wrote outputs or objects of the shuffle that are gone, so the kept results of its stages are useless.
    pub(crate) async fn settle<T>(
        &self,
        outputs: Option<&Outputs>,
        ran: Result<Vec<Reduced<T>>>,
        stages: &[&str],
    ) -> Result<Option<Vec<Reduced<T>>>> {
        let error = match ran {
            Ok(mut reduced) => match outputs {
                Some(outputs) if !outputs.commit(&mut reduced).await? => {
                    Error::Job(format!("outputs of job `{}` were removed while it ran; run it again", self.id))
                }
                _ => return Ok(Some(reduced)),
            },
            Err(Error::Store(error)) if self.is_of_shuffle(&error) => error.into(),
            Err(error) => return Err(error),
        };
        if self.settings.run.name.is_none() || self.has_forgotten.swap(true, Ordering::AcqRel) {
            return Err(error);
        }
        self.forget(stages).await?;
        if let Some(outputs) = outputs {
            outputs.stage_again().await?;
        }
        Ok(None)
    }

    /// Whether the error is that an object of the job's shuffle is gone: a store may remove old objects.
    fn is_of_shuffle(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::NotFound { key, .. } if key.starts_with(&format!("{}/shuffle/", self.id)))
    }

    /// Removes the kept results of a named job's stages.
    async fn forget(&self, stages: &[&str]) -> Result<()> {
        let requests = Requests::new(self.executor.store());
        if let Some(job) = &self.settings.run.name {
            for stage in stages {
                let prefix = format!("{job}-{stage}");
                let mut keys = requests.list(prefix.clone()).await?;
                // Not those of another job whose name begins with the same text.
                keys.retain(|key| {
                    let rest = key.strip_prefix(&prefix).unwrap_or_default();
                    rest.strip_prefix('-')
                        .unwrap_or(rest)
                        .trim_start_matches(|c: char| c.is_ascii_digit())
                        .starts_with('/')
                });
                requests.remove(keys).await?;
            }
        }
        Ok(())
    }

    /// Rejects a job whose ranges would fill the driver's memory.
    pub(crate) fn check(&self, tasks: usize, partitions: usize) -> Result<()> {
        if tasks.saturating_mul(partitions) <= MOST_RANGES {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{tasks} map tasks and {partitions} reduce tasks make more than {MOST_RANGES} ranges to fetch; set fewer \
             with `.partitions(n)`, or use fewer and larger inputs"
        )))
    }
}

/// Removes the shuffle's objects when the job ends. Those of a named job that failed are kept for its next run.
pub(crate) struct CleanUp {
    store: Arc<dyn Store>,
    prefix: String,
    keep: bool,
    outputs: Option<Outputs>,
}

impl CleanUp {
    /// Creates the clean-up of a job. `outputs` are its outputs, if they go to files.
    pub(crate) fn of(plan: &Plan, outputs: Option<Outputs>) -> Self {
        let prefix = format!("{}/shuffle/", plan.id);
        Self { store: plan.store.clone(), prefix, keep: plan.settings.run.name.is_some(), outputs }
    }

    /// Cleans up after a job that succeeded.
    pub(crate) async fn done(mut self) {
        self.keep = true;
        remove_below(self.store.clone(), self.prefix.clone()).await;
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Some(outputs) = &self.outputs {
            outputs.discard();
        }
        store::spawn_last(remove_below(self.store.clone(), self.prefix.clone()));
    }
}

/// Removes all objects below a prefix. Errors are ignored, because the removal of old jobs removes the remaining ones.
pub(crate) async fn remove_below(store: Arc<dyn Store>, prefix: String) {
    let _ = Requests::new(store).remove_below(prefix).await;
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

    async fn run(self, target: Target, outputs: Option<Outputs>) -> Result<Vec<Reduced<T::Output>>> {
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
    ) -> Result<Vec<Call<Reduced<T::Output>>>> {
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
