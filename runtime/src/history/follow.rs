//! Reading a log while it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Component, Path};

use rustix::fs::{FlockOperation, flock};

use super::{Event, JobState, JobSummary, LOG};
use crate::platform;

/// A job's log that is read as it grows; no line is read twice.
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
    /// The name of the job's folder, where the log has an id that is none.
    id: String,
    log: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
    summary: Option<JobSummary>,
    /// The state by what was written alone.
    written: JobState,
}

impl Follow {
    /// Opens the log in a job's folder.
    ///
    /// # Errors
    /// Of opening it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        // It may be a job of this program.
        super::notes::write_all();
        let log = BufReader::new(platform::open_file(&folder.join(LOG))?);
        let id = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { id, log, line: Vec::new(), summary: None, written: JobState::Interrupted })
    }

    /// Reads what was written since, and gives what the log says so far: nothing where it does not begin
    /// as a log does.
    ///
    /// # Errors
    /// Of reading it.
    pub fn read(&mut self) -> io::Result<Option<&JobSummary>> {
        self.read_with(&mut |_| ())?;
        Ok(self.summary.as_ref())
    }

    pub(super) fn read_with(&mut self, visit: &mut dyn FnMut(&Event)) -> io::Result<()> {
        // Asked before reading: who ends meanwhile has written all.
        let is_running = is_locked(self.log.get_ref());
        if let Some(summary) = &mut self.summary {
            summary.state = self.written;
        }
        loop {
            self.log.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                break;
            }
            // The last line of a driver that was killed may be half a line.
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

/// Whether an id can name a folder among those of other jobs, and leads nowhere else.
fn is_name(id: &str) -> bool {
    let mut parts = Path::new(id).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == id)
}

/// Whether somebody holds the lock of a log: who runs the job.
fn is_locked(log: &File) -> bool {
    let is_locked = flock(log, FlockOperation::NonBlockingLockShared).is_err();
    // Whoever wants to run the job must not find it locked by a reader.
    let _ = flock(log, FlockOperation::Unlock);
    is_locked
}
