//! The phases of every attempt: they add up to its total time, and agree with the times that functions measure.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::Executor;
use wren::history::{Ended, Event, JobSummary, Phase, Span, Timeline};

use super::{add, note, notes, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        phases_of_tasks_of_all_sizes_add_up,
        compute_time_covers_what_functions_report,
        tasks_behind_others_of_a_chunk_wait_for_their_turn,
        new_workers_initialize_once,
        phases_of_failures_add_up_too,
        tasks_that_run_long_are_listed_while_they_run,
    ]
}

const BACKENDS: [&str; 2] = ["local", "inline"];

pub(super) fn logged(backend: &str, workers: usize) -> (Executor, PathBuf) {
    let folder = scratch("phases");
    let builder = Executor::builder().backend(backend).workers(workers).store("memory:").directory(&folder);
    (builder.build().unwrap(), folder)
}

/// Converts the seconds of a log to microseconds.
fn us(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// Returns the spans of the latest job, after checking each line of its log: all time from `queued` to `t` belongs to
/// some phase, and the phases of the timeline are exactly those, without adjustments.
pub(super) fn checked(folder: &Path, wall: Duration) -> Vec<Span> {
    let job = wren::history::jobs(folder).unwrap().remove(0);
    let folder = folder.join("jobs").join(job.id);
    let mut lines = Vec::new();
    JobSummary::read_with(&folder, |event| match event {
        Event::Done { t, times, .. } | Event::Failed { t, times, .. } | Event::Retry { t, times, .. } => {
            lines.push((us(*t), *times));
        }
        _ => {}
    })
    .unwrap();
    let timeline = Timeline::read(&folder).unwrap();
    assert_eq!(timeline.spans.len(), lines.len());
    for (span, (received, times)) in timeline.spans.iter().zip(lines) {
        let [queued, invoked, started] = [times.queued, times.invoked, times.started].map(us);
        let start = started.checked_sub(invoked + times.setup_us).unwrap();
        let busy = times.decode_us + times.compute_us + times.encode_us;
        let ended = started + times.fetch_us + times.turn_us + busy + times.commit_us;
        let observe = received.checked_sub(ended).unwrap();
        let logged = [
            invoked.checked_sub(queued).unwrap(),
            start,
            times.setup_us,
            times.fetch_us,
            times.turn_us,
            times.decode_us,
            times.compute_us,
            times.encode_us,
            times.commit_us,
            observe,
        ];
        assert_eq!(logged, Phase::ALL.map(|phase| length(span, phase)), "{span:?}");
        assert_eq!(logged.iter().sum::<u64>(), received - queued);
        assert!(received <= wall.as_micros() as u64, "{span:?}");

        // The same holds for each task.
        let mut reached = span.phase(Phase::Decode).start;
        for task in span.tasks.clone() {
            let moments = span.moments_of(task);
            assert!(moments.is_sorted() && moments[Phase::Decode as usize] == reached, "{moments:?} of {span:?}");
            assert_eq!((moments[0], moments[Phase::COUNT]), (queued, received));
            reached = moments[Phase::Commit as usize];
        }
        assert_eq!(reached, span.phase(Phase::Commit).start);
    }
    timeline.spans
}

pub(super) fn length(span: &Span, phase: Phase) -> u64 {
    let moments = span.phase(phase);
    moments.end - moments.start
}

async fn phases_of_tasks_of_all_sizes_add_up() {
    for backend in BACKENDS {
        let (executor, folder) = logged(backend, 2);
        let start = Instant::now();
        wren::map(|i| add(i, 1), 0..30_000).on(&executor).quiet().await.unwrap();
        let spans = checked(&folder, start.elapsed());
        assert_eq!(spans.iter().map(Span::count).sum::<u64>(), 30_000);
        // One line for each call would be 30,000. How many calls share a line depends on how busy the machine is.
        assert!(spans.len() < 20_000, "{} lines for calls that take no time", spans.len());
    }
}

/// Sleeps, and returns for how many microseconds it slept.
#[wren::remote]
fn nap(ms: u64) -> u64 {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(ms));
    start.elapsed().as_micros() as u64
}

async fn compute_time_covers_what_functions_report() {
    for backend in BACKENDS {
        let (executor, folder) = logged(backend, 2);
        let start = Instant::now();
        let slept = wren::map(nap, [5, 1, 30, 2, 5, 5, 8]).on(&executor).quiet().chunk(1).await.unwrap();
        let spans = checked(&folder, start.elapsed());
        assert_eq!(spans.len(), slept.len());
        for span in spans {
            let computed = length(&span, Phase::Compute);
            // Arguments of a few bytes are not timed, and encoding a number takes next to no time.
            assert_eq!(length(&span, Phase::Decode), 0, "{span:?}");
            // Both ends are rounded.
            assert!(computed + 1 >= slept[span.tasks.start as usize], "{computed} of {slept:?}: {span:?}");
        }
    }
}

async fn tasks_behind_others_of_a_chunk_wait_for_their_turn() {
    for backend in BACKENDS {
        // With only one worker, because another one would take over waiting tasks.
        let (executor, folder) = logged(backend, 1);
        let start = Instant::now();
        let slept = wren::map(nap, [5; 12]).on(&executor).quiet().chunk(4).await.unwrap();
        for span in checked(&folder, start.elapsed()) {
            let before = &slept[span.tasks.start as usize / 4 * 4..span.tasks.start as usize];
            let turn = length(&span, Phase::Turn);
            assert!(turn + 1 >= before.iter().sum::<u64>(), "{turn} us after {before:?}: {span:?}");
        }
    }
}

async fn new_workers_initialize_once() {
    let (executor, folder) = logged("local", 2);
    for is_first in [true, false] {
        let start = Instant::now();
        // The first calls are so long that the second worker starts before the first one has run them all.
        let ms = if is_first { 100 } else { 5 };
        wren::map(nap, [ms; 20]).on(&executor).quiet().chunk(1).await.unwrap();
        let spans = checked(&folder, start.elapsed());
        let cold: Vec<_> = spans.iter().filter(|span| span.cold).collect();
        if is_first {
            let mut workers: Vec<_> = cold.iter().map(|span| span.worker).collect();
            workers.sort_unstable();
            assert_eq!(workers, [0, 1]);
        } else {
            assert!(cold.is_empty(), "{cold:?}");
        }
        for span in spans {
            assert_eq!(length(&span, Phase::Setup) > 0, span.cold, "{span:?}");
        }
        // Makes the jobs start in different milliseconds, because `checked` reads the latest one.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Fails once or always, depending on its number.
#[wren::remote(timeout = 1, retries = 1)]
fn end_badly(task: u64, path: &Path) -> Result<u64, String> {
    let is_first = !notes(path).contains(&task);
    note(path, task).map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_millis(5));
    match task {
        1 if is_first => std::process::exit(17),
        2 => std::thread::sleep(Duration::from_secs(10)),
        3 if is_first => panic!("the first time"),
        4 => return Err("always".to_owned()),
        _ => {}
    }
    Ok(task)
}

async fn phases_of_failures_add_up_too() {
    for (backend, chunk) in BACKENDS.into_iter().flat_map(|backend| [(backend, 1), (backend, 4)]) {
        let (executor, folder) = logged(backend, 2);
        let path = folder.join("notes");
        let start = Instant::now();
        // A thread cannot be lost as a process can.
        let tasks: Vec<u64> = (0..12).map(|task| if task == 1 && backend == "inline" { 0 } else { task }).collect();
        let job = wren::map(|task: u64| end_badly(task, &path), tasks).on(&executor).quiet().chunk(chunk);
        let outcomes = job.try_all().await.unwrap();
        let spans = checked(&folder, start.elapsed());
        let failed: Vec<_> = (0..12).filter(|task| outcomes[*task].is_err()).collect();
        assert_eq!(failed, [2, 4], "{backend}: {outcomes:?}");

        let of = |task: u64| spans.iter().filter(|span| span.tasks.contains(&task)).collect::<Vec<_>>();
        let ends = |task| of(task).iter().map(|span| name(&span.ended)).collect::<Vec<_>>();
        if backend == "local" {
            assert_eq!(ends(1), ["retried: worker_died", "done"]);
        }
        assert_eq!(ends(2), ["failed: timed_out"]);
        assert_eq!(ends(3), ["retried: panicked", "done"]);
        assert_eq!(ends(4), ["retried: returned", "failed: returned"]);
        for task in 0..12 {
            for (index, span) in of(task).into_iter().enumerate() {
                assert_eq!(span.attempt, index as u32 + 1);
                // Work that a worker had done but not sent when it died counts for the task that it died in.
                let was_not_sent = task == 0 && chunk > 1;
                assert!(length(span, Phase::Compute) > 0 || was_not_sent, "{backend}: {span:?}");
            }
            for pair in of(task).windows(2) {
                // The task is ready again when its failure is received, and not before.
                assert!(pair[1].moments[0] >= pair[0].phase(Phase::Observe).start, "{backend}: {pair:?}");
            }
        }
        for span in [3, 4].into_iter().flat_map(of) {
            assert!(length(span, Phase::Compute) >= 5_000 * span.count(), "{backend}: {span:?}");
        }
    }
}

fn name(ended: &Ended) -> String {
    match ended {
        Ended::Done => "done".to_owned(),
        Ended::Failed { class, .. } => format!("failed: {class}"),
        Ended::Retried { class, .. } => format!("retried: {class}"),
    }
}

/// Returns the folder of the history of a named job.
fn history_of(directory: &Path, name: &str, executor: &Executor) -> PathBuf {
    wren::history::folder(directory, name, &executor.store().url())
}

/// Waits until the file exists.
#[wren::remote]
fn wait_for(file: Option<PathBuf>) {
    while file.as_ref().is_some_and(|file| !file.exists()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn tasks_that_run_long_are_listed_while_they_run() {
    for backend in BACKENDS {
        let (executor, folder) = logged(backend, 2);
        let file = folder.join("go on");
        // Task 3 waits; the others do not, and are done soon.
        let calls = (0..8).map(|task| (task == 3).then(|| file.clone()));
        let job = wren::map(wait_for, calls).on(&executor).quiet().chunk(2).named("long").start().await.unwrap();
        let mut follow = wren::history::Follow::open(&history_of(&folder, "long", &executor)).unwrap();
        let started = Instant::now();
        let mut longest = Vec::new();
        while longest.is_empty() {
            assert!(started.elapsed() < super::PATIENCE, "{backend}: no task was listed");
            let read = follow.read_with(|event| {
                if let Event::Progress { longest: listed, .. } = event {
                    longest.clone_from(listed);
                }
            });
            assert!(read.unwrap().is_some_and(|job| job.state == wren::history::JobState::Running));
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = started.elapsed().as_secs_f64() + 1.0;
        assert_eq!(longest.iter().map(|running| (running.task, running.attempt)).collect::<Vec<_>>(), [(3, 1)]);
        assert!((0.0..ran).contains(&longest[0].since), "{longest:?}");
        std::fs::write(&file, "").unwrap();
        assert_eq!(job.wait().await.unwrap().len(), 8);
        assert_eq!(follow.read().unwrap().map(|job| job.state), Some(wren::history::JobState::Done));
    }
}
