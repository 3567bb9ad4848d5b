//! The phases of every execution: they add up to its life, and are what the functions saw.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::Executor;
use wren::history::{Ended, Event, JobSummary, Phase, Span, Timeline};

use super::{add, note, notes, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        phases_of_tasks_of_all_sizes_add_up,
        a_function_has_computed_for_as_long_as_it_says,
        a_task_behind_others_of_its_chunk_had_to_wait_for_its_turn,
        a_new_worker_makes_itself_ready_once,
        phases_of_failures_add_up_too,
    ]
}

const BACKENDS: [&str; 2] = ["local", "inline"];

fn logged(backend: &str, workers: usize) -> (Executor, PathBuf) {
    let folder = scratch("phases");
    let builder = Executor::builder().backend(backend).workers(workers).store("memory:").directory(&folder);
    (builder.build().unwrap(), folder)
}

/// Microseconds, which a log has as seconds.
fn us(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// The latest job's spans, after a look at each line of its log: from `queued` to `t` all time is in one
/// phase or another, and the timeline's phases are exactly those. Nothing was made to fit.
fn checked(folder: &Path, wall: Duration) -> Vec<Span> {
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
    for (span, (heard, times)) in timeline.spans.iter().zip(lines) {
        let [queued, invoked, started] = [times.queued, times.invoked, times.started].map(us);
        let start = started.checked_sub(invoked + times.setup_us).unwrap();
        let ended = started + times.fetch_us + times.turn_us + times.compute_us + times.commit_us;
        let observe = heard.checked_sub(ended).unwrap();
        let told = [
            invoked.checked_sub(queued).unwrap(),
            start,
            times.setup_us,
            times.fetch_us,
            times.turn_us,
            times.compute_us,
            times.commit_us,
            observe,
        ];
        assert_eq!(told, Phase::ALL.map(|phase| length(span, phase)), "{span:?}");
        assert_eq!(told.iter().sum::<u64>(), heard - queued);
        assert!(heard <= wall.as_micros() as u64, "{span:?}");

        // And so it is for each task alone.
        let mut reached = span.phase(Phase::Compute).start;
        for task in span.tasks.clone() {
            let moments = span.moments_of(task);
            assert!(moments.is_sorted() && moments[5] == reached, "{moments:?} of {span:?}");
            assert_eq!((moments[0], moments[8]), (queued, heard));
            reached = moments[6];
        }
        assert_eq!(reached, span.phase(Phase::Compute).end);
    }
    timeline.spans
}

fn length(span: &Span, phase: Phase) -> u64 {
    let moments = span.phase(phase);
    moments.end - moments.start
}

async fn phases_of_tasks_of_all_sizes_add_up() {
    for backend in BACKENDS {
        let (executor, folder) = logged(backend, 2);
        let begun = Instant::now();
        wren::map(|i| add(i, 1), 0..30_000).on(&executor).quiet().await.unwrap();
        let spans = checked(&folder, begun.elapsed());
        assert_eq!(spans.iter().map(Span::count).sum::<u64>(), 30_000);
        assert!(spans.len() < 10_000, "{} lines for calls that take no time", spans.len());
    }
}

/// Sleeps, and gives the microseconds for which it did.
#[wren::remote]
fn nap(ms: u64) -> u64 {
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(ms));
    begun.elapsed().as_micros() as u64
}

async fn a_function_has_computed_for_as_long_as_it_says() {
    for backend in BACKENDS {
        let (executor, folder) = logged(backend, 2);
        let begun = Instant::now();
        let told = wren::map(nap, [5, 1, 30, 2, 5, 5, 8]).on(&executor).quiet().chunk(1).await.unwrap();
        let spans = checked(&folder, begun.elapsed());
        assert_eq!(spans.len(), told.len());
        for span in spans {
            let computed = length(&span, Phase::Compute);
            // Both ends are rounded.
            assert!(computed + 1 >= told[span.tasks.start as usize], "{computed} of {told:?}: {span:?}");
        }
    }
}

async fn a_task_behind_others_of_its_chunk_had_to_wait_for_its_turn() {
    for backend in BACKENDS {
        // With another worker, that would take over what waits.
        let (executor, folder) = logged(backend, 1);
        let begun = Instant::now();
        let told = wren::map(nap, [5; 12]).on(&executor).quiet().chunk(4).await.unwrap();
        for span in checked(&folder, begun.elapsed()) {
            let before = &told[span.tasks.start as usize / 4 * 4..span.tasks.start as usize];
            let turn = length(&span, Phase::Turn);
            assert!(turn + 1 >= before.iter().sum::<u64>(), "{turn} us after {before:?}: {span:?}");
        }
    }
}

async fn a_new_worker_makes_itself_ready_once() {
    let (executor, folder) = logged("local", 2);
    for is_first in [true, false] {
        let begun = Instant::now();
        wren::map(nap, [5; 20]).on(&executor).quiet().chunk(1).await.unwrap();
        let spans = checked(&folder, begun.elapsed());
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
        // Two jobs begin in the same millisecond nowhere; the latest is the one that is read.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Fails by its number: once, or always.
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
        let begun = Instant::now();
        // A thread cannot be lost as a process can.
        let tasks: Vec<u64> = (0..12).map(|task| if task == 1 && backend == "inline" { 0 } else { task }).collect();
        let job = wren::map(|task: u64| end_badly(task, &path), tasks).on(&executor).quiet().chunk(chunk);
        let outcomes = job.try_all().await.unwrap();
        let spans = checked(&folder, begun.elapsed());
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
                // What a worker had done and not sent when it died counts in the task that it died in.
                let was_not_sent = task == 0 && chunk > 1;
                assert!(length(span, Phase::Compute) > 0 || was_not_sent, "{backend}: {span:?}");
            }
            for pair in of(task).windows(2) {
                // It is ready again when its failure was heard of, and not before.
                assert!(pair[1].moments[0] >= pair[0].moments[7], "{backend}: {pair:?}");
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
