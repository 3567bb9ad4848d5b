//! How a program begins: it becomes a worker, lists its functions, or runs the user's `main`.

use std::future::Future;
use std::process::{ExitCode, Termination, exit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::registry::{self, RemoteFn};
use crate::terminal;
use crate::worker::process;

/// Set by `cargo wren list`: print the registry and end.
const LIST: &str = "WREN_LIST";

/// Where AWS Lambda serves its runtime API; set in an instance, and in what that starts.
pub(crate) const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// How long what is to be done in the end may take.
const PATIENCE: Duration = Duration::from_secs(2);

static INITIALIZED: AtomicBool = AtomicBool::new(false);
static WORKER: AtomicBool = AtomicBool::new(false);

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
    process::become_worker_if_asked();
    #[cfg(feature = "aws")]
    crate::worker::lambda::become_worker_if_asked();
    if std::env::var_os(LIST).is_some() {
        list();
    }
    crate::replay::replay_if_asked(|| INITIALIZED.store(true, Ordering::Release));
    INITIALIZED.store(true, Ordering::Release);
}

#[derive(Serialize)]
struct Listing {
    wren: &'static str,
    functions: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    /// By which it is found.
    name: &'static str,
    #[serde(flatten)]
    function: &'static RemoteFn,
}

/// The registry as JSON: `{"wren": "<version>", "functions": [..]}`.
///
/// # Errors
/// As [`registry::all`].
pub(crate) fn listing() -> Result<serde_json::Result<String>> {
    let functions = registry::all()?.into_iter().map(|function| Listed { name: function.id(), function }).collect();
    Ok(serde_json::to_string(&Listing { wren: env!("CARGO_PKG_VERSION"), functions }))
}

fn list() -> ! {
    match listing() {
        Ok(Ok(json)) => {
            println!("{json}");
            exit(0)
        }
        Ok(Err(error)) => eprintln!("error: {error}"),
        Err(error) => eprintln!("error: {error}"),
    }
    exit(1)
}

pub(crate) fn mark_worker() {
    WORKER.store(true, Ordering::Release);
}

/// Whether this process is a worker.
pub(crate) fn is_worker() -> bool {
    WORKER.load(Ordering::Acquire)
}

/// Whether this process went through `init`, and is no worker.
pub(crate) fn is_initialized() -> bool {
    INITIALIZED.load(Ordering::Acquire)
}

/// Whether this process is in an instance of AWS Lambda, whose disk nobody else sees, and which is frozen
/// when it has answered.
pub(crate) fn in_lambda() -> bool {
    std::env::var_os(RUNTIME_API).is_some()
}

pub(crate) fn default_backend() -> &'static str {
    if is_initialized() { "local" } else { "inline" }
}

/// Workers are this same program: it must begin by `init`, and a worker starts none of its own.
pub(crate) fn may_start_workers() -> Result<()> {
    if is_worker() {
        return Err(Error::Config(
            "a worker has no workers of its own: what a remote function calls runs on threads of its worker; leave out \
             `.backend(\"local\")`, or the whole executor"
                .to_owned(),
        ));
    }
    if !is_initialized() {
        return Err(Error::Config(
            "the `local` backend starts this program again as a worker, and its `main` would not know: put \
             `#[wren::main]` on `main`, or call `wren::init()` first in it"
                .to_owned(),
        ));
    }
    Ok(())
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
    let runtime = match crate::blocking::new_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no event loop: {error}");
            return Exit(ExitCode::FAILURE);
        }
    };
    crate::interrupt::watch();
    let ended = runtime.block_on(user_main());
    // Calls were dropped, and with them cancelled.
    runtime.shutdown_background();
    finish_last_words();
    Exit(crate::interrupt::farewell().unwrap_or_else(|| ended.report()))
}

/// Runs a `main` that is not async.
#[doc(hidden)]
pub fn main_sync<T: Termination>(user_main: impl FnOnce() -> T) -> Exit {
    init();
    crate::interrupt::watch();
    let ended = user_main();
    finish_last_words();
    Exit(crate::interrupt::farewell().unwrap_or_else(|| ended.report()))
}

/// What runs elsewhere is told to stop before this program is gone.
pub(crate) fn finish_last_words() {
    crate::store::finish_last(PATIENCE);
    terminal::finish();
}
