//! MapReduce: [`map_reduce`] runs a [`MapReduce`] over inputs.

mod clean_up;
mod combined;
mod emit;
mod floats;
mod job;
mod key;
mod output;
mod outputs;
mod plan;
mod settings;
mod stage;
mod stage_limits;
mod table;
mod values;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::function::RemoteFn;

pub(crate) use clean_up::{CleanUp, remove_below};
pub use emit::Emitter;
pub use job::{MapReduceJob, Written, map_reduce};
pub use key::{Encoded, Key};
pub(crate) use output::FileSink;
pub use output::{Format, Output};
pub(crate) use outputs::Outputs;
pub(crate) use plan::Plan;
pub(crate) use settings::{Settings, common_settings};
pub(crate) use stage_limits::StageLimits;
pub use values::Values;

pub(crate) use emit::{Emits, Pairs};
pub(crate) use output::{ReduceResult, Target};
pub(crate) use stage::{MapStage, Shuffle, each_key, failure, gathered, sorted};
#[doc(hidden)]
pub use stage::{map_entry, reduce_entry};

/// The error type of `map` and `reduce`: `?` converts any error into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A computation in the style of MapReduce ("MapReduce: Simplified Data Processing on Large Clusters", OSDI 2004):
/// `map` turns each input into pairs of a key and a value, and `reduce` receives each key once, with all its values.
///
/// `#[wren::mapreduce]` on the `impl` registers its two stages, so that workers find them. It takes the options
/// `memory`, `timeout` and `retries` of [`#[wren::remote]`](crate::remote).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use wren::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};
///
/// /// How often each word of at least `shortest` letters occurs.
/// #[derive(Serialize, Deserialize)]
/// struct WordCount {
///     shortest: usize,
/// }
///
/// #[wren::mapreduce]
/// impl MapReduce for WordCount {
///     type Input = String;
///     type Key = str;
///     type Value = u64;
///     type Output = (String, u64);
///
///     fn map(&self, text: String, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
///         for word in text.split_whitespace().filter(|word| word.len() >= self.shortest) {
///             emit.emit(word, 1);
///         }
///         Ok(())
///     }
///
///     fn combine(&self, sum: &mut u64, next: u64) {
///         *sum += next;
///     }
///
///     fn reduce(&self, word: &str, counts: &mut Values<'_, u64>, out: &mut Output<(String, u64)>) -> Result<(), BoxError> {
///         out.push((word.to_owned(), counts.sum()))
///     }
/// }
///
/// # wren::block_on(async {
/// let texts = ["to be or not to be".to_owned(), "be quick".to_owned()];
/// let mut counts = wren::map_reduce(WordCount { shortest: 2 }, texts).await?;
/// counts.sort();
/// assert_eq!(counts[0], ("be".to_owned(), 3));
/// assert_eq!(counts.len(), 5);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// A task may run more than once if a machine fails or is slow; its results count once.
pub trait MapReduce: Registered + Serialize + DeserializeOwned {
    /// The input of one map task: a [`Split`](crate::Split) of files, or any type that serde supports.
    type Input: Serialize + DeserializeOwned;
    /// The key by which values are grouped.
    type Key: Key + ?Sized;
    /// A value emitted under a key.
    type Value: Serialize + DeserializeOwned;
    /// An output of `reduce`.
    type Output: Serialize + DeserializeOwned;

    /// Emits the pairs of one input, one by one. They are not all kept in memory: `combine` merges the values of a key,
    /// and pairs that do not fit go to disk.
    ///
    /// # Errors
    /// An error ends the job, unless `retries` allows another attempt.
    fn map(&self, input: Self::Input, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError>;

    /// Merges two values of one key inside a map task, so that one pair is sent instead of many. Without it, every pair
    /// is sent. The reduce task also merges the values that arrive, before `reduce` sees the remaining ones: one value,
    /// or a few if memory was short.
    fn combine(&self, value: &mut Self::Value, next: Self::Value) {
        let _ = (value, next);
    }

    /// Returns which of the `partitions` reduce tasks gets a key. Without it, the hash of the key decides. A result
    /// that is not below `partitions` is treated as the last.
    fn partition(&self, key: <Self::Key as Key>::View<'_>, partitions: usize) -> usize {
        let _ = key;
        partitions - 1
    }

    /// Reduces a key and all its values, which come in the order of the inputs. Within a reduce task, keys come in
    /// ascending order.
    ///
    /// # Errors
    /// An error ends the job, unless `retries` allows another attempt.
    fn reduce(
        &self,
        key: <Self::Key as Key>::View<'_>,
        values: &mut Values<'_, Self::Value>,
        out: &mut Output<Self::Output>,
    ) -> Result<(), BoxError>;
}

/// The stages of a computation: `#[wren::mapreduce]` adds them to an implementation of [`MapReduce`], and
/// `#[wren::bsp]` to one of [`Bsp`](crate::bsp::Bsp).
#[diagnostic::on_unimplemented(
    message = "the stages of `{Self}` are not registered",
    label = "workers would not find them",
    note = "put `#[wren::mapreduce]` on `impl MapReduce for {Self}`, or `#[wren::bsp]` on `impl Bsp for {Self}`"
)]
pub trait Registered: Sized + 'static {
    /// Whether `combine` is implemented.
    #[doc(hidden)]
    const COMBINES: bool;
    /// Whether `partition` is implemented.
    #[doc(hidden)]
    const PARTITIONS: bool;
    /// Returns the stages, in order.
    #[doc(hidden)]
    fn stages() -> &'static [&'static RemoteFn];
}

/// Returns the path of the type that has these stages.
pub(crate) fn of_stages<T: Registered>() -> &'static str {
    let first = T::stages().first().map_or("", |stage| stage.name);
    first.rsplit_once("::").map_or(first, |(of, _)| of)
}

/// Returns which of `partitions` a key belongs to, by its hash.
pub(crate) fn by_hash(key: &[u8], partitions: usize) -> usize {
    use std::hash::BuildHasher;
    // The hash only needs to be the same in every process of one program.
    let hash = foldhash::quality::FixedState::default().hash_one(key);
    // The high half of the product is evenly spread below `partitions` (Lemire, "Fast Random Integer
    // Generation in an Interval", 2019).
    ((u128::from(hash) * partitions as u128) >> 64) as usize
}
