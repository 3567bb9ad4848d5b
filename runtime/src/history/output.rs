//! The output of tasks: `output.jsonl` in a job's folder.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attempt::PrintedLine;
use crate::platform;
use crate::terminal::Stream;

pub(super) const FILE: &str = "output.jsonl";

/// Maximum size of a job's output that is kept, over all its runs, in bytes.
const MOST: u64 = 64 << 20;

/// A line that a task printed, as returned by [`outputs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// When the driver read the line, in seconds since the run of the job started.
    pub t: f64,
    /// The same time by the wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Index of the task; `None` for notes of wren itself, for example that further output was discarded.
    #[serde(default)]
    pub task: Option<u64>,
    /// Attempt number, counted from 1.
    #[serde(default)]
    pub attempt: u32,
    /// Number of the worker.
    #[serde(default)]
    pub worker: u32,
    /// Last part of the function's name.
    #[serde(default)]
    pub function: String,
    /// Whether the line was printed to standard output or to standard error.
    pub stream: Stream,
    /// The line, without its line ending.
    pub line: String,
}

/// A [`Line`] in the form in which it is written.
#[derive(Serialize)]
struct Written<'a> {
    t: f64,
    unix_ms: u64,
    task: Option<u64>,
    attempt: u32,
    worker: u32,
    function: &'a str,
    stream: Stream,
    line: &'a str,
}

/// Returns the lines that the tasks of a job printed, in the order in which the driver read them. `folder` is the job's
/// folder, `.wren/jobs/<id>`. There are no lines if the job printed nothing, or if its output went elsewhere.
///
/// The local backend keeps the output of its workers, up to 64 MB per job. The output of calls that run on threads of
/// their own program goes where the program's own output goes. The output of calls on AWS is in CloudWatch. Bytes that
/// are not UTF-8 appear as `U+FFFD`. Log records that the driver's logger accepted are lines of standard error.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// for line in wren::history::outputs(".wren/jobs/sweep".as_ref())?.filter(|line| line.task == Some(17)) {
///     println!("{:.3} s: {}", line.t, line.line);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// Returns an error if the log exists but cannot be opened.
pub fn outputs(folder: &Path) -> io::Result<Outputs> {
    // The job may belong to this program and still have unwritten lines.
    super::notes::write_all();
    match platform::open_file(&folder.join(FILE)) {
        Ok(file) => Ok(Outputs { file: Some(BufReader::new(file)), line: Vec::new() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outputs { file: None, line: Vec::new() }),
        Err(error) => Err(error),
    }
}

/// The iterator returned by [`outputs`]. It ends at the end of the log, or at the first read error. While the job runs,
/// it may continue after its end with the lines that were written since.
#[derive(Debug)]
pub struct Outputs {
    file: Option<BufReader<File>>,
    /// The first part of a line that is not completely written yet.
    line: Vec<u8>,
}

impl Iterator for Outputs {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        loop {
            self.file.as_mut()?.read_until(b'\n', &mut self.line).ok()?;
            if self.line.last() != Some(&b'\n') {
                return None;
            }
            // A driver that was killed may leave an incomplete line.
            let line = serde_json::from_slice(&self.line).ok();
            self.line.clear();
            if line.is_some() {
                return line;
            }
        }
    }
}

/// The output log of one job.
#[derive(Debug)]
pub(super) struct OutputLog {
    /// Opened when the first line is written.
    file: Option<File>,
    /// Size of the file, including lines that are not written yet.
    bytes: u64,
    most: u64,
    ended: bool,
    /// Complete lines that are not in the file yet.
    lines: Vec<u8>,
}

impl OutputLog {
    pub(super) fn new() -> Self {
        Self::up_to(MOST)
    }

    fn up_to(most: u64) -> Self {
        Self { file: None, bytes: 0, most, ended: false, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, t: f64, unix_ms: u64, printed: &PrintedLine<'_>) {
        let PrintedLine { task, attempt, function, worker, stream, text, .. } = *printed;
        self.line(&Written { t, unix_ms, task: Some(task), attempt, worker, function, stream, line: text });
        if self.bytes > self.most && !self.ended {
            let line = format!("wren keeps at most {} MB of a job's output; the rest is discarded", self.most >> 20);
            let (line, function, stream) = (line.as_str(), "", Stream::Err);
            self.line(&Written { t, unix_ms, task: None, attempt: 0, worker: 0, function, stream, line });
            self.ended = true;
        }
    }

    fn line(&mut self, line: &Written<'_>) {
        if self.ended {
            return;
        }
        let before = self.lines.len();
        if serde_json::to_writer(&mut self.lines, line).is_ok() {
            self.lines.push(b'\n');
        } else {
            self.lines.truncate(before);
        }
        self.bytes += (self.lines.len() - before) as u64;
    }

    /// Writes the remaining lines to the file in the job's folder.
    pub(super) fn write(&mut self, folder: &Path) {
        if self.lines.is_empty() {
            return;
        }
        // A write error ends the log and affects nothing else.
        self.ended |= self.try_write(folder).is_err();
        self.lines.clear();
    }

    fn try_write(&mut self, folder: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let path = folder.join(FILE);
                let file = File::options().create(true).append(true).mode(0o600).open(path)?;
                // An earlier run of the job may have written lines.
                let len = file.metadata()?.len();
                self.ended |= len > self.most;
                self.bytes += len;
                self.file.insert(file)
            }
        };
        file.write_all(&self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(task: u64, text: &str) -> PrintedLine<'_> {
        PrintedLine { job_run: "r", task, attempt: 2, function: "f", worker: 3, stream: Stream::Out, text }
    }

    #[test]
    fn lines_round_trip_and_half_a_line_is_harmless() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(outputs(folder.path()).unwrap().count(), 0);
        let mut log = OutputLog::new();
        log.add(0.5, 1_000, &printed(7, "a \"quoted\" line\twith \u{fffd}"));
        log.write(folder.path());
        let path = folder.path().join(FILE);
        let half = std::fs::read_to_string(&path).unwrap() + "{\"t\":1.0,\"unix\n";
        std::fs::write(&path, half).unwrap();
        let mut log = OutputLog::new();
        log.add(0.6, 1_100, &printed(8, ""));
        log.write(folder.path());
        let lines: Vec<_> = outputs(folder.path()).unwrap().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            Line {
                t: 0.5,
                unix_ms: 1_000,
                task: Some(7),
                attempt: 2,
                worker: 3,
                function: "f".to_owned(),
                stream: Stream::Out,
                line: "a \"quoted\" line\twith \u{fffd}".to_owned(),
            }
        );
        assert_eq!((lines[1].task, lines[1].line.as_str()), (Some(8), ""));
    }

    #[test]
    fn reading_continues_when_the_rest_of_a_line_and_more_lines_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = OutputLog::new();
        for (task, text) in [(0, "first"), (1, "second"), (2, "third")] {
            log.add(0.5, 1_000, &printed(task, text));
        }
        log.write(folder.path());
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let end_of_first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        std::fs::write(&path, &whole[..end_of_first + 10]).unwrap();
        let mut lines = outputs(folder.path()).unwrap();
        let mut texts = || lines.by_ref().map(|line| line.line).collect::<Vec<_>>();
        assert_eq!(texts(), ["first"]);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(texts(), ["second", "third"]);
    }

    #[test]
    fn kept_output_ends_with_one_note() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut log = OutputLog::up_to(1_000);
            for task in 0..100 {
                log.add(0.0, 0, &printed(task, "a line"));
                log.write(folder.path());
            }
        }
        let lines: Vec<_> = outputs(folder.path()).unwrap().collect();
        assert!((5..20).contains(&lines.len()), "{}", lines.len());
        let notes: Vec<_> = lines.iter().filter(|line| line.task.is_none()).collect();
        assert!(notes.iter().all(|note| note.line.ends_with("the rest is discarded")));
        assert!((1..3).contains(&notes.len()), "{notes:?}");
    }
}
