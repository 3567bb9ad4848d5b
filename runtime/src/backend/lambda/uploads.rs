//! Uploads of arguments that do not fit into a request. Each is put into the store once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use super::Batch;
use crate::attempt::TaskBlock;
use crate::backend::lambda::wire::{self, Answer, PackedArgs};
use crate::function::Blob;
use crate::history::spans;
use crate::logging::Levels;
use crate::store::{Store, StoreError, StoreResult, blobs};

/// A write that several batches wait for. If it fails, the next of them tries again.
type Once = Arc<OnceCell<()>>;

/// The objects that were put into the store, or are being put.
pub(super) struct Uploads {
    store: Arc<dyn Store>,
    /// Blocks by their address, while they exist.
    segments: Mutex<HashMap<usize, (Weak<TaskBlock>, Once)>>,
    blobs: Mutex<HashMap<[u8; 32], Once>>,
}

impl Uploads {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, segments: Mutex::default(), blobs: Mutex::default() }
    }

    /// Returns the request for a batch, with at most `inline` bytes of arguments in it. All objects that it names are
    /// in the store when this returns.
    pub(super) async fn message(
        &self,
        batch: &Batch,
        run: &str,
        inline: usize,
        answer: Answer,
    ) -> StoreResult<wire::BatchRequest> {
        let Batch { id: batch_id, tasks, attempt, block, .. } = batch;
        let function = block.function();
        let bytes = block.args(tasks.clone());
        let args = if bytes.len() <= inline {
            PackedArgs::Inline(bytes.to_vec())
        } else {
            PackedArgs::Stored { key: self.segment(run, block).await?, range: block.args_range(tasks.clone()) }
        };
        let mut blobs = Vec::new();
        let mut blobs_of = Vec::new();
        for (task, named) in block.blobs(tasks.clone()) {
            let mut indices = Vec::new();
            for blob in named {
                // Hashing a very large value takes a while.
                let hash = *tokio::task::block_in_place(|| blob.hash()).as_bytes();
                let known = blobs.iter().position(|known| *known == hash);
                indices.push(known.unwrap_or(blobs.len()) as u32);
                if known.is_none() {
                    self.blob(hash, blob).await?;
                    blobs.push(hash);
                }
            }
            blobs_of.push((task, indices));
        }
        Ok(wire::BatchRequest {
            run: run.to_owned(),
            batch_id: *batch_id,
            first: tasks.start,
            count: tasks.end - tasks.start,
            attempt: *attempt,
            function: function.id().to_owned(),
            signature_hash: function.signature_hash(),
            body_hash: function.body_hash,
            limits: block.limits(),
            traceparent: block.traceparent().map(ToString::to_string),
            levels: Levels::for_workers(spans::are_exported()),
            args,
            blobs,
            blobs_of,
            answer,
        })
    }

    /// Stores the arguments of a whole block and returns their key. Batches read their parts of the object.
    async fn segment(&self, run: &str, block: &Arc<TaskBlock>) -> StoreResult<String> {
        let tasks = block.tasks();
        let key = format!("{run}/args/{:012}", tasks.start);
        let once = {
            let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            segments.retain(|_, (block, _)| block.strong_count() > 0);
            let entry = segments.entry(Arc::as_ptr(block) as usize);
            entry.or_insert_with(|| (Arc::downgrade(block), Once::default())).1.clone()
        };
        once.get_or_try_init(|| self.store.put(&key, block.args(tasks))).await?;
        Ok(key)
    }

    async fn blob(&self, hash: [u8; 32], blob: &Blob) -> StoreResult<()> {
        let once = once(&self.blobs, hash);
        let key = blobs::key_of(&hash);
        let put = || async {
            // Another program may have stored it already; a check is cheaper than an upload.
            if self.store.size(&key).await.is_ok() {
                return Ok(());
            }
            match self.store.put_if_absent(&key, &blob.bytes).await {
                Err(StoreError::AlreadyExists { .. }) => Ok(()),
                other => other,
            }
        };
        once.get_or_try_init(put).await.copied()
    }
}

fn once<K: Hash + Eq>(of: &Mutex<HashMap<K, Once>>, key: K) -> Once {
    of.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
}
