//! The jobs in a folder, as far as they are worth watching: those that run, and the latest that ended.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wren::history::{Follow, JobState, JobSummary, LOG};

use super::figures::Figures;

/// Number of ended jobs that are shown.
const LATEST: usize = 5;

/// Maximum number of jobs that are watched at once.
const MOST: usize = 100;

/// A job and the reader of its log.
#[derive(Debug)]
pub(super) struct Watched {
    folder: PathBuf,
    follow: Follow,
    pub(super) job: JobSummary,
    pub(super) figures: Figures,
}

impl Watched {
    /// Starts to watch a job. Returns `None` if its log has no line that describes the job, or cannot be read.
    fn open(folder: &Path, follow: Follow) -> Option<Self> {
        let mut follow = follow;
        let mut figures = Figures::default();
        let job = follow.read_with(|event| figures.add(event)).ok()??.clone();
        Some(Self { folder: folder.to_owned(), follow, job, figures })
    }

    /// Reads what was written since.
    fn read(&mut self) -> io::Result<()> {
        let figures = &mut self.figures;
        if let Some(job) = self.follow.read_with(|event| figures.add(event))? {
            self.job = job.clone();
        }
        Ok(())
    }

    pub(super) fn is_running(&self) -> bool {
        self.job.state == JobState::Running
    }

    /// Returns how long the latest run has lasted, in seconds. `now` is in milliseconds since 1970.
    pub(super) fn elapsed(&self, now: u64) -> f64 {
        if self.is_running() {
            (now.saturating_sub(self.job.started_unix_ms) as f64 / 1e3).max(self.job.wall_s)
        } else {
            self.job.wall_s
        }
    }

    /// Returns the number of tasks per second now, or of the whole run if the job has ended.
    pub(super) fn rate(&self, now: u64) -> f64 {
        let elapsed = self.elapsed(now);
        if self.is_running() { self.figures.recent.rate(elapsed) } else { self.job.done as f64 / elapsed.max(1e-3) }
    }

    /// Returns the expected time until the end, in seconds.
    pub(super) fn left(&self, now: u64) -> Option<f64> {
        let left = self.job.tasks?.saturating_sub(self.job.done).saturating_sub(self.job.failed);
        let rate = self.rate(now);
        (self.is_running() && rate > 0.0).then(|| left as f64 / rate)
    }
}

/// A log's size and the time of its last change.
type Stamp = (u64, Option<SystemTime>);

/// The jobs that are watched.
#[derive(Debug)]
pub(super) struct Jobs {
    /// The folder of all jobs.
    folder: PathBuf,
    /// The logs that were seen so far. A log whose stamp has not changed since is not opened again.
    seen: HashMap<OsString, Stamp>,
    /// Running jobs first, the latest first.
    pub(super) watched: Vec<Watched>,
}

impl Jobs {
    pub(super) fn new(directory: &Path) -> Self {
        Self { folder: directory.join("jobs"), seen: HashMap::new(), watched: Vec::new() }
    }

    /// Reads the logs of watched jobs that have changed, and looks for others that have started. `keep` is a job that
    /// is watched although other jobs ended later.
    pub(super) fn look(&mut self, keep: Option<&str>) -> io::Result<()> {
        let mut stamps = self.stamps()?;
        self.watched.retain(|watched| watched.folder.file_name().is_some_and(|name| stamps.contains_key(name)));
        for watched in &mut self.watched {
            let name = watched.folder.file_name().unwrap_or_default().to_owned();
            let stamp = stamps.remove(&name);
            // A driver that dies changes nothing in its log, so the log of a running job is always read.
            if watched.is_running() || stamp != self.seen.get(&name).copied() {
                watched.read()?;
                self.seen.extend(stamp.map(|stamp| (name, stamp)));
            }
        }
        let is_first = self.seen.is_empty();
        let mut changed: Vec<_> =
            stamps.into_iter().filter(|(name, stamp)| self.seen.get(name) != Some(stamp)).collect();
        changed.sort_by_key(|(_, (_, modified))| Reverse(*modified));
        for (at, (name, stamp)) in changed.into_iter().enumerate() {
            let folder = self.folder.join(&name);
            let follow = Follow::open(&folder).ok();
            let is_kept = keep.is_some_and(|keep| name == keep);
            let may_be_shown = |follow: &Follow| is_kept || !is_first || at < LATEST || follow.is_running();
            let room = self.watched.len() < MOST;
            let watched =
                follow.filter(|follow| room && may_be_shown(follow)).map(|follow| Watched::open(&folder, follow));
            match watched {
                // The driver has not described the job yet.
                Some(None) => {}
                Some(Some(watched)) => {
                    self.watched.push(watched);
                    self.seen.insert(name, stamp);
                }
                None => drop(self.seen.insert(name, stamp)),
            }
        }
        self.watched.sort_by_cached_key(|watched| {
            (!watched.is_running(), Reverse(watched.job.started_unix_ms), watched.job.id.clone())
        });
        let mut ended = 0;
        self.watched.retain(|watched| {
            ended += usize::from(!watched.is_running());
            ended <= LATEST || keep.is_some_and(|keep| watched.job.id == keep)
        });
        Ok(())
    }

    /// Returns the stamps of all logs, and forgets those that are gone.
    fn stamps(&mut self) -> io::Result<HashMap<OsString, Stamp>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
            entries => entries?,
        };
        let mut stamps = HashMap::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(log) = fs::metadata(entry.path().join(LOG)) {
                stamps.insert(entry.file_name(), (log.len(), log.modified().ok()));
            }
        }
        let names: HashSet<&OsString> = stamps.keys().collect();
        self.seen.retain(|name, _| names.contains(name));
        Ok(stamps)
    }

    pub(super) fn find(&self, id: &str) -> Option<&Watched> {
        self.watched.iter().find(|watched| watched.job.id == id)
    }
}
