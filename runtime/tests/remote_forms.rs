//! Calls every form of function that `#[wren::remote]` accepts, remotely and locally.
//!
//! The `main` of cargo's test runner is not a `wren::main`, so calls use the backend `inline`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wren::{Error, block_on};

/// Not `Clone`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    weights: Vec<f64>,
    name: String,
}

fn model() -> Model {
    Model { weights: vec![1.0, 2.5], name: "m".into() }
}

#[wren::remote]
fn nothing() {}

#[wren::remote]
fn values(a: u8, b: i64, c: f32, d: bool, e: char, f: String, g: Option<Vec<u16>>) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g:?}")
}

#[wren::remote]
fn references(text: &str, numbers: &[f64], bytes: &[u8], path: &Path, model: &Model, list: &Vec<u8>) -> String {
    format!("{text} {numbers:?} {bytes:?} {} {} {list:?}", path.display(), model.name)
}

#[wren::remote]
fn patterns((a, b): (u32, u32), [c, ..]: [u32; 3], mut d: Vec<u32>, Model { name, .. }: Model, _: u64) -> String {
    d.push(a + b + c);
    format!("{d:?} {name}")
}

#[wren::remote]
fn lifetimes<'a, 'b: 'a>(x: &'a str, y: Cow<'b, str>, z: Option<&'a str>, w: (&str, u32), v: &&str) -> String {
    format!("{x} {y} {z:?} {w:?} {v}")
}

#[wren::remote]
async fn asynchronous(ms: u64, name: &str) -> String {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    tokio::spawn(async {}).await.unwrap();
    name.to_uppercase()
}

#[wren::remote]
fn factorial(n: u64) -> u64 {
    if n == 0 { 1 } else { n * factorial(n - 1) }
}

#[wren::remote]
async fn countdown(n: u64) -> u64 {
    if n == 0 { 0 } else { 1 + Box::pin(countdown(n - 1)).await }
}

#[wren::remote]
fn bytes(data: Vec<u8>) -> Vec<u8> {
    data.iter().rev().copied().collect()
}

#[wren::remote]
fn maybe_bytes(data: &[u8]) -> Result<Vec<u8>, String> {
    if data.is_empty() { Err("no data".into()) } else { Ok(data.to_vec()) }
}

#[wren::remote]
fn collections(map: HashMap<String, Vec<Option<i32>>>) -> BTreeMap<String, usize> {
    map.into_iter().map(|(k, v)| (k, v.len())).collect()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
}

#[wren::remote]
fn any_serde_type(json: serde_json::Value, loose: Vec<Loose>) -> (serde_json::Value, Vec<Loose>) {
    (json, loose)
}

#[wren::remote]
fn boxed_and_unsized(text: Box<str>, path: PathBuf, slice: &[Model], array: &[u8; 4]) -> (String, PathBuf, usize, u8) {
    (text.into(), path, slice.len(), array[3])
}

mod inner {
    const OFFSET: u32 = 40;

    #[wren::remote]
    pub(super) fn uses_its_module(x: u32) -> u32 {
        self::helper(x) + super::outer_helper()
    }

    fn helper(x: u32) -> u32 {
        x + OFFSET
    }

    pub(super) mod deeper {
        #[wren::remote]
        pub(in super::super) fn visible_two_up(x: u32) -> u32 {
            x
        }
    }
}

fn outer_helper() -> u32 {
    1
}

// A re-export includes the function and its `local`.
use inner::uses_its_module as renamed;

#[wren::remote]
#[must_use = "a reason"]
#[inline(never)]
#[allow(clippy::manual_range_contains, reason = "on the body too")]
fn attributes(x: u32) -> bool {
    x >= 1 && x <= 3
}

#[wren::remote]
fn unsafe_inside(x: u32) -> u32 {
    // SAFETY: the pointer points to a live value.
    unsafe { std::ptr::read(&raw const x) }
}

#[test]
fn arguments_of_every_kind_arrive() {
    block_on(async {
        nothing().await.unwrap();
        let got = values(1, -2, 0.5, true, 'ß', "s".into(), Some(vec![3])).await.unwrap();
        assert_eq!(got, "1 -2 0.5 true ß s Some([3])");
        let got = references("t", &[1.5], b"ab", Path::new("/p"), &model(), &vec![7]).await.unwrap();
        assert_eq!(got, "t [1.5] [97, 98] /p m [7]");
        let got = patterns((1, 2), [3, 4, 5], vec![0], model(), 9).await.unwrap();
        assert_eq!(got, "[0, 6] m");
        let got = lifetimes("x", Cow::Borrowed("y"), Some("z"), ("w", 1), &"v").await.unwrap();
        assert_eq!(got, "x y Some(\"z\") (\"w\", 1) v");
        let (text, path, len, last) =
            boxed_and_unsized("b".into(), "/q".into(), &[model(), model()], &[1, 2, 3, 4]).await.unwrap();
        assert_eq!((text.as_str(), path, len, last), ("b", PathBuf::from("/q"), 2, 4));
    });
}

#[test]
fn results_of_every_kind_round_trip() {
    block_on(async {
        assert_eq!(bytes(vec![1, 2, 3]).await.unwrap(), [3, 2, 1]);
        assert_eq!(maybe_bytes(b"x").await.unwrap(), b"x");
        assert!(matches!(maybe_bytes(b"").await, Err(Error::Returned { message, .. }) if message == "no data"));
        let map = HashMap::from([("a".to_owned(), vec![Some(1), None])]);
        assert_eq!(collections(map).await.unwrap(), BTreeMap::from([("a".to_owned(), 2)]));
        let json = serde_json::json!({"a": [1, null, {"b": 2.5}]});
        let loose = || vec![Loose::Number(-1), Loose::Text("t".into())];
        assert_eq!(any_serde_type(json.clone(), loose()).await.unwrap(), (json, loose()));
    });
}

#[test]
fn async_functions_have_an_event_loop() {
    assert_eq!(block_on(asynchronous(1, "abc")).unwrap(), "ABC");
    assert_eq!(block_on(async { asynchronous::local(1, "abc").await }), "ABC");
}

#[test]
fn inside_the_body_the_name_is_the_original() {
    assert_eq!(block_on(factorial(10)).unwrap(), 3_628_800);
    assert_eq!(factorial::local(10), 3_628_800);
    assert_eq!(block_on(countdown(5)).unwrap(), 5);
}

#[test]
fn paths_visibility_and_attributes_stay() {
    assert_eq!(block_on(renamed(1)).unwrap(), 42);
    assert_eq!(renamed::local(1), 42);
    assert_eq!(block_on(inner::deeper::visible_two_up(3)).unwrap(), 3);
    assert!(block_on(attributes(2)).unwrap());
    assert_eq!(block_on(unsafe_inside(5)).unwrap(), 5);
}

#[test]
fn functions_inside_functions_are_remote_too() {
    #[wren::remote]
    fn here(x: u32) -> u32 {
        x * 2
    }
    assert_eq!(block_on(here(21)).unwrap(), 42);
    assert_eq!(wren::registry::find("remote_forms::here").unwrap().signature, "fn here(x: u32) -> u32");
}

/// An error with sources.
#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the outer error")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[derive(Debug)]
struct OnlyDebug;

#[derive(Debug)]
struct OnlyDisplay;

impl fmt::Display for OnlyDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("displayed")
    }
}

#[wren::remote]
fn with_sources(text: &str) -> Result<i32, Outer> {
    text.parse().map_err(Outer)
}

#[wren::remote]
fn with_anyhow(text: &str) -> anyhow::Result<i32> {
    use anyhow::Context;
    text.parse::<i32>().context("reading a number").context("the outermost")
}

#[wren::remote]
fn with_box(text: &str) -> Result<i32, Box<dyn std::error::Error>> {
    Ok(text.parse()?)
}

#[wren::remote]
fn with_send_box(text: &str) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    Ok(text.parse()?)
}

#[wren::remote]
fn with_debug() -> Result<(), OnlyDebug> {
    Err(OnlyDebug)
}

#[wren::remote]
fn with_display() -> Result<(), OnlyDisplay> {
    Err(OnlyDisplay)
}

#[wren::remote]
fn with_io() -> std::io::Result<()> {
    Err(std::io::Error::other("disk"))
}

fn message_and_chain(error: Error) -> (String, Vec<String>) {
    match error {
        Error::Returned { ref message, .. } => {
            use std::error::Error;
            let sources = std::iter::successors(error.source(), |&cause| cause.source());
            (message.clone(), sources.map(ToString::to_string).collect())
        }
        other => panic!("{other}"),
    }
}

#[derive(Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
enum AppError {
    #[error("busy, as of {since} s")]
    Busy { since: u64 },
    #[error("no such user")]
    Unknown(Vec<u8>),
}

impl AppError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

#[test]
fn errors_keep_their_types() {
    #[wren::remote]
    fn look_up(size: usize) -> Result<(), AppError> {
        Err(AppError::Unknown(vec![7; size]))
    }
    let error = block_on(look_up(3)).unwrap_err();
    assert_eq!(error.downcast(), Some(AppError::Unknown(vec![7; 3])));
    assert_eq!(error.downcast::<String>(), None, "the error has another type");
    let long = block_on(look_up(100_000)).unwrap_err();
    assert_eq!((long.downcast::<AppError>(), long.to_string().contains("no such user")), (None, true));
    assert_eq!(block_on(with_sources("x")).unwrap_err().downcast::<String>(), None, "the error cannot be serialized");
}

#[test]
fn the_program_chooses_what_is_retried() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUNS: AtomicU64 = AtomicU64::new(0);
    const AT_ONCE: wren::Backoff = wren::Backoff::new(std::time::Duration::ZERO);
    #[wren::remote(retries = 3, retry_if = AppError::is_transient, backoff = AT_ONCE)]
    fn busy_first(busy: u64) -> Result<u64, AppError> {
        match RUNS.fetch_add(1, Ordering::Relaxed) {
            run if run < busy => Err(AppError::Busy { since: run }),
            _ => Err(AppError::Unknown(vec![])),
        }
    }
    let error = block_on(busy_first(2)).unwrap_err();
    assert_eq!(error.downcast(), Some(AppError::Unknown(vec![])));
    assert_eq!((RUNS.load(Ordering::Relaxed), error.attempt().unwrap().attempt), (3, 3), "busy, busy, unknown");
}

#[test]
fn errors_arrive_with_their_sources() {
    let digit = "invalid digit found in string";
    let check = |error: Error, message: &str, chain: &[&str]| {
        let (got, sources) = message_and_chain(error);
        assert_eq!(got, message);
        assert_eq!(sources, chain);
    };
    check(block_on(with_sources("x")).unwrap_err(), "the outer error", &[digit]);
    check(block_on(with_anyhow("x")).unwrap_err(), "the outermost", &["reading a number", digit]);
    check(block_on(with_box("x")).unwrap_err(), digit, &[]);
    check(block_on(with_send_box("x")).unwrap_err(), digit, &[]);
    check(block_on(with_debug()).unwrap_err(), "OnlyDebug", &[]);
    check(block_on(with_display()).unwrap_err(), "displayed", &[]);
    check(block_on(with_io()).unwrap_err(), "disk", &[]);
    assert_eq!(block_on(with_anyhow("7")).unwrap(), 7);
    let shown = block_on(with_sources("x")).unwrap_err().to_string();
    assert_eq!(shown, format!("`remote_forms::with_sources` task 0 returned an error: the outer error: {digit}"));
}

#[test]
fn calls_are_futures_like_any_other() {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    block_on(async {
        let (a, b) = tokio::join!(factorial(3), bytes(vec![1]));
        assert_eq!((a.unwrap(), b.unwrap()), (6, vec![1]));
        assert_eq!(tokio::spawn(factorial(4)).await.unwrap().unwrap(), 24);
        let mut all: Vec<u64> =
            (0..20).map(factorial).collect::<FuturesUnordered<_>>().map(Result::unwrap).collect().await;
        all.sort_unstable();
        assert_eq!(all.last(), Some(&121_645_100_408_832_000));
        tokio::select! {
            one = factorial(1) => assert_eq!(one.unwrap(), 1),
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => panic!("too late"),
        }
    });
}

#[test]
fn calls_can_set_limits() {
    #[wren::remote(timeout = 0.05)]
    fn nap(ms: u64) -> u64 {
        std::thread::sleep(std::time::Duration::from_millis(ms));
        ms
    }
    // Longer than any delay after which a busy machine notices that the time is over.
    let late = block_on(nap(60_000)).unwrap_err();
    assert!(matches!(late, Error::TimedOut { .. }), "{late}");
    assert_eq!(block_on(nap(100).timeout(std::time::Duration::from_secs(60))).unwrap(), 100);
    // A number is in seconds, as in the annotation.
    assert_eq!(block_on(nap(100).timeout(60)).unwrap(), 100);
    assert_eq!(block_on(wren::map(nap, [100]).timeout(60.0)).unwrap(), [100]);
    let late = block_on(wren::gather([nap(60_000)]).timeout(0.05)).unwrap_err();
    assert!(matches!(late, Error::TimedOut { .. }), "{late}");
}

#[test]
fn limits_hold_for_async_functions_and_after_dropped_calls() {
    use std::time::{Duration, Instant};
    #[wren::remote]
    async fn doze(ms: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        ms
    }
    #[wren::remote]
    async fn outer(ms: u64) -> wren::Result<u64> {
        doze(ms).timeout(Duration::from_millis(50)).await
    }
    let executor = wren::Executor::builder().backend("inline").workers(1).build().unwrap();
    block_on(async {
        let start = Instant::now();
        for _ in 0..3 {
            let late = doze(600_000).timeout(Duration::from_millis(50)).on(&executor).await.unwrap_err();
            assert!(matches!(late, Error::TimedOut { .. }), "{late}");
            let late = outer(600_000).on(&executor).await.unwrap_err();
            assert!(matches!(&late, Error::Returned { message, .. } if message.contains("timeout")), "{late}");
            let dropped = tokio::time::timeout(Duration::from_millis(50), doze(600_000).on(&executor)).await;
            assert!(dropped.is_err());
            assert_eq!(doze(1).on(&executor).await.unwrap(), 1);
        }
        // A hundred times the sum of the limits, and a tenth of one abandoned call.
        assert!(start.elapsed() < Duration::from_secs(60), "nothing waits for abandoned calls: {:?}", start.elapsed());
    });
}

#[test]
fn retries_run_a_failing_function_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static RUNS: AtomicU32 = AtomicU32::new(0);
    #[wren::remote]
    fn third_time_lucky() -> Result<u32, String> {
        match RUNS.fetch_add(1, Ordering::Relaxed) + 1 {
            3 => Ok(3),
            n => Err(format!("run {n}")),
        }
    }
    assert_eq!(block_on(third_time_lucky().retries(2)).unwrap(), 3);
}

struct Thrown;

impl Drop for Thrown {
    fn drop(&mut self) {
        std::panic::panic_any(Thrown);
    }
}

#[wren::remote]
fn throws(how: &str) -> u32 {
    let _ = std::panic::catch_unwind(|| panic!("caught and ignored"));
    match how {
        "value" => std::panic::panic_any(7u32),
        "again" => std::panic::resume_unwind(Box::new("thrown on")),
        "thread" => {
            let thread = std::thread::spawn(|| panic!("the cause"));
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
        _ => std::panic::panic_any(Thrown),
    }
}

#[test]
fn panics_keep_their_message_for_any_payload() {
    for (how, want, place) in [
        ("value", "a value that is not a string (`panic_any`)", "remote_forms.rs"),
        ("again", "thrown on", "an unknown location"),
        ("thread", "the cause", "remote_forms.rs"),
        ("payload", "a value that is not a string (`panic_any`)", "remote_forms.rs"),
    ] {
        let error = block_on(throws(how)).unwrap_err();
        assert!(
            matches!(&error, Error::Panicked { message, location, .. } if message == want && location.contains(place)),
            "{how}: {error:?}"
        );
    }
}

#[derive(Debug)]
struct Endless;

impl std::fmt::Display for Endless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("again")
    }
}

impl std::error::Error for Endless {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self)
    }
}

#[wren::remote]
fn fails_endlessly() -> Result<(), Endless> {
    Err(Endless)
}

#[test]
fn cyclic_errors_are_reported() {
    let error = block_on(fails_endlessly()).unwrap_err();
    assert!(matches!(&error, Error::Returned { message, .. } if message == "again"), "{error:?}");
}

#[wren::remote]
fn successor(x: u64) -> u64 {
    x.wrapping_add(1)
}

#[test]
fn a_range_may_be_longer_than_memory() {
    let mut half_open = wren::map(successor, 0..u64::MAX).stream();
    let mut closed = wren::map(successor, 0..=u64::MAX).stream();
    for first in [block_on(half_open.next()), block_on(closed.next())] {
        let (task, next) = first.unwrap();
        assert_eq!(next.unwrap(), task + 1);
    }
}

/// A number that can be encoded unless it is 3.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
struct NotThree(u64);

impl serde::Serialize for NotThree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 if !THREE_IS_TAKEN.with(std::cell::Cell::get) => Err(serde::ser::Error::custom("three is not taken")),
            n => serializer.serialize_newtype_struct("NotThree", &n),
        }
    }
}

#[wren::remote]
fn inside(n: NotThree) -> u64 {
    n.0
}

#[test]
fn an_unencodable_item_fails_one_task() {
    let items = || (0..8).map(NotThree);
    let all = block_on(wren::map(inside, items()).try_all()).unwrap();
    let good: Vec<_> = all.iter().filter_map(|one| one.as_ref().ok().copied()).collect();
    assert_eq!(good, [0, 1, 2, 4, 5, 6, 7]);
    let why = all[3].as_ref().unwrap_err();
    assert!(
        matches!(why, Error::BadArguments { function, reason }
            if function.ends_with("inside") && reason.contains("three is not taken") && reason.contains("task 3")),
        "{why}"
    );
    let mut stream = wren::map(inside, items()).stream();
    let mut seen = Vec::new();
    while let Some((task, outcome)) = block_on(stream.next()) {
        assert_eq!(outcome.is_err(), task == 3);
        seen.push(task);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    assert!(matches!(block_on(wren::map(inside, items())), Err(Error::BadArguments { .. })));
    // A named job continues once the item can be encoded.
    let executor = wren::Executor::builder().backend("inline").store("memory:not-encoded").build().unwrap();
    let named = || wren::map(inside, items()).named("not-encoded").on(&executor);
    for _ in 0..2 {
        let all = block_on(named().try_all()).unwrap();
        assert!(all.iter().enumerate().all(|(task, one)| one.is_ok() == (task != 3)), "{all:?}");
    }
    THREE_IS_TAKEN.with(|is| is.set(true));
    assert_eq!(block_on(named()).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    THREE_IS_TAKEN.with(|is| is.set(false));
    let all = block_on(named().try_all()).unwrap();
    assert_eq!(all.iter().filter(|one| one.is_err()).count(), 1, "{all:?}");
}

thread_local! {
    static THREE_IS_TAKEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[test]
fn a_gather_has_one_executor() {
    let one = wren::Executor::builder().backend("inline").build().unwrap();
    let elsewhere = block_on(wren::gather([successor(1), successor(2).on(&one)])).unwrap_err();
    assert!(matches!(&elsewhere, Error::Config(why) if why.starts_with("task 1, a call of ")), "{elsewhere}");
    assert_eq!(block_on(wren::gather([successor(1), successor(2).on(&one)]).on(&one)).unwrap(), [2, 3]);
}

static OWN: std::sync::LazyLock<wren::Executor> =
    std::sync::LazyLock::new(|| wren::Executor::builder().backend("inline").workers(1).build().unwrap());

/// Calls itself on the executor that runs it, in every form.
#[wren::remote]
fn on_its_own(depth: u64) -> wren::Result<u64> {
    if depth == 0 {
        return Ok(1);
    }
    let inner = || on_its_own_again(depth - 1);
    let all = match depth % 3 {
        0 => vec![block_on(inner().on(&OWN))?],
        1 => block_on(wren::gather([inner().on(&OWN), inner()]).on(&OWN))?,
        _ => block_on(wren::map(|_| inner(), 0..2).on(&OWN))?,
    };
    Ok(all.into_iter().sum())
}

fn on_its_own_again(depth: u64) -> wren::Call<u64> {
    on_its_own(depth)
}

#[test]
fn calls_on_their_callers_executor_do_not_deadlock() {
    let count = block_on(on_its_own(5).on(&OWN)).unwrap();
    assert_eq!(count, 2 * 2 * 2 * 2);
}

static OTHER: std::sync::LazyLock<wren::Executor> =
    std::sync::LazyLock::new(|| wren::Executor::builder().backend("inline").workers(1).build().unwrap());

/// Calls itself on the executor that it started on, by way of another executor, of the default executor, and of a
/// thread of the async runtime.
#[wren::remote]
async fn there_and_back(route: Vec<u8>) -> wren::Result<usize> {
    let Some((next, rest)) = route.split_first() else { return Ok(0) };
    let call = there_and_back_again(rest);
    let steps = match next {
        b'a' => call.on(&OWN).await?,
        b'b' => call.on(&OTHER).await?,
        b'd' => call.await?,
        _ => tokio::task::spawn_blocking(move || block_on(call.on(&OWN))).await.unwrap()?,
    };
    Ok(steps + 1)
}

fn there_and_back_again(route: &[u8]) -> wren::Call<usize> {
    there_and_back(route.to_vec())
}

#[test]
fn calls_through_other_executors_do_not_deadlock() {
    for route in ["aba", "ababab", "ada", "dbad", "abdabd", "asa", "assss", "abs", "dsbsa"] {
        assert_eq!(block_on(there_and_back_again(route.as_bytes())).unwrap(), route.len(), "{route}");
    }
}

/// Calls itself from threads that wren does not know. wren can only notice that no call makes progress.
#[wren::remote]
fn by_threads(depth: u32) -> wren::Result<u32> {
    if depth == 0 {
        return Ok(1);
    }
    let below = || by_threads_again(depth - 1);
    let all: Vec<wren::Result<u32>> = std::thread::scope(|scope| {
        let threads = [false, true].map(|maps| {
            scope.spawn(move || match maps {
                true => block_on(wren::map(|_| below(), 0..2).on(&OWN)).map(|all| all.into_iter().sum()),
                false => block_on(below().on(&OWN)),
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    all.into_iter().sum()
}

fn by_threads_again(depth: u32) -> wren::Call<u32> {
    by_threads(depth)
}

#[test]
fn calls_through_threads_do_not_deadlock() {
    assert_eq!(block_on(by_threads(2).on(&OWN)).unwrap(), 3 * 3);
}

/// Appends to a file every 5 ms.
#[wren::remote]
async fn ticks_in(path: &Path, spawned: bool) -> u32 {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    let ticks = async move {
        for _ in 0..100_000 {
            file.write_all(b".").unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    if spawned {
        tokio::spawn(ticks);
        std::future::pending().await
    } else {
        ticks.await;
        1
    }
}

#[test]
fn abandoned_async_functions_end() {
    use std::time::Duration;
    let executor = wren::Executor::builder().backend("inline").workers(2).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (spawned, dropped) in [(false, false), (false, true), (true, false), (true, true)] {
        let path = folder.path().join(format!("{spawned}-{dropped}"));
        let limit = Duration::from_millis(60);
        let call = ticks_in(&path, spawned).on(&executor);
        if dropped {
            assert!(block_on(async { tokio::time::timeout(limit, call).await }).is_err());
        } else {
            let late = block_on(call.timeout(limit)).unwrap_err();
            assert!(matches!(late, Error::TimedOut { .. }), "{late}");
        }
        let ticks = || std::fs::metadata(&path).map_or(0, |data| data.len());
        // Other calls can run in the meantime.
        assert_eq!(block_on(successor(1).on(&executor)).unwrap(), 2);
        // It has ended when no tick is written in the time of 40, which may be a while later on a busy machine.
        let start = std::time::Instant::now();
        let (mut before, mut now) = (None, ticks());
        while before != Some(now) {
            assert!(start.elapsed() < Duration::from_secs(60), "spawned: {spawned}, dropped: {dropped}: {now} ticks");
            std::thread::sleep(Duration::from_millis(200));
            (before, now) = (Some(now), ticks());
        }
    }
}

#[test]
fn chunks_keep_all_threads_busy() {
    #[wren::remote]
    fn on_thread(task: u64) -> String {
        // Long enough that all threads start before the others have run a whole chunk, also on a busy machine.
        std::thread::sleep(std::time::Duration::from_millis(50));
        format!("{task} {:?}", std::thread::current().id())
    }
    let executor = wren::Executor::builder().backend("inline").workers(4).build().unwrap();
    for (concurrency, chunk, tasks) in [(4, 100, 60), (3, 100, 60), (4, 5, 7), (4, 24, 24)] {
        let ran = wren::map(on_thread, 0..tasks).concurrency(concurrency).chunk(chunk).on(&executor);
        let ran = block_on(ran).unwrap();
        let threads: std::collections::BTreeSet<_> = ran.iter().map(|ran| ran.split_once(' ').unwrap().1).collect();
        assert!(threads.len() >= concurrency - 1, "{chunk}: {} threads", threads.len());
        assert!(ran.iter().enumerate().all(|(task, ran)| ran.starts_with(&format!("{task} "))), "{ran:?}");
    }
}
