//! The figures of `cargo wren report`, calculated from a job's timeline.

use std::collections::BTreeMap;

use serde::Serialize;
use wren::history::{DriverTotals, Ended, JobSummary, Phase, Span, Timeline};

use super::path::CriticalPath;

/// With more tasks than this, all tasks of a batch count as equal.
const EXACT: u64 = 1_000_000;

/// A task is a straggler if it takes more than this many times the median.
pub(crate) const STRAGGLER: u64 = 3;

/// Minimum duration of a straggler. A shorter task that waited for a processor does not matter.
const STRAGGLER_FLOOR_US: u64 = 10_000;

/// Maximum number of stragglers that are listed.
const LISTED: usize = 10;

/// The figures of a job. Sizes are in bytes; fields that end in `_us` are in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) job: &'a JobSummary,
    /// Durations of the phases over all attempts. `start` is split into new and used workers.
    pub(crate) phases: Vec<Row>,
    pub(crate) critical_path: CriticalPath,
    /// Tasks done per second, in the latest run.
    pub(crate) throughput_per_s: f64,
    /// Compute time divided by wall time, in the latest run.
    pub(crate) speed_up: f64,
    /// Speed-up divided by the number of workers.
    pub(crate) efficiency: f64,
    pub(crate) usd: f64,
    /// Size of the arguments, without large ones.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Number of different large arguments in the latest run, and their size.
    pub(crate) large_values: u64,
    pub(crate) large_bytes: u64,
    /// How often large arguments were sent to workers in the latest run, and their size, counted each time.
    pub(crate) sent_values: u64,
    pub(crate) sent_bytes: u64,
    /// Size of the large arguments in the latest run, counted for each task that took one.
    pub(crate) large_in: u64,
    /// What the driver did in the latest run.
    pub(crate) driver: DriverTotals,
    pub(crate) peak_mb: u64,
    /// Memory limit of a call.
    pub(crate) memory_mb: Option<u32>,
    /// Retried attempts, by cause.
    pub(crate) retries: Vec<Cause>,
    /// Tasks that failed and were not retried, by cause.
    pub(crate) failures: Vec<Cause>,
    pub(crate) stragglers: Stragglers,
    pub(crate) clock_error_us: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Number of attempts.
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) std_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Cause {
    pub(crate) class: String,
    pub(crate) count: u64,
    /// Wasted compute time of the attempts.
    pub(crate) compute_us: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Stragglers {
    /// A task that takes longer than this is a straggler.
    pub(crate) from_us: u64,
    pub(crate) count: u64,
    /// The longest stragglers.
    pub(crate) longest: Vec<Straggler>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Straggler {
    pub(crate) task: u64,
    pub(crate) compute_us: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn of(timeline: &'a Timeline) -> Self {
        let Timeline { job, spans, about, runs, clock_error_us, driver, .. } = timeline;
        let latest = runs.len().saturating_sub(1);
        let of_latest = || spans.iter().filter(|span| span.run == latest);
        let wall_s = (runs.last().map_or(0, |run| run.end - run.start) as f64 / 1e6).max(1e-9);
        let is_done = |span: &&Span| span.ended == Ended::Done;
        let done: u64 = of_latest().filter(is_done).map(Span::count).sum();
        let compute: u64 = of_latest().map(|span| length(span, Phase::Compute)).sum();
        let speed_up = compute as f64 / 1e6 / wall_s;
        let cause = |retried: bool| causes(spans, retried);
        Self {
            job,
            phases: rows(spans),
            critical_path: CriticalPath::of(timeline),
            throughput_per_s: done as f64 / wall_s,
            speed_up,
            efficiency: speed_up / job.workers.max(1) as f64,
            usd: job.usd,
            bytes_in: spans.iter().map(|span| span.bytes_in as u64).sum(),
            bytes_out: spans.iter().map(|span| span.bytes_out as u64).sum(),
            large_values: driver.large_values,
            large_bytes: driver.large_bytes,
            sent_values: of_latest().map(|span| span.sent_values).sum(),
            sent_bytes: of_latest().map(|span| span.sent_bytes).sum(),
            large_in: of_latest().map(|span| span.large_in).sum(),
            driver: *driver,
            peak_mb: job.peak_mb,
            memory_mb: about.memory_mb,
            retries: cause(true),
            failures: cause(false),
            stragglers: stragglers(spans),
            clock_error_us: *clock_error_us,
        }
    }
}

fn length(span: &Span, phase: Phase) -> u64 {
    let phase = span.phase(phase);
    phase.end - phase.start
}

/// Durations, each with the number of times that it occurred.
#[derive(Default)]
struct Samples(Vec<(u64, u64)>);

impl Samples {
    fn add(&mut self, us: u64, times: u64) {
        if times > 0 {
            self.0.push((us, times));
        }
    }

    fn row(mut self, name: &'static str) -> Option<Row> {
        self.0.sort_unstable();
        let count: u64 = self.0.iter().map(|(_, times)| times).sum();
        let (max_us, _) = *self.0.last()?;
        let weighted = |value: &dyn Fn(f64) -> f64| {
            self.0.iter().map(|(us, times)| value(*us as f64) * *times as f64).sum::<f64>() / count as f64
        };
        let mean_us = weighted(&|us| us);
        let std_us = weighted(&|us| (us - mean_us) * (us - mean_us)).sqrt();
        // Nearest rank: the smallest duration that at least this percentage of the samples do not exceed.
        let percentile = |percent: u64| {
            let rank = (count * percent).div_ceil(100).max(1);
            let mut before = 0;
            let found = self.0.iter().find(|(_, times)| {
                before += times;
                before >= rank
            });
            found.map_or(max_us, |(us, _)| *us)
        };
        let [p50_us, p95_us, p99_us] = [50, 95, 99].map(percentile);
        Some(Row { name, count, mean_us, std_us, p50_us, p95_us, p99_us, max_us })
    }
}

fn rows(spans: &[Span]) -> Vec<Row> {
    let total: u64 = spans.iter().map(Span::count).sum();
    let mut samples: [Samples; Phase::COUNT] = Default::default();
    let mut cold_starts = Samples::default();
    for span in spans {
        // In a large job, the middle task of a batch stands for all of its tasks.
        let (tasks, weight) = match total {
            0..=EXACT => (span.tasks.clone(), 1),
            _ => {
                let middle = span.tasks.start.midpoint(span.tasks.end);
                (middle..middle + 1, span.count())
            }
        };
        for task in tasks {
            let moments = span.moments_of(task);
            for (phase, samples) in Phase::ALL.into_iter().zip(&mut samples) {
                let us = moments[phase as usize + 1] - moments[phase as usize];
                match phase {
                    Phase::Start if span.cold => cold_starts.add(us, weight),
                    // A used worker has no setup.
                    Phase::Setup if !span.cold => {}
                    _ => samples.add(us, weight),
                }
            }
        }
    }
    let mut rows = Vec::new();
    for (phase, samples) in Phase::ALL.into_iter().zip(samples) {
        if phase == Phase::Start {
            rows.extend(std::mem::take(&mut cold_starts).row("start, cold"));
            rows.extend(samples.row("start, warm"));
        } else {
            rows.extend(samples.row(phase.name()));
        }
    }
    rows
}

fn causes(spans: &[Span], retried: bool) -> Vec<Cause> {
    let mut causes = BTreeMap::<&str, (u64, u64)>::new();
    for span in spans {
        let class = match &span.ended {
            Ended::Retried { class, .. } if retried => class,
            Ended::Failed { class, .. } if !retried => class,
            _ => continue,
        };
        let cause = causes.entry(class).or_default();
        cause.0 += span.count();
        cause.1 += span.busy();
    }
    let cause = |(class, (count, compute_us)): (&str, _)| Cause { class: class.to_owned(), count, compute_us };
    let mut causes: Vec<_> = causes.into_iter().map(cause).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    causes
}

fn stragglers(spans: &[Span]) -> Stragglers {
    // Tasks of one batch are short, and only their total time is known.
    let mean = |span: &Span| length(span, Phase::Compute) / span.count().max(1);
    let mut all = Samples::default();
    spans.iter().for_each(|span| all.add(mean(span), span.count()));
    let median = all.row("").map_or(0, |row| row.p50_us);
    let from_us = (STRAGGLER * median).max(STRAGGLER_FLOOR_US);
    let mut late: Vec<_> = spans.iter().filter(|span| mean(span) > from_us).collect();
    late.sort_by_key(|span| std::cmp::Reverse(mean(span)));
    let listed = late.iter().take(LISTED).map(|span| Straggler { task: span.tasks.start, compute_us: mean(span) });
    Stragglers { from_us, longest: listed.collect(), count: late.iter().map(|span| span.count()).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{done, log, read};

    #[test]
    fn percentiles_cover_all_tasks() {
        let mut samples = Samples::default();
        (1..=100).rev().for_each(|us| samples.add(us, 1));
        let row = samples.row("x").unwrap();
        assert_eq!((row.count, row.p50_us, row.p95_us, row.p99_us, row.max_us), (100, 50, 95, 99, 100));
        assert!((row.mean_us - 50.5).abs() < 1e-9 && (row.std_us - 28.866).abs() < 1e-3, "{row:?}");
        let mut weighted = Samples::default();
        weighted.add(7, 99);
        weighted.add(1_000, 1);
        let row = weighted.row("x").unwrap();
        assert_eq!((row.p50_us, row.p99_us, row.max_us), (7, 7, 1_000));
        assert_eq!(Samples::default().row("x"), None);
    }

    #[test]
    fn a_batch_counts_as_successive_tasks() {
        // Ten tasks of 1 ms each, sent and observed together.
        let timeline = read(&log(1, &[done(0, 10, [0, 0, 0, 0, 0, 10_000, 0], 10_000)]));
        let report = Report::of(&timeline);
        let row = |name| report.phases.iter().find(|row| row.name == name).unwrap();
        assert_eq!((row("compute").count, row("compute").p50_us, row("compute").max_us), (10, 1_000, 1_000));
        assert_eq!((row("turn").p50_us, row("turn").max_us), (4_000, 9_000));
        assert_eq!(row("commit").max_us, 9_000);
        assert!((report.speed_up - 1.0).abs() < 1e-6 && (report.throughput_per_s - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn stragglers_and_causes_are_counted() {
        let mut lines: Vec<_> = (0..9).map(|task| done(task, 1, [0, 0, 0, 0, 0, 1_000, 0], 1_000)).collect();
        lines.push(done(9, 1, [0, 0, 0, 0, 0, 50_000, 0], 50_000));
        lines.push(
            r#"{"event":"retry","t":0.002,"task":3,"attempt":1,"class":"worker_died","after_ms":5,"compute_us":700}"#
                .to_owned(),
        );
        let timeline = read(&log(2, &lines));
        let report = Report::of(&timeline);
        // The median is a millisecond, so the minimum duration of a straggler applies.
        assert_eq!((report.stragglers.count, report.stragglers.from_us), (1, 10_000));
        assert_eq!(report.stragglers.longest, [Straggler { task: 9, compute_us: 50_000 }]);
        assert_eq!(report.retries, [Cause { class: "worker_died".to_owned(), count: 1, compute_us: 700 }]);
        assert!(report.failures.is_empty());
    }

    #[test]
    fn a_job_without_tasks_has_a_report() {
        let timeline = read(&log(2, &[]));
        let report = Report::of(&timeline);
        assert!(report.phases.is_empty() && report.stragglers.count == 0);
        serde_json::to_string(&report).unwrap();
    }
}
