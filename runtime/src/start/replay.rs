//! Runs one task of a job again with its original arguments, for `cargo wren replay`.
//!
//! The task runs on the thread that called [`init`](crate::init), without wren's `catch_unwind`, so that a debugger
//! and a backtrace show it like any other function of the program. Calls that it makes itself run on threads of this
//! process, as in a worker.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shown::shown;
use crate::attempt::{Batch, Reply, TaskBlock};
use crate::backend::{self, BackendContext};
use crate::calls::job;
use crate::config::Config;
use crate::error::{Attempt, Error, Failure, Result};
use crate::function::{self, Encoded, Excerpt, RemoteFn, registry};
use crate::history::{self, TaskInput};
use crate::logging::{self, Levels};
use crate::platform::{self, Notifier};
use crate::store::{self, Ref, Store, blobs};
use crate::{codec, terminal};

/// Environment variable that requests a replay: `<task>@<folder of the job>`.
const ENV: &str = "WREN_REPLAY";

/// Environment variable that requests the replay in a worker process, with the limits of the task.
const POOL: &str = "WREN_REPLAY_POOL";

/// Runs a task and ends the process, if this process was started for a replay; otherwise returns immediately.
pub(crate) fn replay_if_asked(mark_initialized: impl FnOnce()) {
    let Some(request) = std::env::var_os(ENV) else { return };
    let pool = std::env::var_os(POOL).is_some();
    remove_request();
    if pool {
        mark_initialized();
    } else {
        crate::platform::mark_worker();
    }
    log_to_stderr(pool);
    let run = move || match replay(&request, pool) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    };
    // If the program created a runtime before `init`, blocking on this thread would panic.
    if tokio::runtime::Handle::try_current().is_ok() {
        let thread = std::thread::Builder::new().name("wren-replay".into()).stack_size(8 << 20);
        let ran = thread.spawn(run).map(std::thread::JoinHandle::join);
        exit(ran.map_or(1, |ended| ended.unwrap_or(101)));
    }
    exit(run())
}

/// Shows the records of `log` and `tracing`: the program installs its own logger in `main`, which does not run.
fn log_to_stderr(pool: bool) {
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    let levels = Levels::both(level.unwrap_or(log::LevelFilter::Info));
    match pool {
        true => levels.relay(),
        false => logging::collect(levels, |record| eprintln!("{}", record.text())),
    }
}

/// Removes the request from the environment, so that programs that the task starts do not replay it too. If the task
/// starts this program again, that would never end.
fn remove_request() {
    if platform::has_one_thread() {
        for name in [ENV, POOL] {
            // SAFETY: there is no other thread that could read the environment at the same time.
            unsafe { std::env::remove_var(name) };
        }
    }
}

fn replay(request: &OsStr, pool: bool) -> Result<i32> {
    let wrong = || {
        Error::Config(format!(
            "{ENV} is `{}`, which is not a valid request; run `cargo wren replay <job> <task>`, which sets it",
            request.display()
        ))
    };
    let bytes = request.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'@').ok_or_else(wrong)?;
    let task = std::str::from_utf8(&bytes[..at]).ok().and_then(|task| task.parse::<u64>().ok()).ok_or_else(wrong)?;
    let folder = Path::new(OsStr::from_bytes(&bytes[at + 1..]));
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(wrong)?;
    let id = history::id_in_store(&name).to_owned();
    // It has the results of named jobs and the inputs of started jobs.
    let store = store_of(folder);
    let input = input(folder, &id, task, &store)?;
    let function = find_function(&input)?;
    terminal::note(&format!("task {task} of job {id}: {} with {} bytes of input", function.name, input.size));
    if input.body_hash.is_some_and(|hash| hash != function.body_hash) {
        terminal::note(&format!("`{}` has changed since the job ran", function.name));
    }
    // These lines must appear before the output of the function.
    terminal::settle();
    let start = Instant::now();
    let mut excerpt = Excerpt::default();
    let outcome = match pool {
        true => run_in_worker(function, input, task),
        false => run_here(function, &input, &mut excerpt).map_err(|failure| Box::new((failure, String::new()))),
    };
    let took = start.elapsed();
    match outcome {
        Ok(result) => {
            let recorded = store.ok().and_then(|store| job::stored_result(&store, &id, task));
            terminal::note(&describe_result(function, &result, excerpt.text(), recorded.as_deref(), took));
            Ok(0)
        }
        Err(failed) => {
            let (failure, stderr) = *failed;
            print_failure(function, task, failure, stderr);
            Ok(1)
        }
    }
}

/// Opens the store of the job: the one that is configured, unless the job's log names another one.
fn store_of(folder: &Path) -> Result<Arc<dyn Store>> {
    let configured = Config::load()?.store_url().and_then(|url| store::open(&url));
    match history::store_of(folder) {
        Some(url) if configured.as_ref().is_ok_and(|store| store.url() != url) => store::open(&url),
        _ => configured,
    }
}

/// Reads the input of a task from the folder of the job, or, for a started job, from its store.
fn input(folder: &Path, id: &str, task: u64, store: &Result<Arc<dyn Store>>) -> Result<TaskInput> {
    let kept = history::task_input(folder, task)
        .map_err(|e| Error::Job(format!("cannot read the inputs in {}: {e}; run the job again", folder.display())))?;
    let kept = match (kept, store) {
        (None, Ok(store)) => job::stored_input(store, id, task)?,
        (kept, _) => kept,
    };
    kept.ok_or_else(|| {
        let tasks = history::task_count(folder);
        Error::Job(match tasks.filter(|tasks| task >= *tasks) {
            Some(tasks) => format!("job {id} has no task {task}: it has {tasks} tasks, numbered from 0"),
            None => format!(
                "the input of task {task} of job {id} was not kept: after the first megabytes of a job's inputs, only \
                 the inputs of failed tasks are kept; set `keep_inputs` in Wren.toml, or WREN_KEEP_INPUTS, to more \
                 megabytes, and run the job again"
            ),
        })
    })
}

/// Finds the function in this program. Its signature must be the one that the job used.
fn find_function(input: &TaskInput) -> Result<&'static RemoteFn> {
    let function = registry::find(&input.function)?;
    if function.signature_hash() == input.signature_hash {
        return Ok(function);
    }
    let before = input.signature.as_ref().map_or_else(String::new, |before| format!(" from `{before}`"));
    Err(Error::Job(format!(
        "the signature of `{}` has changed since the job ran,{before} to `{}`, and the kept input does not fit the new \
         one; restore the old signature for the replay, or run the job again",
        function.name, function.signature
    )))
}

/// Runs the function on this thread and returns its encoded result. The excerpt gets the result as text.
fn run_here(function: &RemoteFn, input: &TaskInput, excerpt: &mut Excerpt) -> Result<Vec<u8>, Failure> {
    for blob in &input.args.blobs {
        blobs::remember(*blob.hash().as_bytes(), blob);
    }
    let mut out = Encoded::default();
    function::run_uncaught(function, &input.args.bytes, &input.args.blobs, &mut out, excerpt)?;
    let mut result = out.bytes;
    result.extend_from_slice(&out.long);
    Ok(result)
}

/// Runs the function in a worker process, under the limits of the task.
fn run_in_worker(function: &'static RemoteFn, input: TaskInput, task: u64) -> Result<Vec<u8>, Box<(Failure, String)>> {
    let broken = |reason: String| Box::new((Failure::Backend(reason), String::new()));
    let notifier = Notifier::new().map_err(|e| broken(format!("cannot create a pipe or shared memory: {e}")))?;
    let context = BackendContext::new(1, notifier.clone(), 1);
    let mut backend = backend::open("local", &context).map_err(|e| broken(e.to_string()))?;
    let mut block = TaskBlock::new(function, input.limits, task);
    for blob in &input.args.blobs {
        // Computes the hash: the worker receives it with the value only if it is already known.
        blob.hash();
    }
    block.push(input.args);
    let one = Batch { id: 1, job_run: None, tasks: task..task + 1, attempt: 1, block: block.into() };
    let mut replies = Vec::new();
    backend.invoke(one.clone(), context.clock.elapsed(), &mut replies);
    loop {
        notifier.set_asleep();
        let wait = backend.poll(context.clock.elapsed(), &mut replies);
        for reply in replies.split_off(0) {
            match reply {
                Reply::Done { results, .. } => {
                    let (mut result, rest) = results.into_lone();
                    result.extend_from_slice(&rest);
                    return Ok(result);
                }
                Reply::Failed { failure, stderr, .. } => return Err(Box::new((failure, stderr))),
                // The worker ended before it started the task.
                _ => backend.invoke(one.clone(), context.clock.elapsed(), &mut replies),
            }
        }
        if replies.is_empty() {
            notifier.sleep(wait);
        }
    }
}

/// Describes the result, and compares it with the one recorded by the job. The result is shown as its `Debug` writes it,
/// or as JSON if the type has no `Debug` or a worker returned the result.
fn describe_result(function: &RemoteFn, result: &[u8], debug: &str, recorded: Option<&[u8]>, took: Duration) -> String {
    let compared = match recorded {
        None => "",
        Some(recorded) if is_same(result, recorded) => ", as in the job",
        Some(_) => "; in the job, it returned a different result",
    };
    let value = match debug {
        "" => shown(result).unwrap_or_else(|| format!("{} bytes", result.len())),
        debug => debug.to_owned(),
    };
    format!("{} returned {value} in {took:.1?}{compared}", function.name)
}

/// Returns whether a result equals the recorded one, which is the result itself or a reference to it.
fn is_same(result: &[u8], recorded: &[u8]) -> bool {
    let is_named = |of: &Ref<()>| of.key() == blobs::key_of(blake3::hash(result).as_bytes());
    result == recorded || codec::decode::<Ref<()>>(recorded).is_ok_and(|of| is_named(&of))
}

/// Prints how the function failed.
fn print_failure(function: &RemoteFn, task: u64, failure: Failure, stderr: String) {
    let class = failure.name();
    if let Failure::Returned { message, chain, .. } = &failure {
        eprintln!("error[{class}]: `{}` task {task} returned an error: {message}", function.name);
        chain.iter().for_each(|cause| eprintln!("  caused by: {cause}"));
        return;
    }
    let function = function.name.to_owned();
    let attempt = Attempt { function, task, attempt: 1, stderr, other_failures: 0 };
    eprintln!("error[{class}]: {:?}", failure.into_error(attempt));
}
