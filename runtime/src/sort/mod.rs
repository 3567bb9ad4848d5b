//! Sorts files: [`sort`].
//!
//! A sample of the keys determines the boundaries of the partitions. Map tasks put each record into the partition of
//! its key, and each reduce task sorts one partition. The files, one after another, are in order.

mod sample;
mod stages;

use std::fmt;
use std::ops::Range;

use crate::data::{Input, Shape, Split};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::mapreduce::{CleanUp, Outputs, Plan, Settings, StageLimits, Written, common_settings};
use crate::shuffle::Model;

use sample::Splitters;
use stages::{MapParams, RecordLayout, ReduceParams};

/// Sorts the lines of an input, or its records of fixed length. Returns a builder, whose [`write`](Sort::write) writes
/// the files.
///
/// Records are compared byte by byte, as `LC_ALL=C sort` does: as a whole, or by the part that [`key`](Sort::key)
/// selects. Records that compare equal stay in the order of the input.
///
/// ```
/// # wren::block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
/// std::fs::write(path("words.txt"), "to\nbe\nor\nnot\nto\nbe\n").unwrap();
/// let input = wren::Input::glob(path("words.txt"))?;
/// let sorted = wren::sort(input).partitions(1).write(path("sorted")).await?;
/// assert_eq!(std::fs::read_to_string(&sorted.files[0]).unwrap(), "be\nbe\nnot\nor\nto\nto\n");
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// The records of the sort benchmark have 100 bytes, with a key of 10 bytes:
///
/// ```no_run
/// # async fn sort() -> wren::Result<()> {
/// let input = wren::Input::glob("gensort/")?.fixed(100);
/// wren::sort(input).key(0..10).write("sorted").await?;
/// # Ok(()) }
/// ```
pub fn sort(input: Input) -> Sort {
    Sort { input, key: None, settings: Settings::default() }
}

/// A sort that has not started: set its options, then [`write`](Self::write) the files.
#[must_use = "sorts are lazy: they run when written"]
pub struct Sort {
    input: Input,
    key: Option<Range<usize>>,
    settings: Settings,
}

impl fmt::Debug for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sort({:?}, key {:?})", self.input, self.key)
    }
}

impl Sort {
    common_settings!();

    /// Sorts by these bytes of each record, instead of by the whole record. A shorter record is sorted by those of the
    /// bytes that it has.
    pub fn key(mut self, bytes: Range<usize>) -> Self {
        self.key = Some(bytes);
        self
    }

    /// Sorts, and writes one file for each partition: `part-00000` and so on, in a local folder, or below a prefix of a
    /// store such as `s3://bucket/prefix`. In the order of their names, the files contain all records in order.
    ///
    /// Afterwards, the folder contains exactly these files. In a local folder, they replace those of an earlier job all
    /// at once; in a store, one by one. A local folder that contains other files, except hidden ones, is rejected.
    ///
    /// Every line ends with a newline, even if the last line of an input file had none.
    ///
    /// # Errors
    /// The errors of [`Input::splits`], [`Error::Input`] for an input of CSV or of whole files, [`Error::Config`] if
    /// the folder cannot be used, and the errors of a job.
    pub async fn write(self, folder: impl Into<String>) -> Result<Written> {
        let Self { input, key, settings } = self;
        let plan = Plan::new(settings, module_path!())?;
        let folder = plan.folder(&folder.into())?;
        let stage_limits = StageLimits::of(&plan.executor, module_path!(), plan.settings.limits)?;
        let splits = input.on(&plan.executor).splits().await?;
        let outputs = plan.outputs(&folder).await?;
        let Some(first) = splits.first() else {
            outputs.commit::<()>(&mut []).await?;
            return Ok(Written::of::<()>(Vec::new()));
        };
        let records = RecordLayout { shape: first.shape(), key: key.unwrap_or(0..usize::MAX) };
        if let Shape::Other = records.shape {
            let reason = "only lines and records of fixed length can be sorted, not CSV or whole files".to_owned();
            outputs.discard();
            return Err(Error::Input { path: first.path().to_owned(), reason });
        }
        run(plan, stage_limits, records, splits, outputs).await
    }
}

async fn run(
    mut plan: Plan,
    stage_limits: StageLimits,
    records: RecordLayout,
    splits: Vec<Split>,
    outputs: Outputs,
) -> Result<Written> {
    let bytes = splits.iter().map(Split::bytes).sum();
    plan.choose_store(bytes, splits.len(), &stage_limits);
    let clean_up = CleanUp::of(&plan, Some(outputs.clone()));
    let shuffle = plan.shuffle("0", &stage_limits);
    let partitions = plan.settings.partitions.unwrap_or_else(|| {
        Model::of(&shuffle.store).partitions(bytes, splits.len(), plan.executor.workers(), shuffle.memory() as u64)
    });
    plan.check(splits.len(), partitions)?;
    loop {
        let samples = sample::share(&splits, bytes, partitions);
        let samples =
            samples.into_iter().map(|(split, n)| stage_limits.limit(stages::sample(split, &records, n))).collect();
        let splitters = Splitters::of(plan.stage("sample", samples).await?, partitions);

        let scatter = MapParams { shuffle: shuffle.clone(), records: records.clone(), splitters };
        let calls = (0..).zip(&splits).map(|(task, split)| stage_limits.limit(stages::scatter(split, &scatter, task)));
        let calls = calls.collect();
        let scattered = plan.stage("map", calls).await?;

        let calls = (0..partitions).map(|partition| {
            let segments = scattered.iter().filter_map(|object| object.segment(partition)).collect();
            let (shape, whole) = (records.shape, records.is_prefix());
            let collect = ReduceParams { shuffle: shuffle.clone(), shape, whole, segments };
            stage_limits.limit(stages::collect(&collect, outputs.target(), partition))
        });
        let calls = calls.collect();
        let reduced = plan.stage("reduce", calls).await;
        if let Some(reduced) = plan.settle(Some(&outputs), reduced, &["sample", "map", "reduce"]).await? {
            clean_up.done().await;
            return Ok(Written::of(reduced));
        }
    }
}

#[cfg(test)]
mod tests;
