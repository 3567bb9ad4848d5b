//! What a replay reads from the log of a job.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::LOG;
use crate::platform;

/// The fields of [`Event::Job`](super::Event::Job) that a replay needs. This code is part of every program, so it does
/// not pull in the code for all events.
#[derive(Deserialize)]
struct JobLine {
    event: String,
    tasks: Option<u64>,
    #[serde(default)]
    store: String,
}

/// Returns the lines of a log that describe its job, one for each run.
fn job_lines(folder: &Path) -> Vec<JobLine> {
    let mut log = String::new();
    // A log that cannot be read, or is not text, says nothing about its job.
    let read = platform::open_file(&folder.join(LOG)).and_then(|mut file| file.read_to_string(&mut log));
    let lines = log.lines().filter_map(|line| serde_json::from_str::<JobLine>(line).ok());
    if read.is_ok() { lines.filter(|line| line.event == "job").collect() } else { Vec::new() }
}

/// Returns the number of tasks of a job, if its log contains it.
pub(crate) fn task_count(folder: &Path) -> Option<u64> {
    job_lines(folder).into_iter().filter_map(|line| line.tasks).next_back()
}

/// Returns the URL of a job's store, if its log contains it.
pub(crate) fn store_of(folder: &Path) -> Option<String> {
    job_lines(folder).pop().map(|line| line.store).filter(|url| !url.is_empty())
}
