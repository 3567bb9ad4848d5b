//! Jobs as traces: real processes export spans, and a collector decodes them.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/collector.rs"]
mod collector;

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::Trial;
use tracing::{Instrument, info_span};
use wren::Executor;

use collector::{Collector, Span};

/// Set if this program is a driver whose spans are checked.
const DRIVER: &str = "OTEL_TEST_DRIVER";

#[wren::remote(retries = 1)]
fn work(n: u64, once: String) -> Result<u64, String> {
    let span = info_span!("inner", n);
    span.in_scope(|| {
        if n == 3 && std::fs::remove_file(once).is_ok() {
            return Err("not yet".to_owned());
        }
        Ok(n)
    })
}

#[wren::remote]
fn single() -> u32 {
    std::process::id()
}

#[wren::remote]
fn short(n: u64) -> u64 {
    n
}

#[wren::remote]
fn says(n: u64) {
    tracing::info!(n, "said in a worker");
}

/// A layer of a driver that prints events.
struct Printer;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Printer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text += &format!(" {field}={value:?}");
        });
        println!("{} {}:{text}", event.metadata().level(), event.metadata().target());
    }
}

/// Acts like a program that exports spans and prints events.
fn driver_that_prints() {
    use tracing_subscriber::layer::SubscriberExt as _;

    let (layer, _exporter) = wren::otel::layer().unwrap();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer).with(Printer)).unwrap();
    let executor = Executor::builder().backend("local").workers(1).store("memory:").build().unwrap();
    // The first call is outside of any span, and starts the worker.
    wren::block_on(says(7).on(&executor).into_future()).unwrap();
    let jobs = async { wren::map(says, [8]).on(&executor).await };
    wren::block_on(jobs.instrument(info_span!("nightly"))).unwrap();
}

fn events_of_workers_reach_the_driver_beside_their_spans() {
    let mut collector = Collector::start();
    let driver = run_driver("prints", &collector.url());
    assert!(driver.status.success(), "{}", String::from_utf8_lossy(&driver.stderr));
    let printed = String::from_utf8(driver.stdout).unwrap();
    let own: Vec<_> = printed.lines().filter(|line| line.starts_with("INFO otel:")).collect();
    let line = |n: u64| format!("INFO otel: message=said in a worker task=0 n={n}");
    assert_eq!(own, [line(7), line(8)], "{printed}");
    collector.until(|spans| spans.iter().filter(|span| span.name == "task" && span.role == "worker").count() == 2);
}

async fn drive(backend: &str, once: &Path) {
    let executor = Executor::builder().backend(backend).workers(2).store("memory:").build().unwrap();
    let once = once.to_str().unwrap().to_owned();
    let all = wren::map(|n| work(n, once.clone()), 0..6).named("steps").on(&executor).await.unwrap();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    single().on(&executor).await.unwrap();
    wren::map(short, 0..5_000).on(&executor).await.unwrap();
}

/// Acts like the program of a user.
fn driver(backend: &str) {
    let _exporter = wren::otel::install().unwrap();
    assert!(wren::otel::install().unwrap_err().to_string().contains("already installed a tracing subscriber"));
    let once = tempfile::NamedTempFile::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(drive(backend, once.path()).instrument(info_span!("nightly")));
}

fn run_driver(backend: &str, endpoint: &str) -> Output {
    let mut driver = Command::new(std::env::current_exe().unwrap());
    driver.env(DRIVER, backend).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("WREN_QUIET", "1");
    driver.output().unwrap()
}

/// Runs a driver and returns all spans of the driver and its workers.
fn spans(backend: &str) -> Vec<Span> {
    let mut collector = Collector::start();
    let driver = run_driver(backend, &collector.url());
    assert!(driver.status.success(), "{}", String::from_utf8_lossy(&driver.stderr));
    assert_eq!(String::from_utf8_lossy(&driver.stderr), "");
    // Seven attempts of `work` and one of `single` have a span each; calls of `short` share a few spans.
    collector.until(|spans| {
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        count("nightly") == 1 && count("job") == 2 && count("task") >= 8 && count("inner") >= 7
    })
}

fn a_job_is_one_trace() {
    let spans = spans("local");
    let parent = |span: &Span| spans.iter().find(|other| other.id == span.parent);
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let nightly = named("nightly").next().unwrap();
    assert!(nightly.parent.is_empty());
    assert!(spans.iter().all(|span| span.trace == nightly.trace), "{spans:#?}");

    let job = named("job").find(|job| job.attribute("name") == "steps").unwrap();
    assert_eq!(job.parent, nightly.id);
    assert_eq!((job.attribute("function"), job.attribute("backend")), ("otel::work".into(), "local".into()));
    assert_eq!((job.attribute("state"), job.attribute("done"), job.attribute("tasks")), tuple("done", "6", "6"));
    assert_eq!((job.attribute("failed"), job.attribute("retried"), String::new()), tuple("0", "1", ""));
    assert_eq!(job.events, ["a task failed and will be retried"]);

    let tasks: Vec<_> = named("task").filter(|task| task.attribute("function") == "otel::work").collect();
    assert_eq!(tasks.len(), 7);
    for task in tasks {
        let invocation = parent(task).unwrap();
        assert_eq!((invocation.name.as_str(), &invocation.parent), ("invocation", &job.id));
        assert!(job.start <= task.start && task.end <= job.end && task.start <= task.end, "{task:?} in {job:?}");
        assert_eq!(task.role, "worker");
        assert_ne!(task.pid, job.pid);
        // The span of the function itself is inside the span of its task, in the same process.
        let inner = named("inner").find(|inner| inner.parent == task.id).unwrap();
        assert_eq!((inner.pid, inner.attribute("n")), (task.pid, task.attribute("task")));
        let is_the_failed_one = task.attribute("task") == "3" && task.attribute("attempt") == "1";
        assert_eq!(task.is_error, is_the_failed_one);
        assert_eq!(task.attribute("error"), if is_the_failed_one { "returned" } else { "" });
    }

    let single = named("task").find(|task| task.attribute("function") == "otel::single").unwrap();
    assert_eq!(parent(single).unwrap().parent, nightly.id, "a single call is inside the span that awaited it");
    let short: Vec<_> = named("invocation").filter(|span| span.attribute("function") == "otel::short").collect();
    let count: u64 = short.iter().map(|span| span.attribute("count").parse::<u64>().unwrap()).sum();
    assert!(count >= 5_000, "{count} short tasks are in {} invocations", short.len());
}

fn tuple(a: &str, b: &str, c: &str) -> (String, String, String) {
    (a.into(), b.into(), c.into())
}

fn tasks_on_threads_are_in_the_trace_too() {
    let spans = spans("inline");
    let job = spans.iter().find(|span| span.name == "job" && span.attribute("name") == "steps").unwrap();
    let invocations: Vec<_> = spans.iter().filter(|span| span.parent == job.id).map(|span| &span.id).collect();
    let tasks = spans.iter().filter(|span| span.name == "task" && invocations.contains(&&span.parent));
    assert_eq!(tasks.count(), 7);
}

fn without_a_collector_jobs_run_with_a_note() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let driver = run_driver("local", &format!("http://{closed}"));
    let stderr = String::from_utf8_lossy(&driver.stderr);
    assert!(driver.status.success(), "{stderr}");
    assert!(stderr.contains("cannot export spans") && stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{stderr}");

    let driver = run_driver("local", "https://localhost:4318");
    let stderr = String::from_utf8_lossy(&driver.stderr);
    assert!(!driver.status.success() && stderr.contains("run a collector next to the program"), "{stderr}");
}

fn main() -> ExitCode {
    wren::init();
    if let Ok(backend) = std::env::var(DRIVER) {
        if backend == "prints" {
            driver_that_prints();
        } else {
            driver(&backend);
        }
        return ExitCode::SUCCESS;
    }
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { vec![$(Trial::test(stringify!($name), || { $name(); Ok(()) })),*] };
    }
    let tests = tests![
        a_job_is_one_trace,
        tasks_on_threads_are_in_the_trace_too,
        without_a_collector_jobs_run_with_a_note,
        events_of_workers_reach_the_driver_beside_their_spans,
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit_code()
}
