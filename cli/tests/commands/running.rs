//! Observes running jobs from another process.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{json, project, stderr, stdout, wren, wren_command};

/// A program whose tasks wait for files. Its argument selects whether the job is mapped or started.
const WAITING: &str = r#"
    #[wren::remote]
    fn wait_for(file: String) -> u64 {
        while !std::path::Path::new(&file).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        1
    }

    #[wren::main]
    async fn main() -> std::process::ExitCode {
        let name = std::env::args().nth(1).unwrap_or_default();
        let files = ["a", "b", "c", "c"].map(|file| format!("{name}.{file}"));
        let map = wren::map(wait_for, files).named(&name);
        let all = match name.as_str() {
            "started" => map.start().await.expect("it starts").wait().await,
            _ => map.await,
        };
        match all {
            Ok(all) => std::process::ExitCode::from(40 + all.len() as u8),
            Err(wren::Error::Cancelled { done }) => std::process::ExitCode::from(50 + done as u8),
            Err(error) => panic!("{error}"),
        }
    }
"#;

/// A running program with a job of this name.
struct Waiting<'a> {
    project: &'a Path,
    name: &'static str,
    driver: Child,
}

impl<'a> Waiting<'a> {
    fn start(project: &'a Path, name: &'static str) -> Self {
        let mut driver = wren_command(project, &["run", "--debug", "--quiet", "--workers", "3", "--", name]);
        driver.stdout(Stdio::null());
        let waiting = Self { project, name, driver: driver.spawn().unwrap() };
        waiting.until(|job| job["state"] == "running");
        waiting
    }

    fn until(&self, condition: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        while !self.job().is_some_and(|job| condition(&job)) {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", self.job());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn job(&self) -> Option<Value> {
        let jobs = json(&wren(self.project, &["jobs", "--json"]));
        jobs.as_array().unwrap().iter().find(|job| job["name"] == self.name).cloned()
    }

    fn write(&self, file: &str) {
        fs::write(self.project.join(format!("{}.{file}", self.name)), "").unwrap();
    }

    fn attach(&self, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut command = wren_command(self.project, &[&["attach", self.name], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

#[test]
fn a_running_job_is_watched_from_another_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "watched");
    fs::write(project.join("src/main.rs"), WAITING).unwrap();
    let mut waiting = Waiting::start(&project, "watched");
    let (mut plain, mut plain_lines) = waiting.attach(&[]);
    let (mut data, data_lines) = waiting.attach(&["--json"]);
    let mut data_lines = data_lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());

    let first = plain_lines.next().unwrap().unwrap();
    assert!(first.contains(": 0/4 done"), "{first}");
    waiting.write("a");
    let at_work = data_lines.find(|now| now["done"] == 1 && now["running"] == 3 && now["queued"] == 0).unwrap();
    assert_eq!((&at_work["state"], &at_work["tasks"]), (&"running".into(), &4.into()));
    ["b", "c"].iter().for_each(|file| waiting.write(file));
    let last = data_lines.last().unwrap();
    assert_eq!((&last["state"], &last["done"]), (&"done".into(), &4.into()));
    let last = plain_lines.last().unwrap().unwrap();
    assert!(last.contains(": done after ") && last.ends_with(": 4 of 4 done"), "{last}");
    assert_eq!(waiting.driver.wait().unwrap().code(), Some(44));
    assert!(plain.wait().unwrap().success() && data.wait().unwrap().success());

    // For a job that has ended, the result is printed at once.
    let ended = stdout(&wren(&project, &["attach"]));
    assert!(ended.contains(": done after ") && ended.lines().count() == 1, "{ended}");
    let ended = wren(&project, &["cancel", "watched"]);
    assert!(stderr(&ended).contains("is not running: it is done"), "{}", stderr(&ended));
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_running_job_is_cancelled_from_another_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "cancelled");
    fs::write(project.join("src/main.rs"), WAITING).unwrap();
    for name in ["mapped", "started"] {
        let mut waiting = Waiting::start(&project, name);
        waiting.write("a");
        waiting.until(|job| job["done"] == 1);
        let (mut watch, lines) = waiting.attach(&[]);
        let printed = stdout(&wren(&project, &["cancel", name]));
        assert!(printed.contains(": cancelled after ") && printed.ends_with(": 1 of 4 done\n"), "{printed}");
        assert_eq!(waiting.driver.wait().unwrap().code(), Some(51), "{name}");
        let last = lines.last().unwrap().unwrap();
        assert!(last.contains(": cancelled after "), "{last}");
        assert_eq!(watch.wait().unwrap().code(), Some(1));
        assert_eq!(waiting.job().unwrap()["state"], "cancelled");
    }

    // If a cancelled named job is run again, it continues with the tasks that are not done.
    let mut waiting = Waiting::start(&project, "mapped");
    ["b", "c"].iter().for_each(|file| waiting.write(file));
    assert_eq!(waiting.driver.wait().unwrap().code(), Some(44));
    let job = waiting.job().unwrap();
    assert_eq!((&job["state"], &job["done"], &job["runs"]), (&"done".into(), &4.into(), &2.into()));
}
