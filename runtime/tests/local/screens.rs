//! The screen of a terminal while jobs run, when they end, and at Ctrl-C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;

use super::drivers::{DRIVE, executor_in};
use super::pty::Terminal;
use super::{add, scratch, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_job_with_failures_shows_its_progress_and_its_end,
        a_failed_job_does_not_repeat_its_error,
        ctrl_c_removes_the_bar,
        two_jobs_have_two_bars,
        long_calls_and_inputs_are_shown,
        a_terminal_without_a_cursor_gets_no_bar,
    ]
}

/// The sizes of the terminals: that of a plain one, and half of it.
const SIZES: [(u16, u16); 2] = [(80, 24), (40, 12)];

/// Number of tasks of a job, and its first task that waits until the test has looked at the screen.
const TASKS: u64 = 12;
const HELD: u64 = 4;

fn wait_while_held(folder: &Path) {
    while folder.join("hold").exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

#[wren::remote]
fn row(task: u64, folder: &Path) -> Result<u64, String> {
    if task == 0 {
        eprintln!("reading row 0");
    }
    if task >= HELD {
        wait_while_held(folder);
    }
    if task < 2 { Err(format!("no row {}", ["zero", "one"][task as usize])) } else { Ok(task) }
}

/// Runs in a driver: takes the outcome of each task.
pub(crate) async fn outcomes(folder: &Path) -> wren::Result<()> {
    let map = wren::map(|task| row(task, folder), 0..TASKS).on(&executor_in(folder)).chunk(1).named("train");
    println!("{} outcomes", map.try_all().await?.len());
    Ok(())
}

/// Runs in a driver: stops at the first failure.
pub(crate) async fn first_failure(folder: &Path) -> wren::Result<()> {
    wren::map(|_| row(0, folder), 0..1_u64).on(&executor_in(folder)).named("train").await.map(drop)
}

/// Runs in a driver: two jobs at once.
pub(crate) async fn two_jobs(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let job = |name| wren::map(|task| row(task + HELD, folder), 0..TASKS).on(&executor).chunk(1).named(name);
    let (first, second) = tokio::join!(job("first").into_future(), job("second").into_future());
    println!("{} results", first?.len() + second?.len());
    Ok(())
}

/// Runs in a driver: an iterator that takes long to give its first call, and then a single call.
pub(crate) async fn long_call(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let sums = wren::map(|i| add(i, 1), (0..3).inspect(|_| wait_while_held(&folder.join("inputs"))));
    println!("sums: {:?}", sums.on(&executor).await?);
    println!("row {}", row(7, folder).on(&executor).await?);
    Ok(())
}

fn terminal(what: &str, folder: &Path, (columns, rows): (u16, u16), variables: &[(&str, &str)]) -> Terminal {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "WREN_QUIET"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").env(DRIVE, what).env("WREN_DIR", folder).envs(variables.iter().copied());
    Terminal::run(command, columns, rows)
}

fn hold(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join("hold");
    fs::write(&file, "").unwrap();
    file
}

/// Returns the lines with a placeholder for whatever depends on time.
fn masked(screen: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<String> = line.trim_end().split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            let next = words.get(at + 1).map_or("", |next| next.trim_end_matches(','));
            let word = words[at].trim_end_matches(',');
            let end = words[at][word.len()..].to_owned();
            let is_time = word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['s', 'm']);
            if word.ends_with("/s") {
                words[at] = format!("RATE{end}");
            } else if is_time || next == "left" {
                words[at] = format!("TIME{end}");
            } else if word.starts_with('(') && word.ends_with("x)") {
                words[at] = format!("(RATIO){end}");
            }
        }
        let line = words.join(" ");
        match (line.find(" [="), line.find("] ")) {
            (Some(start), Some(end)) => format!("{} [BAR{}", &line[..start], &line[end..]),
            _ => line,
        }
    };
    screen.lines().map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Returns the lines of the bars of these jobs.
fn bars<'a>(screen: &'a str, names: &'a [&str]) -> Vec<&'a str> {
    screen.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

async fn a_job_with_failures_shows_its_progress_and_its_end() {
    for size in SIZES {
        let folder = scratch("screen");
        let held = hold(&folder);
        let terminal = terminal("outcomes", &folder, size, &[]);
        let is_held = |screen: &str| {
            let bars = bars(screen, &["train"]);
            bars.iter().any(|bar| bar.contains(" 2/12, ") && bar.contains("2 failed, ") && bar.ends_with(" left"))
        };
        let running = terminal.wait_until(|screen| is_held(screen) && (size.0 < 80 || screen.contains("2 running")));
        let bar = bars(&running, &["train"])[0];
        assert!(bar.chars().count() <= usize::from(size.0) - 3, "room for ^C: {bar}");
        insta::assert_snapshot!(format!("running-{}", size.0), masked(&running));
        fs::remove_file(held).unwrap();
        let (status, ended, bytes) = terminal.end();
        assert!(status.success(), "{ended}");
        insta::assert_snapshot!(format!("ended-{}", size.0), masked(&ended));
        assert!(String::from_utf8_lossy(&bytes).contains("\x1b[1;31m2 failed\x1b[0m"));
    }
}

async fn a_failed_job_does_not_repeat_its_error() {
    let terminal = terminal("first failure", &scratch("failed"), SIZES[0], &[("NO_COLOR", "1")]);
    let (status, ended, bytes) = terminal.end();
    assert!(!status.success());
    insta::assert_snapshot!("failed-80", masked(&ended));
    assert!(!String::from_utf8_lossy(&bytes).contains("\x1b[1;3"), "colours in spite of NO_COLOR");
}

async fn ctrl_c_removes_the_bar() {
    for size in SIZES {
        let folder = scratch("ctrl-c");
        hold(&folder);
        let mut terminal = terminal("outcomes", &folder, size, &[]);
        terminal.wait_until(|screen| bars(screen, &["train"]).iter().any(|bar| bar.contains(" 2/12, ")));
        terminal.press(3);
        let (status, ended, _) = terminal.end();
        assert_eq!(status.code(), Some(130), "{ended}");
        assert_eq!(bars(&ended, &["train"]), [""; 0], "{ended}");
        insta::assert_snapshot!(format!("ctrl-c-{}", size.0), masked(&ended));
    }
}

async fn two_jobs_have_two_bars() {
    for size in SIZES {
        let folder = scratch("two");
        let held = hold(&folder);
        let terminal = terminal("two jobs", &folder, size, &[]);
        let names = ["first", "second"];
        let running = |screen: &str| {
            let words: Vec<&str> = screen.split([',', '\n']).map(str::trim).collect();
            words.iter().filter_map(|word| word.strip_suffix(" running")?.parse::<u64>().ok()).sum::<u64>()
        };
        let screen = terminal.wait_until(|screen| bars(screen, &names).len() == 2 && running(screen) == 2);
        assert!(bars(&screen, &names).iter().all(|bar| bar.contains(" 0/12, ")), "{screen}");
        fs::remove_file(held).unwrap();
        let (status, ended, _) = terminal.end();
        assert!(status.success() && bars(&ended, &names).is_empty() && ended.contains("24 results"), "{ended}");
    }
}

async fn long_calls_and_inputs_are_shown() {
    let folder = scratch("long");
    let (held, inputs) = (hold(&folder), hold(&folder.join("inputs")));
    let terminal = terminal("long call", &folder, SIZES[1], &[]);
    terminal.wait_until(|screen| screen == "encoding inputs ...");
    fs::remove_file(inputs).unwrap();
    let waiting = terminal.wait_until(|screen| screen.contains("waiting for `row`, "));
    assert!(!waiting.contains("encoding inputs"), "{waiting}");
    fs::remove_file(held).unwrap();
    let (status, ended, _) = terminal.end();
    assert!(status.success(), "{ended}");
    assert!(!ended.contains("waiting for") && ended.contains("sums: [1, 2, 3]\nrow 7"), "{ended}");
}

async fn a_terminal_without_a_cursor_gets_no_bar() {
    let folder = scratch("dumb");
    let (status, ended, bytes) = terminal("outcomes", &folder, SIZES[0], &[("TERM", "dumb")]).end();
    assert!(status.success() && ended.contains("wren: 2 of 12 tasks failed:"), "{ended}");
    assert!(!bytes.contains(&b'\x1b'), "{}", String::from_utf8_lossy(&bytes));
}
