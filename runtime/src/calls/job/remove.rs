//! Removes all objects that a job left in its store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::arguments;
use crate::codec;
use crate::error::Result;
use crate::executor::commit::lease::Lease;
use crate::executor::commit::manifest::Arguments;
use crate::executor::commit::record::refs_of;
use crate::platform::is_id;
use crate::store::blobs::key_of;
use crate::store::{Requests, Store, StoreResult, find_size, wait};

/// Removes all keys of a job, and the values that only this job refers to.
pub(super) async fn remove(requests: &Requests, id: &str, arguments: Option<&Arguments>) -> Result<()> {
    let mut named = refs_of(requests, id).await?;
    if let Some(arguments) = arguments {
        named.extend(arguments::blobs(requests, id, arguments).await?);
    }
    let own = format!("{id}/");
    let values = match named.is_empty() {
        true => Vec::new(),
        false => only_referenced_here(requests, &own, named).await?,
    };
    let mut keys = requests.list(own).await?;
    // The leases are removed last, by the process that holds the job.
    keys.retain(|key| !Lease::is_key(id, key));
    keys.extend(runs(requests, id).await?);
    requests.remove(keys).await?;
    requests.remove(values).await
}

/// Returns the keys that workers on other machines left for the job's runs, under `<job>.<random>/`.
async fn runs(requests: &Requests, id: &str) -> Result<Vec<String>> {
    let start = format!("{id}.");
    let keys = requests.list(start.clone()).await?;
    let run_of = |key: &str| {
        let (run, rest) = key.strip_prefix(&start)?.split_once('/')?;
        is_id(run).then(|| (run.to_owned(), rest == "job"))
    };
    // Another job may have such a name; it has a manifest.
    let jobs: BTreeSet<String> =
        keys.iter().filter_map(|key| run_of(key)).filter(|(_, is)| *is).map(|(run, _)| run).collect();
    Ok(keys.into_iter().filter(|key| run_of(key).is_some_and(|(run, _)| !jobs.contains(&run))).collect())
}

/// Returns the keys of the `named` values that nothing else in the store refers to. Reads everything else in the store.
async fn only_referenced_here(requests: &Requests, own: &str, named: BTreeSet<[u8; 32]>) -> Result<Vec<String>> {
    let mut keys = requests.list(String::new()).await?;
    let mine: BTreeSet<String> = named.iter().map(key_of).collect();
    keys.retain(|key| !key.starts_with(own) && !mine.contains(key));
    let needles = Arc::new(Needles::of(&named)?);
    let found = requests.for_each(keys, move |store, key| needles.within_value(store, &key));
    let elsewhere: BTreeSet<[u8; 32]> = found.await?.into_iter().flatten().collect();
    // A value that stays also keeps the values that it refers to.
    let mut left: BTreeSet<[u8; 32]> = named.difference(&elsewhere).copied().collect();
    let mut kept: Vec<[u8; 32]> = elsewhere.into_iter().collect();
    while let Some(hash) = kept.pop() {
        let needles = Needles::of(&left)?;
        let Some(value) = requests.find(key_of(&hash)).await? else { continue };
        for inner in needles.within(&value) {
            left.remove(&inner);
            kept.push(inner);
        }
    }
    Ok(left.iter().map(key_of).collect())
}

/// Hashes in the forms in which other values contain them: encoded, as bytes, and as hexadecimal digits.
struct Needles {
    /// The needles, by the first bytes of their form.
    by_start: HashMap<[u8; START], Vec<Needle>>,
}

/// One form of a hash.
struct Needle {
    form: Vec<u8>,
    hash: [u8; 32],
}

/// Number of bytes by which needles are looked up.
const START: usize = 8;

/// Length of the longest form, in bytes: the header of an array, and two bytes for each element.
const LONGEST: u64 = 3 + 2 * 32;

/// Size of the parts in which a value is read, in bytes.
const PART: usize = 4 << 20;

impl Needles {
    fn of(hashes: &BTreeSet<[u8; 32]>) -> Result<Self> {
        let mut by_start: HashMap<[u8; START], Vec<_>> = HashMap::new();
        for hash in hashes {
            let hex = blake3::Hash::from_bytes(*hash).to_hex().as_bytes().to_vec();
            for form in [codec::encode(hash)?, hash.to_vec(), hex] {
                if let Some(start) = form.first_chunk() {
                    by_start.entry(*start).or_default().push(Needle { form, hash: *hash });
                }
            }
        }
        Ok(Self { by_start })
    }

    /// Returns the hashes that a value contains. Reads the value in parts.
    fn within_value(&self, store: &dyn Store, key: &str) -> StoreResult<Vec<[u8; 32]>> {
        // The value may have been removed meanwhile.
        let Some(size) = find_size(store, key)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for start in (0..size).step_by(PART) {
            // Reads beyond the end of the part, so that a hash that crosses the end is found.
            let end = start.saturating_add(PART as u64 + LONGEST);
            found.extend(self.within(&wait(store.get_range(key, start..end))?));
        }
        Ok(found)
    }

    /// Returns the hashes that `bytes` contains.
    fn within(&self, bytes: &[u8]) -> Vec<[u8; 32]> {
        let mut found = Vec::new();
        for (at, start) in bytes.windows(START).enumerate() {
            let Some(forms) = <[u8; START]>::try_from(start).ok().and_then(|start| self.by_start.get(&start)) else {
                continue;
            };
            found.extend(forms.iter().filter(|needle| bytes[at..].starts_with(&needle.form)).map(|needle| needle.hash));
        }
        found
    }
}
