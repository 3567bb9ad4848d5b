//! Tests the S3 store against two independent servers: s3s in the emulator, and moto.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use support::{Moto, emulate, run_inner};
use wren::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};
use wren::store::{self, Store};
use wren::{Executor, Input, Job, conformance};

#[test]
fn s3_on_the_emulator() {
    let mut command = emulate(&[]);
    command.arg(std::env::current_exe().unwrap());
    run_inner(command, "inner_s3");
}

#[test]
fn s3_on_a_throttling_emulator() {
    let mut command = emulate(&["--throttle", "0.1", "--seed", "3"]);
    command.arg(std::env::current_exe().unwrap()).env("INNER_ROUNDS", "50");
    run_inner(command, "inner_s3");
}

#[test]
fn s3_on_moto() {
    let moto = Moto::start();
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The server is slow, so it runs fewer rounds than the emulator.
    command.envs(moto.variables()).env("INNER_ROUNDS", "100");
    run_inner(command, "inner_s3");
}

#[test]
#[ignore = "run by the tests above, with a server's address"]
fn inner_s3() {
    let store = opened("s3://conformance-bucket/a/prefix");
    conformance::store(store.clone());
    let rounds = std::env::var("INNER_ROUNDS").map_or(1_000, |rounds| rounds.parse().unwrap());
    conformance::race(store, rounds);
    let missing = wren::block_on(store::open("s3://no-such-bucket").unwrap().get("a")).unwrap_err().to_string();
    assert!(missing.contains("NoSuchBucket") && missing.contains("cargo wren deploy"), "{missing}");
}

fn client() -> aws_sdk_s3::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http);
    let config = wren::block_on(config.load());
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

fn opened(url: &str) -> Arc<dyn Store> {
    let client = client();
    wren::block_on(client.create_bucket().bucket("conformance-bucket").send()).unwrap();
    store::open(url).unwrap()
}

#[test]
fn foreign_keys_on_the_emulator() {
    let mut command = emulate(&[]);
    command.arg(std::env::current_exe().unwrap());
    run_inner(command, "inner_foreign");
}

#[test]
fn foreign_keys_on_moto() {
    let moto = Moto::start();
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The web framework of moto cannot route a key with a newline.
    command.envs(moto.variables()).env("INNER_ONE_LINE", "1");
    run_inner(command, "inner_foreign");
}

/// Reads keys of kinds that wren itself does not write. AWS's own client has written them.
#[test]
#[ignore = "run by the tests above, with a server's address"]
fn inner_foreign() {
    let store = opened("s3://conformance-bucket");
    let long = format!("long/{}/a.txt", "p".repeat(400));
    let keys = [
        "/lead.txt",
        "double//2026/b.txt",
        "double/a.txt",
        "odd/100%25.txt",
        "odd/a+b c.txt",
        "odd/line\nend.txt",
        "odd/é&<>\"'.txt",
        "dots/../x.txt",
        "dots/./y.txt",
        "end/z/",
        "sub/c.txt",
        &long,
    ];
    let one_line = std::env::var_os("INNER_ONE_LINE").is_some();
    let keys: Vec<&str> = keys.into_iter().filter(|key| !one_line || !key.contains('\n')).collect();
    let client = client();
    wren::block_on(async {
        for key in keys.iter().copied().chain(["double/"]) {
            let body = if key == "double/" { String::new() } else { format!("{key:?}\n") };
            let put = client.put_object().bucket("conformance-bucket").key(key).body(body.into_bytes().into());
            put.send().await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        }
    });
    let executor = executor(store.clone());
    let read = |path: &str| {
        let splits = Input::glob(format!("s3://conformance-bucket{path}")).unwrap().on(&executor).splits();
        let splits = wren::block_on(splits).unwrap();
        let mut names = Vec::new();
        for split in &splits {
            let name = split.path().strip_prefix("s3://conformance-bucket/").unwrap();
            let lines: Vec<String> = split.lines().unwrap().collect::<wren::Result<_>>().unwrap();
            assert_eq!(lines, [format!("{name:?}")]);
            names.push(name.to_owned());
        }
        names
    };
    assert_eq!(read("/double"), ["double//2026/b.txt", "double/a.txt"]);
    assert_eq!(read("/double/**/*.txt"), ["double//2026/b.txt", "double/a.txt"]);
    assert_eq!(read("/double//2026/b.txt"), ["double//2026/b.txt"]);
    assert_eq!(read("/double//*/*"), ["double//2026/b.txt"]);
    assert_eq!(read("/long"), [long.as_str()]);
    assert_eq!(read("//lead.txt"), ["/lead.txt"]);
    assert_eq!(read("/end"), ["end/z/"]);
    assert_eq!(read("/dots"), ["dots/../x.txt", "dots/./y.txt"]);
    assert_eq!(read("/dots/../x.txt"), ["dots/../x.txt"]);
    let odd: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with("odd/")).collect();
    assert_eq!(read("/odd/*"), odd);
    assert_eq!(read("").len(), keys.len());
    // The listing reports the same sizes as requests for each object.
    for (key, stat) in wren::block_on(store.list_stats("", None, 100)).unwrap() {
        assert_eq!(wren::block_on(store.size(&key)).unwrap(), stat.len, "{key:?}");
    }
    let missing = wren::block_on(store.get("double//none")).unwrap_err();
    assert!(matches!(missing, store::StoreError::NotFound { .. }), "{missing}");
    let written = wren::block_on(store.put("a//b", b"")).unwrap_err();
    assert!(matches!(written, store::StoreError::BadKey { .. }), "{written}");
}

/// Code that waits for many answers of a store must not block: the budget of an async runtime for one poll is 128 of
/// them.
#[test]
fn a_thousand_objects_on_every_kind_of_event_loop() {
    let mut command = emulate(&["--latency", "3"]);
    command.arg(std::env::current_exe().unwrap());
    run_inner(command, "inner_thousand");
}

const MANY: u64 = 1_000;

/// Slow enough that results are not stored together: each is an object of its own.
#[wren::remote]
fn slow_double(x: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(5));
    2 * x
}

#[wren::remote]
fn double(x: u64) -> u64 {
    2 * x
}

#[wren::remote]
async fn sum(all: Vec<wren::Ref<u64>>) -> wren::Result<u64> {
    all.iter().map(wren::Ref::get_blocking).sum()
}

#[derive(Serialize, Deserialize)]
struct Count;

#[wren::mapreduce]
impl MapReduce for Count {
    type Input = u64;
    type Key = u64;
    type Value = u64;
    type Output = (u64, u64);

    fn map(&self, x: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        emit.emit(&(x % 10), 1);
        Ok(())
    }

    fn reduce(&self, key: u64, ones: &mut Values<'_, u64>, out: &mut Output<(u64, u64)>) -> Result<(), BoxError> {
        out.push((key, ones.sum()))
    }
}

#[test]
#[ignore = "run by the test above, with a server's address"]
fn inner_thousand() {
    let store = opened("s3://conformance-bucket/jobs");
    let current = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    wren::block_on(first(store.clone())).unwrap();
    current().block_on(thousand("current", store.clone())).unwrap();
    multi.block_on(thousand("multi", store.clone())).unwrap();
    multi.block_on(async { tokio::spawn(thousand("spawned", store.clone())).await.unwrap() }).unwrap();
    wren::block_on(thousand("block", store)).unwrap();
}

fn executor(store: Arc<dyn Store>) -> Executor {
    Executor::builder().backend("inline").workers(8).opened_store(store).build().unwrap()
}

/// Fills the store with the objects that the other runs read.
async fn first(store: Arc<dyn Store>) -> wren::Result<()> {
    let executor = executor(store.clone());
    wren::map(slow_double, 0..MANY).on(&executor).named("awaited").await?;
    wren::map(slow_double, 0..MANY).on(&executor).named("started").start().await?.wait().await?;
    let keys = store.list("awaited/done/", None, usize::MAX).await?.len();
    assert!(keys > 500, "only {keys} objects");
    std::thread::scope(|scope| {
        for files in [0..50, 50..100, 100..150] {
            let put = |file| wren::block_on(store.put(&format!("in/{file:03}"), b"b\na\n")).unwrap();
            scope.spawn(move || files.for_each(put));
        }
    });
    Ok(())
}

async fn thousand(name: &str, store: Arc<dyn Store>) -> wren::Result<()> {
    let executor = executor(store.clone());
    let right = |values: Vec<u64>| assert!(values.into_iter().eq((0..MANY).map(|x| 2 * x)));
    right(soon(wren::map(slow_double, 0..MANY).on(&executor).named("awaited").into_future()).await?);
    right(soon(async { Job::attach(executor.clone(), "awaited")?.wait().await }).await?);
    right(soon(async { Job::attach(executor.clone(), "started")?.wait().await }).await?);
    let started = wren::map(slow_double, 0..MANY).on(&executor).named("started").start();
    right(soon(async { started.await?.wait().await }).await?);

    let refs = soon(wren::map(double, 0..MANY).on(&executor).refs()).await?;
    let values: wren::Result<Vec<u64>> = soon(async { refs.iter().map(wren::Ref::get_blocking).collect() }).await;
    right(values?);
    assert_eq!(sum(refs).on(&executor).await?, MANY * (MANY - 1));

    let counts = wren::map_reduce(Count, 0..300).on(&executor).partitions(2).quiet().await?;
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 300);
    let sorted = wren::sort(Input::glob("s3://conformance-bucket/jobs/in/*")?).on(&executor).partitions(2).quiet();
    let written = sorted.write(format!("s3://conformance-bucket/jobs/out-{name}")).await?;
    assert_eq!(written.records, 300);
    let left: Vec<String> = store.list("", None, usize::MAX).await?;
    assert!(!left.iter().any(|key| key.contains("/shuffle/")), "shuffle objects are left");
    Ok(())
}

/// Runs a future with a timeout. A future that blocks while it waits for the store never completes. The others take
/// seconds, and ten times as long on a busy machine.
async fn soon<T>(future: impl Future<Output = wren::Result<T>>) -> wren::Result<T> {
    let start = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(120), future).await;
    let value = ended.expect("the future completes in time");
    println!("{:?}", start.elapsed());
    value
}
