//! Pages of computations of several jobs, and of jobs that ended early.

use serde_json::{Value, json};

use super::browser::Browser;
use super::{Log, write};
use crate::report::Whole;
use crate::report::tests::read;

/// Returns the history of a stage of 20 tasks that started `after` ms after the first stage.
fn stage(name: &str, number: u32, after: u64) -> Log {
    let mut log = Log::of(&format!("demo::Count::{name}"), 20);
    let stage = json!({ "run": "run7", "of": "demo::Count", "name": name, "number": number });
    let mut job: Value = serde_json::from_str(&log.0).unwrap();
    job["stage"] = stage;
    job["id"] = format!("{name}77").into();
    job["started_unix_ms"] = (1_795_000_000_000 + after).into();
    log.0 = format!("{job}\n");
    for task in 0..20 {
        log.done(task, 10 + task * 4, 30);
    }
    log
}

#[test]
fn a_computation_is_one_page_with_its_stages_as_rows() {
    let mut reduce = stage("reduce", 2, 150);
    reduce.line("failed", 3, 1, 40, 30, json!(["panicked", "no value for this key"]));
    let whole = Whole::of(vec![read(&reduce.0), read(&stage("map", 1, 0).0)]).unwrap();
    let output = |text: &str| [(3, text.to_owned())].into();
    let page = write(&whole, &Value::Null, &[output("mapped"), output("reduced")]);
    let mut browser = Browser::open(&page);
    assert_eq!(browser.text("h1"), "demo::Count");
    assert!(browser.text("#about").contains("run run7 of 2 stages"), "{}", browser.text("#about"));
    assert!(browser.text("#facts").contains("Tasks done\n40\nof 40"), "{}", browser.text("#facts"));
    assert_eq!(browser.count("#stages tbody tr"), 2);
    let row = browser.text("#stages tbody tr:nth-child(2)");
    assert!(row.starts_with("reduce") && row.contains("demo::Count::reduce") && row.contains("150 ms"), "{row}");
    assert!(browser.text("#rows").starts_with("41 attempts"));
    browser.click("#by-stage");
    assert!(browser.text("#rows").starts_with("41 attempts, 2 stages, one row each"));
    // A stage's name zooms in on it.
    browser.click("#stages tbody tr:nth-child(2) button");
    let (from, to) = super::range(&mut browser);
    assert_eq!(from, 150_000.0);
    assert!(to > 200_000.0, "{to}");
    // Tasks of different stages have the same numbers.
    browser.click("#failed tbody button");
    let detail = browser.text("#detail");
    for part in ["Task 3 of reduce", "no value for this key", "reduced", "cargo wren replay reduce77 3"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(!detail.contains("mapped"), "{detail}");
    browser.assert_quiet();
}

#[test]
fn the_page_of_a_job_of_its_own_has_no_stages() {
    let mut browser = Log::of("one", 1).open();
    assert_eq!(
        browser.eval("[document.getElementById('stages-section').hidden, document.getElementById('by-stage').hidden]"),
        json!([true, true])
    );
}

#[test]
fn pages_say_at_the_top_that_a_job_ended_early_and_why() {
    let log = |end: Option<(&str, Option<&str>)>| {
        let mut log = Log::of("fit::train", 8);
        log.done(0, 10, 20);
        log.line("failed", 1, 1, 10, 40, json!(["panicked", "task 1 panicked\nat src/main.rs:3:5"]));
        if let Some((state, reason)) = end {
            let end = json!({
                "event": "end", "t": 0.1, "state": state, "done": 1, "failed": 1, "retried": 0, "compute_s": 0.06,
                "wall_s": 0.1, "usd": 0.0, "reason": reason,
            });
            log.0 += &format!("{end}\n");
        }
        log
    };
    let budget = "stopped before it exceeded its budget of $5";
    let expected: [(_, &[&str]); 4] = [
        (
            Some(("failed", None)),
            &["ended early, at a failure, when 1 of 8 tasks were done: task 1, panicked: task 1 panicked"],
        ),
        (Some(("failed", Some(budget))), &["ended early", budget]),
        (Some(("cancelled", None)), &["was cancelled when 1 of 8 tasks were done, by its program or with Ctrl-C"]),
        (None, &["ended early, when 1 of 8 tasks were done, because its program was killed"]),
    ];
    for (end, words) in expected {
        let mut browser = log(end).open();
        let ended = browser.text("#ended");
        for word in words {
            assert!(ended.contains(word), "{end:?} {word}: {ended}");
        }
        // It is on the first screen, above everything that describes the job's time.
        assert_eq!(browser.eval("ended.getBoundingClientRect().bottom < facts.getBoundingClientRect().top"), true);
        let tree = browser.tree();
        assert!(tree.iter().any(|node| node.role == "status" && node.properties.contains_key("live")));
    }
    // Failures that the program took itself are no early end.
    let mut browser = log(Some(("done", None))).open();
    assert!(
        browser.text("#ended").starts_with("The job ran all its tasks, but 1 failed: task 1"),
        "{}",
        browser.text("#ended")
    );
    let mut good = Log::of("fit::train", 1);
    good.done(0, 10, 20);
    good.0 += &format!(
        "{}\n",
        json!({
            "event": "end", "t": 0.1, "state": "done", "done": 1, "failed": 0, "retried": 0, "compute_s": 0.02, "wall_s": 0.1,
            "usd": 0.0,
        })
    );
    assert_eq!(good.open().eval("ended.hidden"), true);
}
