//! Tests the driver and the worker of the Lambda backend, with AWS's own Runtime Interface Emulator between them, and
//! with moto's S3.

#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(feature = "otel")]
#[path = "../support/collector.rs"]
mod collector;
mod servers;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::{Error, Executor};

use servers::{Moto, Rie, environment};

#[wren::remote]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Returns the IDs of the worker process and of the process that Lambda started.
#[wren::remote]
fn processes(_task: u64) -> (u32, u32) {
    (std::process::id(), std::os::unix::process::parent_id())
}

#[wren::remote]
fn misbehave(how: &str) -> Result<u64, std::io::Error> {
    match how {
        "panic" => panic!("the third is {}", "bad"),
        "err" => Err(std::io::Error::other("an inner cause")),
        "exit" => std::process::exit(17),
        "abort" => std::process::abort(),
        "talk" => {
            eprintln!("last output");
            Err(std::io::Error::other("failed after printing"))
        }
        _ => Ok(7),
    }
}

#[wren::remote]
fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[wren::remote(timeout = 1)]
fn sleep_briefly(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[wren::remote]
fn fill(mb: usize) -> usize {
    let memory = vec![1_u8; mb << 20];
    // The more memory it fills, the longer it holds it: 400 MB for 10 s, in which a busy machine measures it too.
    std::thread::sleep(Duration::from_millis(25 * mb as u64));
    std::hint::black_box(memory).len()
}

#[wren::remote]
fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[wren::remote]
fn dot(weights: &[f64], x: f64) -> f64 {
    weights.iter().map(|w| w * x).sum()
}

fn executor() -> Executor {
    Executor::builder().backend("lambda").directory(environment().join(".wren")).build().unwrap()
}

async fn calls_and_jobs_run_in_the_instance() {
    let rie = Rie::start(&[]);
    let executor = executor();
    assert_eq!(add(2, 3).on(&executor).await, Ok(5));
    let sums = wren::map(|x| add(x, 1), 0..100).on(&executor).quiet().await.unwrap();
    assert!(sums.into_iter().eq(1..=100));
    let (worker, parent) = processes(0).on(&executor).await.unwrap();
    assert!(worker != std::process::id() && parent != std::process::id() && rie.is_ancestor_of(parent));
}

/// A chunk is spread over all processors that an instance with this much memory has.
async fn a_chunk_uses_every_processor() {
    let _rie = Rie::start(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538")]);
    let both = wren::map(processes, 0..40).on(&executor()).chunk(40).quiet().await.unwrap();
    let mut workers: Vec<_> = both.iter().map(|(worker, _)| worker).collect();
    workers.sort_unstable();
    workers.dedup();
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(workers.len(), processors.min(2));
}

async fn functions_that_harm_their_process_get_own_errors() {
    let _rie = Rie::start(&[]);
    let executor = executor();
    let (_, parent) = processes(0).on(&executor).await.unwrap();
    let outcome = async |how: &'static str| misbehave(how).on(&executor).await.unwrap_err();
    assert!(matches!(outcome("panic").await, Error::Panicked { message, .. } if message == "the third is bad"));
    assert!(matches!(outcome("err").await, Error::Returned { message, .. } if message == "an inner cause"));
    assert!(matches!(outcome("exit").await, Error::WorkerDied { exit_code: Some(17), .. }));
    assert!(matches!(outcome("abort").await, Error::WorkerDied { signal: Some(6), .. }));
    let Error::Returned { attempt, .. } = outcome("talk").await else { panic!("an `Err` is `Returned`") };
    assert_eq!(attempt.stderr, "last output\n");
    let (_, after) = processes(0).on(&executor).await.unwrap();
    assert_eq!(parent, after, "the instance is still running");
}

/// The spans of an instance are sent before it answers, because it is frozen afterwards.
#[cfg(feature = "otel")]
async fn instance_spans_are_inside_driver_spans() {
    use opentelemetry::trace::TraceContextExt;
    use tracing::Instrument;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let mut collector = collector::Collector::start();
    let _rie = Rie::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
    // The spans of this process itself are not collected.
    let (layer, _exporter) = wren::otel::layer().unwrap();
    let subscriber = tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let span = tracing::info_span!("nightly");
    assert_eq!(add(2, 3).on(&executor()).instrument(span.clone()).await, Ok(5));

    let spans = collector.until(|spans| spans.len() >= 2);
    let [invocation, task] = ["invocation", "task"].map(|name| spans.iter().find(|span| span.name == name).unwrap());
    let context = span.context();
    let known = context.span().span_context().clone();
    assert_eq!((&invocation.trace, &invocation.parent), (&known.trace_id().to_string(), &known.span_id().to_string()));
    assert_eq!((&task.trace, &task.parent), (&invocation.trace, &invocation.id));
    assert!(task.role == "worker" && !task.is_error && task.events.is_empty() && task.start <= task.end);
    assert!(task.pid != u64::from(std::process::id()) && task.attribute("attempt") == "1", "{task:?}");
}

async fn foreign_payloads_are_clearly_refused() {
    let rie = Rie::start(&[]);
    for (payload, expected) in [
        ("{}", "not made by wren"),
        ("[1, {}]", "not made by wren"),
        ("{\"wren\": 7}", "version 7"),
        ("{\"wren\": 1}", "neither"),
        ("{\"wren\": 1, \"batch\": \"AAAA\"}", "truncated"),
        ("{\"wren\": 1, \"batch\": \"AAAAAAAAAAAAAAAAAAAAAAAA\"}", "not written by wren"),
    ] {
        let answer = rie.post(payload);
        assert!(answer.contains("refused") && answer.contains(expected), "{payload}: {answer}");
    }
    let _ = rie.post("{ no JSON");
    let registry = rie.post("{\"wren\": 1, \"registry\": true}");
    assert!(registry.contains("lambda::misbehave") && registry.contains("body_hash"), "{registry}");
    assert_eq!(add(2, 3).on(&executor()).await, Ok(5));
}

async fn workers_stop_calls_over_their_time_limit() {
    let _rie = Rie::start(&[("AWS_LAMBDA_FUNCTION_TIMEOUT", "8")]);
    let executor = executor();
    let (_, parent) = processes(0).on(&executor).await.unwrap();
    let own = sleep_briefly(60_000).on(&executor).await.unwrap_err();
    assert!(matches!(own, Error::TimedOut { limit, .. } if limit == Duration::from_secs(1)), "{own}");
    let start = Instant::now();
    let instance = sleep(600_000).on(&executor).await.unwrap_err();
    assert!(matches!(instance, Error::TimedOut { limit, .. } if limit < Duration::from_secs(8)), "{instance}");
    // Lambda would end the instance after 8 s, and the check below that it is still running proves that it did not. The
    // function itself would take ten minutes.
    assert!(start.elapsed() < Duration::from_secs(60), "the call was not stopped");
    // Tasks of a chunk for which no time is left are run again and do not fail.
    let slept = wren::map(sleep, [3_000; 4]).on(&executor).chunk(4).quiet().await.unwrap();
    assert_eq!(slept, [3_000; 4]);
    let (_, after) = processes(0).on(&executor).await.unwrap();
    assert_eq!(parent, after, "the instance is still running");
}

async fn memory_overruns_are_distinguished() {
    let _rie = Rie::start(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")]);
    let executor = executor();
    let (_, parent) = processes(0).on(&executor).await.unwrap();
    assert_eq!(fill(64).on(&executor).await, Ok(64 << 20));
    let error = fill(400).on(&executor).await.unwrap_err();
    let Error::OutOfMemory { limit_mb, peak_mb, .. } = &error else { panic!("{error}") };
    assert!((200..=256).contains(limit_mb) && peak_mb > limit_mb, "{error}");
    let (_, after) = processes(0).on(&executor).await.unwrap();
    assert_eq!(parent, after, "the instance is still running");
}

/// Values that are too long for a request or a response go through the store.
async fn large_values_travel_through_the_store() {
    let _rie = Rie::start(&[]);
    let executor = executor();
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut back = reversed(bytes.clone()).on(&executor).await.unwrap();
    back.reverse();
    assert!(back == bytes);
    let weights = vec![0.5; 100_000];
    let dots = wren::map(|x| dot(&weights, f64::from(x)), 0..20).on(&executor).quiet().await.unwrap();
    assert_eq!(dots[4], 200_000.0);
    // Many arguments of medium size are stored as one segment, and each chunk reads its part of it.
    let many = (0..100).map(|i| vec![i as u8; 60_000]);
    let back = wren::map(reversed, many).on(&executor).chunk(100).quiet().await.unwrap();
    assert!(back.iter().enumerate().all(|(i, bytes)| *bytes == vec![i as u8; 60_000]));
}

/// Sleeps for `ms`, then returns twice the length of `bytes`. Fails if `bytes` is empty.
#[wren::remote]
fn probe(ms: u64, bytes: &[u8]) -> Result<u64, String> {
    std::thread::sleep(Duration::from_millis(ms));
    if bytes.is_empty() { Err("no bytes".to_owned()) } else { Ok(2 * bytes.len() as u64) }
}

async fn the_backend_keeps_every_promise() {
    let _rie = Rie::start(&[]);
    // The suite opens the backend by its URL, so the deployment must be found from the working folder.
    std::env::set_current_dir(environment()).unwrap();
    let suite = std::thread::spawn(|| wren::conformance::backend("lambda", probe));
    suite.join().unwrap().unwrap();
}

macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$(Trial::test(stringify!($name), || {
            wren::block_on($name());
            Ok(())
        })),*]
    };
}

fn main() -> ExitCode {
    // In the instance, this process becomes a worker here.
    wren::init();
    let mut arguments = libtest_mimic::Arguments::from_args();
    // One emulator at a time, on one port.
    arguments.test_threads = Some(1);
    let trials = trials![
        calls_and_jobs_run_in_the_instance,
        a_chunk_uses_every_processor,
        functions_that_harm_their_process_get_own_errors,
        foreign_payloads_are_clearly_refused,
        workers_stop_calls_over_their_time_limit,
        memory_overruns_are_distinguished,
        large_values_travel_through_the_store,
        the_backend_keeps_every_promise,
    ];
    // The last one, because spans are collected from then on.
    #[cfg(feature = "otel")]
    let trials: Vec<_> = trials.into_iter().chain(trials![instance_spans_are_inside_driver_spans]).collect();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let moto = Moto::start();
    servers::set_environment(&moto);
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(moto);
    servers::clean_up();
    conclusion.exit_code()
}
