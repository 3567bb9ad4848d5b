//! The `lambda` backend: each batch is an invocation of a Lambda function that `cargo wren deploy` created.
//!
//! Up to [`DIRECT`] concurrent invocations are sent as `RequestResponse`, with the outcome in the response. Further
//! ones are sent as `Event`, and their outcomes are found by listing the store. `lambda:direct` and `lambda:event` send
//! all invocations in one of these two ways. Everything runs on the async runtime for AWS. Replies arrive through a
//! channel, and the executor's notifier wakes the executor.

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

/// An invocation that took at least this long also puts its outcome into the store, because routers on the way cut
/// connections that are silent for minutes (AWS NAT gateways: after 350 seconds).
const LONG: Duration = Duration::from_secs(60);

inventory::submit! {
    BackendScheme {
        scheme: "lambda",
        open: |rest, context| {
            let direct = match rest {
                "" => DIRECT,
                "direct" => usize::MAX,
                "event" => 0,
                other => return Err(Error::Config(format!(
                    "unknown backend `lambda:{other}`; expected `lambda`, `lambda:direct` or `lambda:event`"
                ))),
            };
            Ok(Box::new(LambdaBackend::open(context, direct)?))
        },
    }
}

/// Sends invocations and collects their replies.
struct LambdaBackend {
    shared: Arc<LambdaState>,
    replies: Receiver<Reply>,
    batches: HashMap<BatchId, InFlight>,
}

/// An invocation in progress.
struct InFlight {
    run: Arc<str>,
    /// Number of tasks without a reply.
    left: u64,
    /// Aborted when this is dropped.
    _sending: Option<aws::Task<()>>,
}

struct LambdaState {
    deployment: Deployment,
    store: Arc<dyn Store>,
    uploads: Uploads,
    watch: Watch,
    /// Number of invocations that are waiting for their response.
    direct: AtomicUsize,
    /// Limit on `direct`.
    most_direct: usize,
    /// Limits the concurrent `Event` requests, because each takes a connection.
    requests: tokio::sync::Semaphore,
    replies: Mutex<Sender<Reply>>,
    wake_handle: WakeHandle,
}

impl LambdaBackend {
    fn open(context: &BackendContext, most_direct: usize) -> Result<Self> {
        let deployment = Deployment::load(&context.directory)?.ok_or_else(|| {
            let place = match Deployment::endpoint_of_environment() {
                Some(endpoint) => format!(" at {endpoint}"),
                None => String::new(),
            };
            Error::Config(format!(
                "the backend `lambda` needs a deployment, but nothing is deployed{place}; run `cargo wren deploy`, or \
                 set WREN_BACKEND=local"
            ))
        })?;
        let stale = deployment.stale_functions()?;
        if !stale.is_empty() {
            return Err(Error::StaleDeployment { functions: stale });
        }
        check_sources(&deployment, context.on_other_build)?;
        let (sender, replies) = mpsc::channel();
        let store = store::open(&deployment.store)?;
        let shared = LambdaState::new(deployment, store, most_direct, sender, context.wake_handle.clone());
        Ok(Self { shared: Arc::new(shared), replies, batches: HashMap::new() })
    }
}

/// Warns or fails, as `on_other` demands, if AWS may run older code than this program's, although its remote functions
/// are the same.
fn check_sources(deployment: &Deployment, on_other: OtherBuild) -> Result<()> {
    if on_other == OtherBuild::Accept {
        return Ok(());
    }
    let Some(source) = deployment.changed_source() else { return Ok(()) };
    let what = format!(
        "{} changed after the program was deployed, so AWS may run older code than this program's; run `cargo wren \
         deploy`, or `cargo wren run`, which deploys the changes",
        source.display()
    );
    on_other.tell(&what, "to run the deployed code").map_err(Error::Config)
}

/// Prints one line that names the place where the program runs.
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
        "running on {place}: `{}`, deployed {age} ago (to run on this machine, set WREN_BACKEND=local)",
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
        // One key stops all batches of the run.
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

    /// Returns the Lambda function that serves calls with these limits, or a message that explains why there is none.
    fn lambda_for(&self, function: &str, limits: &Limits) -> std::result::Result<&LambdaFn, String> {
        self.deployment.lambda_for(function, limits.memory_mb, limits.timeout).ok_or_else(|| {
            let memory = limits.memory_mb.map_or_else(String::new, |mb| format!(" {mb} MB"));
            let timeout = limits.timeout.map_or_else(String::new, |timeout| format!(" {timeout:?}"));
            let deployed = self.deployment.lambdas.iter().map(|l| format!("{} MB for {} s", l.memory_mb, l.timeout_s));
            format!(
                "no deployed function can give a call of `{function}` its{memory}{timeout}; deployed are {}; annotate \
                 a function with these limits and run `cargo wren deploy`, or request less",
                deployed.collect::<Vec<_>>().join(", ")
            )
        })
    }

    fn send_reply(&self, reply: Reply) {
        // The receiver is dropped only together with the executor.
        let _ = self.replies.lock().unwrap_or_else(PoisonError::into_inner).send(reply);
        self.wake_handle.notify();
    }

    fn fail_all(&self, batch: &Batch, failure: &Failure) {
        for task in batch.tasks.clone() {
            let (failure, stderr) = (failure.clone(), String::new());
            self.send_reply(Reply::Failed { batch_id: batch.id, task, failure, stderr, timing: Timing::default() });
        }
    }

    /// Sends the replies for the outcome of an invocation.
    fn send_outcome(&self, batch_id: BatchId, outcome: BatchOutcome) {
        let BatchOutcome { parts, report } = outcome;
        let mut usd = cost(&report);
        let mut fetched = (report.fetched_values, report.fetched_bytes);
        let remote = Some(remote(&report));
        for part in parts {
            // The cost of the whole invocation, and what it fetched, are reported once, with the first part.
            let (sent_values, sent_bytes) = match part {
                Part::Returned { .. } => (0, 0),
                _ => std::mem::take(&mut fetched),
            };
            let mut timing = |ran: wire::TaskTimes| Timing {
                started: Duration::ZERO,
                free: Duration::ZERO,
                setup: report.setup,
                cold: report.cold,
                fetch: report.fetch,
                turn: ran.started.saturating_sub(report.fetch),
                decode: ran.decode,
                compute: ran.compute,
                encode: ran.encode,
                // All parts of a batch are written together, after the last one is done.
                commit: report.ran.saturating_sub(ran.ended(ran.started.max(report.fetch))),
                sent_values,
                sent_bytes,
                worker: ran.worker,
                remote,
                peak_memory: report.peak_memory,
                usd: std::mem::take(&mut usd),
            };
            self.send_reply(match part {
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

    /// Stores a key that makes workers stop, even if this program ends now.
    fn put_mark(&self, key: String) {
        let store = self.store.clone();
        aws::spawn_detached(async move {
            // If this fails, the workers run to their end, and are billed.
            let _ = store.put(&key, b"").await;
        });
    }
}

/// Returns the price of the invocation, in dollars.
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
    fn outdated_deployments_are_reported() {
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
