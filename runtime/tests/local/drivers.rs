//! Drivers that are killed or interrupted before their jobs end, and jobs that other programs attach to.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::history::{JobState, JobSummary};
use wren::{Error, Executor, Job};

use super::{FOREVER_MS, PATIENCE, add, children_of, note, notes, scratch, slow_pid, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_started_job_is_waited_for_and_attached_to,
        a_named_job_resumes_after_its_driver_is_killed,
        waiters_take_over_jobs_of_killed_drivers,
        cancelled_jobs_are_not_taken_over_and_can_restart,
        a_rebuild_under_a_running_driver_is_harmless,
        no_worker_outlives_a_driver_that_is_killed_in_a_call,
        interrupts_cancel_stop_workers_and_report_progress,
        signals_end_a_drivers_calls_and_main_continues,
        programs_keep_their_signal_handlers,
        printed_lines_are_shown_with_their_task,
    ]
}

async fn a_started_job_is_waited_for_and_attached_to() {
    let folder = scratch("start");
    let executor = executor_in(&folder);
    let job = wren::map(|i| add(i, 5), 0..1_000).on(&executor).quiet().start().await.unwrap();
    let other = wren::Job::<u64>::attach(executor.clone(), job.id()).unwrap();
    assert!(job.wait().await.unwrap().into_iter().eq(5..1_005));
    assert!(other.wait().await.unwrap().into_iter().eq(5..1_005));
    assert!(other.progress().unwrap().is_over());
    let slow = wren::map(|_| slow_pid(20), 0..1_000).on(&executor).quiet().start().await.unwrap();
    slow.cancel().unwrap();
    assert!(matches!(slow.wait().await, Err(Error::Cancelled { .. })));
}

/// The first task of `squares` that waits while the job is held.
const HELD: u64 = 150;

/// Holds the `squares` of a folder before they are done, so that a job is still running when a test ends its driver,
/// however late a busy machine runs the test. Removing the returned file lets the job go on.
fn hold(folder: &Path) -> PathBuf {
    let file = folder.join("hold");
    std::fs::write(&file, "").unwrap();
    file
}

#[wren::remote]
fn noted(task: u64, path: &Path) -> std::io::Result<u64> {
    note(path, task)?;
    while task >= HELD && path.with_file_name("hold").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(10));
    Ok(task * task)
}

/// Starts this program as a driver, which runs the case `what` of [`drive_if_asked`].
pub(crate) fn driver(what: &str, folder: &Path) -> Driver {
    driver_of(&std::env::current_exe().unwrap(), what, folder)
}

fn driver_of(program: &Path, what: &str, folder: &Path) -> Driver {
    let mut command = Command::new(program);
    command.env(DRIVE, what).env("WREN_DIR", folder).env("WREN_WORKERS", "2");
    Driver(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

pub(crate) struct Driver(pub(crate) Child);

impl Driver {
    /// Waits until the notes in the folder have this many lines. Returns the driver's workers.
    fn after(&self, lines: usize, folder: &Path) -> Vec<u32> {
        let deadline = Instant::now() + PATIENCE;
        while notes(&folder.join("notes")).len() < lines {
            assert!(Instant::now() < deadline, "the driver makes no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        children_of(self.0.id())
    }

    pub(crate) fn output(mut self) -> Output {
        let mut output = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
        self.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
        output.status = self.0.wait().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asserts that these workers end soon after their driver.
fn assert_all_end(workers: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    let alive = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).exists();
    while workers.iter().any(alive) {
        assert!(Instant::now() < deadline, "workers outlive their driver");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) const DRIVE: &str = "DRIVE";

/// Runs the requested case if this process is a driver of these tests.
pub(crate) async fn drive_if_asked() -> Option<ExitCode> {
    let what = std::env::var(DRIVE).ok()?;
    let folder = PathBuf::from(std::env::var_os("WREN_DIR").unwrap_or_default());
    let ended = match what.as_str() {
        "named" => squares(&folder).await.map(|_| ()),
        "started" => start_squares(&folder).await,
        "one call" => noted_sleep(FOREVER_MS, &folder.join("notes")).await.map(|_| ()),
        "shouts" => shouts().await,
        "shared" => super::places::share(&folder).await,
        "forks" => super::processes::fork_and_go_on(&folder).await,
        "starts" => super::processes::start_and_wait(&folder).await,
        "unread" => super::terminal::unread(&folder).await,
        "is read slowly" => super::terminal::shouts(&folder).await,
        "outcomes" => super::screens::outcomes(&folder).await,
        "first failure" => super::screens::first_failure(&folder).await,
        "two jobs" => super::screens::two_jobs(&folder).await,
        "long call" => super::screens::long_call(&folder).await,
        "many" => super::processes::many().await,
        "one" => super::processes::one().await,
        "execs" => super::processes::exec_and_wait(&folder).await,
        "handles" => handles(&folder).await,
        "handles by tokio" => handles_by_tokio(&folder).await,
        "saves" => saves(&folder).await,
        "surroundings" => super::processes::change_surroundings(Path::new(&std::env::var("PLACE").unwrap())).await,
        "at exit" => super::processes::call_at_exit().await,
        "tortured" => super::torture::drive(&folder).await,
        "full" => super::places::fill(&folder).await,
        "logs" => super::logging::install_and_talk(&folder).await,
        "dies" => super::logging::lose_a_worker(&folder).await,
        "panics" => super::panics::panic_and_report(&folder).await,
        "odd names" => super::places::among_odd_names().await,
        _ => return Some(ExitCode::from(2)),
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

pub(crate) fn executor_in(folder: &Path) -> Executor {
    Executor::builder()
        .backend("local")
        .workers(2)
        .directory(folder)
        .store(format!("file:{}", folder.join("store").display()))
        .build()
        .unwrap()
}

async fn squares(folder: &Path) -> wren::Result<Vec<u64>> {
    let executor = executor_in(folder);
    wren::map(|i| noted(i, &folder.join("notes")), 0..200).on(&executor).quiet().named("squares").await
}

async fn a_named_job_resumes_after_its_driver_is_killed() {
    let folder = scratch("named");
    let held = hold(&folder);
    let mut driver = driver("named", &folder);
    let workers = driver.after(60, &folder);
    assert_eq!(workers.len(), 2);
    assert_eq!(state_of("squares", &folder), JobState::Running);
    driver.kill();
    assert_all_end(&workers);
    assert_eq!(state_of("squares", &folder), JobState::Interrupted);

    let before = notes(&folder.join("notes")).len();
    assert!(before < 200);
    std::fs::remove_file(held).unwrap();
    assert!(squares(&folder).await.unwrap().into_iter().eq((0..200).map(|i| i * i)));
    let executed = notes(&folder.join("notes"));
    assert_each_of_200_ran(&executed);
    // Tasks that were running when the driver was killed run twice, and tasks whose results were not committed: on a busy
    // machine, as many as one cell has.
    assert!(executed.len() <= 200 + 64, "{} attempts", executed.len());

    squares(&folder).await.unwrap();
    assert_eq!(notes(&folder.join("notes")).len(), executed.len(), "a third run executes nothing");
    assert_eq!(state_of("squares", &folder), JobState::Done);
}

fn assert_each_of_200_ran(executed: &[u64]) {
    let mut distinct = executed.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 200);
}

fn state_of(job: &str, folder: &Path) -> JobState {
    JobSummary::read(&folder.join("jobs").join(job)).unwrap().state
}

async fn start_squares(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let job = wren::map(|i| noted(i, &folder.join("notes")), 0..200).on(&executor).named("started").start().await?;
    job.wait().await.map(|_| ())
}

async fn waiters_take_over_jobs_of_killed_drivers() {
    let folder = scratch("taken-over");
    let held = hold(&folder);
    let mut driver = driver("started", &folder);
    driver.after(20, &folder);
    let job = Job::<u64>::attach(executor_in(&folder), "started").unwrap();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        driver.kill();
        std::fs::remove_file(held).unwrap();
    });
    let squares = job.wait().await.unwrap();
    killer.join().unwrap();
    assert!(squares.into_iter().eq((0..200).map(|i| i * i)));
    let executed = notes(&folder.join("notes"));
    assert_each_of_200_ran(&executed);
    // Results that the killed driver had not committed are computed again: on a busy machine, as many as one cell has.
    assert!(executed.len() <= 200 + 64, "{} attempts", executed.len());
}

async fn cancelled_jobs_are_not_taken_over_and_can_restart() {
    let folder = scratch("cancelled");
    let held = hold(&folder);
    let mut driver = driver("started", &folder);
    driver.after(20, &folder);
    let job = Job::<u64>::attach(executor_in(&folder), "started").unwrap();
    job.cancel().unwrap();
    assert!(matches!(job.wait().await, Err(Error::Cancelled { .. })));
    // Its own driver stops too, with the same error. Its tasks are held, so it would not end otherwise.
    assert!(!driver.0.wait().unwrap().success());
    std::fs::remove_file(held).unwrap();
    start_squares(&folder).await.unwrap();
    assert_each_of_200_ran(&notes(&folder.join("notes")));
}

async fn a_rebuild_under_a_running_driver_is_harmless() {
    let folder = scratch("rebuilt");
    let held = hold(&folder);
    let program = folder.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut driver = driver_of(&program, "named", &folder);
    let workers = driver.after(20, &folder);
    // Replaces the file, as cargo does.
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "not a program").unwrap();
    for worker in workers {
        let pid = rustix::process::Pid::from_raw(worker as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    std::fs::remove_file(held).unwrap();
    assert!(driver.0.wait().unwrap().success());
    assert_each_of_200_ran(&notes(&folder.join("notes")));
}

#[wren::remote]
fn noted_sleep(ms: u64, path: &Path) -> std::io::Result<()> {
    note(path, ms)?;
    std::thread::sleep(Duration::from_millis(ms));
    Ok(())
}

async fn no_worker_outlives_a_driver_that_is_killed_in_a_call() {
    let folder = scratch("orphans");
    let mut driver = driver("one call", &folder);
    let workers = driver.after(1, &folder);
    assert!(!workers.is_empty());
    driver.kill();
    assert_all_end(&workers);
}

/// Restores the default actions of signals. A shell without job control starts a command in the background with SIGINT
/// ignored, and `nohup` ignores SIGHUP. The drivers of tests would inherit that, as programs must, and never end.
pub(super) fn restore_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // SAFETY: the default action calls no function of this program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

async fn interrupts_cancel_stop_workers_and_report_progress() {
    let folder = scratch("interrupted");
    hold(&folder);
    let mut driver = driver("named", &folder);
    let workers = driver.after(20, &folder);
    let start = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&driver.0), rustix::process::Signal::INT).unwrap();
    let mut stderr = String::new();
    driver.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(driver.0.wait().unwrap().code(), Some(130), "{stderr}");
    // The job is held, so a driver that waited for its tasks would never end.
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("wren: interrupted; ") && last.ends_with("of 200 tasks were done"), "{stderr}");
    assert_all_end(&workers);
    assert_eq!(state_of("squares", &folder), JobState::Cancelled);
}

/// Asserts that its calls are cancelled, and then saves its data.
async fn saves(folder: &Path) -> wren::Result<()> {
    let ended = squares(folder).await;
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    let later = add(1, 2).on(&executor_in(folder)).await;
    assert!(matches!(later, Err(Error::Cancelled { .. })), "no new call starts: {later:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("saved");
    Ok(())
}

async fn signals_end_a_drivers_calls_and_main_continues() {
    use rustix::process::Signal;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = scratch("saves");
        hold(&folder);
        let mut driver = driver("saves", &folder);
        let workers = driver.after(20, &folder);
        rustix::process::kill_process(rustix::process::Pid::from_child(&driver.0), signal).unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        driver.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        driver.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((driver.0.wait().unwrap().code(), out.as_str()), (Some(code), "saved\n"), "{err}");
        assert!(err.lines().last().unwrap_or_default().ends_with("of 200 tasks were done"), "{err}");
        assert_all_end(&workers);
        assert_eq!(state_of("squares", &folder), JobState::Cancelled);
    }
}

/// Handles SIGTERM itself; installs the handler before its first call.
async fn handles(folder: &Path) -> wren::Result<()> {
    static ASKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn handle(_signal: i32) {
        ASKED.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    // SAFETY: the handler sets a flag.
    unsafe { libc::signal(libc::SIGTERM, handle as extern "C" fn(i32) as libc::sighandler_t) };
    let all = squares(folder).await?;
    assert_eq!(all.len(), 200);
    println!("asked: {}", ASKED.load(std::sync::atomic::Ordering::SeqCst));
    Ok(())
}

async fn handles_by_tokio(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let mut stream = wren::map(|i| noted(i, &folder.join("notes")), 0..200).on(&executor).quiet().stream();
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = signal.recv() => {}
        _ = async { while stream.next().await.is_some() {} } => panic!("the job ended without a signal"),
    }
    drop(stream);
    assert_eq!(add(1, 2).on(&executor).await?, 3);
    println!("asked: true");
    Ok(())
}

async fn programs_keep_their_signal_handlers() {
    for what in ["handles", "handles by tokio"] {
        let folder = scratch("handles");
        let held = hold(&folder);
        let driver = driver(what, &folder);
        driver.after(20, &folder);
        rustix::process::kill_process(rustix::process::Pid::from_child(&driver.0), rustix::process::Signal::TERM)
            .unwrap();
        std::fs::remove_file(held).unwrap();
        let output = driver.output();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "asked: true\n", "{what}");
    }
}

#[wren::remote]
fn shout(text: &str) -> usize {
    println!("out {text}");
    eprintln!("err {text}");
    text.len()
}

#[wren::remote]
fn print_strangely() {
    let mut out = std::io::stdout();
    let long = "x".repeat(300_000);
    out.write_all(format!("{long}\n").as_bytes()).unwrap();
    out.write_all(b"not \xff text\n\n").unwrap();
    out.write_all(b"no line end").unwrap();
    out.flush().unwrap();
}

async fn shouts() -> wren::Result<()> {
    let texts: Vec<String> = (0..9).map(|i| format!("line {i}")).collect();
    wren::map(shout, texts.iter().map(String::as_str)).await?;
    print_strangely().await
}

async fn printed_lines_are_shown_with_their_task() {
    let folder = scratch("shouts");
    let output = driver("shouts", &folder).output();
    let lines = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let want = |word: &str| (0..9).map(|i| format!("[shout {i}] {word} line {i}")).collect::<Vec<_>>();
    let (strange, shouted): (Vec<_>, Vec<_>) =
        lines(&output.stdout).into_iter().partition(|line| line.starts_with("[print_strangely"));
    assert_eq!(shouted, want("out"));
    let errors: Vec<_> = lines(&output.stderr).into_iter().filter(|line| !line.starts_with("wren: ")).collect();
    assert_eq!(errors, want("err"));
    // Lines of any length and with any bytes, and a line without a newline.
    let marked: Vec<_> = strange.iter().map(|line| line.split_once("] ").map_or("", |(_, text)| text)).collect();
    assert_eq!(marked.iter().filter(|text| text.starts_with("xx")).map(|text| text.len()).sum::<usize>(), 300_000);
    assert!(marked.contains(&"not \u{fffd} text") && marked.contains(&"no line end"), "{:?}", &marked[..2]);
}
