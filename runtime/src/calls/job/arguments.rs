//! Arguments of a started job in the store: if its driver is gone, another process can run the remaining tasks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::attempt::TaskBlock;
use crate::codec::envelope;
use crate::error::{Error, Result};
use crate::executor::commit::manifest::{Arguments, Manifest, call_hash};
use crate::executor::commit::record::{CallHash, damaged};
use crate::function::{Args, Blob, Limits, RemoteFn, registry};
use crate::history::TaskInput;
use crate::platform::new_id;
use crate::store::blobs::{hash_of, key_of};
use crate::store::{Requests, Store, StoreResult, put_once, wait};

/// Approximate size of a segment, in bytes, without large arguments.
const SEGMENT: usize = 1 << 20;

/// Maximum number of tasks in a block.
const BLOCK_TASKS: usize = 8 << 10;
/// Size at which a block is full, in bytes.
const BLOCK_BYTES: usize = 512 << 10;

/// Arguments of consecutive tasks, under `<job>/args/<writer>/<segment>`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Segment {
    first: u64,
    calls: Vec<StoredCall>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCall {
    function: String,
    signature_hash: u64,
    limits: Limits,
    #[serde(with = "crate::codec::bytes")]
    args: Vec<u8>,
    /// The keys of large arguments.
    blobs: Vec<String>,
}

/// One call of a job.
pub(super) struct EncodedCall {
    pub(super) task: u64,
    pub(super) call: CallHash,
    pub(super) function: &'static RemoteFn,
    pub(super) limits: Limits,
    pub(super) args: Args,
}

/// Calls with their large arguments, to be written.
#[derive(Debug, Default)]
struct Packed {
    segments: Vec<Segment>,
    blobs: HashMap<String, Arc<Blob>>,
    bytes: usize,
}

impl Packed {
    fn push(&mut self, call: &EncodedCall) {
        let segment = match self.segments.last_mut() {
            Some(last) if self.bytes <= SEGMENT => last,
            _ => {
                self.bytes = 0;
                self.segments.push(Segment { first: call.task, calls: Vec::new() });
                // In bounds, because the segment was just pushed.
                let last = self.segments.len() - 1;
                &mut self.segments[last]
            }
        };
        self.bytes += call.args.bytes.len() + 64;
        let keys = call.args.blobs.iter().map(|blob| {
            let key = key_of(blob.hash().as_bytes());
            self.blobs.entry(key.clone()).or_insert_with(|| blob.clone());
            key
        });
        segment.calls.push(StoredCall {
            function: call.function.id().to_owned(),
            signature_hash: call.function.signature_hash(),
            limits: call.limits,
            args: call.args.bytes.to_vec(),
            blobs: keys.collect(),
        });
    }
}

fn prefix(id: &str, writer: &str) -> String {
    format!("{id}/args/{writer}/")
}

fn segment_key(id: &str, writer: &str, segment: u64) -> String {
    format!("{}{segment:08}", prefix(id, writer))
}

/// Writes the arguments of all calls.
pub(super) async fn write(requests: &Requests, id: &str, calls: &[EncodedCall]) -> Result<Arguments> {
    let mut packed = Packed::default();
    calls.iter().for_each(|call| packed.push(call));
    requests.for_each(packed.blobs, |store, (key, blob)| put_once(store, &key, &blob.bytes)).await?;
    let arguments = Arguments { writer: new_id(), segments: packed.segments.len() as u64 };
    let sealed = (0..).zip(packed.segments).map(|(number, segment)| {
        let key = segment_key(id, &arguments.writer, number);
        Ok((key, envelope::seal(&segment)?))
    });
    let sealed = sealed.collect::<Result<Vec<_>>>()?;
    requests.for_each(sealed, |store, (key, value)| wait(store.put(&key, &value))).await?;
    Ok(arguments)
}

/// Removes the arguments that [`write`] wrote.
pub(super) async fn remove(requests: &Requests, id: &str, arguments: &Arguments) -> Result<()> {
    requests.remove_below(prefix(id, &arguments.writer)).await
}

/// Returns the hashes of the large arguments.
pub(super) async fn blobs(requests: &Requests, id: &str, arguments: &Arguments) -> Result<BTreeSet<[u8; 32]>> {
    let (id, writer) = (id.to_owned(), arguments.writer.clone());
    let segments = requests.for_each(0..arguments.segments, move |store, number| {
        Ok(read_segment(store, &id, &writer, number)?.calls.into_iter().flat_map(|call| call.blobs).collect::<Vec<_>>())
    });
    Ok(segments.await?.into_iter().flatten().filter_map(|key| hash_of(&key)).collect())
}

fn read_segment(store: &dyn Store, id: &str, writer: &str, number: u64) -> StoreResult<Segment> {
    let key = segment_key(id, writer, number);
    let sealed = wait(store.get(&key))?;
    envelope::open(&sealed).map_err(|reason| damaged(store, &key, reason))
}

/// Reads the calls of a job, except those of the tasks in `over`.
pub(super) async fn read(
    requests: &Requests,
    id: &str,
    arguments: &Arguments,
    over: BTreeSet<u64>,
) -> Result<Vec<EncodedCall>> {
    let (job, writer) = (id.to_owned(), arguments.writer.clone());
    let segments = requests.for_each(0..arguments.segments, move |store, number| {
        let Segment { first, calls } = read_segment(store, &job, &writer, number)?;
        let calls = (first..).zip(calls).filter(|(task, _)| !over.contains(task));
        Ok(calls.collect::<Vec<_>>())
    });
    let calls: Vec<(u64, StoredCall)> = segments.await?.into_iter().flatten().collect();
    let keys: BTreeSet<String> = calls.iter().flat_map(|(_, call)| call.blobs.iter().cloned()).collect();
    let blobs = requests.for_each(keys, |store, key| {
        let blob = Blob::new(wait(store.get(&key))?);
        Ok((key, blob))
    });
    let blobs: HashMap<String, Arc<Blob>> = blobs.await?.into_iter().collect();
    let encoded = calls.into_iter().map(|(task, call)| {
        let function = registry::find(&call.function)?;
        if function.signature_hash() != call.signature_hash {
            return Err(Error::StaleDeployment { functions: vec![call.function] });
        }
        let blobs = call.blobs.iter().filter_map(|key| blobs.get(key).cloned()).collect();
        let args = Args { bytes: call.args.into(), blobs };
        Ok(EncodedCall { task, call: call_hash(function, &args), function, limits: call.limits, args })
    });
    encoded.collect()
}

/// Packs calls into blocks for the scheduler.
pub(super) fn blocks(calls: Vec<EncodedCall>) -> Vec<TaskBlock> {
    let mut blocks: Vec<TaskBlock> = Vec::new();
    for EncodedCall { task, function, limits, args, .. } in calls {
        let joins = |b: &TaskBlock| {
            b.accepts(function, &limits) && !b.is_full(BLOCK_TASKS, BLOCK_BYTES) && b.tasks().end == task
        };
        match blocks.last_mut().filter(|b| joins(b)) {
            Some(block) => block.push(args),
            None => {
                let mut block = TaskBlock::new(function, limits, task);
                block.push(args);
                blocks.push(block);
            }
        }
    }
    blocks
}

/// Returns the arguments of a task of a started job, or `None` if the store has no such job or task.
pub(crate) fn stored_input(store: &Arc<dyn Store>, id: &str, task: u64) -> Result<Option<TaskInput>> {
    let found = wait(Manifest::find(&Requests::new(store.clone()), id))?;
    let Some(Arguments { writer, segments }) = found.and_then(|manifest| manifest.arguments) else {
        return Ok(None);
    };
    // A binary search: segments are in the order of their tasks.
    let mut left = 0..segments;
    while !left.is_empty() {
        let middle = left.start + (left.end - left.start) / 2;
        let Segment { first, mut calls } = read_segment(&**store, id, &writer, middle)?;
        match task.checked_sub(first) {
            None => left.end = middle,
            Some(index) if index >= calls.len() as u64 => left.start = middle + 1,
            Some(index) => {
                let StoredCall { function, signature_hash, limits, args, blobs } = calls.swap_remove(index as usize);
                let mut args = Args { bytes: args.into(), blobs: Vec::new() };
                for key in blobs {
                    args.blobs.push(Blob::new(wait(store.get(&key))?));
                }
                let (signature, body_hash, size) = (None, None, args.size());
                return Ok(Some(TaskInput { function, signature, size, limits, signature_hash, body_hash, args }));
            }
        }
    }
    Ok(None)
}
