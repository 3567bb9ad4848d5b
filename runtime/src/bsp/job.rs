//! The driver's side: [`bsp`].

use std::fmt;
use std::future::IntoFuture;

use super::Bsp;
use super::stage::{FinishStage, StepResult, StepStage};
use crate::calls::Call;
use crate::error::Result;
use crate::executor::Executor;
use crate::mapreduce::{
    CleanUp, Format, Outputs, Plan, ReduceResult, Registered, Settings, Shuffle, Target, Written, common_settings,
    of_stages, remove_below,
};
use crate::shuffle::Scattered;
use crate::store::BoxFuture;

/// Default maximum number of steps.
const MOST_STEPS: u64 = 10_000;

/// Runs a [`Bsp`]: a loading task for each input, then one step after another, with a task for each partition.
///
/// When awaited, it returns the outputs of all partitions, one partition after another. [`BspJob`] lists the settings.
/// See [`Bsp`] for an example.
pub fn bsp<T, I>(job: T, inputs: I) -> BspJob<T, I::IntoIter>
where
    T: Bsp,
    I: IntoIterator<Item = T::Input>,
{
    BspJob {
        job,
        inputs: inputs.into_iter(),
        settings: Settings::default(),
        until: Box::new(|_, _| false),
        steps: MOST_STEPS,
    }
}

/// Decides after a step, by its number and the partitions' summaries, whether it was the last.
type Until<S> = Box<dyn FnMut(u64, &[S]) -> bool + Send>;

/// A computation in supersteps that has not started: await it, or [`write`](Self::write) its outputs to files.
#[must_use = "jobs are lazy: they run when awaited or written"]
pub struct BspJob<T: Bsp, I> {
    job: T,
    inputs: I,
    settings: Settings,
    until: Until<T::Summary>,
    steps: u64,
}

impl<T: Bsp, I> fmt::Debug for BspJob<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BspJob({:?})", self.settings)
    }
}

impl<T: Bsp, I> BspJob<T, I> {
    common_settings!();

    /// Ends the computation after at most `n` steps; 10,000 by default.
    pub fn steps(mut self, n: u64) -> Self {
        self.steps = n;
        self
    }

    /// Ends the computation after the first step for which `last` returns true. `last` receives the number of the step,
    /// counted from 1, and the summary of each partition.
    pub fn until(mut self, last: impl FnMut(u64, &[T::Summary]) -> bool + Send + 'static) -> Self {
        self.until = Box::new(last);
        self
    }
}

impl<T, I> BspJob<T, I>
where
    T: Bsp,
    I: Iterator<Item = T::Input>,
{
    /// Writes the outputs to files, one for each partition, as
    /// [`MapReduceJob::write`](crate::mapreduce::MapReduceJob::write) does.
    ///
    /// # Errors
    /// The errors of awaiting the job, [`Error::Config`](crate::Error::Config) if the folder cannot be used, and
    /// [`Error::Store`](crate::Error::Store) if the files cannot be written.
    pub async fn write(self, folder: impl Into<String>, format: Format) -> Result<Written> {
        let folder = folder.into();
        let steps = Steps::new(self)?;
        let outputs = steps.plan.outputs(&steps.plan.folder(&folder)?).await?;
        let target = Target::Folder { url: outputs.target().to_owned(), format };
        let finished = steps.run(target, Some(outputs)).await?;
        Ok(Written::of(finished))
    }
}

impl<T, I> IntoFuture for BspJob<T, I>
where
    T: Bsp + Send,
    T::Summary: Send,
    T::Output: Send,
    I: Iterator<Item = T::Input>,
{
    type Output = Result<Vec<T::Output>>;
    type IntoFuture = BoxFuture<'static, Result<Vec<T::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let steps = Steps::new(self);
        Box::pin(async move {
            let finished = steps?.run(Target::Result, None).await?;
            Ok(finished.into_iter().flat_map(|finished| finished.collected).collect())
        })
    }
}

/// All steps, with the calls of the first.
struct Steps<T: Bsp> {
    job: T,
    plan: Plan,
    partitions: usize,
    load: Vec<Call<Scattered>>,
    until: Until<T::Summary>,
    steps: u64,
}

/// The results of a step, for the next step.
struct StepResults<S> {
    shuffle: Shuffle,
    sent: Vec<Scattered>,
    states: Vec<String>,
    summaries: Vec<S>,
}

impl<T: Bsp> Steps<T> {
    fn new<I: Iterator<Item = T::Input>>(job: BspJob<T, I>) -> Result<Self> {
        let BspJob { job, inputs, settings, until, steps } = job;
        let plan = Plan::new(settings, of_stages::<T>())?;
        let (load, partitions) = plan.map_calls(<T as Registered>::stages()[0], &job, inputs)?;
        // In later steps, every partition sends to every partition.
        plan.check(partitions, partitions)?;
        Ok(Self { job, plan, partitions, load, until, steps })
    }

    async fn run(mut self, target: Target, outputs: Option<Outputs>) -> Result<Vec<ReduceResult<T::Output>>> {
        let clean_up = CleanUp::of(&self.plan, outputs.clone());
        loop {
            let finished = self.run_stages(&target).await;
            if let Some(finished) = self.plan.settle(outputs.as_ref(), finished, &["load", "step", "finish"]).await? {
                clean_up.done().await;
                return Ok(finished);
            }
        }
    }

    async fn run_stages(&mut self, target: &Target) -> Result<Vec<ReduceResult<T::Output>>> {
        let load = self.load.iter().map(Call::copy).collect();
        let shuffle = self.plan.shuffle("0", &self.plan.stage_limits(<T as Registered>::stages()[0])?);
        let sent = self.plan.stage("load", load).await?;
        let states = vec![String::new(); self.partitions];
        let mut left = StepResults { shuffle, sent, states, summaries: Vec::new() };
        let mut number = 0;
        while number < self.steps && left.sent.iter().any(|sent| sent.records > 0) {
            number += 1;
            let (calls, shuffle) = self.step(number, &left)?;
            let stepped = self.plan.stage(&format!("step-{number}"), calls).await?;
            let before = std::mem::replace(&mut left, StepResults::of(shuffle, stepped));
            // The objects of the previous step are no longer needed.
            remove_below(self.plan.store.clone(), format!("{}/", before.shuffle.prefix)).await;
            if (self.until)(number, &left.summaries) {
                break;
            }
        }
        self.plan.stage("finish", self.finish(&left, target)?).await
    }

    fn step(&self, number: u64, left: &StepResults<T::Summary>) -> Result<(StepCalls<T::Summary>, Shuffle)> {
        let function = <T as Registered>::stages()[1];
        let stage_limits = self.plan.stage_limits(function)?;
        let to = self.plan.shuffle(&number.to_string(), &stage_limits);
        let calls = left.states.iter().enumerate().map(|(partition, state)| {
            let stage = StepStage {
                from: left.shuffle.clone(),
                segments: left.sent.iter().filter_map(|sent| sent.segment(partition)).collect(),
                to: to.clone(),
                state: state.clone(),
                number,
                partitions: self.partitions,
                partition,
            };
            stage_limits.call(function, |args| {
                args.push(&self.job);
                args.push(&stage);
                args.push(&left.summaries);
            })
        });
        let calls = calls.collect();
        Ok((calls, to))
    }

    fn finish(&self, left: &StepResults<T::Summary>, target: &Target) -> Result<Vec<Call<ReduceResult<T::Output>>>> {
        let function = <T as Registered>::stages()[2];
        let stage_limits = self.plan.stage_limits(function)?;
        let calls = left.states.iter().enumerate().map(|(partition, state)| {
            let shuffle = left.shuffle.clone();
            let stage = FinishStage { shuffle, state: state.clone(), partition, target: target.clone() };
            stage_limits.call(function, |args| {
                args.push(&self.job);
                args.push(&stage);
            })
        });
        Ok(calls.collect())
    }
}

/// The calls of one step.
type StepCalls<S> = Vec<Call<StepResult<S>>>;

impl<S> StepResults<S> {
    fn of(shuffle: Shuffle, stepped: Vec<StepResult<S>>) -> Self {
        let mut left = Self { shuffle, sent: Vec::new(), states: Vec::new(), summaries: Vec::new() };
        for StepResult { state, sent, summary } in stepped {
            left.sent.push(sent);
            left.states.push(state);
            left.summaries.push(summary);
        }
        left
    }
}
