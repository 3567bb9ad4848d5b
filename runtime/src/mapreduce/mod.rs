//! MapReduce: [`map_reduce`] runs a [`MapReduce`] over inputs.

mod combined;
mod emit;
mod floats;
mod job;
mod key;
mod output;
mod outputs;
mod stage;
mod stage_limits;
mod table;
mod values;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::function::RemoteFn;

pub use emit::Emitter;
pub(crate) use job::{CleanUp, Plan, Settings, common_settings, remove_below};
pub use job::{MapReduceJob, Written, map_reduce};
pub use key::{Encoded, Key};
pub(crate) use output::FileSink;
pub use output::{Format, Output};
pub(crate) use outputs::Outputs;
pub(crate) use stage_limits::StageLimits;
pub use values::Values;

pub(crate) use emit::{Emits, Pairs};
pub(crate) use output::{Reduced, Target};
pub(crate) use stage::{MapStage, Shuffle, each_key, failure, gathered, sorted};
#[doc(hidden)]
pub use stage::{map_entry, reduce_entry};

/// What `map` and `reduce` may fail by: `?` turns any error into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A computation in the manner of MapReduce ("MapReduce: Simplified Data Processing on Large
/// Clusters", OSDI 2004): `map` turns each input into pairs of key and value, `reduce` sees each key
/// once, with all its values.
///
/// `#[wren::mapreduce]` on the `impl` registers its two stages, so that workers find them. Its options
/// are those of [`#[wren::remote]`](crate::remote): `memory`, `timeout`, `retries`.
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
/// A task may run more than once, where a machine died or was slow; what it did then counts once.
pub trait MapReduce: Registered + Serialize + DeserializeOwned {
    /// What one map task works on: [`Split`](crate::Split) of files, or anything that serde knows.
    type Input: Serialize + DeserializeOwned;
    /// By what values are brought together.
    type Key: Key + ?Sized;
    /// What is emitted under a key.
    type Value: Serialize + DeserializeOwned;
    /// What `reduce` gives.
    type Output: Serialize + DeserializeOwned;

    /// Emits the pairs of one input, as they come: nothing is held but what `combine` makes of them.
    ///
    /// # Errors
    /// Any error ends the job; `retries` of the attribute says whether the task is tried again.
    fn map(&self, input: Self::Input, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError>;

    /// Merges two values of one key inside a map task, so that one pair travels in place of many.
    /// Without it, every pair travels. Values that arrive are merged by it too, before `reduce` sees
    /// what is left: one value, or a few where memory was short.
    fn combine(&self, value: &mut Self::Value, next: Self::Value) {
        let _ = (value, next);
    }

    /// Which of `partitions` reduce tasks gets a key; the keys' hash decides otherwise. What is not
    /// below `partitions` is taken for the last.
    fn partition(&self, key: <Self::Key as Key>::View<'_>, partitions: usize) -> usize {
        let _ = key;
        partitions - 1
    }

    /// Takes a key and all its values, in the order of the inputs. Within a reduce task, keys come in
    /// their order.
    ///
    /// # Errors
    /// Any error ends the job; `retries` of the attribute says whether the task is tried again.
    fn reduce(
        &self,
        key: <Self::Key as Key>::View<'_>,
        values: &mut Values<'_, Self::Value>,
        out: &mut Output<Self::Output>,
    ) -> Result<(), BoxError>;
}

/// What `#[wren::mapreduce]` adds to an implementation of [`MapReduce`], and `#[wren::bsp]` to one of
/// [`Bsp`](crate::bsp::Bsp).
#[diagnostic::on_unimplemented(
    message = "the stages of `{Self}` are not registered",
    label = "workers would not find them",
    note = "put `#[wren::mapreduce]` on `impl MapReduce for {Self}`, or `#[wren::bsp]` on `impl Bsp for {Self}`"
)]
pub trait Registered: Sized + 'static {
    /// Whether `combine` is there.
    #[doc(hidden)]
    const COMBINES: bool;
    /// Whether `partition` is there.
    #[doc(hidden)]
    const PARTITIONS: bool;
    /// The stages, in their order.
    #[doc(hidden)]
    fn stages() -> &'static [&'static RemoteFn];
}

/// Which of `partitions` a key belongs to by its hash.
pub(crate) fn by_hash(key: &[u8], partitions: usize) -> usize {
    use std::hash::BuildHasher;
    // The same in every process of one program, which is all that is needed.
    let hash = foldhash::quality::FixedState::default().hash_one(key);
    // The high half of the product is evenly spread below `partitions` (Lemire, "Fast Random Integer
    // Generation in an Interval", 2019).
    ((u128::from(hash) * partitions as u128) >> 64) as usize
}
