//! What tasks printed: `output.jsonl` in a job's folder.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attempt::PrintedLine;
use crate::platform;
use crate::terminal::Stream;

pub(super) const FILE: &str = "output.jsonl";

/// How many bytes of a job's output are kept, of all its runs.
const MOST: u64 = 64 << 20;

/// A line that a task of a job printed, as [`outputs`] reads it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// When the driver read it, in seconds since the run of the job began.
    pub t: f64,
    /// The same as wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Index of the task; none for what wren itself says, for instance that no more was kept.
    #[serde(default)]
    pub task: Option<u64>,
    /// Which execution of the task, from 1.
    #[serde(default)]
    pub attempt: u32,
    /// Number of the worker.
    #[serde(default)]
    pub worker: u32,
    /// The last part of the function's name.
    #[serde(default)]
    pub function: String,
    /// Where it was printed to.
    pub stream: Stream,
    /// The line, without its end.
    pub line: String,
}

/// A [`Line`] as it is written.
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

/// What the tasks of a job printed, in the order in which the driver read it. The log lies in the
/// job's folder, `.wren/jobs/<id>`; of a job that printed nothing, or whose output went elsewhere,
/// there are no lines.
///
/// The local backend keeps what its workers print, up to 64 MB a job. What calls print that run on
/// threads of their own program goes where the program's own output goes, and what is printed on AWS
/// is in CloudWatch.
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
/// Of opening the log, if there is one.
pub fn outputs(folder: &Path) -> io::Result<Outputs> {
    // They may be of a job of this program.
    super::notes::write_all();
    match platform::open_file(&folder.join(FILE)) {
        Ok(file) => Ok(Outputs(Some(BufReader::new(file)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outputs(None)),
        Err(error) => Err(error),
    }
}

/// What [`outputs`] returns. It ends at the end of the log, or where that can be read no further.
#[derive(Debug)]
pub struct Outputs(Option<BufReader<File>>);

impl Iterator for Outputs {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.0.as_mut()?.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            // The last line of a driver that was killed may be half a line.
            if let Ok(line) = serde_json::from_slice(&line) {
                return Some(line);
            }
        }
    }
}

/// Keeps lines of one job.
#[derive(Debug)]
pub(super) struct OutputLog {
    /// Opened with the first line.
    file: Option<File>,
    /// What the file has, and is to have.
    bytes: u64,
    most: u64,
    ended: bool,
    /// What is not in the file yet: whole lines.
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
            let line = format!("wren keeps {} MB of what a job prints; the rest is not kept", self.most >> 20);
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

    /// Writes what is not in the file yet, in a job's folder.
    pub(super) fn write(&mut self, folder: &Path) {
        if self.lines.is_empty() {
            return;
        }
        // A log that cannot be written costs the log, and nothing else.
        self.ended |= self.try_write(folder).is_err();
        self.lines.clear();
    }

    fn try_write(&mut self, folder: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let path = folder.join(FILE);
                let file = File::options().create(true).append(true).mode(0o600).open(path)?;
                // Another run of the job was here.
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
    fn lines_come_back_and_half_a_line_does_no_harm() {
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
    fn what_is_kept_ends_and_says_so_once() {
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
        assert!(notes.iter().all(|note| note.line.ends_with("the rest is not kept")));
        assert!((1..3).contains(&notes.len()), "{notes:?}");
    }
}
