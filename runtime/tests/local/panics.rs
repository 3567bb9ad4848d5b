//! The message and the location of a panic are reported, however it ends the call.

use libtest_mimic::Trial;
use wren::Error;

use super::{executor, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![aborting_panics_are_shown, a_threads_panic_is_reported_as_its_own, an_abort_is_not_the_caught_panic]
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
