//! Reads a log while it is being written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Component, Path};

use rustix::fs::{FlockOperation, flock};

use super::{Event, JobState, JobSummary, LOG};
use crate::platform;

/// A reader of a job's log that follows it as it grows. It reads each line only once.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let mut follow = wren::history::Follow::open(".wren/jobs/8f0w2mxk4t1q".as_ref())?;
/// while let Some(job) = follow.read()?.filter(|job| job.state == wren::history::JobState::Running) {
///     println!("{} of {:?} tasks are done", job.done, job.tasks);
///     std::thread::sleep(std::time::Duration::from_secs(1));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Follow {
    /// Name of the job's folder, used if the ID in the log is invalid.
    id: String,
    log: BufReader<File>,
    /// The first part of a line that is not completely written yet.
    line: Vec<u8>,
    summary: Option<JobSummary>,
    /// State of the job according to the log only, without its lock.
    written: JobState,
}

impl Follow {
    /// Opens the log in a job's folder.
    ///
    /// # Errors
    /// Returns an error if the log cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        // The job may belong to this program and still have unwritten lines.
        super::notes::write_all();
        let log = BufReader::new(platform::open_file(&folder.join(LOG))?);
        let id = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { id, log, line: Vec::new(), summary: None, written: JobState::Interrupted })
    }

    /// Reads the lines that were written since the last call, and returns a summary of the whole log so far. Returns
    /// `None` as long as the log has no line that describes the job.
    ///
    /// # Errors
    /// Returns an error if the log cannot be read.
    pub fn read(&mut self) -> io::Result<Option<&JobSummary>> {
        self.read_with(|_| ())
    }

    /// Does the same as [`read`](Self::read), and calls `visit` with the event of each new line.
    ///
    /// # Errors
    /// Same as [`read`](Self::read).
    pub fn read_with(&mut self, mut visit: impl FnMut(&Event)) -> io::Result<Option<&JobSummary>> {
        self.read_lines(&mut visit)?;
        Ok(self.summary.as_ref())
    }

    /// Returns whether a driver runs the job now, without reading the log.
    pub fn is_running(&self) -> bool {
        is_locked(self.log.get_ref())
    }

    fn read_lines(&mut self, visit: &mut dyn FnMut(&Event)) -> io::Result<()> {
        // The lock is checked before reading: a driver that no longer holds it has written all its lines.
        let is_running = self.is_running();
        if let Some(summary) = &mut self.summary {
            summary.state = self.written;
        }
        loop {
            self.log.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                break;
            }
            // A driver that was killed may leave an incomplete line.
            let event = serde_json::from_slice::<Event>(&self.line).ok();
            if let Some(event) = event.filter(Event::is_sound) {
                let mut event = event.without_control();
                if let Event::Job { about, .. } = &mut event
                    && !is_name(&about.id)
                {
                    about.id.clone_from(&self.id);
                }
                visit(&event);
                match &mut self.summary {
                    Some(summary) => summary.add(event),
                    None => self.summary = JobSummary::begin(event),
                }
            }
            self.line.clear();
        }
        if let Some(summary) = &mut self.summary {
            self.written = summary.state;
            if is_running {
                summary.state = JobState::Running;
            }
        }
        Ok(())
    }

    pub(super) fn into_summary(self) -> Option<JobSummary> {
        self.summary
    }
}

/// Returns whether an ID is a plain folder name, which cannot lead to another place.
fn is_name(id: &str) -> bool {
    let mut parts = Path::new(id).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == id)
}

/// Returns whether the log is locked: the driver that runs the job holds the lock.
fn is_locked(log: &File) -> bool {
    let is_locked = flock(log, FlockOperation::NonBlockingLockShared).is_err();
    // A driver that wants to run the job must not find the log locked by a reader.
    let _ = flock(log, FlockOperation::Unlock);
    is_locked
}
