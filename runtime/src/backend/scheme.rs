//! Backends by URL scheme.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Backend;
use crate::attempt::OutputSink;
use crate::config::OtherBuild;
use crate::error::{Error, Result};
use crate::platform::Notifier;

/// The settings that a backend is opened with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackendContext {
    /// Number of functions to run at once, unless the backend determines its own number.
    pub workers: usize,
    /// Must be notified when replies have arrived.
    pub wake_handle: WakeHandle,
    /// The folder `.wren` of the project.
    pub directory: PathBuf,
    /// The instant from which `now` counts in the calls of a [`Backend`].
    pub clock: Instant,
    /// Receives the output of tasks, if the backend captures it.
    pub lines: OutputSink,
    /// Time after which an idle worker is ended, if the backend has workers of its own.
    pub idle_timeout: Option<Duration>,
    /// Number of calls after which a worker is replaced.
    pub max_calls: Option<NonZeroU64>,
    /// How to handle a deployment whose code may be older than this program.
    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "read only by the `lambda` backend"))]
    pub(crate) on_other_build: OtherBuild,
    /// Nesting depth of the executor's calls within calls of this process.
    pub(crate) depth: usize,
}

impl BackendContext {
    pub(crate) fn new(workers: usize, notifier: Notifier, depth: usize) -> Self {
        Self {
            workers,
            wake_handle: WakeHandle(notifier),
            directory: PathBuf::from(".wren"),
            clock: Instant::now(),
            lines: OutputSink::default(),
            idle_timeout: None,
            max_calls: None,
            on_other_build: OtherBuild::default(),
            depth,
        }
    }
}

/// Notifies an executor, from any thread, that its backend has replies.
#[derive(Debug, Clone)]
pub struct WakeHandle(pub(crate) Notifier);

impl WakeHandle {
    /// Makes the executor poll the backend soon. Costs one atomic operation while the executor is awake.
    pub fn notify(&self) {
        self.0.notify();
    }
}

/// A URL scheme of backends. Other crates add theirs with `inventory::submit!`.
///
/// ```
/// use std::time::Duration;
/// use wren::backend::{Backend, BackendScheme, Batch, BatchId, Reply};
///
/// /// Runs each batch immediately, on the thread of the caller.
/// struct Here;
///
/// impl Backend for Here {
///     fn slots(&self) -> usize { 1 }
///     fn workers(&self) -> usize { 1 }
///     fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>) {
///         replies.extend(batch.tasks.clone().map(|task| batch.run_task(task, now)));
///     }
///     fn cancel(&mut self, _batch_id: BatchId, _now: Duration) {}
///     fn poll(&mut self, _now: Duration, _replies: &mut Vec<Reply>) -> Option<Duration> { None }
/// }
///
/// wren::inventory::submit! {
///     BackendScheme { scheme: "here", open: |_, _| Ok(Box::new(Here)) }
/// }
///
/// #[wren::remote]
/// fn triple(x: u64) -> u64 { 3 * x }
///
/// # wren::block_on(async {
/// let executor = wren::Executor::builder().backend("here:").build()?;
/// assert_eq!(wren::map(triple, 0..100).on(&executor).await?[99], 297);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub struct BackendScheme {
    /// Name of the scheme, without the colon: `local`.
    pub scheme: &'static str,
    /// Opens the backend. `rest` is the part of the URL after the colon.
    pub open: fn(rest: &str, context: &BackendContext) -> Result<Box<dyn Backend>>,
}

impl fmt::Debug for BackendScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendScheme({}:)", self.scheme)
    }
}

inventory::collect!(BackendScheme);

#[cfg(not(feature = "aws"))]
inventory::submit! {
    BackendScheme { scheme: "lambda", open: |_, _| Err(Error::left_out("the backend `lambda`", "aws")) }
}

#[cfg(not(feature = "sim"))]
inventory::submit! {
    BackendScheme { scheme: "sim", open: |_, _| Err(Error::left_out("the backend `sim`", "sim")) }
}

/// Opens the backend of a URL: `local`, `inline:`.
pub(crate) fn open(url: &str, context: &BackendContext) -> Result<Box<dyn Backend>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let known = || inventory::iter::<BackendScheme>.into_iter();
    if let Some(found) = known().find(|known| known.scheme == scheme) {
        return (found.open)(rest, context);
    }
    let mut names: Vec<_> = known().map(|known| known.scheme).collect();
    names.sort_unstable();
    Err(Error::Config(format!("unknown backend `{url}`; expected one of {}", names.join(", "))))
}

/// Refuses a non-empty `rest`, for schemes that take nothing after the colon.
pub(super) fn refuse_rest(scheme: &str, rest: &str) -> Result<()> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(Error::Config(format!("the backend `{scheme}` takes nothing after its name, but got `{rest}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_lists_known_ones() {
        let context = BackendContext::new(1, Notifier::new().unwrap(), 0);
        let message = open("cloud:7", &context).err().unwrap().to_string();
        let ending = "unknown backend `cloud:7`; expected one of inline, lambda, local, sim";
        assert!(message.ends_with(ending), "{message}");
        let message = open("inline:7", &context).err().unwrap().to_string();
        assert!(message.contains("takes nothing after its name, but got `7`"), "{message}");
        let message = open("sim:mars", &context).err().unwrap().to_string();
        let what = if cfg!(feature = "sim") { "`sim:pywren2017`" } else { "cargo add wren-cloud --features sim" };
        assert!(message.contains(what), "{message}");
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn missing_aws_errors_say_how_to_enable_it() {
        let context = BackendContext::new(1, Notifier::new().unwrap(), 0);
        for url in ["lambda", "lambda:event"] {
            let message = open(url, &context).err().unwrap().to_string();
            assert!(message.contains("enable it with `cargo wren deploy`"), "{message}");
        }
        let message = crate::store::open("s3://bucket/x").err().unwrap().to_string();
        assert!(message.contains("cargo add wren-cloud --features aws"), "{message}");
    }
}
