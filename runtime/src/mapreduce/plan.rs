//! Prepares and runs jobs with a shuffle: store, limits, partitions, stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde::Serialize;

use super::Settings;
use super::output::{ReduceResult, is_local};
use super::outputs::Outputs;
use super::stage::{MapStage, Shuffle};
use super::stage_limits::StageLimits;
use crate::calls::Call;
use crate::calls::map::{Map, gather};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::function::{Limits, RemoteFn};
use crate::history::Stage;
use crate::platform::new_id;
use crate::shuffle::{Model, Scattered};
use crate::store::{self, Requests, Store, StoreError};

/// Maximum number of ranges that the driver hands out: one of every map task's object for each reduce task. Each range
/// takes about 60 bytes of the driver's memory.
const MOST_RANGES: usize = 4 << 20;

/// A job with a shuffle, ready to run.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) executor: Executor,
    pub(crate) store: Arc<dyn Store>,
    /// Prefix of the job's objects.
    pub(crate) id: String,
    /// Name of the computation in the logs of its stages.
    of: String,
    /// Identifies this run in the logs of its stages, and how many of them have started.
    run: String,
    stages: AtomicU32,
    /// Whether the results of a named job's stages were already removed once, to run the stages again.
    has_forgotten: AtomicBool,
}

impl Plan {
    /// Prepares a job; `of` is the path of the type or function that it runs.
    ///
    /// # Errors
    /// [`Error::Config`] if workers cannot access the store of the shuffle.
    pub(crate) fn new(mut settings: Settings, of: &str) -> Result<Self> {
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
        let of = settings.run.name.as_deref().unwrap_or(of).to_owned();
        let (run, stages) = (new_id(), AtomicU32::new(0));
        Ok(Self { settings, executor, store, id, of, run, stages, has_forgotten: AtomicBool::new(false) })
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
        let number = self.stages.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let stage = Stage { run: self.run.clone(), of: self.of.clone(), name: name.to_owned(), number };
        let mut map = gather(calls).on(&self.executor).in_stage(stage);
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
        ran: Result<Vec<ReduceResult<T>>>,
        stages: &[&str],
    ) -> Result<Option<Vec<ReduceResult<T>>>> {
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
