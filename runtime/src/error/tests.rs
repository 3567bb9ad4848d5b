//! The messages of all errors, as users read them. `CONTRIBUTING.md` says how to update the snapshots.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

macro_rules! variants {
    ($($variant:pat => $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];

        fn name(error: &Error) -> &'static str {
            match error {
                $($variant => $name,)*
            }
        }
    };
}

// A new variant also needs an example below.
variants! {
    Error::Returned { .. } => "Returned",
    Error::Panicked { .. } => "Panicked",
    Error::WorkerDied { .. } => "WorkerDied",
    Error::OutOfMemory { .. } => "OutOfMemory",
    Error::TimedOut { .. } => "TimedOut",
    Error::Throttled { .. } => "Throttled",
    Error::NeverStarted { .. } => "NeverStarted",
    Error::MayHaveRun { .. } => "MayHaveRun",
    Error::StaleDeployment { .. } => "StaleDeployment",
    Error::Store(StoreError::NotFound { .. }) => "Store(NotFound)",
    Error::Store(StoreError::AlreadyExists { .. }) => "Store(AlreadyExists)",
    Error::Store(StoreError::BadKey { .. }) => "Store(BadKey)",
    Error::Store(StoreError::Damaged { .. }) => "Store(Damaged)",
    Error::Store(StoreError::Full { .. }) => "Store(Full)",
    Error::Store(StoreError::Io { .. }) => "Store(Io)",
    Error::Kv(KvError::BadKey { .. }) => "Kv(BadKey)",
    Error::Kv(KvError::TooLarge { .. }) => "Kv(TooLarge)",
    Error::Kv(KvError::NoCounter { .. }) => "Kv(NoCounter)",
    Error::Kv(KvError::OutOfRange { .. }) => "Kv(OutOfRange)",
    Error::Kv(KvError::Unreachable { .. }) => "Kv(Unreachable)",
    Error::Kv(KvError::Uncertain { .. }) => "Kv(Uncertain)",
    Error::Kv(KvError::Restarted { .. }) => "Kv(Restarted)",
    Error::Kv(KvError::Failed { .. }) => "Kv(Failed)",
    Error::BadArguments { .. } => "BadArguments",
    Error::BadResult { .. } => "BadResult",
    Error::BadValue { .. } => "BadValue",
    Error::Input { .. } => "Input",
    Error::UnknownFunction { .. } => "UnknownFunction",
    Error::DuplicateFunction { .. } => "DuplicateFunction",
    Error::Cancelled { .. } => "Cancelled",
    Error::OverBudget { .. } => "OverBudget",
    Error::Job(_) => "Job",
    Error::Config(_) => "Config",
    Error::Backend(_) => "Backend",
}

fn errors() -> Vec<Error> {
    let text = |text: &str| text.to_owned();
    let attempt = || Box::new(Attempt { function: text("sweep::train"), task: 7, attempt: 1, ..Attempt::default() });
    let third = || Box::new(Attempt { attempt: 3, stderr: text("no such layer\n"), ..*attempt() });
    let (store, kv) = (|| text("file:/home/ann/.wren/store"), || text("redis://127.0.0.1:6379"));
    let key = || text("results/7");
    let operation = || text("write");
    let reason = || text("permission denied");
    let died = |signal, exit_code| Error::WorkerDied { attempt: third(), signal, exit_code };
    vec![
        Error::Returned {
            attempt: attempt(),
            message: text("cannot fetch the image"),
            source: Cause::of(vec![text("connection refused")]),
            type_name: text("sweep::FetchError"),
            value: ErrorValue::default(),
        },
        Error::Panicked {
            attempt: attempt(),
            message: text("index out of bounds: the len is 3 but the index is 7"),
            location: text("src/main.rs:12:9"),
            backtrace: None,
        },
        died(Some(6), None),
        died(Some(9), None),
        died(None, Some(4)),
        died(None, None),
        Error::OutOfMemory { attempt: attempt(), limit_mb: 512, peak_mb: 530 },
        Error::TimedOut { attempt: attempt(), limit: Duration::from_millis(1500) },
        Error::Throttled { attempt: attempt(), message: text("Rate Exceeded.") },
        Error::NeverStarted { attempt: attempt(), waited: Duration::from_secs(1020) },
        Error::MayHaveRun { attempt: attempt(), cause: Box::new(died(Some(9), None)) },
        Error::StaleDeployment { functions: vec![text("sweep::train"), text("sweep::score")] },
        StoreError::NotFound { store: store(), key: key() }.into(),
        StoreError::AlreadyExists { store: store(), key: key() }.into(),
        StoreError::BadKey { key: text("/results"), reason: text("it starts with `/`") }.into(),
        StoreError::Damaged { store: store(), key: key(), reason: text("it has 3 bytes in place of 8") }.into(),
        StoreError::Full { store: store(), key: key(), reason: text("no space left on device") }.into(),
        StoreError::Io { store: store(), operation: operation(), key: key(), reason: reason() }.into(),
        KvError::BadKey { key: text(""), reason: text("it is empty") }.into(),
        KvError::TooLarge { key: key(), len: 1 << 30 }.into(),
        KvError::NoCounter { key: key() }.into(),
        KvError::OutOfRange { key: key(), reason: text("it has 3 numbers, and the index is 7") }.into(),
        KvError::Unreachable { kv: kv(), reason: text("connection refused") }.into(),
        KvError::Uncertain { kv: kv(), operation: operation(), key: key(), reason: text("no answer within 5s") }.into(),
        KvError::Restarted { kv: kv() }.into(),
        KvError::Failed { kv: kv(), operation: operation(), key: key(), reason: reason() }.into(),
        Error::BadArguments { function: text("sweep::train"), reason: text("`layers`: invalid length 3") },
        Error::BadResult { attempt: attempt(), reason: text("invalid length 3") },
        Error::BadValue { reason: text("invalid length 3") },
        Error::Input { path: text("data/*.csv"), reason: text("no file matches") },
        Error::UnknownFunction {
            name: text("sweep::trian"),
            registered: vec![text("sweep::score"), text("sweep::train")],
        },
        Error::UnknownFunction { name: text("sweep::trian"), registered: Vec::new() },
        Error::DuplicateFunction { name: text("train"), places: vec![text("src/a.rs:3:1"), text("src/b.rs:9:1")] },
        Error::Cancelled { done: 12 },
        Error::OverBudget { budget_usd: 5.0, spent_usd: 4.999, done: 7 },
        Error::OverBudget { budget_usd: 0.00005, spent_usd: 0.0015, done: 7 },
        Error::left_out("the store `s3:`", "aws"),
        Error::Job(text("job `sweep` was started with other arguments; use another name")),
        Error::Backend(text("cannot start a worker process: too many open files; raise the limit with `ulimit -n`")),
    ]
}

#[test]
fn messages_say_what_happened_why_and_what_to_do() {
    let errors = errors();
    let names: BTreeSet<&str> = errors.iter().map(name).collect();
    assert_eq!(names, NAMES.iter().copied().collect(), "each error has an example");
    let messages: String = errors.iter().map(|error| format!("{}\n    {error}\n\n", name(error))).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("messages", messages);
    });
}

#[test]
fn sums_of_money_stay_distinct() {
    let message = |spent_usd, budget_usd| Error::OverBudget { budget_usd, spent_usd, done: 7 }.to_string();
    let before = "the job was stopped at 4.9990 USD, before it exceeded its budget of 5.0000 USD; 7 tasks were \
                  done; raise `.budget(..)`, or make the job cheaper";
    assert_eq!(message(4.999, 5.0), before);
    let over = "the job was stopped at 0.0015 USD, over its budget of 0.000050 USD; 7 tasks were done; raise \
                `.budget(..)`, or make the job cheaper";
    assert_eq!(message(0.0015, 0.00005), over);
    assert_eq!((dollars(0.0), dollars(1e-30)), ("0.0000 USD".to_owned(), "0.000000000000 USD".to_owned()));
}

#[test]
fn backtraces_are_shown_by_debug_only() {
    let attempt = || Attempt { function: "sweep::train".to_owned(), task: 7, attempt: 1, ..Attempt::default() };
    let panic = |backtrace: Option<&str>| Failure::Panicked {
        message: "too hot".to_owned(),
        location: "src/main.rs:7:9".to_owned(),
        backtrace: backtrace.map(str::to_owned),
    };
    let without = panic(None).into_error(attempt());
    assert_eq!(format!("{without:?}"), without.to_string());
    let with = panic(Some("   0: sweep::train\n")).into_error(attempt());
    assert_eq!(with.to_string(), without.to_string());
    assert_eq!(format!("{with:?}"), format!("{without}\n\nstack backtrace:\n   0: sweep::train"));
    let wrapped = Failure::MayHaveRun { cause: Box::new(panic(Some("   0: sweep::train"))) }.into_error(attempt());
    assert!(format!("{wrapped:?}").ends_with("stack backtrace:\n   0: sweep::train"));
}
