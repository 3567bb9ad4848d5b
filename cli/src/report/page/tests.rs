//! Tests the page in a browser: its contents and its behavior, not its appearance.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{ALL_TEXT, LONGEST_TEXT, Page, limited};
use crate::report::Whole;
use crate::report::tests::read;
use browser::Browser;

mod access;
mod browser;
mod live;
mod stages;

/// The history of a fictional job.
struct Log(String);

impl Log {
    fn of(function: &str, tasks: u64) -> Self {
        let job = json!({
            "event": "job", "id": "made7up", "name": null, "function": function, "tasks": tasks, "backend": "local",
            "workers": 4, "memory_mb": 512, "started_unix_ms": 1_795_000_000_000u64, "pid": 1, "wren": "0.1.0",
        });
        Self(format!("{job}\n"))
    }

    /// Adds an attempt that worker `task % 4` started at `at` ms and computed for `ms`.
    fn line(&mut self, event: &str, task: u64, attempt: u32, at: u64, ms: u64, more: Value) {
        let seconds = |ms: u64| ms as f64 / 1e3;
        let mut line = json!({
            "event": event, "t": seconds(at + ms + 2), "attempt": attempt, "queued": 0.0, "invoked": seconds(at.saturating_sub(3)),
            "started": seconds(at), "setup_us": 0, "fetch_us": 0, "turn_us": 0, "compute_us": ms * 1000, "commit_us": 500,
            "worker": task % 4, "cold": false,
        });
        let more = match event {
            "done" => json!({ "first": task, "count": 1, "new": 1, "bytes_in": 10, "bytes_out": 20, "peak_mb": 17 }),
            "retry" => json!({ "task": task, "after_ms": 1, "class": more[0], "message": more[1] }),
            _ => json!({ "task": task, "class": more[0], "message": more[1] }),
        };
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        writeln!(self.0, "{line}").unwrap();
    }

    fn done(&mut self, task: u64, at: u64, ms: u64) {
        self.line("done", task, 1, at, ms, Value::Null);
    }

    fn page(&self, summary: Value, outputs: &[(u64, &str)]) -> Vec<u8> {
        let whole = Whole::of(vec![read(&self.0)]).unwrap();
        let outputs = outputs.iter().map(|(task, output)| (*task, (*output).to_owned())).collect();
        write(&whole, &summary, &[outputs])
    }

    fn open(&self) -> Browser {
        Browser::open(&self.page(Value::Null, &[]))
    }
}

fn write(whole: &Whole, summary: &Value, outputs: &[BTreeMap<u64, String>]) -> Vec<u8> {
    let mut page = Vec::new();
    Page { whole, summary, outputs, live: None }.write(&mut page).unwrap();
    page
}

/// Returns a history of 250 tasks in two seconds. Three of them fail, one of these after a retry.
fn ordinary() -> Log {
    let mut log = Log::of("fit::train", 250);
    for task in 0..250 {
        log.done(task, 20 + task * 8, 5 + task % 40);
    }
    log.line("retry", 7, 1, 100, 12, json!(["worker_died", "the worker was killed by signal 9"]));
    for (task, at) in [(7, 300), (11, 320), (13, 340)] {
        log.line("failed", task, 2, at, 12, json!(["panicked", format!("task {task} panicked\nat src/main.rs:3:5")]));
    }
    log
}

fn range(browser: &mut Browser) -> (f64, f64) {
    let range = browser.eval("[Number(range.dataset.from), Number(range.dataset.to)]");
    (range[0].as_f64().unwrap(), range[1].as_f64().unwrap())
}

#[test]
fn pages_show_the_job_and_make_no_requests() {
    let mut browser = ordinary().open();
    assert_eq!(browser.eval("document.title"), "fit::train – wren report");
    assert_eq!(browser.text("h1"), "fit::train");
    assert!(browser.text("#about").contains("job made7up · 4 workers (local)"));
    assert!(browser.text("#facts").contains("Tasks done\n250\nof 250"), "{}", browser.text("#facts"));
    assert_eq!(browser.count("#phases tbody tr"), 10);
    assert!(browser.text("#phases tbody tr:nth-child(7)").starts_with("compute"));
    // Three that failed, then the one that was retried; and the slowest hundred of 254.
    assert_eq!(browser.count("#failed tbody tr"), 4);
    assert!(browser.text("#failed tbody tr:nth-child(4)").contains("the worker was killed by signal 9"));
    assert!(browser.text("#classes").starts_with("3 × panicked, failed; 1 × worker_died, retried"));
    assert_eq!(browser.count("#slowest tbody tr"), 100);
    assert_eq!(browser.text("#slowest-note"), "100 of 254 attempts");
    assert!(browser.text("#slowest tbody tr").contains("44 ms"), "{}", browser.text("#slowest tbody tr"));
    assert!(browser.text("#rows").starts_with("254 attempts"));
    // Setup, fetch and turn took no time, so they have no histograms.
    assert_eq!(browser.count("#histograms svg"), 5);
    browser.click("#linear");
    assert_eq!(browser.count("#linear[aria-pressed=true]"), 1);
    browser.click("#by-worker");
    assert!(browser.text("#rows").contains("4 workers, one row each"));
    browser.assert_quiet();
}

#[test]
fn existing_report_figures_are_shown() {
    let summary = json!({
        "phases": [{ "name": "start (cold)", "count": 4, "mean_us": 1500.0, "std_us": 2.0, "p50_us": 1400, "p95_us": 1, "p99_us": 1, "max_us": 9000 }],
        "critical_path": { "sentences": ["62% of the wall time: tasks waited for workers."], "shares": [{ "name": "queue", "share": 0.62 }, { "name": "other work", "share": 0.38 }] },
        "speed_up": 3.5, "usd": 0.0123,
    });
    let mut browser = Browser::open(&ordinary().page(summary, &[]));
    assert_eq!(browser.count("#phases tbody tr"), 1);
    assert!(browser.text("#phases tbody").contains("start (cold)"));
    assert_eq!(browser.text("#sentences"), "62% of the wall time: tasks waited for workers.");
    assert!(browser.text("#shares ul").contains("queue 62%") && browser.text("#shares ul").contains("other work 38%"));
    let facts = browser.text("#facts");
    assert!(facts.contains("3.5×") && facts.contains("$0.0123"), "{facts}");
    browser.assert_quiet();
}

#[test]
fn clicked_tasks_show_attempts_error_and_output() {
    let mut browser = Browser::open(&ordinary().page(Value::Null, &[(7, "loading image 7")]));
    assert!(browser.eval("detail.hidden").as_bool().unwrap());
    browser.click("#failed tbody button");
    let detail = browser.text("#detail");
    for part in ["Task 7", "Attempt 2: failed: panicked", "task 7 panicked\nat src/main.rs:3:5", "signal 9"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(detail.contains("loading image 7") && detail.contains("cargo wren replay made7up 7"), "{detail}");
    browser.click("#detail button");
    assert!(browser.eval("detail.hidden").as_bool().unwrap());

    // The same with a click on the timeline: the first row shows the task that started first.
    let mut few = Log::of("few", 2);
    few.done(0, 10, 40);
    few.line("failed", 1, 1, 60, 30, json!(["returned", "no such file"]));
    let mut browser = few.open();
    let (x, y) = browser.place("#timeline", 0.75, 0.0);
    browser.mouse(&[("mouseMoved", x, y + 36.0)]);
    assert!(browser.text("#tip").contains("Task 1, attempt 1: failed"), "{}", browser.text("#tip"));
    browser.mouse(&[("mousePressed", x, y + 36.0), ("mouseReleased", x, y + 36.0)]);
    assert!(browser.text("#detail").contains("no such file"));
    // The same with the keyboard.
    browser.key("Escape");
    assert!(browser.eval("detail.hidden").as_bool().unwrap());
    browser.eval("timeline.focus()");
    for key in ["ArrowUp", "Enter"] {
        browser.key(key);
    }
    assert!(browser.text("#detail").contains("Task 0"), "{}", browser.text("#detail"));
    browser.assert_quiet();
}

#[test]
fn the_timeline_zooms_and_moves_by_pointer_wheel_keys_and_buttons() {
    let mut browser = ordinary().open();
    let (begin, end) = range(&mut browser);
    assert_eq!(begin, 0.0);
    assert!(end > 2e6, "{end}");

    let (left, y) = browser.place("#timeline", 0.4, 0.5);
    let (right, _) = browser.place("#timeline", 0.6, 0.5);
    browser.mouse(&[("mousePressed", left, y), ("mouseMoved", right, y), ("mouseReleased", right, y)]);
    let (from, to) = range(&mut browser);
    assert!(from > 0.3 * end && to < 0.65 * end && to - from > 0.15 * end, "{from} {to}");
    assert!(!browser.text("#rows").starts_with("254 "), "rows outside the range are not shown");

    // After a click, the timeline handles the mouse wheel.
    browser.wheel((left, y), -400.0);
    let (closer, _) = range(&mut browser);
    assert!(closer > from, "{closer}");
    browser.key("0");
    assert_eq!(range(&mut browser), (begin, end));
    browser.key("+");
    let (from, to) = range(&mut browser);
    assert!(from > begin && to < end);
    browser.key("ArrowRight");
    let (moved, moved_to) = range(&mut browser);
    assert!(moved > from && (moved_to - moved - (to - from)).abs() < 1.0);
    browser.click("#fit");
    assert_eq!(range(&mut browser), (begin, end));
    browser.click("#zoom-in");
    browser.click("#zoom-out");
    assert_eq!(range(&mut browser), (begin, end));
    // Show only one phase.
    browser.click("#legend button:nth-child(7)");
    assert_eq!(browser.count("#legend.alone button[aria-pressed=true]"), 1);
    browser.assert_quiet();
}

#[test]
fn colours_follow_the_readers_setting_and_the_button() {
    let mut browser = ordinary().open();
    let dark = "getComputedStyle(document.body).backgroundColor !== 'rgb(253, 253, 252)'";
    assert_eq!(browser.eval(dark), false);
    browser.prefer("dark");
    assert_eq!(browser.eval(dark), true);
    assert_eq!(browser.text("#theme"), "Light");
    browser.click("#theme");
    assert_eq!((browser.eval(dark), browser.text("#theme")), (Value::from(false), "Dark".to_owned()));
    browser.click("#theme");
    assert_eq!(browser.eval(dark), true);
    browser.assert_quiet();
}

#[test]
fn job_texts_are_never_run_as_code() {
    let hostile =
        r#"</script><script>window.hit = 1</script><img src=x onerror="window.hit = 2"><!--<script>"\u2028{data}"#;
    let mut log = Log::of(hostile, 1);
    log.line("failed", 0, 1, 10, 20, json!([hostile, hostile]));
    let summary = json!({ "critical_path": { "sentences": [hostile], "shares": [{ "name": hostile, "share": 1 }] }, "phases": [] });
    let page = log.page(summary, &[(0, hostile)]);
    assert_eq!(String::from_utf8(page.clone()).unwrap().matches("</script>").count(), 2);
    let mut browser = Browser::open(&page);
    browser.click("#failed tbody button");
    assert_eq!(browser.text("h1"), hostile);
    assert_eq!(browser.eval("document.title"), format!("{hostile} – wren report"));
    assert_eq!(
        browser.eval("[...document.querySelectorAll('#detail pre')].map(e => e.textContent)"),
        json!([hostile, hostile])
    );
    assert_eq!(browser.eval("typeof window.hit"), "undefined");
    assert_eq!(browser.count("img"), 0);
    browser.assert_quiet();
}

#[test]
fn a_page_of_a_hundred_thousand_tasks_is_drawn_zoomed_and_clicked() {
    let mut log = Log::of("many", 100_000);
    let mut random = fastrand::Rng::with_seed(7);
    for task in 0..100_000 {
        log.done(task, 20 + task / 4, random.u64(1..120));
    }
    log.line("failed", 500, 1, 9_000, 30, json!(["returned", "one of many"]));
    let page = log.page(Value::Null, &[]);
    let mut browser = Browser::open(&page);
    let rows = browser.text("#rows");
    assert!(rows.contains(" of 100,001 rows drawn, the slowest and the failed always"), "{rows}");
    assert_eq!(browser.count("#slowest tbody tr"), 100);
    assert!(browser.count("*") < 4_000, "the number of elements does not grow with the number of tasks");
    let redraw = "Math.round(10 * performance.getEntriesByName('redraw')[0].duration) / 10";
    browser.eval("timeline.focus()");
    let mut took = vec![browser.eval(redraw)];
    for key in ["+", "+", "ArrowRight", "0"] {
        browser.key(key);
        took.push(browser.eval(redraw));
    }
    browser.click("#by-worker");
    took.push(browser.eval(redraw));
    println!("{} bytes; redraws in ms: {}", page.len(), json!(took));
    browser.click("#by-start");
    let (x, y) = browser.place("#timeline", 0.3, 0.5);
    browser.mouse(&[("mousePressed", x, y), ("mouseReleased", x, y)]);
    assert!(browser.text("#detail").contains("Attempt 1"));
    browser.click("#failed tbody button");
    assert!(browser.text("#detail").contains("one of many"));
    browser.assert_quiet();
}

#[test]
fn a_job_without_attempts_has_a_page_too() {
    let mut browser = Log::of("none", 0).open();
    assert_eq!(browser.text("#failures"), "No failures");
    assert_eq!(browser.text("#phases-note"), "No attempt has ended yet.");
    assert_eq!(browser.count("#slowest tbody tr"), 0);
    for key in ["ArrowDown", "+", "Enter"] {
        browser.eval("timeline.focus()");
        browser.key(key);
    }
    browser.assert_quiet();
}

#[test]
fn numbers_arrive_unchanged() {
    // A run that was resumed a year later has moments that do not fit in 32 bits.
    let mut log = ordinary();
    let again = log.0.lines().next().unwrap().replace("1795000000000", "1826536000000");
    writeln!(log.0, "{again}").unwrap();
    log.line("failed", 99, 1, 1_000, 250, json!(["returned", "late"]));
    let mut browser = log.open();
    let (_, end) = range(&mut browser);
    assert_eq!(end, 31_536_000.0 * 1e6 + 1_252_000.0);
    browser.click("#failed tbody tr:nth-child(4) button");
    let detail = browser.text("#detail");
    assert!(detail.contains("outcome received at\n8,760 h 0 min") && detail.contains("compute\n250 ms"), "{detail}");
    browser.assert_quiet();
}

#[test]
fn long_texts_are_cut_with_note() {
    let mut left = ALL_TEXT;
    assert_eq!(limited("short", &mut left), "short");
    let long = "é".repeat(LONGEST_TEXT);
    let cut = limited(&long, &mut left);
    assert!(
        cut.len() < LONGEST_TEXT + 50 && cut.ends_with(&format!("[{LONGEST_TEXT} more bytes are in the job history]"))
    );
    assert_eq!(left, ALL_TEXT - 5 - LONGEST_TEXT);
    assert!(limited("nothing left", &mut 0).starts_with("\n[12 more bytes"));
}
