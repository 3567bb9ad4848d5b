//! Removes the logs of old jobs. Otherwise a program that runs a hundred maps per second would fill the disk.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::{LOG, inputs, output};
use crate::platform;

/// Logs older than this are removed, however few there are.
const OLDEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Maximum total size of the files of all jobs that are kept, in bytes. The latest jobs are kept.
const MOST_BYTES: u64 = 1 << 30;

/// Number of jobs that a process starts between searches for old logs. A search takes a few milliseconds.
const EVERY: u64 = 500;

/// Removes the logs of old jobs once every [`EVERY`] calls, on a separate thread. Keeps at most the `keep` latest.
pub(super) fn prune_sometimes(jobs: &Path, keep: u64) {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    if !STARTED.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
        return;
    }
    let jobs = jobs.to_owned();
    let prune = move || {
        // The next search tries again.
        let _ = prune(&jobs, keep, MOST_BYTES, SystemTime::now());
    };
    let _ = thread::Builder::new().name("wren-prune".into()).stack_size(256 << 10).spawn(prune);
}

/// Removes the folders of all jobs except the `keep` latest, of jobs whose log is older than [`OLDEST`] at `now`, and
/// of jobs beyond `most` bytes in total. The folders of running jobs stay.
fn prune(jobs: &Path, keep: u64, most: u64, now: SystemTime) -> io::Result<()> {
    let mut logs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(jobs)? {
        let Ok(folder) = entry.map(|entry| entry.path()) else { continue };
        if let Ok(written) = fs::metadata(folder.join(LOG)).and_then(|log| log.modified()) {
            logs.push((written, folder));
        }
    }
    logs.sort_by_key(|(written, _)| Reverse(*written));
    let is_old = |written: &SystemTime| now.duration_since(*written).is_ok_and(|age| age > OLDEST);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let mut bytes = 0u64;
    let mut is_too_much = |folder: &Path| {
        let files = [LOG, inputs::FILE, output::FILE].map(|name| folder.join(name));
        let sizes = files.iter().filter_map(|file| Some(file.metadata().ok()?.len()));
        bytes = sizes.fold(bytes, u64::saturating_add);
        bytes > most
    };
    let old = logs.into_iter().enumerate().filter(|(index, (written, folder))| {
        // The latest log stays whatever its size.
        *index >= keep || is_old(written) || (is_too_much(folder) && *index > 0)
    });
    for (_, (_, folder)) in old {
        // A folder that cannot be removed, such as another user's, does not stop the removal of others.
        let _ = remove(&folder);
    }
    Ok(())
}

/// Removes a job's folder, unless the job is running: its driver then holds the lock of the log.
fn remove(folder: &Path) -> io::Result<()> {
    let Ok(log) = platform::open_file(&folder.join(LOG)) else { return Ok(()) };
    if flock(&log, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_latest_and_running_jobs_stay() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for job in 0..20u64 {
            let folder = directory.path().join(format!("job{job:02}"));
            fs::create_dir(&folder).unwrap();
            let log = File::create(folder.join(LOG)).unwrap();
            log.set_modified(now - Duration::from_secs(job * 2 * 24 * 3600)).unwrap();
        }
        let running = File::open(directory.path().join("job19").join(LOG)).unwrap();
        flock(&running, FlockOperation::NonBlockingLockExclusive).unwrap();
        let left = || {
            let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap()[3..].parse().unwrap()).collect::<Vec<u64>>()
        };
        prune(directory.path(), 1_000, u64::MAX, now).unwrap();
        assert_eq!(left(), (0..=15).chain([19]).collect::<Vec<_>>(), "logs of the last month and of running jobs stay");
        prune(directory.path(), 3, u64::MAX, now).unwrap();
        assert_eq!(left(), [0, 1, 2, 19]);
        drop(running);
        prune(directory.path(), 3, u64::MAX, now).unwrap();
        assert_eq!(left(), [0, 1, 2]);
        for (job, bytes) in [("job00", 2_000), ("job01", 500), ("job02", 501)] {
            fs::write(directory.path().join(job).join("inputs"), vec![0; bytes]).unwrap();
        }
        prune(directory.path(), 3, 2_500, now).unwrap();
        assert_eq!(left(), [0, 1]);
        prune(directory.path(), 3, 100, now).unwrap();
        assert_eq!(left(), [0]);
    }
}
