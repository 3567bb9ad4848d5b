//! The `lambda` backend: attempts are invocations of the functions that `cargo wren deploy` made.
//!
//! A few go out as `RequestResponse`, with the outcome in the response; beyond [`DIRECT`] at once they
//! go out as `Event`, and their outcomes are found by listing the store. `lambda:direct` and
//! `lambda:event` send all of them the one way or the other. Everything runs on the event loop for AWS;
//! replies come back through a channel and the executor's notifier.

mod send;
mod uploads;
mod watch;
mod wire;
pub(crate) mod worker;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lambda_tuning::{DIRECT, tune};
use super::{Backend, BackendContext, BackendScheme, Placement, WakeHandle};
use crate::attempt::{Batch, BatchId, RemoteTiming, Reply, Results, Timing};
use crate::aws::deployment::{Deployment, LambdaFn};
use crate::aws::{self, limits, price};
use crate::backend::lambda::wire::{BatchOutcome, Part, Report};
use crate::config::OtherBuild;
use crate::error::{Error, Failure, Result};
use crate::function::Limits;
use crate::platform::new_id;
use crate::store::{self, Store};
use crate::{scheduler, terminal};

use uploads::Uploads;
use watch::Watch;

/// An invocation that took so long leaves its outcome in the store as well: connections that are
/// silent for minutes are cut by routers on the way (AWS NAT gateways: after 350 seconds).
const LONG: Duration = Duration::from_secs(60);

inventory::submit! {
    BackendScheme {
        scheme: "lambda",
        open: |rest, setup| {
            let direct = match rest {
                "" => DIRECT,
                "direct" => usize::MAX,
                "event" => 0,
                other => return Err(Error::Config(format!(
                    "the backend `lambda:{other}` is none: there are `lambda`, `lambda:direct` and `lambda:event`"
                ))),
            };
            Ok(Box::new(LambdaBackend::open(setup, direct)?))
        },
    }
}

/// What is sent and heard of invocations.
struct LambdaBackend {
    shared: Arc<LambdaState>,
    replies: Receiver<Reply>,
    batches: HashMap<BatchId, InFlight>,
}

/// An invocation under way.
struct InFlight {
    run: Arc<str>,
    left: u64,
    /// Ends with this.
    _sending: Option<aws::Task<()>>,
}

struct LambdaState {
    deployment: Deployment,
    store: Arc<dyn Store>,
    uploads: Uploads,
    watch: Watch,
    /// Invocations that wait for their response, and how many may.
    direct: AtomicUsize,
    most_direct: usize,
    /// Requests under way at once: each takes a connection.
    requests: tokio::sync::Semaphore,
    replies: Mutex<Sender<Reply>>,
    wake_handle: WakeHandle,
}

impl LambdaBackend {
    fn open(setup: &BackendContext, most_direct: usize) -> Result<Self> {
        let deployment = Deployment::load(&setup.directory)?.ok_or_else(|| {
            let place = match Deployment::endpoint_of_environment() {
                Some(endpoint) => format!(" at {endpoint}"),
                None => String::new(),
            };
            Error::Config(format!(
                "the backend `lambda` needs a deployment, and nothing is deployed{place}: run `cargo wren deploy`, or set \
                 WREN_BACKEND=local"
            ))
        })?;
        let stale = deployment.stale_functions()?;
        if !stale.is_empty() {
            return Err(Error::StaleDeployment { functions: stale });
        }
        check_sources(&deployment, setup.on_other_build)?;
        let (sender, replies) = mpsc::channel();
        let store = store::open(&deployment.store)?;
        let shared = LambdaState::new(deployment, store, most_direct, sender, setup.wake_handle.clone());
        Ok(Self { shared: Arc::new(shared), replies, batches: HashMap::new() })
    }
}

/// Tells where AWS may run older code than this program's, though its remote functions are the same.
fn check_sources(deployment: &Deployment, on_other: OtherBuild) -> Result<()> {
    if on_other == OtherBuild::Accept {
        return Ok(());
    }
    let Some(source) = deployment.changed_source() else { return Ok(()) };
    let what = format!(
        "{} changed after the program was deployed, so that AWS may run older code than this program's; run `cargo wren \
         deploy`, or `cargo wren run`, which deploys what changed",
        source.display()
    );
    on_other.tell(&what, "to run what is deployed").map_err(Error::Config)
}

/// One line that says where a program runs.
pub(crate) fn announce(directory: &std::path::Path) {
    let Ok(Some(deployment)) = Deployment::load(directory) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let age = match now.saturating_sub(deployment.deployed_unix_s) {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    let place = match &deployment.endpoint {
        Some(endpoint) => format!("an emulator of AWS at {endpoint}"),
        None => format!("AWS Lambda in {}", deployment.region),
    };
    terminal::note(&format!(
        "running on {place}: `{}`, deployed {age} ago (WREN_BACKEND=local: here)",
        deployment.name
    ));
}

impl Backend for LambdaBackend {
    fn slots(&self) -> usize {
        self.shared.deployment.concurrency.max(1)
    }

    fn workers(&self) -> usize {
        self.slots()
    }

    fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        let lambda = self.shared.lambda_for(function, limits).map_err(Error::Config)?;
        Ok(Some(Placement { memory_mb: lambda.memory_mb, calls: limits::vcpus(lambda.memory_mb) }))
    }

    fn usd_per_second(&self) -> fn(memory_mb: Option<u32>) -> f64 {
        |memory_mb| price::per_second(memory_mb.unwrap_or(limits::DEFAULT_MEMORY_MB))
    }

    fn tune(&self, config: &mut scheduler::SchedulerConfig) {
        let longest = self.shared.deployment.lambdas.iter().map(|l| l.timeout_s).max();
        tune(config, longest.map(|s| Duration::from_secs(s.into())));
        config.calls_at_once = |memory_mb| limits::vcpus(memory_mb.unwrap_or(limits::DEFAULT_MEMORY_MB)).into();
    }

    fn invoke(&mut self, batch: Batch, _now: Duration, replies: &mut Vec<Reply>) {
        let batch_id = batch.id;
        let run = batch.job_run.clone().unwrap_or_else(|| format!("call-{}", new_id()).into());
        let left = batch.tasks.end - batch.tasks.start;
        match aws::spawn(send::send(self.shared.clone(), batch.clone(), run.clone())) {
            Ok(sending) => {
                let in_flight = InFlight { run, left, _sending: Some(sending) };
                self.batches.insert(batch_id, in_flight);
            }
            Err(message) => batch.fail(&message, replies),
        }
    }

    fn cancel(&mut self, batch_id: BatchId, _now: Duration) {
        if let Some(in_flight) = self.batches.remove(&batch_id) {
            self.shared.watch.forget(&in_flight.run, batch_id);
            self.shared.put_mark(wire::stop_key(&in_flight.run, batch_id));
        }
    }

    fn cancel_job(&mut self, run: &Arc<str>) {
        self.shared.watch.forget_all(run);
        // One key stops all of them.
        self.batches.retain(|_, in_flight| in_flight.run != *run);
        self.shared.put_mark(wire::cancel_key(run));
    }

    fn poll(&mut self, _now: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        while let Ok(reply) = self.replies.try_recv() {
            let (batch_id, count) = match &reply {
                Reply::Done { batch_id, tasks, .. } | Reply::Returned { batch_id, tasks } => {
                    (*batch_id, tasks.end - tasks.start)
                }
                Reply::Failed { batch_id, .. } => (*batch_id, 1),
                Reply::Throttled { batch_id, .. } => (*batch_id, u64::MAX),
            };
            if let Some(in_flight) = self.batches.get_mut(&batch_id) {
                in_flight.left = in_flight.left.saturating_sub(count);
                if in_flight.left == 0 {
                    self.batches.remove(&batch_id);
                }
                replies.push(reply);
            }
        }
        None
    }
}

impl LambdaState {
    fn new(
        deployment: Deployment,
        store: Arc<dyn Store>,
        most_direct: usize,
        replies: Sender<Reply>,
        wake_handle: WakeHandle,
    ) -> Self {
        Self {
            watch: Watch::default(),
            uploads: Uploads::new(store.clone()),
            store,
            deployment,
            direct: AtomicUsize::new(0),
            most_direct,
            requests: tokio::sync::Semaphore::new(2 * DIRECT),
            replies: Mutex::new(replies),
            wake_handle,
        }
    }

    /// The Lambda function that serves calls with these limits, or words that say why none does.
    fn lambda_for(&self, function: &str, limits: &Limits) -> std::result::Result<&LambdaFn, String> {
        self.deployment.lambda_for(function, limits.memory_mb, limits.timeout).ok_or_else(|| {
            let memory = limits.memory_mb.map_or_else(String::new, |mb| format!(" {mb} MB"));
            let timeout = limits.timeout.map_or_else(String::new, |timeout| format!(" {timeout:?}"));
            let there = self.deployment.lambdas.iter().map(|l| format!("{} MB for {} s", l.memory_mb, l.timeout_s));
            format!(
                "no deployed function gives a call of `{function}` its{memory}{timeout}, there are {}; annotate a function \
                 with as much and run `cargo wren deploy`, or ask for less",
                there.collect::<Vec<_>>().join(", ")
            )
        })
    }

    fn give(&self, reply: Reply) {
        // The receiver is gone only with the executor.
        let _ = self.replies.lock().unwrap_or_else(PoisonError::into_inner).send(reply);
        self.wake_handle.notify();
    }

    fn fail_all(&self, batch: &Batch, failure: &Failure) {
        for task in batch.tasks.clone() {
            let (failure, stderr) = (failure.clone(), String::new());
            self.give(Reply::Failed { batch_id: batch.id, task, failure, stderr, timing: Timing::default() });
        }
    }

    /// Gives what came of an invocation.
    fn give_outcome(&self, batch_id: BatchId, outcome: BatchOutcome) {
        let BatchOutcome { parts, report } = outcome;
        let mut usd = cost(&report);
        let remote = Some(remote(&report));
        for part in parts {
            let mut timing = |ran: wire::TaskTimes| Timing {
                started: Duration::ZERO,
                free: Duration::ZERO,
                setup: report.setup,
                cold: report.cold,
                fetch: report.fetch,
                turn: ran.began.saturating_sub(report.fetch),
                compute: ran.compute,
                // The parts of an attempt are written together, when the last is done.
                commit: report.ran.saturating_sub(ran.began.max(report.fetch) + ran.compute),
                worker: ran.worker,
                remote,
                peak_memory: report.peak_memory,
                // What the whole cost is told once.
                usd: std::mem::take(&mut usd),
            };
            self.give(match part {
                Part::Done { first, count, results, ran } => Reply::Done {
                    batch_id,
                    tasks: first..first.saturating_add(count),
                    results: Results::packed(results),
                    timing: timing(ran),
                },
                Part::Failed { task, failure, stderr, ran } => {
                    Reply::Failed { batch_id, task, failure, stderr, timing: timing(ran) }
                }
                Part::Returned { first, count } => {
                    Reply::Returned { batch_id, tasks: first..first.saturating_add(count) }
                }
            });
        }
    }

    /// Puts a key that tells workers to stop, even if this program ends now.
    fn put_mark(&self, key: String) {
        let store = self.store.clone();
        aws::spawn_detached(async move {
            // Without it they run to their end, and are paid for.
            let _ = store.put(&key, b"").await;
        });
    }
}

/// What Lambda asks for the invocation, in dollars.
fn cost(report: &Report) -> f64 {
    price::REQUEST + price::per_second(report.memory_mb) * report.ran.as_secs_f64()
}

fn remote(report: &Report) -> RemoteTiming {
    let digits: String = report.request.chars().filter(char::is_ascii_hexdigit).collect();
    RemoteTiming {
        request: u128::from_str_radix(&digits, 16).unwrap_or_default(),
        instance: report.instance,
        memory_mb: report.memory_mb,
        started: report.started,
        ran: report.ran,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_of_older_code_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("main.rs");
        let deployment = |text: &str| {
            std::fs::write(&source, text).unwrap();
            std::fs::write(folder.path().join("main.d"), format!("main: {}\n", source.display())).unwrap();
            let sources = crate::aws::deployment::Source::of_program(&folder.path().join("main"));
            Deployment { sources, ..Deployment::dummy() }
        };
        let deployment = deployment("fn rate() -> u8 { 1 }");
        check_sources(&deployment, OtherBuild::Error).unwrap();
        std::fs::write(&source, "fn rate() -> u8 { 2 }").unwrap();
        let error = check_sources(&deployment, OtherBuild::Error).unwrap_err().to_string();
        assert!(error.contains("main.rs changed after the program was deployed"), "{error}");
        check_sources(&deployment, OtherBuild::Warn).unwrap();
        check_sources(&deployment, OtherBuild::Accept).unwrap();
    }
}
