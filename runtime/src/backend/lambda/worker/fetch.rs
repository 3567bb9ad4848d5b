//! Fetches arguments that are not in the request itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::no_store;
use crate::backend::lambda::wire::{BatchRequest, PackedArgs, Report};
use crate::error::Failure;
use crate::function::Blob;
use crate::store::{Store, StoreError, StoreResult, blobs};

type BlobsByTask = BTreeMap<u64, Vec<Arc<Blob>>>;

/// Returns the encoded arguments of all tasks, and the large ones by task. Large arguments that this instance still has
/// are not fetched again, and are not counted in `report`.
pub(super) async fn arguments(
    store: Option<&Arc<dyn Store>>,
    request: &BatchRequest,
    report: &mut Report,
) -> Result<(Vec<u8>, BlobsByTask), Failure> {
    let mut fetching = JoinSet::new();
    let mut blobs: Vec<Option<Arc<Blob>>> = request.blobs.iter().map(blobs::known).collect();
    for (index, hash) in request.blobs.iter().enumerate().filter(|(index, _)| blobs[*index].is_none()) {
        let store = store.ok_or_else(|| Failure::Store(no_store(&blobs::key_of(hash))))?.clone();
        let hash = *hash;
        fetching.spawn(async move { blob(&*store, hash).await.map(|blob| (index, blob)) });
    }
    let args = match &request.args {
        PackedArgs::Inline(bytes) => bytes.clone(),
        PackedArgs::Stored { key, range } => {
            let store = store.ok_or_else(|| Failure::Store(no_store(key)))?;
            store.get_range(key, range.clone()).await.map_err(Failure::Store)?
        }
    };
    while let Some(fetched) = fetching.join_next().await {
        let fetched = fetched.map_err(|e| Failure::Backend(e.to_string()))?;
        let (index, blob) = fetched.map_err(Failure::Store)?;
        report.fetched_values = report.fetched_values.saturating_add(1);
        report.fetched_bytes = report.fetched_bytes.saturating_add(blob.bytes.len() as u64);
        blobs[index] = Some(blob);
    }
    let of_task = |indices: &Vec<u32>| {
        let blob = |index: &u32| blobs.get(*index as usize).cloned().flatten();
        indices.iter().map(blob).collect::<Option<Vec<_>>>()
    };
    let missing = || Failure::BadArguments {
        reason: "a task refers to a large argument that the request does not list".to_owned(),
    };
    let by_task = request.blobs_of.iter().map(|(task, indices)| Some((*task, of_task(indices)?)));
    Ok((args, by_task.collect::<Option<_>>().ok_or_else(missing)?))
}

async fn blob(store: &dyn Store, hash: [u8; 32]) -> StoreResult<Arc<Blob>> {
    let key = blobs::key_of(&hash);
    let blob = Blob::new(store.get(&key).await?);
    if *blob.hash().as_bytes() != hash {
        let reason = "the content does not match the hash in its key".to_owned();
        return Err(StoreError::Damaged { store: store.url(), key, reason });
    }
    blobs::remember(hash, &blob);
    Ok(blob)
}
