//! The worker on AWS Lambda: takes a batch from the runtime API, runs its tasks on a pool of worker processes as a
//! driver does locally, and returns the outcome or puts it into the store.
//!
//! The pool provides features that Lambda does not. A call that crashes, or that exceeds its time or memory, is stopped
//! without affecting other calls, and this process survives to report which call failed. The pool also uses all
//! processors of the instance.

mod fetch;
mod pool;

use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use crate::attempt::TaskBlock;
use crate::aws::BatchLine;
use crate::aws::limits;
use crate::backend::lambda::wire::{
    self, Answer, BatchOutcome, BatchRequest, Part, Report, Request, Response, TaskTimes,
};
use crate::codec::envelope;
use crate::error::{Error, Failure};
use crate::function::{RemoteFn, registry};
use crate::platform::RUNTIME_API;
use crate::store::{self, Store, StoreError};

use pool::{Pool, Stop};

/// Interval at which a running batch checks for a stop mark, with one HEAD request: alternately the mark of its job
/// and its own.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Maximum length of an outcome in a response, in bytes; longer outcomes go to the store. Base64 encodes three bytes as
/// four, and some space is reserved for the JSON around it.
const LONGEST_ANSWER: usize = limits::SYNC_PAYLOAD / 4 * 3 - 4096;

/// Becomes a worker if Lambda started this process: under the name `bootstrap`, and with the address of a runtime API.
pub(crate) fn become_worker_if_asked() {
    let is_set = std::env::var_os(RUNTIME_API).is_some_and(|address| !address.is_empty());
    let name = std::env::args_os().next();
    if is_set && name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "bootstrap")) {
        // If the program created a runtime before `init`, another one cannot run on this thread.
        let worker = std::thread::Builder::new().name("wren-lambda".into()).spawn(work);
        let ended = worker.map(std::thread::JoinHandle::join);
        eprintln!("wren: the worker ended: {ended:?}");
        exit(1);
    }
}

fn work() -> Result<(), String> {
    let worker = Arc::new(Worker::new()?);
    let runtime = crate::platform::new_runtime().map_err(|e| format!("cannot create the async runtime: {e}"))?;
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let worker = worker.clone();
        async move {
            let answer = worker.answer(event.payload.get(), &event.context).await;
            RawValue::from_string(answer).map_err(|e| e.to_string())
        }
    });
    runtime.block_on(lambda_runtime::Runtime::new(handler).run()).map_err(|e| e.to_string())
}

struct Worker {
    pool: Arc<Mutex<Pool>>,
    store: Option<Arc<dyn Store>>,
    memory_mb: u32,
    instance: u64,
    /// Time that this process needed until it could ask for work.
    setup: Duration,
    was_used: AtomicBool,
}

impl Worker {
    fn new() -> Result<Self, String> {
        let start = Instant::now();
        let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok();
        let memory_mb = memory.and_then(|mb| mb.parse().ok()).unwrap_or(limits::DEFAULT_MEMORY_MB);
        let pool = Pool::new(memory_mb).map_err(|e| format!("cannot create the worker pool: {e}"))?;
        let store = std::env::var("WREN_STORE").ok().filter(|url| !url.is_empty());
        let store = store.map(|url| store::open(&url)).transpose().map_err(|e| e.to_string())?;
        Ok(Self {
            pool: Arc::new(Mutex::new(pool)),
            store,
            memory_mb,
            instance: crate::platform::random(),
            setup: start.elapsed(),
            was_used: AtomicBool::new(false),
        })
    }

    /// Answers any payload. A payload that cannot be run is refused with a reason, and the worker continues.
    async fn answer(&self, payload: &str, context: &Context) -> String {
        let started = Instant::now();
        let response = match Request::from_json(payload) {
            Ok(Request::Batch(request)) => self.answer_batch(*request, context, started).await,
            Ok(Request::Registry) => match crate::function::registry::listing() {
                Ok(Ok(listing)) => return listing,
                Ok(Err(error)) => Response::Refused(Failure::Backend(error.to_string())),
                Err(error) => Response::Refused(Failure::Backend(error.to_string())),
            },
            Err(reason) => Response::Refused(Failure::BadArguments { reason }),
        };
        // The JSON of a response is always UTF-8.
        String::from_utf8(response.to_json()).unwrap_or_default()
    }

    async fn answer_batch(&self, request: BatchRequest, context: &Context, started: Instant) -> Response {
        let cold = !self.was_used.swap(true, Ordering::Relaxed);
        let mut report = Report {
            request: context.request_id.clone(),
            instance: self.instance,
            cold,
            setup: if cold { self.setup } else { Duration::ZERO },
            memory_mb: self.memory_mb,
            started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            ..Report::default()
        };
        let tasks = request.tasks();
        // `cargo wren logs` uses this line to find the output of the tasks.
        println!("{}", BatchLine { job_run: &request.run, tasks: tasks.clone(), attempt: request.attempt });
        let deadline = started + left_of(context.deadline);
        if request.limits.at_most_once {
            match self.is_first(&request).await {
                Ok(true) => {}
                // Another delivery of the batch is running, or ran, and delivers the outcome.
                Ok(false) => return Response::Stored,
                Err(error) => {
                    eprintln!("wren: {error}");
                    // This delivery runs nothing, but another one may have stored the mark and may run the tasks.
                    let parts = fail_all(tasks, &Failure::Store(error));
                    return self.deliver(&request, BatchOutcome { parts, report }).await;
                }
            }
        }
        let parts = match self.prepare(&request, &mut report).await {
            Ok(block) => {
                report.fetch = started.elapsed();
                self.run(block, &request, started, deadline, &mut report).await
            }
            Err(failure) => fail_all(tasks, &failure),
        };
        report.ran = started.elapsed();
        self.deliver(&request, BatchOutcome { parts, report }).await
    }

    /// Returns whether no other delivery of the batch has started.
    async fn is_first(&self, request: &BatchRequest) -> Result<bool, StoreError> {
        let key = wire::claim_key(&request.run, request.batch_id);
        let store = self.store.as_ref().ok_or_else(|| no_store(&key))?;
        let mark = crate::platform::random().to_le_bytes();
        match store.put_if_absent(&key, &mark).await {
            Ok(()) => Ok(true),
            // The store may have repeated this same request because the response was lost.
            Err(StoreError::AlreadyExists { .. }) => Ok(store.get(&key).await? == mark),
            Err(error) => Err(error),
        }
    }

    /// Finds the function and fetches the arguments.
    async fn prepare(&self, request: &BatchRequest, report: &mut Report) -> Result<Arc<TaskBlock>, Failure> {
        let function = lookup(request)?;
        let (args, blobs) = fetch::arguments(self.store.as_ref(), request, report).await?;
        let block = TaskBlock::received(function, request.limits, request.tasks(), args, blobs);
        let reason = "the arguments do not match the number of tasks".to_owned();
        let mut block = block.ok_or(Failure::BadArguments { reason })?;
        request.levels.relay();
        block.set_traceparent(request.traceparent.as_deref().map(Arc::from));
        Ok(Arc::new(block))
    }

    async fn run(
        &self,
        block: Arc<TaskBlock>,
        request: &BatchRequest,
        started: Instant,
        deadline: Instant,
        report: &mut Report,
    ) -> Vec<Part> {
        let stop = Stop::at(deadline);
        let (pool, attempt) = (self.pool.clone(), request.attempt);
        let running = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || pool.lock().unwrap_or_else(PoisonError::into_inner).run(&block, attempt, started, &stop)
        });
        let mut running = std::pin::pin!(running);
        let marks = [wire::cancel_key(&request.run), wire::stop_key(&request.run, request.batch_id)];
        let mut marks = marks.iter().cycle();
        let ended = loop {
            tokio::select! {
                ended = &mut running => break ended,
                () = tokio::time::sleep(CHECK_EVERY) => {
                    if let (Some(store), Some(mark)) = (&self.store, marks.next())
                        && store.size(mark).await.is_ok()
                    {
                        stop.cancel();
                    }
                }
            }
        };
        match ended {
            Ok((parts, peak_memory)) => {
                report.peak_memory = peak_memory;
                parts
            }
            Err(error) => fail_all(request.tasks(), &Failure::Backend(format!("the worker pool failed: {error}"))),
        }
    }

    /// Returns the outcome in the response, or puts it into the store, as requested. Of several deliveries of one
    /// batch, the first outcome in the store counts.
    async fn deliver(&self, request: &BatchRequest, outcome: BatchOutcome) -> Response {
        let (answers, stores) = match request.answer {
            Answer::Store => (false, true),
            Answer::Response { store_after } => (true, outcome.report.ran >= store_after),
        };
        let sealed = match envelope::seal(&outcome) {
            Ok(sealed) => sealed,
            Err(error) => return Response::Refused(Failure::Backend(error.to_string())),
        };
        let answers = answers && sealed.len() <= LONGEST_ANSWER;
        if stores || !answers {
            let put = match &self.store {
                Some(store) => store.put_if_absent(&request.done_key(), &sealed).await,
                None => Err(no_store(&request.done_key())),
            };
            match put {
                Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) if answers => eprintln!("wren: {error}"),
                Err(error) => {
                    eprintln!("wren: {error}");
                    return Response::Refused(Failure::Store(error));
                }
            }
        }
        if answers { Response::BatchOutcome(Box::new(outcome)) } else { Response::Stored }
    }
}

fn no_store(key: &str) -> StoreError {
    StoreError::io(
        "none".to_owned(),
        "use",
        key,
        "WREN_STORE is not set for this Lambda function; run `cargo wren deploy`, which sets it",
    )
}

/// Returns the time that is left until `deadline`, which is in milliseconds since the Unix epoch.
fn left_of(deadline: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(deadline).saturating_sub(now)
}

/// Finds the function, if this program has exactly the version that the driver requests.
fn lookup(request: &BatchRequest) -> Result<&'static RemoteFn, Failure> {
    match registry::find(&request.function) {
        Ok(function)
            if function.signature_hash() == request.signature_hash && function.body_hash == request.body_hash =>
        {
            Ok(function)
        }
        Ok(function) => Err(Failure::StaleDeployment { functions: vec![function.name.to_owned()] }),
        Err(Error::UnknownFunction { .. }) => {
            Err(Failure::StaleDeployment { functions: vec![request.function.clone()] })
        }
        Err(error) => Err(Failure::Backend(error.to_string())),
    }
}

fn fail_all(tasks: std::ops::Range<u64>, failure: &Failure) -> Vec<Part> {
    let failed =
        |task| Part::Failed { task, failure: failure.clone(), stderr: String::new(), ran: TaskTimes::default() };
    tasks.map(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lambda::wire::PackedArgs;
    use crate::function::Limits;
    use crate::logging::Levels;

    #[wren::remote]
    fn here(x: u64) -> u64 {
        x
    }

    fn request(function: &RemoteFn) -> BatchRequest {
        BatchRequest {
            run: "job.1".into(),
            batch_id: 1,
            first: 0,
            count: 1,
            attempt: 1,
            function: function.name.into(),
            signature_hash: function.signature_hash(),
            body_hash: function.body_hash,
            limits: Limits::default(),
            traceparent: None,
            levels: Levels::default(),
            args: PackedArgs::Inline(Vec::new()),
            blobs: Vec::new(),
            blobs_of: Vec::new(),
            answer: Answer::Store,
        }
    }

    #[test]
    fn functions_of_another_build_are_reported_stale() {
        drop(here(1));
        let function = registry::find("wren::backend::lambda::worker::tests::here").unwrap();
        assert!(lookup(&request(function)).is_ok());
        let stale = Err(Failure::StaleDeployment { functions: vec![function.name.to_owned()] });
        let looked_up = |request| lookup(&request).map(|f| f.name);
        assert_eq!(looked_up(BatchRequest { body_hash: 7, ..request(function) }), stale);
        assert_eq!(looked_up(BatchRequest { signature_hash: 7, ..request(function) }), stale);
        let stale = Err(Failure::StaleDeployment { functions: vec!["gone::f".to_owned()] });
        assert_eq!(looked_up(BatchRequest { function: "gone::f".into(), ..request(function) }), stale);
    }
}
