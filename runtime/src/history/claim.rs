//! The lock on a job's log.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::config;
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

/// Separates the id of a job and its store in the name of a folder. Job names do not contain it.
const AT: char = '@';

/// Returns the folder of the history of a job in the store with this URL.
///
/// Jobs of one name in different stores are different jobs, so each has its own history: a name in the default store is
/// the folder's name, and for any other store the name continues with `@`, the kind of the store, and a hash of its
/// URL. Ids that wren generates are unique anyway.
///
/// ```
/// use wren::history::folder;
///
/// let directory = "/srv/.wren".as_ref();
/// assert!(folder(directory, "sweep", "file:/srv/.wren/store").ends_with("jobs/sweep"));
/// let on_aws = folder(directory, "sweep", "s3://bucket/sweep");
/// assert!(on_aws.to_string_lossy().starts_with("/srv/.wren/jobs/sweep@s3-"));
/// ```
pub fn folder(directory: &Path, id: &str, store: &str) -> PathBuf {
    let jobs = directory.join("jobs");
    if platform::is_id(id) || store == config::default_store(directory) {
        return jobs.join(id);
    }
    let kind = store.split(':').next().unwrap_or_default();
    let hash = blake3::hash(store.as_bytes()).to_hex();
    jobs.join(format!("{id}{AT}{kind}-{:.8}", hash.as_str()))
}

/// Returns the id that a job has in its store, from the name of the folder of its history.
pub fn id_in_store(folder: &str) -> &str {
    folder.split(AT).next().unwrap_or(folder)
}

/// Creates a job's folder and log if necessary, and locks the log.
pub(crate) fn claim(folder: &Path) -> Claim {
    // A reader holds the lock for a moment, and so does a child process that is being started.
    for _ in 0..10 {
        match try_claim(folder) {
            Claim::Elsewhere => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
    Claim::Elsewhere
}

/// Does the same as [`claim`] in a single try, for callers that try again themselves.
pub(crate) fn try_claim(folder: &Path) -> Claim {
    let Ok((file, is_new)) = create(folder) else { return Claim::Impossible };
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
