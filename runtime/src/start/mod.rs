//! Starts a program: as a worker, as a list of its functions, as the replay of a task, or with the user's `main`.

pub(crate) mod interrupt;
mod replay;
mod shown;

use std::future::Future;
use std::process::{ExitCode, Termination, exit};
use std::time::Duration;

use crate::backend::local::worker;
use crate::function::registry;
use crate::{platform, terminal};

/// Environment variable, set by `cargo wren list`: the program prints its registry and ends.
const LIST: &str = "WREN_LIST";

/// How long the last requests of the program may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lets this program start itself as a worker. A program without [`#[wren::main]`](crate::main) must call this first in
/// `main`.
///
/// In a process that was started as a worker, it never returns. What a program does before, such as installing a
/// logger, happens in workers too; a logger that is installed later also gets the log records of workers. A program
/// that never calls this runs its remote functions on threads (the `inline` backend), and says so once on standard
/// error, unless it is a test.
///
/// ```no_run
/// wren::init();
/// // Now parse arguments, start your own runtime, call remote functions.
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

/// The return type of the `main` that `#[wren::main]` generates.
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
            eprintln!("error: cannot create the async runtime: {error}");
            return Exit(ExitCode::FAILURE);
        }
    };
    interrupt::watch();
    let ended = runtime.block_on(user_main());
    // The calls have been dropped, which cancelled them.
    runtime.shutdown_background();
    wait_for_pending();
    Exit(interrupt::report_signal().unwrap_or_else(|| ended.report()))
}

/// Runs a `main` that is not async.
#[doc(hidden)]
pub fn main_sync<T: Termination>(user_main: impl FnOnce() -> T) -> Exit {
    init();
    interrupt::watch();
    let ended = user_main();
    wait_for_pending();
    Exit(interrupt::report_signal().unwrap_or_else(|| ended.report()))
}

/// Waits, for a limited time, for the requests that stop remote workers and for pending output, before the program
/// ends.
pub(crate) fn wait_for_pending() {
    platform::finish_tasks(PATIENCE);
    terminal::finish();
}
