//! Measures what it costs to watch a job. `make bench` runs this.

use std::time::{Duration, Instant};

use super::*;
use crate::report::page::Page;
use crate::report::{Report, Whole};

/// Draws a job that writes `tasks` lines in `seconds`, twice per second, as the view does. Returns the time of all
/// reads and drawings, and of one page of the whole job.
fn watched(tasks: u64, seconds: u64) -> (Duration, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::start(folder.path(), "large", "f", &json!({ "tasks": tasks }));
    let mut jobs = looked(folder.path());
    let screen = Screen::new(None);
    let mut took = Duration::ZERO;
    let frames = 2 * seconds;
    for frame in 0..frames {
        let place = |frame: u64| tasks * frame / frames;
        for task in place(frame)..place(frame + 1) {
            driver.done(1.0 + frame as f64 / 2.0, task, 1, task % 100);
        }
        driver.progress(1.0 + frame as f64 / 2.0, 4, &[(tasks - 1, 0.5)]);
        let started = Instant::now();
        jobs.look(None).unwrap();
        drawn(&jobs, &screen, (140, 40));
        took += started.elapsed();
    }
    let started = Instant::now();
    let whole = Whole::of(vec![wren::history::Timeline::read(&folder.path().join("jobs/large")).unwrap()]).unwrap();
    let summary = serde_json::to_value(Report::of(&whole.timeline)).unwrap();
    let mut page = Vec::new();
    Page { whole: &whole, summary: &summary, outputs: &[], live: Some(1) }.write(&mut page).unwrap();
    (took, started.elapsed())
}

#[test]
#[ignore = "a measurement; an optimized build gives useful numbers"]
fn what_watching_costs() {
    for (tasks, seconds) in [(100_000, 60), (10, 60)] {
        let (view, page) = watched(tasks, seconds);
        let share = 100.0 * view.as_secs_f64() / seconds as f64;
        println!(
            "{tasks} tasks in {seconds} s: `top` takes {view:.2?}, {share:.2}% of a processor; a page takes {page:.2?}"
        );
    }
}
