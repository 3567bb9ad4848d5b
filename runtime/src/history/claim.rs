//! The lock on a job's log.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::platform;

/// File name of the log in the folder of its job.
pub const LOG: &str = "events.jsonl";

/// Name of the file that cancels a running job when it is created next to the job's log.
pub const CANCEL: &str = "cancel";

/// The result of an attempt to claim a job: whether this process may run the job and write its log.
#[derive(Debug)]
pub(crate) enum Claim {
    /// This process may run the job. No other process can while the file is open.
    Here(File),
    /// Another process runs the job.
    Elsewhere,
    /// The folder of jobs cannot be written, so no process can claim a job.
    Impossible,
}

/// Creates a job's folder and log if necessary, and locks the log.
pub(crate) fn claim(directory: &Path, id: &str) -> Claim {
    // A reader holds the lock for a moment, and so does a child process that is being started.
    for _ in 0..10 {
        match try_claim(directory, id) {
            Claim::Elsewhere => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
    Claim::Elsewhere
}

/// Does the same as [`claim`] in a single try, for callers that try again themselves.
pub(crate) fn try_claim(directory: &Path, id: &str) -> Claim {
    let folder = directory.join("jobs").join(id);
    let Ok((file, is_new)) = create(&folder) else { return Claim::Impossible };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Claim::Elsewhere;
    }
    if !is_new {
        // A request to cancel was meant for an earlier run.
        let _ = fs::remove_file(folder.join(CANCEL));
    }
    Claim::Here(file)
}

/// Creates a job's folder and its log. Returns whether the folder is new. A `.gitignore` makes git ignore `.wren`.
/// Other users may not access the folder, because it contains the output and arguments of functions.
fn create(folder: &Path) -> io::Result<(File, bool)> {
    let make = || DirBuilder::new().mode(0o700).create(folder);
    let made = make().or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            return Err(error);
        }
        DirBuilder::new().recursive(true).create(folder.parent().unwrap_or(folder))?;
        if let Some(root) = folder.ancestors().nth(2) {
            platform::ignore_in_git(root)?;
        }
        make()
    });
    let is_new = match made {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    Ok((File::options().create(true).append(true).open(folder.join(LOG))?, is_new))
}
