//! What a page shows: one job, or all stages of a computation, such as a MapReduce, on one time axis.

use serde::Serialize;
use wren::history::{JobState, JobSummary, Timeline};

/// One job, or all jobs of a computation.
pub(crate) struct Whole {
    pub(crate) timeline: Timeline,
    /// The stages; none if the job is not a stage of a computation.
    pub(crate) stages: Vec<StageRow>,
}

/// One stage of a computation.
#[derive(Debug, Serialize)]
pub(crate) struct StageRow {
    pub(crate) name: String,
    /// When it started and ended, in microseconds since the start of the first stage.
    pub(crate) time: [u64; 2],
    /// The first of its attempts in the timeline, and the first of the next stage.
    pub(crate) spans: [usize; 2],
    pub(crate) job: JobSummary,
}

impl Whole {
    /// Puts the latest runs of these jobs, which are stages of one computation, on one time axis. A job that is no
    /// stage remains as it is. Returns `None` without jobs.
    pub(crate) fn of(mut jobs: Vec<Timeline>) -> Option<Self> {
        jobs.sort_by_key(|timeline| timeline.job.stage.as_ref().map(|stage| stage.number));
        let mut timeline = jobs.first()?.clone();
        let Some(first) = timeline.job.stage.clone() else { return Some(Self { timeline, stages: Vec::new() }) };
        let started_unix_ms = jobs.iter().map(|one| one.job.started_unix_ms).min()?;
        timeline.spans.clear();
        let mut stages = Vec::new();
        for one in jobs {
            let shift = (one.job.started_unix_ms - started_unix_ms).saturating_mul(1_000);
            let run = one.runs.last().cloned().unwrap_or_default();
            let latest = one.runs.len().saturating_sub(1);
            let place = |moment: u64| moment.saturating_sub(run.start).saturating_add(shift);
            let before = timeline.spans.len();
            for mut span in one.spans.into_iter().filter(|span| span.run == latest) {
                span.run = 0;
                span.moments = span.moments.map(place);
                timeline.spans.push(span);
            }
            stages.push(StageRow {
                name: one.job.stage.as_ref().map(|stage| stage.name.clone()).unwrap_or_default(),
                time: [place(run.start), place(run.end)],
                spans: [before, timeline.spans.len()],
                job: one.job,
            });
            timeline.clock_error_us = timeline.clock_error_us.max(one.clock_error_us);
            timeline.about.memory_mb = timeline.about.memory_mb.max(one.about.memory_mb);
        }
        let end = stages.iter().map(|stage| stage.time[1]).max()?;
        timeline.runs = std::iter::once(0..end).collect();
        timeline.job = sum(&stages, timeline.job);
        timeline.job.id = first.run;
        timeline.job.function = first.of;
        timeline.job.started_unix_ms = started_unix_ms;
        timeline.job.wall_s = end as f64 / 1e6;
        Some(Self { timeline, stages })
    }
}

/// Returns the summary of all stages.
fn sum(stages: &[StageRow], first: JobSummary) -> JobSummary {
    let jobs = || stages.iter().map(|stage| &stage.job);
    let mut job = first;
    job.name = None;
    job.runs = 1;
    job.workers = jobs().map(|job| job.workers).max().unwrap_or_default();
    job.tasks = jobs().map(|job| job.tasks).sum();
    job.done = jobs().map(|job| job.done).sum();
    job.failed = jobs().map(|job| job.failed).sum();
    job.retried = jobs().map(|job| job.retried).sum();
    job.running = jobs().map(|job| job.running).sum();
    job.queued = jobs().map(|job| job.queued).sum();
    job.compute_s = jobs().map(|job| job.compute_s).sum();
    job.usd = jobs().map(|job| job.usd).sum();
    job.peak_mb = jobs().map(|job| job.peak_mb).max().unwrap_or_default();
    // The first stage that did not succeed ended the computation.
    let ended = jobs().find(|job| job.state != JobState::Done).or_else(|| jobs().next_back());
    if let Some(ended) = ended {
        job.state = ended.state;
        job.reason.clone_from(&ended.reason);
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::path::CriticalPath;
    use crate::report::tests::{done, log, read};

    /// Returns the log of a stage that started at `unix_ms`.
    fn stage(name: &str, number: u32, unix_ms: u64, lines: &[String]) -> String {
        let stage = format!(r#""stage":{{"run":"r1","of":"demo::Count","name":"{name}","number":{number}}},"pid":1"#);
        let text = log(2, lines).replace(r#""pid":1"#, &stage);
        text.replace(r#""started_unix_ms":0"#, &format!(r#""started_unix_ms":{unix_ms}"#))
    }

    #[test]
    fn stages_follow_each_other_on_one_time_axis() {
        let end = |state: &str| {
            format!(
                r#"{{"event":"end","t":0.05,"state":"{state}","done":1,"failed":0,"retried":0,"compute_s":0.03,
                "wall_s":0.05,"usd":0.5,"reason":"no more money"}}"#
            )
            .replace('\n', "")
        };
        let task = done(0, 1, [0, 0, 10_000, 0, 0, 30_000, 0], 50_000);
        let map = stage("map", 1, 1_000, &[task.clone(), end("done")]);
        // The earlier run of a named job is not part of this run of the computation.
        let earlier = stage("reduce", 2, 7, std::slice::from_ref(&task)).replace("\"r1\"", "\"r0\"");
        let reduce = earlier + &stage("reduce", 2, 1_060, &[task, end("cancelled")]);
        let whole = Whole::of(vec![read(&reduce), read(&map)]).unwrap();
        let names: Vec<_> = whole.stages.iter().map(|stage| (stage.name.as_str(), stage.time, stage.spans)).collect();
        assert_eq!(names, [("map", [0, 50_000], [0, 1]), ("reduce", [60_000, 110_000], [1, 2])]);
        let timeline = &whole.timeline;
        assert_eq!((timeline.spans.len(), timeline.runs.as_slice()), (2, std::slice::from_ref(&(0..110_000))));
        assert_eq!((timeline.spans[1].moments[3], timeline.spans[1].received()), (70_000, 110_000));
        let job = &timeline.job;
        assert_eq!((job.id.as_str(), job.function.as_str(), job.state), ("r1", "demo::Count", JobState::Cancelled));
        assert_eq!((job.reason.as_deref(), job.wall_s, job.usd), (Some("no more money"), 0.11, 1.0));
    }

    #[test]
    fn a_retry_waits_for_the_next_attempt_of_its_own_stage() {
        let retry = r#"{"event":"retry","t":0.02,"task":0,"attempt":1,"class":"worker_died","after_ms":5,
            "compute_us":20000}"#
            .replace('\n', "");
        // Queued again after a pause of 20 ms; ran until 70 ms.
        let again =
            done(0, 1, [40_000, 40_000, 40_000, 0, 0, 30_000, 0], 70_000).replace("\"attempt\":1", "\"attempt\":2");
        let lines = [retry, again];
        let map = read(&stage("map", 1, 1_000, &lines));
        let reduce = read(&stage("reduce", 2, 1_070, &lines));
        let whole = Whole::of(vec![map, reduce]).unwrap();
        let path = CriticalPath::of(&whole.timeline);
        let pause = path.shares.iter().find(|share| share.name == "pause").unwrap();
        assert!((pause.share - 40.0 / 140.0).abs() < 1e-9, "{path:?}");
    }

    #[test]
    fn a_job_of_its_own_remains_as_it_is() {
        let timeline = read(&log(2, &[done(0, 4, [0, 0, 0, 0, 0, 1_000, 0], 1_000)]));
        let spans = timeline.spans.clone();
        let whole = Whole::of(vec![timeline]).unwrap();
        assert!(whole.stages.is_empty());
        assert_eq!(whole.timeline.spans, spans);
    }
}
