//! The parameter server: a vector of numbers, split over several keys.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Addition, Kv, KvError, Number, Place};
use crate::error::{Error, Result};

/// Default length of a shard, in numbers: 4 KiB of `f32`, which every storage changes in microseconds.
const SHARD: usize = 1024;

/// Maximum number of numbers sent at once.
const BATCH: usize = 4 << 20;

/// A vector of `f32` or `f64` that many functions read and add to at the same time.
///
/// It can be an argument of a remote function:
///
/// ```
/// use wren::kv::{Kv, Params};
///
/// /// Takes one step towards the point whose coordinates are all 1.
/// #[wren::remote]
/// fn step(weights: Params<f32>) -> wren::Result<()> {
///     let delta: Vec<f32> = weights.pull()?.iter().map(|w| 0.1 * (1.0 - w)).collect();
///     weights.push(0, &delta)
/// }
///
/// # wren::block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let kv = Kv::open(&format!("embedded:{}", folder.path().display()))?;
/// # #[cfg(any())]
/// let kv = wren::kv()?;
/// let weights = Params::create(&kv, "weights", &[0.0f32; 5_000])?;
/// wren::map(|_| step(weights.clone()), 0..200).await?;
/// assert!(weights.pull()?.iter().all(|w| (0.9..1.1).contains(w)));
/// weights.delete()?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Consistency
/// The vector is split into shards, each stored as a value of its own.
///
/// - A push is atomic in each shard that it touches: all its deltas for that shard are added in one step, and no
///   concurrent addition is ever lost.
/// - There is no order between shards: a pull may see a push in one shard and not yet in another. Each shard that it
///   returns existed in that state; the vector as a whole may never have existed in that state.
/// - A pull that starts after a push returned sees the push.
/// - Floating-point sums depend on the order of the additions, and the order of concurrent pushes is not fixed.
///
/// A push that fails with [`KvError::Uncertain`] may have been made in some shards, in all, or in none. It is not
/// repeated automatically.
pub struct Params<T> {
    kv: Kv,
    name: String,
    len: usize,
    shard: usize,
    number: PhantomData<fn() -> T>,
}

/// The description of a vector, stored beside its shards.
#[derive(Serialize, Deserialize)]
struct Shape {
    len: u64,
    shard: u64,
    number: String,
}

/// The serialized form of [`Params`].
#[derive(Serialize, Deserialize)]
struct Wire {
    kv: Kv,
    name: String,
    len: usize,
    shard: usize,
}

impl<T> Serialize for Params<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (kv, name) = (self.kv.clone(), self.name.clone());
        Wire { kv, name, len: self.len, shard: self.shard }.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Params<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Wire { kv, name, len, shard } = Wire::deserialize(deserializer)?;
        if shard == 0 {
            return Err(serde::de::Error::custom("the shard size of the parameters is 0"));
        }
        Ok(Self { kv, name, len, shard, number: PhantomData })
    }
}

impl<T> Clone for Params<T> {
    fn clone(&self) -> Self {
        let (kv, name) = (self.kv.clone(), self.name.clone());
        Self { kv, name, len: self.len, shard: self.shard, number: PhantomData }
    }
}

impl<T> fmt::Debug for Params<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({} numbers under `{}` in {:?})", self.len, self.name, self.kv)
    }
}

fn claim_key(name: &str) -> String {
    format!("{name}/claim")
}

fn shape_key(name: &str) -> String {
    format!("{name}/shape")
}

impl<T: Number> Params<T> {
    /// Stores a new vector under `name`.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is in use; [`Error::Kv`].
    pub fn create(kv: &Kv, name: &str, initial: &[T]) -> Result<Self> {
        Self::create_sharded(kv, name, initial, SHARD)
    }

    /// Stores a new vector with `shard` numbers in each shard instead of 1,024. Smaller shards let more functions push
    /// at once without waiting for each other, on a server with many cores, and make sparse pushes cheaper. Larger
    /// shards make pulls of the whole vector cheaper. 0 is treated as 1.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_sharded(kv: &Kv, name: &str, initial: &[T], shard: usize) -> Result<Self> {
        let kv = kv.clone();
        let params = Self { kv, name: name.to_owned(), len: initial.len(), shard: shard.max(1), number: PhantomData };
        if !params.kv.set_if_absent(&claim_key(name), &())? {
            return Err(Error::Config(format!(
                "{} already has parameters under `{name}`; open them with `Params::open`, or delete them with \
                 `Params::delete_named`",
                params.kv.url()
            )));
        }
        params.store(initial)?;
        let shape = Shape { len: params.len as u64, shard: params.shard as u64, number: T::NAME.to_owned() };
        params.kv.set(&shape_key(name), &shape)?;
        Ok(params)
    }

    /// Opens the existing vector under `name`.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none, or if its numbers have another type; [`Error::Kv`].
    pub fn open(kv: &Kv, name: &str) -> Result<Self> {
        let found: Option<Shape> = kv.get(&shape_key(name))?;
        let wrong = |what: String| Error::Config(format!("{} has {what} under `{name}`", kv.url()));
        let shape = found.ok_or_else(|| wrong("no parameters, or only partly created ones,".to_owned()))?;
        if shape.number != T::NAME {
            return Err(wrong(format!("parameters of type {}, not {},", shape.number, T::NAME)));
        }
        let whole = |number: u64| {
            usize::try_from(number).map_err(|_| wrong("more parameters than this machine can address".to_owned()))
        };
        let (len, shard) = (whole(shape.len)?, whole(shape.shard)?.max(1));
        Ok(Self { kv: kv.clone(), name: name.to_owned(), len, shard, number: PhantomData })
    }

    /// Removes the vector.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn delete(self) -> Result<()> {
        Self::delete_named(&self.kv, &self.name)
    }

    /// Removes the vector under `name`, even if its creation did not finish.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn delete_named(kv: &Kv, name: &str) -> Result<()> {
        let claim = claim_key(name);
        let parts = kv.keys(&format!("{name}/"))?;
        for key in parts.iter().filter(|key| **key != claim) {
            kv.delete(key)?;
        }
        // The claim is removed last, so that no other process can create the vector during the removal.
        kv.delete(&claim)
    }

    /// Returns the name that the vector is stored under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the length of the vector.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the vector has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the length of a shard, in numbers.
    pub fn shard_len(&self) -> usize {
        self.shard
    }

    /// Returns all numbers.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn pull(&self) -> Result<Vec<T>> {
        self.pull_range(0..self.len)
    }

    /// Returns the numbers of a range.
    ///
    /// # Errors
    /// [`Error::Kv`]; it contains [`KvError::OutOfRange`] if the range ends beyond the vector.
    pub fn pull_range(&self, range: Range<usize>) -> Result<Vec<T>> {
        self.check(range.start, range.end)?;
        let mut numbers = Vec::with_capacity(range.len());
        for batch in batches(range) {
            let parts: Vec<_> = self.parts(batch).collect();
            let keys: Vec<_> = parts.iter().map(|(shard, _)| self.key(*shard)).collect();
            let bytes = |part: &Range<usize>| (part.start * T::SIZE) as u64..(part.end * T::SIZE) as u64;
            let ranges: Vec<_> = keys.iter().zip(&parts).map(|(key, (_, part))| (key.as_str(), bytes(part))).collect();
            let values = self.kv.storage().get_ranges(&ranges)?;
            for ((value, (_, part)), key) in values.into_iter().zip(&parts).zip(&keys) {
                let before = numbers.len();
                T::extend_from_bytes(&mut numbers, value.as_deref().unwrap_or_default());
                if numbers.len() - before != part.len() {
                    let reason = "the shard is missing or incomplete".to_owned();
                    return Err(KvError::OutOfRange { key: key.clone(), reason }.into());
                }
            }
        }
        Ok(numbers)
    }

    /// Adds `delta` to the numbers from `offset` on.
    ///
    /// # Errors
    /// [`Error::Kv`]; it contains [`KvError::OutOfRange`] if the delta ends beyond the vector. Nothing is added then.
    pub fn push(&self, offset: usize, delta: &[T]) -> Result<()> {
        self.check(offset, offset.saturating_add(delta.len()))?;
        for batch in batches(offset..offset + delta.len()) {
            let mut rest = &delta[batch.start - offset..batch.end - offset];
            let mut additions = Vec::new();
            let parts: Vec<_> = self.parts(batch).map(|(shard, part)| (self.key(shard), part)).collect();
            for (key, part) in &parts {
                let (here, after) = rest.split_at(part.len());
                rest = after;
                additions.push(Addition { key, place: Place::From(part.start as u64), delta: T::numbers(here) });
            }
            self.kv.storage().add(&additions)?;
        }
        Ok(())
    }

    /// Adds `delta[i]` to the number at `indices[i]`, for every `i`. The indices may be in any order. All shards that
    /// they touch are changed in one round trip.
    ///
    /// # Errors
    /// [`Error::Kv`]; it contains [`KvError::OutOfRange`] if an index is beyond the vector, or if the number of indices
    /// differs from the number of deltas. Nothing is added then.
    pub fn push_sparse(&self, indices: &[usize], delta: &[T]) -> Result<()> {
        if indices.len() != delta.len() {
            let reason = format!("got {} indices for {} numbers", indices.len(), delta.len());
            return Err(KvError::OutOfRange { key: self.name.clone(), reason }.into());
        }
        let Some(&last) = indices.iter().max() else { return Ok(()) };
        self.check(0, last.saturating_add(1))?;
        let mut order: Vec<usize> = (0..indices.len()).collect();
        order.sort_by_key(|&i| indices[i] / self.shard);
        let groups: Vec<(String, Vec<u32>, Vec<T>)> = order
            .chunk_by(|&a, &b| indices[a] / self.shard == indices[b] / self.shard)
            .map(|group| {
                let places = group.iter().map(|&i| (indices[i] % self.shard) as u32).collect();
                let deltas = group.iter().map(|&i| delta[i]).collect();
                (self.key(indices[group[0]] / self.shard), places, deltas)
            })
            .collect();
        let additions: Vec<_> = groups
            .iter()
            .map(|(key, places, deltas)| Addition { key, place: Place::At(places), delta: T::numbers(deltas) })
            .collect();
        Ok(self.kv.storage().add(&additions)?)
    }

    /// Replaces all numbers, shard by shard. Concurrent pushes may be lost.
    ///
    /// # Errors
    /// [`Error::Kv`]; it contains [`KvError::OutOfRange`] if `numbers` is longer or shorter than the vector.
    pub fn store(&self, numbers: &[T]) -> Result<()> {
        if numbers.len() != self.len {
            let reason = format!("got {} numbers for a vector of {}", numbers.len(), self.len);
            return Err(KvError::OutOfRange { key: self.name.clone(), reason }.into());
        }
        for batch in batches(0..self.len) {
            let start = batch.start;
            let mut rest = &numbers[start..batch.end];
            for (shard, part) in self.parts(batch).collect::<Vec<_>>() {
                let (here, after) = rest.split_at(part.len());
                rest = after;
                self.kv.set_numbers(&self.key(shard), here)?;
            }
        }
        Ok(())
    }

    fn key(&self, shard: usize) -> String {
        format!("{}/{shard}", self.name)
    }

    fn check(&self, start: usize, end: usize) -> Result<()> {
        if start <= end && end <= self.len {
            return Ok(());
        }
        let reason = format!("{start}..{end} is not within 0..{}", self.len);
        Err(KvError::OutOfRange { key: self.name.clone(), reason }.into())
    }

    /// Returns the shards of a range, each with the positions in that shard that the range covers.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let size = self.shard;
        let shards = if range.is_empty() { 0..0 } else { range.start / size..range.end.div_ceil(size) };
        shards.map(move |shard| {
            let start = range.start.max(shard * size) - shard * size;
            (shard, start..range.end.min((shard + 1) * size) - shard * size)
        })
    }
}

/// Splits a range into parts of at most [`BATCH`] numbers, which are sent one after the other.
fn batches(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BATCH).map(move |start| start..start.saturating_add(BATCH).min(end))
}

#[cfg(feature = "kv")]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &tempfile::TempDir) -> Kv {
        Kv::open(&format!("embedded:{}", folder.path().display())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pushes_and_pulls_match_a_vector(
            shard in 1usize..12,
            mut want in prop::collection::vec(-100i32..100, 1..60),
            pushes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(-100i32..100, 0..40)), 0..6),
            sparse in prop::collection::vec((any::<prop::sample::Index>(), -100i32..100), 0..80),
        ) {
            let floats = |numbers: &[i32]| numbers.iter().map(|&n| f64::from(n)).collect::<Vec<_>>();
            let folder = tempfile::tempdir().unwrap();
            let kv = open(&folder);
            let params = Params::create_sharded(&kv, "p", &floats(&want), shard).unwrap();
            for (start, delta) in &pushes {
                let start = start.index(want.len());
                let outcome = params.push(start, &floats(delta));
                prop_assert_eq!(outcome.is_ok(), start + delta.len() <= want.len());
                if outcome.is_ok() {
                    want[start..].iter_mut().zip(delta).for_each(|(number, delta)| *number += delta);
                }
                let range = start..want.len();
                prop_assert_eq!(params.pull_range(range.clone()).unwrap(), floats(&want[range]));
            }
            let indices: Vec<usize> = sparse.iter().map(|(index, _)| index.index(want.len())).collect();
            let delta: Vec<i32> = sparse.iter().map(|(_, delta)| *delta).collect();
            params.push_sparse(&indices, &floats(&delta)).unwrap();
            indices.iter().zip(&delta).for_each(|(&index, delta)| want[index] += delta);
            prop_assert_eq!(params.pull().unwrap(), floats(&want));
            prop_assert_eq!(Params::<f64>::open(&kv, "p").unwrap().pull().unwrap(), floats(&want));
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_after_deletion() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(&folder);
        assert!(Params::<f32>::open(&kv, "p").unwrap_err().to_string().contains("no parameters"));
        let params = Params::create(&kv, "p", &[1.0f32; 3]).unwrap();
        let message = Params::create(&kv, "p", &[2.0f32; 4]).unwrap_err().to_string();
        assert!(message.contains("already has parameters under `p`"), "{message}");
        let message = Params::<f64>::open(&kv, "p").unwrap_err().to_string();
        assert!(message.contains("parameters of type f32, not f64"), "{message}");
        params.delete().unwrap();
        assert_eq!(kv.keys("").unwrap(), Vec::<String>::new());
        let none: [f32; 0] = [];
        assert_eq!(Params::create(&kv, "p", &none).unwrap().pull().unwrap(), none);
    }

    #[test]
    fn out_of_range_calls_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let params = Params::create_sharded(&open(&folder), "p", &[0.0f32; 10], 4).unwrap();
        let refused = |outcome: Result<()>| matches!(outcome, Err(Error::Kv(KvError::OutOfRange { .. })));
        assert!(refused(params.push(8, &[1.0; 3])));
        assert!(refused(params.push(usize::MAX, &[1.0; 3])));
        assert!(refused(params.push_sparse(&[1, 10], &[1.0; 2])));
        assert!(refused(params.push_sparse(&[1], &[1.0; 2])));
        assert!(refused(params.store(&[1.0; 9])));
        assert!(params.pull_range(5..11).is_err());
        assert_eq!(params.pull().unwrap(), [0.0; 10]);
    }
}
