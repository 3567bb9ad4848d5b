//! The files of a log in the folder of its job: lines wait in memory until they are written.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::Event;
use super::claim::{CANCEL, Claim, claim};
use super::output::OutputLog;
use super::prune::prune_sometimes;
use crate::attempt::PrintedLine;

/// The place to which a log is written.
#[derive(Debug)]
pub(crate) enum LogPlace {
    /// Nowhere, because logs are disabled or the folder cannot be written. Only the log is lost.
    Nowhere,
    /// In the folder of a job that no other process can run. The folder is created with the first lines.
    New { folder: PathBuf, history: u64 },
    /// In this locked file, in this folder.
    Open(File, PathBuf),
}

impl LogPlace {
    /// Creates the folder and the file if they do not exist, and opens the log.
    pub(crate) fn opened(self) -> Self {
        let LogPlace::New { folder, history } = self else { return self };
        if let Some(jobs) = folder.parent() {
            prune_sometimes(jobs, history);
        }
        match claim(&folder) {
            Claim::Here(file) => LogPlace::Open(file, folder),
            Claim::Elsewhere | Claim::Impossible => LogPlace::Nowhere,
        }
    }
}

/// The files of a log. Only [`open`](LogFiles::open), [`write`](LogFiles::write) and
/// [`cancel_requested`](LogFiles::cancel_requested) access a disk.
#[derive(Debug)]
pub(super) struct LogFiles {
    place: LogPlace,
    /// Whether other processes know the job by its log.
    is_shared: bool,
    /// Lines that are not in the file yet.
    lines: Vec<u8>,
    /// The output of tasks, if it is kept.
    output: Option<OutputLog>,
}

impl LogFiles {
    pub(super) fn new(place: LogPlace) -> Self {
        Self {
            output: (!matches!(place, LogPlace::Nowhere)).then(OutputLog::new),
            is_shared: matches!(place, LogPlace::Open(..)),
            place,
            lines: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, event: &Event) {
        // Events always serialize to JSON. If one did not, a missing line would be better than a failed job.
        if !matches!(self.place, LogPlace::Nowhere) && serde_json::to_writer(&mut self.lines, event).is_ok() {
            self.lines.push(b'\n');
        }
    }

    /// Adds a line that a task printed, at `t` seconds since the start of the job.
    pub(super) fn printed(&mut self, t: f64, unix_ms: u64, line: &PrintedLine<'_>) {
        if let Some(output) = &mut self.output {
            output.add(t, unix_ms, line);
        }
    }

    /// Creates the folder of the job if it does not exist, and opens the log.
    pub(super) fn open(&mut self) {
        self.place = std::mem::replace(&mut self.place, LogPlace::Nowhere).opened();
    }

    /// Writes the waiting lines to the files.
    pub(super) fn write(&mut self) {
        if !self.lines.is_empty() {
            self.open();
            if let LogPlace::Open(file, _) = &mut self.place {
                let _ = file.write_all(&self.lines);
            }
            self.lines.clear();
        }
        if let (Some(output), LogPlace::Open(_, folder)) = (&mut self.output, &self.place) {
            output.write(folder);
        }
    }

    /// Returns whether the log is written to a file.
    pub(super) fn is_kept(&self) -> bool {
        !matches!(self.place, LogPlace::Nowhere)
    }

    pub(super) fn close(&mut self) {
        // Closing the file also unlocks it.
        self.place = LogPlace::Nowhere;
    }

    /// Returns whether other processes wait for the end of the job in this log.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Returns whether another process asked to cancel the job.
    pub(super) fn cancel_requested(&self) -> bool {
        matches!(&self.place, LogPlace::Open(_, folder) if folder.join(CANCEL).exists())
    }
}
