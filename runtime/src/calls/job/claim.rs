//! The claim on a job: the lock of its log, and its lease.

use std::fs::File;
use std::path::Path;

use crate::error::Result;
use crate::executor::Executor;
use crate::executor::commit::lease::{HolderWatch, Lease};
use crate::history::{self, Claim};
use crate::platform::ProcessIdentity;
use crate::store::{Requests, sleep, unblock};

/// The right to run a job.
pub(super) struct JobClaim {
    /// The job's log, if logs can be written. Its lock shows programs that use the same folder at once when the holder
    /// is gone.
    pub(super) log: Option<File>,
    pub(super) lease: Lease,
}

impl JobClaim {
    /// Takes the right to run a job. Returns `None` if another program runs it.
    pub(super) async fn of(
        executor: &Executor,
        requests: &Requests,
        id: &str,
        claim: fn(&Path) -> Claim,
        watch: &mut HolderWatch,
    ) -> Result<Option<Self>> {
        let folder = history::folder(&executor.reactor().config.directory, id, &requests.store().url());
        let log = match unblock(move || claim(&folder)).await? {
            Claim::Elsewhere => return Ok(None),
            Claim::Here(file) => Some(file),
            Claim::Impossible => None,
        };
        loop {
            match Lease::try_take(requests, id, watch).await? {
                Ok(lease) => return Ok(Some(Self { log, lease })),
                // The previous holder of the log, in this process, is about to give back the lease.
                Err(holder) if log.is_some() && holder == *ProcessIdentity::of_this_process() => {
                    sleep(Lease::pause(requests)).await?;
                }
                Err(_) => return Ok(None),
            }
        }
    }
}
