//! Commands that read the histories of jobs, which these tests write themselves.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{json, stderr, stdout, wren, wren_command};

/// A job of three tasks. Its name is its id up to `@`.
struct Job<'a> {
    id: &'a str,
    function: &'a str,
    backend: &'a str,
    /// How long ago it started, in seconds.
    age: u64,
}

impl Job<'_> {
    /// Writes the history: task 0 was done, task 2 failed. If the job `has_ended`, it also has its last line.
    fn write(&self, folder: &Path, has_ended: bool) -> PathBuf {
        let Self { id, function, backend, age } = self;
        let name = id.split('@').next().unwrap();
        let started = now_ms() - age * 1_000;
        let job = json!({
            "event": "job", "id": id, "name": name, "function": function, "tasks": 3, "backend": backend, "workers": 2,
            "store": "file:/srv/store", "started_unix_ms": started, "pid": 1, "wren": "0", "program": "/srv/program",
        });
        let done = |task: u64, us: u64| {
            json!({
                "event": "done", "t": 0.5, "first": task, "count": 1, "new": 1, "attempt": 1, "queued": 0.0,
                "invoked": 0.1, "started": 0.1, "compute_us": us, "bytes_out": 10, "peak_mb": 7,
            })
        };
        let failed = json!({
            "event": "failed", "t": 1.0, "task": 2, "attempt": 1, "class": "returned", "compute_us": 3,
            "message": format!("`{function}` task 2 returned an error: the input is odd, which is not taken"),
        });
        let mut lines = vec![job, done(0, 100_000), done(1, 200_000), failed];
        lines.extend(has_ended.then(|| end("failed")));
        let folder = folder.join(".wren/jobs").join(id);
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("events.jsonl");
        fs::write(&log, text(&lines)).unwrap();
        let printed = |task: u64, line: &str| {
            json!({
                "t": 0.1, "unix_ms": started, "task": task, "attempt": 1, "worker": 0, "function": "train",
                "stream": "stdout", "line": line,
            })
        };
        fs::write(folder.join("output.jsonl"), text(&[printed(0, "zero"), printed(2, "two")])).unwrap();
        log
    }
}

fn end(state: &str) -> Value {
    json!({
        "event": "end", "t": 2.0, "state": state, "done": 2, "failed": 1, "retried": 0, "compute_s": 0.3,
        "wall_s": 2.0, "usd": 0.0,
    })
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

const TRAIN: &str = "forecasting::regional_weather_models::train";

/// A folder in which `sweep` was the latest job.
fn two_jobs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Job { id: "8f0w2mxk4t1q", function: "demo::other", backend: "local", age: 9_000 }.write(folder.path(), true);
    Job { id: "sweep", function: TRAIN, backend: "local", age: 7_300 }.write(folder.path(), true);
    folder
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = wren(folder, arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn the_latest_job_is_the_default() {
    let folder = two_jobs();
    let folder = folder.path();
    let logs = |arguments: &[&str]| stdout(&wren(folder, &[&["logs"], arguments].concat()));
    assert_eq!(logs(&[]).lines().count(), 2);
    assert!(logs(&["2"]).ends_with(" [train 2] two\n") && logs(&["2"]).lines().count() == 1, "{}", logs(&["2"]));
    assert_eq!((logs(&["sweep", "2"]), logs(&["8f0w"]).lines().count()), (logs(&["2"]), 2));
    let message = refused(folder, &["logs", "3"]);
    assert_eq!(message, "error: job sweep has no task 3: it has 3 tasks, numbered from 0\n");

    let message = refused(folder, &["cancel"]);
    assert_eq!(message, "error: no job is running here: the latest, sweep, is failed\n");
    // The failed task is the default, so it is the input of this one that is missing.
    let message = refused(folder, &["replay", "--no-build"]);
    assert!(message.contains("the program that ran the job, /srv/program, does not exist any more"), "{message}");
    let message = refused(folder, &["replay", "3"]);
    assert!(message.contains("job sweep has no task 3"), "{message}");
}

#[test]
fn a_mistyped_job_is_named() {
    let folder = two_jobs();
    let expected = "error: no job here is called `swep`; run `cargo wren jobs` for a list\n";
    for command in ["jobs", "report", "logs", "cancel", "replay", "attach"] {
        assert_eq!(refused(folder.path(), &[command, "swep"]), expected, "{command}");
    }
}

#[test]
fn older_output_differs_from_none() {
    let folder = two_jobs();
    let message = refused(folder.path(), &["logs", "--since", "1h"]);
    let expected = "the tasks of job sweep printed nothing in the last 1 hours; the last line is from 2 h ago; leave \
                    out --since to see all\n";
    assert_eq!(message, expected.replace("1 hours", "1 hour"));
    let message = refused(folder.path(), &["logs", "1", "--since", "1h"]);
    assert_eq!(message, "no output of task 1 is kept for job sweep; `cargo wren jobs sweep` shows its failures\n");
    assert_eq!(stdout(&wren(folder.path(), &["logs", "--since", "3h"])).lines().count(), 2);
}

#[test]
fn a_name_has_a_job_for_each_store() {
    let folder = two_jobs();
    let other = "sweep@s3-37ae23bb";
    Job { id: other, function: TRAIN, backend: "inline", age: 5 }.write(folder.path(), true);
    let shown = |job: &str| json(&wren(folder.path(), &["jobs", job, "--json"]));
    assert_eq!((&shown("sweep")["id"], &shown(other)["backend"]), (&json!("sweep"), &json!("inline")));
    // By its beginning, and as the latest.
    assert_eq!(shown("sweep@")["id"], other);
    assert!(
        stdout(&wren(folder.path(), &["report"])).starts_with(&format!("job        {other}, named sweep: failed;"))
    );
    let table = stdout(&wren(folder.path(), &["jobs"]));
    assert!(table.contains("\nsweep  ") && table.contains(&format!("\n{other}  ")), "{table}");
    assert!(stdout(&wren(folder.path(), &["jobs", "sweep"])).contains("\nstore     file:/srv/store\n"));
}

#[test]
fn a_cancelled_job_has_no_time_left() {
    let folder = tempfile::tempdir().unwrap();
    let log = Job { id: "sweep", function: TRAIN, backend: "local", age: 5 }.write(folder.path(), false);
    // This test is the driver.
    let mut driver = File::options().append(true).open(&log).unwrap();
    driver.lock().unwrap();
    let mut cancel = wren_command(folder.path(), &["cancel"]);
    let cancel = cancel.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !log.with_file_name("cancel").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing was cancelled");
        thread::yield_now();
    }
    driver.write_all(text(&[end("cancelled")]).as_bytes()).unwrap();
    drop(driver);
    let output = cancel.wait_with_output().unwrap();
    assert_eq!(stdout(&output), "sweep: cancelled after 2.0s: 2 of 3 done, 1 failed\n");
}

#[test]
fn several_running_jobs_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let lock = |id| {
        let log = Job { id, function: TRAIN, backend: "local", age: 5 }.write(folder.path(), false);
        let log = File::open(log).unwrap();
        log.lock().unwrap();
        log
    };
    let _running = [lock("one"), lock("two")];
    let message = refused(folder.path(), &["cancel"]);
    assert!(message.contains("2 jobs are running: ") && message.contains("name the job to cancel"), "{message}");
}

#[test]
fn numbers_in_json_are_rounded() {
    let folder = two_jobs();
    let text = stdout(&wren(folder.path(), &["jobs", "sweep", "--json"]));
    assert!(text.contains("\"compute_s\":0.300003,"), "{text}");
    for command in ["jobs", "report", "attach"] {
        let text = String::from_utf8(wren(folder.path(), &[command, "--json"]).stdout).unwrap();
        let digits = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|number| number.len());
        assert!(digits.max().is_some_and(|digits| digits <= 14), "{command}: {text}");
    }
}

/// Runs the command in a pseudo-terminal of this width and returns what it prints.
fn in_terminal(folder: &Path, columns: usize, arguments: &[&str]) -> String {
    const SCRIPT: &str = "
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
printed = b''
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    printed += part
os.waitpid(pid, 0)
sys.stdout.buffer.write(printed.replace(b'\\r\\n', b'\\n'))
";
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT, &columns.to_string(), env!("CARGO_BIN_EXE_cargo-wren"), "wren"]).args(arguments);
    python.current_dir(folder).env("TERM", "xterm").env("NO_COLOR", "1").env_remove("CLICOLOR_FORCE");
    stdout(&python.output().unwrap())
}

#[test]
fn output_wraps_at_words_in_a_terminal() {
    let folder = two_jobs();
    let words = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    for columns in [40, 60, 80, 100, 140] {
        for arguments in [&["jobs"][..], &["jobs", "sweep"], &["report"], &["--help"], &["plan", "--help"]] {
            let printed = in_terminal(folder.path(), columns, arguments);
            // A long path stays whole.
            let fits = |line: &str| line.chars().count() <= columns || line.split_whitespace().count() < 2;
            assert!(printed.lines().all(fits), "{arguments:?} at {columns}:\n{printed}");
        }
        let jobs = in_terminal(folder.path(), columns, &["jobs"]);
        assert!(jobs.starts_with("JOB ") && jobs.contains("FUNCTION"), "{columns}:\n{jobs}");
        let wide = stdout(&wren(folder.path(), &["plan", "--help"]));
        let help = in_terminal(folder.path(), columns, &["plan", "--help"]);
        assert_eq!(words(&help), words(&wide), "nothing is lost at {columns}");
    }
    assert_eq!(in_terminal(folder.path(), 40, &["jobs", "--json"]).lines().count(), 1);
    let jobs = in_terminal(folder.path(), 80, &["jobs"]);
    let expected = "\
JOB           STATE     DONE  FUNCTION                    STARTED  TIME  COMPUTE
sweep         1 failed  2/3   forecasting::regional_      2 h ago  2.0s  300.0ms
                              weather_models::train
8f0w2mxk4t1q  1 failed  2/3   demo::other                 2 h ago  2.0s  300.0ms
";
    assert_eq!(jobs, expected);
}

#[test]
fn headers_are_bold_if_colours_are_forced() {
    let folder = two_jobs();
    let shown = |variables: &[&str]| {
        let mut command = wren_command(folder.path(), &["jobs"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR");
        stdout(&command.envs(variables.iter().map(|name| (name, "1"))).output().unwrap())
    };
    assert!(shown(&[]).starts_with("JOB "));
    assert!(shown(&["CLICOLOR_FORCE"]).starts_with("\u{1b}[1mJOB "), "{:?}", shown(&["CLICOLOR_FORCE"]));
    assert!(shown(&["CLICOLOR_FORCE", "NO_COLOR"]).starts_with("JOB "));
}
