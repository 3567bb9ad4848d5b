//! Finds out what the job waited for at each moment of its latest run.

use std::collections::HashMap;

use serde::Serialize;
use wren::history::{Ended, Phase, Timeline};

use super::advice::Facts;

/// Minimum share of the wall time that gets a sentence.
const WORTH_A_SENTENCE: f64 = 0.05;

/// The ways in which a moment of the wall time can be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum On {
    /// As many functions ran as possible.
    Compute,
    /// As many workers as possible were busy, and these decoded arguments.
    Decode,
    /// As many workers as possible were busy, and these encoded results.
    Encode,
    /// Fewer functions ran, because there were no more tasks for the other workers.
    Tail,
    /// Tasks were ready, but neither running nor on their way to a worker.
    Concurrency,
    /// Workers were started, or tasks were sent to them.
    Start,
    /// Workers waited for arguments.
    Fetch,
    /// Outcomes were written.
    Commit,
    /// Outcomes were written, but the driver had not observed them.
    Observe,
    /// Failed tasks waited before a retry.
    Pause,
    /// There were no tasks: the program was creating them, or handling results.
    Driver,
}

const ALL: [On; 11] = [
    On::Compute,
    On::Decode,
    On::Encode,
    On::Tail,
    On::Concurrency,
    On::Start,
    On::Fetch,
    On::Commit,
    On::Observe,
    On::Pause,
    On::Driver,
];

impl On {
    fn name(self) -> &'static str {
        match self {
            On::Compute => "compute",
            On::Decode => "decode",
            On::Encode => "encode",
            On::Tail => "tail",
            On::Concurrency => "concurrency",
            On::Start => "start",
            On::Fetch => "fetch",
            On::Commit => "commit",
            On::Observe => "observe",
            On::Pause => "pause",
            On::Driver => "driver",
        }
    }
}

/// The wall time of the latest run, divided by what it was spent on.
#[derive(Debug, Serialize)]
pub(crate) struct CriticalPath {
    /// One sentence for each of the large parts.
    pub(crate) sentences: Vec<String>,
    /// All parts, the largest first. They add up to 1.
    pub(crate) shares: Vec<Share>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) name: &'static str,
    pub(crate) share: f64,
}

/// Numbers of attempts at one moment.
#[derive(Default)]
struct Now {
    /// Attempts in each phase.
    phases: [i64; Phase::COUNT],
    /// Attempts that wait for a retry.
    pausing: i64,
}

impl Now {
    fn in_phase(&self, phase: Phase) -> bool {
        self.phases[phase as usize] > 0
    }

    /// Returns the number of busy workers.
    fn busy(&self) -> i64 {
        Phase::BUSY.into_iter().map(|phase| self.phases[phase as usize]).sum()
    }

    /// Returns what the moment is spent on, as parts that add up to 1. Busy workers may decode, compute and encode at
    /// the same time.
    fn parts(&self, most: i64) -> Vec<(On, f64)> {
        match self.on(most) {
            On::Compute => {
                let part = |(on, phase)| (on, self.phases[phase as usize] as f64 / self.busy() as f64);
                let all = [(On::Decode, Phase::Decode), (On::Compute, Phase::Compute), (On::Encode, Phase::Encode)];
                all.into_iter().map(part).collect()
            }
            on => vec![(on, 1.0)],
        }
    }

    /// Returns the first thing that would have to be faster to make the job shorter. `most` is the maximum number of
    /// functions that can run at once.
    fn on(&self, most: i64) -> On {
        let running = self.busy();
        if running >= most {
            return On::Compute;
        }
        if self.in_phase(Phase::Start) || self.in_phase(Phase::Setup) {
            return On::Start;
        }
        if self.in_phase(Phase::Fetch) {
            return On::Fetch;
        }
        if self.in_phase(Phase::Queue) {
            return On::Concurrency;
        }
        if running > 0 {
            return On::Tail;
        }
        if self.in_phase(Phase::Commit) {
            return On::Commit;
        }
        if self.in_phase(Phase::Observe) {
            return On::Observe;
        }
        if self.pausing > 0 { On::Pause } else { On::Driver }
    }
}

impl CriticalPath {
    pub(crate) fn of(timeline: &Timeline) -> Self {
        let none = Self { sentences: Vec::new(), shares: Vec::new() };
        let Some(run) = timeline.runs.last().filter(|run| run.end > run.start) else { return none };
        let latest = timeline.runs.len() - 1;
        let spans: Vec<_> = timeline.spans.iter().filter(|span| span.run == latest).collect();
        // (moment, phase, +1 or -1). After the last phase comes a pause.
        const PAUSE: usize = Phase::COUNT;
        let mut steps: Vec<(u64, usize, i64)> = Vec::with_capacity(2 * PAUSE * spans.len());
        // Stages of a computation have tasks with the same numbers, and follow each other.
        let mut again = HashMap::<_, Vec<u64>>::new();
        for span in spans.iter().filter(|span| span.attempt > 1) {
            for task in span.tasks.clone() {
                again.entry((task, span.attempt)).or_default().push(span.moments[0]);
            }
        }
        for span in &spans {
            for phase in Phase::ALL {
                let part = span.phase(phase);
                if part.start < part.end {
                    steps.extend([(part.start, phase as usize, 1), (part.end, phase as usize, -1)]);
                }
            }
            if let Ended::Retried { .. } = span.ended {
                let from = span.received();
                let next = again.get(&(span.tasks.start, span.attempt + 1)).into_iter().flatten();
                let until = next.copied().filter(|queued| *queued >= from).min().unwrap_or(run.end);
                if from < until {
                    steps.extend([(from, PAUSE, 1), (until, PAUSE, -1)]);
                }
            }
        }
        steps.sort_unstable();
        let tasks: u64 = spans.iter().map(|span| span.count()).sum();
        let most = (timeline.job.workers as u64).min(tasks).max(1) as i64;
        let mut now = Now::default();
        // In microseconds.
        let mut spent = HashMap::<On, f64>::new();
        // The number of running workers multiplied by the duration, for each way to spend time.
        let mut ran = HashMap::<On, f64>::new();
        let mut reached = run.start;
        let mut account = |now: &Now, reached: &mut u64, until: u64| {
            let until = until.clamp(*reached, run.end);
            let us = (until - *reached) as f64;
            for (on, part) in now.parts(most) {
                *spent.entry(on).or_default() += us * part;
                *ran.entry(on).or_default() += us * part * now.busy() as f64;
            }
            *reached = until;
        };
        for (moment, phase, step) in steps {
            account(&now, &mut reached, moment);
            match phase {
                PAUSE => now.pausing += step,
                phase => now.phases[phase] += step,
            }
        }
        account(&now, &mut reached, run.end);
        let wall = (run.end - run.start) as f64;
        let mut parts: Vec<_> = ALL.into_iter().filter_map(|on| Some((on, *spent.get(&on)?))).collect();
        parts.retain(|(_, us)| *us > 0.0);
        parts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let busy = |on: On, us: f64| ran.get(&on).map_or(0.0, |ran| ran / us);
        let large = parts.iter().filter(|(_, us)| *us >= WORTH_A_SENTENCE * wall);
        let facts = Facts::of(timeline, &spans, most);
        Self {
            sentences: facts.sentences(large.map(|(on, us)| (*on, us / wall, busy(*on, *us)))),
            shares: parts.iter().map(|(on, us)| Share { name: on.name(), share: us / wall }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{done, log, read};

    fn shares(workers: usize, lines: &[String]) -> Vec<(&'static str, u32)> {
        let path = CriticalPath::of(&read(&log(workers, lines)));
        let total: f64 = path.shares.iter().map(|share| share.share).sum();
        assert!((total - 1.0).abs() < 1e-9, "{path:?}");
        path.shares.iter().map(|share| (share.name, (share.share * 100.0).round() as u32)).collect()
    }

    #[test]
    fn full_use_is_compute_and_the_rest_is_tail() {
        // Two workers; one task of 100 ms and one of 40.
        let long = done(0, 1, [0, 0, 0, 0, 0, 100_000, 0], 100_000);
        let short = done(1, 1, [0, 0, 0, 0, 0, 40_000, 0], 40_000);
        assert_eq!(shares(2, &[short, long]), [("tail", 60), ("compute", 40)]);
    }

    #[test]
    fn idle_ready_tasks_wait_for_concurrency() {
        // Only one of four workers exists: three tasks wait 30, 60 and 90 ms for it.
        let task = |n: u64| done(n, 1, [0, n * 30_000, n * 30_000, 0, 0, 30_000, 0], (n + 1) * 30_000);
        let lines: Vec<_> = (0..4).map(task).collect();
        assert_eq!(shares(4, &lines), [("concurrency", 75), ("tail", 25)]);
        let path = CriticalPath::of(&read(&log(4, &lines)));
        assert!(path.sentences[0].starts_with("75% of the wall time: tasks waited for workers"), "{path:?}");
    }

    #[test]
    fn starts_arguments_pauses_and_driver_are_distinguished() {
        // Sent at 0, started at 10 ms, got its arguments at 15 ms, ran until 40 ms and failed.
        let times = r#""queued":0.0,"invoked":0.0,"started":0.01,"fetch_us":5000,"compute_us":25000"#;
        let failed =
            format!(r#"{{"event":"retry","t":0.04,"task":0,"attempt":1,"class":"worker_died","after_ms":20,{times}}}"#);
        // Ran again from 60 to 90 ms, was written until 95 ms and observed at 97 ms; the program ran until 100 ms.
        let times = r#""queued":0.06,"invoked":0.06,"started":0.06,"compute_us":30000,"commit_us":5000"#;
        let again = format!(
            r#"{{"event":"done","t":0.097,"first":0,"count":1,"new":1,"attempt":2,"bytes_out":1,"peak_mb":1,{times}}}"#
        );
        let end = r#"{"event":"end","t":0.1,"state":"done","done":1,"failed":0,"retried":1,"compute_s":0,"wall_s":0.1,"usd":0}"#;
        let found = shares(1, &[failed, again, end.to_owned()]);
        let expected =
            [("compute", 55), ("pause", 20), ("start", 10), ("fetch", 5), ("commit", 5), ("driver", 3), ("observe", 2)];
        assert_eq!(found, expected);
    }
}
