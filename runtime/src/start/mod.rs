//! How a program begins: it becomes a worker, lists its functions, or runs the user's `main`.

pub(crate) mod interrupt;
mod replay;

use std::future::Future;
use std::process::{ExitCode, Termination, exit};
use std::time::Duration;

use crate::backend::local::worker;
use crate::function::registry;
use crate::{platform, terminal};

/// Set by `cargo wren list`: print the registry and end.
const LIST: &str = "WREN_LIST";

/// How long what is to be done in the end may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes this program its own worker: to be called first in `main` by a program without
/// [`#[wren::main]`](crate::main).
///
/// In a process that was started as a worker it never returns. A program that never calls it runs
/// its remote functions on threads (the `inline` backend).
///
/// ```no_run
/// wren::init();
/// // Now parse arguments, start a runtime of your own, call remote functions.
/// ```
pub fn init() {
    worker::become_worker_if_asked();
    #[cfg(feature = "aws")]
    crate::backend::lambda::worker::become_worker_if_asked();
    if std::env::var_os(LIST).is_some() {
        list();
    }
    replay::replay_if_asked(platform::mark_initialized);
    platform::mark_initialized();
}

fn list() -> ! {
    match registry::listing() {
        Ok(Ok(json)) => {
            println!("{json}");
            exit(0)
        }
        Ok(Err(error)) => eprintln!("error: {error}"),
        Err(error) => eprintln!("error: {error}"),
    }
    exit(1)
}

/// What `#[wren::main]`'s `main` returns.
#[doc(hidden)]
#[derive(Debug)]
pub struct Exit(ExitCode);

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.0
    }
}

/// Runs an async `main`.
#[doc(hidden)]
pub fn main<F: Future<Output: Termination>>(user_main: impl FnOnce() -> F) -> Exit {
    init();
    let runtime = match crate::platform::new_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no event loop: {error}");
            return Exit(ExitCode::FAILURE);
        }
    };
    interrupt::watch();
    let ended = runtime.block_on(user_main());
    // Calls were dropped, and with them cancelled.
    runtime.shutdown_background();
    finish_last_words();
    Exit(interrupt::farewell().unwrap_or_else(|| ended.report()))
}

/// Runs a `main` that is not async.
#[doc(hidden)]
pub fn main_sync<T: Termination>(user_main: impl FnOnce() -> T) -> Exit {
    init();
    interrupt::watch();
    let ended = user_main();
    finish_last_words();
    Exit(interrupt::farewell().unwrap_or_else(|| ended.report()))
}

/// What runs elsewhere is told to stop before this program is gone.
pub(crate) fn finish_last_words() {
    platform::finish_tasks(PATIENCE);
    terminal::finish();
}
