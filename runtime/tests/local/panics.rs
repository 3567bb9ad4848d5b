//! The message and the location of a panic are reported, however it ends the call.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use wren::Error;
use wren::history::{Event, JobSummary};

use super::drivers::{DRIVE, executor_in};
use super::{executor, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        aborting_panics_are_shown,
        a_threads_panic_is_reported_as_its_own,
        an_abort_is_not_the_caught_panic,
        backtraces_are_shown_where_the_failure_is,
    ]
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the second");
    }
}

extern "C" fn callback(x: u32) -> u32 {
    assert!(x == 0, "the cause in a callback");
    x
}

#[wren::remote]
fn aborts(how: &str) -> u32 {
    match how {
        "in a destructor" => {
            let _bomb = Bomb;
            panic!("the cause");
        }
        "in a callback" => callback(1),
        "in a callback of a thread" => std::thread::spawn(|| callback(1)).join().unwrap_or(0),
        // SAFETY: this is unsound on purpose: debug builds check the index and abort, and only they run this.
        "unchecked" => unsafe { *[1_u32].get_unchecked(std::hint::black_box(7)) },
        "after a panic that was caught" => {
            let _ = std::panic::catch_unwind(|| panic!("caught and ignored"));
            std::process::abort()
        }
        _ => 0,
    }
}

async fn aborting_panics_are_shown() {
    let executor = executor(1);
    let mut cases = vec![
        (
            "in a destructor",
            "the cause, and the process aborted: a destructor panicked during unwinding: the second, at ",
        ),
        ("in a callback", "the cause in a callback, and the process aborted: panic in a function that cannot unwind"),
        (
            "in a callback of a thread",
            "the cause in a callback, and the process aborted: panic in a function that cannot unwind",
        ),
    ];
    if cfg!(debug_assertions) {
        cases.push(("unchecked", "unsafe precondition(s) violated: slice::get_unchecked"));
    }
    for (how, want) in cases {
        match aborts(how).on(&executor).await {
            Err(Error::Panicked { message, location, .. }) => {
                assert!(message.starts_with(want), "{how}: {message}");
                assert!(location.contains("panics.rs:") || how == "unchecked", "{how}: {location}");
            }
            other => panic!("{how}: {other:?}"),
        }
        assert_eq!(aborts("not").on(&executor).await.unwrap(), 0);
    }
}

#[wren::remote]
fn catches(in_a_thread: bool) -> u32 {
    let panic = || panic!("no number");
    if in_a_thread {
        let _ = std::thread::spawn(panic).join();
    } else {
        let _ = std::panic::catch_unwind(panic);
    }
    1
}

#[wren::remote]
fn resumes() -> u32 {
    // As rayon and scoped threads do.
    match std::thread::spawn(|| panic!("no number")).join() {
        Ok(()) => 1,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

async fn a_threads_panic_is_reported_as_its_own() {
    let executor = executor(1);
    let at = || async { resumes().on(&executor).await.unwrap_err() };
    let Error::Panicked { message, location, .. } = at().await else { panic!("the error is not a panic") };
    assert_eq!(message, "no number");
    for in_a_thread in [false, true] {
        catches(in_a_thread).on(&executor).await.unwrap();
        let Error::Panicked { location: again, .. } = at().await else { panic!("the error is not a panic") };
        assert_eq!(again, location, "the location is that of a panic that another call caught");
    }
}

async fn an_abort_is_not_the_caught_panic() {
    let executor = executor(1);
    let error = aborts("after a panic that was caught").on(&executor).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { signal: Some(6), .. }), "{error:?}");
}

#[inline(never)]
fn inner(x: u64) -> u64 {
    assert!(x != 1, "one is bad");
    x
}

#[wren::remote]
fn panics_inside(x: u64) -> u64 {
    inner(x)
}

/// Runs in a driver. Prints the error as `main` does.
pub(crate) async fn panic_and_report(folder: &Path) -> wren::Result<()> {
    let error = wren::map(panics_inside, 0..3).on(&executor_in(folder)).named("panics").await.unwrap_err();
    assert!(!error.to_string().contains("stack backtrace"), "{error}");
    println!("Error: {error:?}");
    Ok(())
}

async fn backtraces_are_shown_where_the_failure_is() {
    for is_wanted in [true, false] {
        let folder = scratch("backtraces");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(DRIVE, "panics").env("WREN_DIR", &folder).env_remove("RUST_BACKTRACE");
        command.env_remove("RUST_LIB_BACKTRACE").envs(is_wanted.then_some(("RUST_BACKTRACE", "1")));
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        let error = String::from_utf8(output.stdout).unwrap();
        assert!(error.starts_with("Error: `local::panics::panics_inside` task 1 panicked at "), "{error}");
        let mut logged = None;
        JobSummary::read_with(&folder.join("jobs/panics"), |event| {
            if let Event::Failed { backtrace, .. } = event {
                logged.clone_from(backtrace);
            }
        })
        .unwrap();
        let shown = error.split_once("\n\nstack backtrace:\n").map(|(_, backtrace)| backtrace.trim_end());
        assert_eq!(shown, logged.as_deref());
        assert_eq!(shown.is_some(), is_wanted, "{error}");
        // Optimized programs may have no names of functions.
        if let Some(backtrace) = shown.filter(|_| cfg!(debug_assertions)) {
            assert!(backtrace.contains("local::panics::inner"), "{backtrace}");
            assert!(backtrace.contains("panics_inside") && backtrace.contains("panics.rs:"), "{backtrace}");
            assert!(!backtrace.contains("core::panicking") && !backtrace.contains("captures_panics"), "{backtrace}");
        }
    }
}
