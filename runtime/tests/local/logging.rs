//! Records of `log` and `tracing` in workers reach the logger of their driver.

use std::fmt;
use std::path::Path;
use std::process::Output;

use libtest_mimic::Trial;
use tracing::field::{Field, Visit};
use tracing::span;
use wren::backend::Stream;
use wren::history;

use super::drivers::{driver, executor_in};
use super::{executor, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        records_reach_the_logger_of_the_driver_in_order,
        a_function_may_install_a_logger_if_the_driver_has_none,
        the_last_records_of_a_worker_that_dies_are_shown,
    ]
}

/// The logger and the subscriber of a driver. Prints one line for each record that it wants.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() != "unwanted"
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut fields = Fields::default();
        record.key_values().visit(&mut fields).unwrap();
        let (level, target, file) = (record.level(), record.target(), record.file().unwrap_or_default());
        assert!(record.line().is_some() && record.module_path() == Some(module_path!()), "{record:?}");
        eprintln!("log {level} {target} {file}: {}{}", record.args(), fields.0);
    }

    fn flush(&self) {}
}

impl tracing::Subscriber for Printer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() != "unwanted" && *metadata.level() <= tracing::Level::WARN
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::WARN)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        if metadata.target() == "wren" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target, file) = (metadata.level(), metadata.target(), metadata.file().unwrap_or_default());
        assert!(metadata.line().is_some() && metadata.module_path() == Some(module_path!()), "{metadata:?}");
        eprintln!("event {level} {target} {file}:{}", fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Fields as text, with a space before each.
#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0 += &format!(" {field}={value}u64");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!(" {field}={value:?}str");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0 += &format!(" {key}={value}");
        Ok(())
    }
}

/// A value that shows when it is formatted.
struct Loud;

impl fmt::Display for Loud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::print_in_format_impl, reason = "shows whether a record is formatted")]
        {
            eprintln!("formatted");
        }
        f.write_str("loud")
    }
}

#[wren::remote]
fn talks(n: u64) -> u64 {
    eprint!("first ");
    log::info!(target: "a::b", answer = n, kind = "x y"; "hello {n}");
    eprintln!("second");
    tracing::warn!(target: "c::d", count = n, path = %"p", text = "x y", "event {n}");
    eprintln!("third");
    log::warn!("{}", "long ".repeat(5_000));
    log::warn!(target: "unwanted", "{}", "not shown");
    tracing::error!(target: "unwanted", "not shown");
    // Above the maximum levels of the driver.
    log::debug!("{Loud} not shown");
    tracing::info!("{Loud} not shown");
    let _span = tracing::error_span!("span of the function").entered();
    eprintln!("last");
    n
}

/// Runs in a driver that installs its logger in `main`.
pub(crate) async fn install_and_talk(folder: &Path) -> wren::Result<()> {
    log::set_logger(&Printer).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    tracing::subscriber::set_global_default(Printer).unwrap();
    let executor = executor_in(folder);
    wren::map(talks, [7, 8]).on(&executor).chunk(2).concurrency(1).named("talks").quiet().await?;
    Ok(())
}

async fn records_reach_the_logger_of_the_driver_in_order() {
    let folder = scratch("records");
    let Output { stderr, .. } = driver("logs", &folder).output();
    let stderr = String::from_utf8(stderr).unwrap();
    let file = file!();
    let long = "long ".repeat(5_000);
    let mut expected = String::new();
    for (task, n) in [(0, 7), (1, 8)] {
        expected += &format!("log INFO a::b {file}: [talks {task}] hello {n} answer={n} kind=x y task={task}\n");
        expected += &format!("[talks {task}] first second\n");
        expected +=
            &format!("event WARN c::d {file}: message=event {n} task={task}u64 count={n}u64 path=p text=\"x y\"str\n");
        expected += &format!("[talks {task}] third\n");
        expected += &format!("log WARN {} {file}: [talks {task}] {long} task={task}\n", module_path!());
        expected += &format!("[talks {task}] last\n");
    }
    assert_eq!(stderr, expected);

    // The job's kept output has them in the same order.
    let kept: Vec<_> = history::outputs(&folder.join("jobs/talks")).unwrap().collect();
    assert!(kept.iter().all(|line| line.function == "talks" && line.stream == Stream::Err));
    let of_first: Vec<_> = kept.iter().filter(|line| line.task == Some(0)).map(|line| line.line.as_str()).collect();
    let long = format!("WARN  {}: {long}", module_path!());
    let lines = [
        "INFO  a::b: hello 7 answer=7 kind=\"x y\"",
        "first second",
        "WARN  c::d: event 7 count=7 path=p text=\"x y\"",
        "third",
        &long,
        "last",
    ];
    assert_eq!(of_first, lines);
}

struct Own;

impl log::Log for Own {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}

#[wren::remote]
fn installs_a_logger() -> bool {
    log::set_logger(&Own).is_ok()
}

async fn a_function_may_install_a_logger_if_the_driver_has_none() {
    assert!(installs_a_logger().on(&executor(1)).await.unwrap());
}

#[wren::remote]
fn logs_and_dies() {
    log::error!("the last words");
    std::process::abort();
}

/// Runs in a driver that has a logger.
pub(crate) async fn lose_a_worker(folder: &Path) -> wren::Result<()> {
    log::set_logger(&Own).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let error = logs_and_dies().on(&executor_in(folder)).retries(0).await.unwrap_err();
    println!("{error}");
    Ok(())
}

async fn the_last_records_of_a_worker_that_dies_are_shown() {
    let Output { stdout, .. } = driver("dies", &scratch("last-records")).output();
    let error = String::from_utf8(stdout).unwrap();
    let end = format!("its last output on standard error: ERROR {}: the last words\n", module_path!());
    assert!(error.ends_with(&end), "{error}");
}
