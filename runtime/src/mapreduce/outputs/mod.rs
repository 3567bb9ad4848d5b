//! The folder of a job's outputs, which contains exactly the files that the job wrote.
//!
//! Tasks write their files to a staged folder beside it. When all files are there, the two folders change places. Where
//! that is not possible, in a store or where nothing can be written beside the folder, the earlier files are removed
//! one by one. In a store, a mark shows until then that the outputs are incomplete.
//!
//! An attempt that lost to another, or that belongs to a failed job, may still write after the job has ended.
//! Therefore, only the driver creates the staged folder. It first renames the folder, so that no task finds it any
//! more, and then uses or removes it.

mod in_store;
mod on_disk;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::output::{ReduceResult, is_local};
use crate::error::Result;
use crate::store::{self, unblock};

use in_store::InStore;
pub(super) use in_store::check_mark;
use on_disk::OnDisk;

/// The destination of a job's outputs.
#[derive(Debug, Clone)]
pub(crate) struct Outputs {
    place: Destination,
    /// The folder that tasks write to.
    target: String,
}

#[derive(Debug, Clone)]
enum Destination {
    Store(InStore),
    Disk(OnDisk),
}

impl Outputs {
    /// Prepares the outputs of a job in a folder, which is an absolute path or a store's URL.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a local folder that contains other files than outputs.
    pub(crate) async fn of(job: &str, is_named: bool, folder: &str) -> Result<Self> {
        let job = job.to_owned();
        if !is_local(folder) {
            let place = InStore { store: store::open(folder)?, job, is_named };
            place.put_mark().await?;
            return Ok(Self { place: Destination::Store(place), target: folder.to_owned() });
        }
        let folder = PathBuf::from(folder);
        let place = unblock(move || OnDisk::of(&job, folder)).await??;
        let target = place.target()?;
        Ok(Self { place: Destination::Disk(place), target })
    }

    /// Returns the folder that tasks write to.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Removes the local files that tasks wrote for a job that was cancelled or has failed.
    pub(crate) fn discard(&self) {
        if let Destination::Disk(place) = &self.place {
            place.discard();
        }
    }

    /// Creates the folder that tasks write to again, because they run again after [`Outputs::commit`] returned false.
    pub(crate) async fn stage_again(&self) -> Result<()> {
        match &self.place {
            Destination::Store(place) => place.put_mark().await,
            Destination::Disk(place) => place.stage_again().await,
        }
    }

    /// Puts the files of a job in place, without any other outputs. Returns false if they are gone: a named job may
    /// have written them long ago.
    pub(crate) async fn commit<T>(&self, reduced: &mut [ReduceResult<T>]) -> Result<bool> {
        let files: Vec<(String, u64)> = reduced.iter().filter_map(|reduced| reduced.file.clone()).collect();
        match &self.place {
            Destination::Store(place) => place.commit(files).await,
            Destination::Disk(place) => place.commit(files, reduced).await,
        }
    }
}
