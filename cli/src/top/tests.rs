//! Draws recorded logs, and presses keys.

mod cost;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use wren::history::{JobState, LOG};

use super::output::Output;
use super::screen::{Action, Focus, Over, Screen};
use super::view;
use super::watched::Jobs;

/// When the jobs of these tests started, and when they are looked at.
const START: u64 = 1_795_000_000_000;
const NOW: u64 = START + 21_000;

/// The log of a job that a driver writes.
struct Driver {
    log: File,
    id: String,
}

impl Driver {
    /// Starts a job, whose driver is alive until this is dropped.
    fn start(directory: &Path, id: &str, function: &str, more: &Value) -> Self {
        let folder = directory.join("jobs").join(id);
        fs::create_dir_all(&folder).unwrap();
        let log = File::options().create(true).append(true).open(folder.join(LOG)).unwrap();
        flock(&log, FlockOperation::LockExclusive).unwrap();
        let mut driver = Self { log, id: id.to_owned() };
        let mut job = json!({
            "event": "job", "id": id, "name": null, "function": function, "tasks": 600, "backend": "local",
            "workers": 4, "memory_mb": 512, "started_unix_ms": START, "pid": 1, "wren": "0.1.0",
        });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        driver.line(&job);
        driver
    }

    fn line(&mut self, line: &Value) {
        writeln!(self.log, "{line}").unwrap();
    }

    /// Tasks that were done `t` seconds after the start, after `ms` of compute.
    fn done(&mut self, t: f64, first: u64, count: u64, ms: u64) {
        let started = t - ms as f64 / 1e3;
        self.line(&json!({
            "event": "done", "t": t + 0.002, "first": first, "count": count, "new": count, "attempt": 1,
            "queued": 0.0, "invoked": started - 0.004, "started": started, "compute_us": ms * 1000, "commit_us": 1500,
            "bytes_in": 9, "bytes_out": 9, "peak_mb": 41, "worker": first % 4,
        }));
    }

    fn failed(&mut self, event: &str, t: f64, task: u64, class: &str, message: &str) {
        self.line(&json!({
            "event": event, "t": t, "task": task, "attempt": 1, "class": class, "message": message, "after_ms": 1,
            "queued": 0.0, "invoked": t - 0.5, "started": t - 0.5, "compute_us": 490_000,
        }));
    }

    fn progress(&mut self, t: f64, running: u64, longest: &[(u64, f64)]) {
        let longest: Vec<_> =
            longest.iter().map(|(task, since)| json!({ "task": task, "attempt": 1, "since": since })).collect();
        let (queued, usd) = (600 - 2 * t as u64, t / 1e4);
        self.line(&json!({
            "event": "progress", "t": t, "running": running, "queued": queued, "usd": usd, "longest": longest,
        }));
    }

    fn end(mut self, t: f64, state: &str) {
        self.line(&json!({
            "event": "end", "t": t, "state": state, "done": 0, "failed": 0, "retried": 0, "compute_s": 1.0,
            "wall_s": t, "usd": 0.0,
        }));
    }
}

/// Starts a job of 600 tasks, of which some failed and two have run long.
fn ordinary(directory: &Path) -> Driver {
    let mut driver = Driver::start(directory, "made7upjobid", "fit::train", &json!({ "name": "sweep" }));
    for second in 1..=20_u32 {
        let t = f64::from(second);
        let first = u64::from(second) * 20;
        let count = if second % 7 == 0 { 5 } else { 14 };
        for task in first..first + count {
            driver.done(t + (task - first) as f64 / 100.0, task, 1, 40 + task % 90);
        }
        let running = if second % 7 == 0 { 2 } else { 4 };
        driver.progress(t + 0.5, running, &[(3, 1.25), (350, 12.0)]);
    }
    driver.failed("retry", 20.6, 11, "worker_died", "task 11 of fit::train: the worker was killed by signal 9");
    for task in [7, 31, 64] {
        let message = format!("task {task} of fit::train panicked at src/main.rs:29:5: index out of bounds\nmore");
        driver.failed("failed", 20.7, task, "panicked", &message);
    }
    driver.failed("failed", 20.8, 90, "timed_out", "task 90 of fit::train: timed out after 5 s");
    driver
}

/// Another job, which has ended.
fn ended(directory: &Path, id: &str, state: &str) {
    let more = json!({ "started_unix_ms": START - 600_000, "tasks": 8, "memory_mb": null });
    let mut driver = Driver::start(directory, id, "large::recognize", &more);
    driver.done(0.5, 0, 8, 300);
    driver.end(0.6, state);
}

fn looked(directory: &Path) -> Jobs {
    let mut jobs = Jobs::new(directory);
    jobs.look(None).unwrap();
    jobs
}

fn drawn(jobs: &Jobs, screen: &Screen, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(jobs, screen, NOW, frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |row: u16| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    let rows: Vec<_> = (0..height).map(|y| row(y).trim_end().to_owned()).collect();
    format!("{width}x{height}\n{}\n", rows.join("\n"))
}

fn press(screen: &mut Screen, jobs: &Jobs, code: KeyCode) -> Action {
    screen.press(jobs, KeyEvent::new(code, KeyModifiers::NONE), NOW)
}

/// Compares drawings with a snapshot. `CONTRIBUTING.md` says how to update the snapshots.
fn compare(name: &str, drawings: &[String]) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, drawings.join("\n"));
    });
}

const SIZES: [(u16, u16); 3] = [(80, 24), (40, 12), (140, 40)];

#[test]
fn jobs_are_drawn_on_terminals_of_all_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let _driver = ordinary(folder.path());
    ended(folder.path(), "earlier", "done");
    ended(folder.path(), "broken", "failed");
    let jobs = looked(folder.path());
    let screen = Screen::new(None);
    compare("running", &SIZES.map(|size| drawn(&jobs, &screen, size)));
    for (width, height) in (0..160).step_by(7).flat_map(|w| (0..60).step_by(3).map(move |h| (w, h))) {
        let text = drawn(&jobs, &screen, (width, height));
        // Counts, failures and time left are never cut.
        if (width, height) >= (30, 8) && height >= 8 {
            assert!(text.contains("262/600") && text.contains("4 failed") && text.contains(" left"), "{text}");
        }
    }
}

#[test]
fn folders_without_running_jobs_and_small_terminals_have_words() {
    let folder = tempfile::tempdir().unwrap();
    let none = looked(folder.path());
    let screen = Screen::new(None);
    let small = drawn(&none, &screen, (28, 7));
    ended(folder.path(), "earlier", "done");
    let latest = looked(folder.path());
    compare("idle", &[drawn(&none, &screen, (60, 8)), drawn(&latest, &screen, (80, 24)), small]);
}

#[test]
fn help_questions_and_output_cover_the_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let _driver = ordinary(folder.path());
    let jobs = looked(folder.path());
    let mut screen = Screen::new(None);
    press(&mut screen, &jobs, KeyCode::Char('?'));
    let help = [drawn(&jobs, &screen, (80, 24)), drawn(&jobs, &screen, (40, 12))];
    press(&mut screen, &jobs, KeyCode::Esc);
    press(&mut screen, &jobs, KeyCode::Char('c'));
    let cancel = drawn(&jobs, &screen, (40, 12));
    press(&mut screen, &jobs, KeyCode::Esc);

    let line = |task: u64, text: &str| {
        let line = json!({
            "t": 1.0, "unix_ms": START, "task": task, "attempt": 1, "worker": 0, "function": "train",
            "stream": "stdout", "line": text,
        });
        format!("{line}\n")
    };
    let text: String = (0..30).map(|n| line(n % 2, &format!("epoch {n} \u{1b}[31mred\u{1b}[0m"))).collect();
    let job = folder.path().join("jobs/made7upjobid");
    fs::write(job.join("output.jsonl"), text).unwrap();
    let summary = &jobs.watched[0].job;
    screen.over = Over::Output(Output::open(&job, summary, Some(1)).unwrap());
    let output = drawn(&jobs, &screen, (40, 12));
    (0..3).for_each(|_| drop(press(&mut screen, &jobs, KeyCode::Up)));
    let scrolled = drawn(&jobs, &screen, (40, 12));
    // New lines do not move what a person has scrolled to.
    let mut file = File::options().append(true).open(job.join("output.jsonl")).unwrap();
    file.write_all(line(1, "a new line").as_bytes()).unwrap();
    screen.output().unwrap().read();
    assert_eq!(drawn(&jobs, &screen, (40, 12)), scrolled);
    press(&mut screen, &jobs, KeyCode::End);
    let followed = drawn(&jobs, &screen, (40, 12));
    assert!(followed.contains("a new line"), "{followed}");
    compare("overlays", &[help.concat(), cancel, output, scrolled]);
    for key in ["up", "g", "G", "PageUp"] {
        let code = match key {
            "up" => KeyCode::Up,
            "PageUp" => KeyCode::PageUp,
            letter => KeyCode::Char(letter.chars().next().unwrap()),
        };
        press(&mut screen, &jobs, code);
        drawn(&jobs, &screen, (30, 8));
    }
}

#[test]
fn keys_select_jobs_and_tasks_and_ask_for_actions() {
    let folder = tempfile::tempdir().unwrap();
    let _driver = ordinary(folder.path());
    ended(folder.path(), "earlier", "done");
    let jobs = looked(folder.path());
    let mut screen = Screen::new(None);
    let selected = |screen: &Screen| screen.selected(&jobs).unwrap().job.id.clone();
    assert_eq!(selected(&screen), "made7upjobid");
    let output = |job: &str, task| Action::Output { job: job.to_owned(), task };
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('l')), output("made7upjobid", None));
    // To cancel a job takes two keys; any other second key does nothing.
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('c')), Action::Nothing);
    assert_eq!(press(&mut screen, &jobs, KeyCode::Enter), Action::Nothing);
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('y')), Action::Nothing);
    press(&mut screen, &jobs, KeyCode::Char('c'));
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('y')), Action::Cancel("made7upjobid".to_owned()));
    // Tasks: the two that run, then those that failed.
    press(&mut screen, &jobs, KeyCode::Tab);
    assert_eq!(screen.focus, Focus::Tasks);
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let Action::Output { task, .. } = press(&mut screen, &jobs, KeyCode::Enter) else { panic!("{screen:?}") };
        tasks.extend(task);
        press(&mut screen, &jobs, KeyCode::Down);
    }
    assert_eq!(tasks, [3, 350, 7, 31, 64, 90]);
    press(&mut screen, &jobs, KeyCode::Home);
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('l')), output("made7upjobid", Some(3)));
    press(&mut screen, &jobs, KeyCode::Tab);
    press(&mut screen, &jobs, KeyCode::End);
    assert_eq!(selected(&screen), "earlier");
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('c')), Action::Nothing);
    assert!(matches!(screen.over, Over::Nothing) && screen.notice.as_deref() == Some("job earlier has ended already"));
    press(&mut screen, &jobs, KeyCode::PageUp);
    assert_eq!(selected(&screen), "made7upjobid");
    assert_eq!(screen.press(&jobs, KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), NOW), Action::Quit);
    assert_eq!(press(&mut screen, &jobs, KeyCode::Char('q')), Action::Quit);
    assert_eq!(press(&mut screen, &jobs, KeyCode::Esc), Action::Quit);

    // Without jobs, no key does anything but end the view.
    let none = looked(&folder.path().join("none"));
    let keys = ['c', 'l', 'j', 'k', 'g', 'G', 'y'].map(KeyCode::Char);
    for key in keys.into_iter().chain([KeyCode::Tab, KeyCode::Enter, KeyCode::Up, KeyCode::PageDown]) {
        assert_eq!(press(&mut screen, &none, key), Action::Nothing, "{key:?}");
    }
}

#[test]
fn logs_are_followed_while_jobs_start_grow_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut jobs = looked(folder.path());
    assert!(jobs.watched.is_empty());
    let mut driver = Driver::start(folder.path(), "first", "f", &json!({}));
    jobs.look(None).unwrap();
    let first = |jobs: &Jobs| {
        let watched = &jobs.watched[0];
        (watched.job.id.clone(), watched.job.state, watched.job.done)
    };
    assert_eq!(first(&jobs), (driver.id.clone(), JobState::Running, 0));
    driver.done(1.0, 0, 3, 1);
    // The start of a line whose rest is not written yet.
    let half = r#"{"event":"done","t":2.0,"first":3,"count":4,"new":4,"attempt":1,"compute_us":1,"#;
    write!(driver.log, "{half}").unwrap();
    jobs.look(None).unwrap();
    assert_eq!(first(&jobs), ("first".to_owned(), JobState::Running, 3));
    writeln!(driver.log, r#""bytes_out":1,"peak_mb":1}}"#).unwrap();
    jobs.look(None).unwrap();
    assert_eq!(first(&jobs), ("first".to_owned(), JobState::Running, 7));
    // A job whose driver has not described it yet, and one that runs beside the first.
    let empty = folder.path().join("jobs/empty");
    fs::create_dir_all(&empty).unwrap();
    fs::write(empty.join(LOG), "").unwrap();
    let second = Driver::start(folder.path(), "second", "g", &json!({ "started_unix_ms": START + 5 }));
    jobs.look(None).unwrap();
    assert_eq!(jobs.watched.len(), 2);
    assert_eq!(first(&jobs).0, "second");
    second.end(1.0, "done");
    // The driver of the first dies: it writes nothing more.
    drop(driver);
    jobs.look(None).unwrap();
    assert_eq!(
        jobs.watched.iter().map(|watched| watched.job.state).collect::<Vec<_>>(),
        [JobState::Done, JobState::Interrupted]
    );
    // A second run of the first job starts its figures again.
    let mut driver = Driver::start(folder.path(), "first", "f", &json!({ "started_unix_ms": START + 9 }));
    driver.done(1.0, 7, 1, 1);
    jobs.look(None).unwrap();
    assert_eq!(first(&jobs), ("first".to_owned(), JobState::Running, 8));
    assert_eq!(jobs.watched[0].figures.tasks(2.0).len(), 1);
    // Its folder is removed.
    fs::remove_dir_all(folder.path().join("jobs/first")).unwrap();
    jobs.look(None).unwrap();
    assert_eq!(first(&jobs).0, "second");
}

#[test]
fn only_the_latest_of_many_ended_jobs_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..12).map(|n| format!("job{n:02}")).collect();
    for name in &names {
        ended(folder.path(), name, "done");
    }
    let mut jobs = looked(folder.path());
    assert_eq!(jobs.watched.len(), 5);
    let mut chosen = Jobs::new(folder.path());
    let wanted = names.iter().find(|name| jobs.find(name).is_none()).unwrap();
    chosen.look(Some(wanted)).unwrap();
    assert!(chosen.find(wanted).is_some());
    let driver = Driver::start(folder.path(), "running", "f", &json!({}));
    jobs.look(None).unwrap();
    assert_eq!((jobs.watched.len(), jobs.watched[0].job.id.as_str()), (6, "running"));
    drop(driver);
}

#[test]
fn a_large_job_has_figures_of_the_same_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::start(folder.path(), "large", "f", &json!({ "tasks": 20_000 }));
    for task in 0..20_000_u64 {
        driver.done(1.0 + task as f64 / 10.0, task, 1, task % 100);
    }
    for task in 0..500 {
        driver.failed("failed", 2_001.0, task, &format!("class {task}"), "no");
    }
    let jobs = looked(folder.path());
    let figures = &jobs.watched[0].figures;
    assert!(figures.causes.len() <= 32 && figures.tasks(1.0).len() <= 70);
    assert_eq!(figures.done.per_second(2_000.0, 80).len(), 80);
    // The slowest are those that took longest.
    let rows = figures.tasks(2_002.0);
    assert_eq!(rows.last().map(|row| row.task % 100), Some(99));
}
