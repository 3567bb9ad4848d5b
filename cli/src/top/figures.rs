//! The figures of one job, which each new line of its log updates. Their size does not depend on the number of tasks.

use wren::history::{Event, LongestTask, Phase};

use super::series::{Recent, Series};

/// Maximum number of causes of failures, and of failed and of slow tasks that are listed.
const CAUSES: usize = 32;
const FAILED: usize = 50;
const SLOWEST: usize = 10;

/// Figures of the latest run of a job.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// Memory limit of a call, in MB.
    pub(super) memory_mb: Option<u32>,
    /// Tasks done, over time.
    pub(super) done: Series,
    pub(super) recent: Recent,
    /// Running tasks, over time.
    pub(super) running: Series,
    pub(super) causes: Vec<Cause>,
    /// Time that attempts spent in each phase, in microseconds; for `queue`, multiplied by the number of tasks.
    phases: [u64; Phase::ALL.len()],
    /// Number of tasks of these attempts.
    attempts: u64,
    longest: Vec<LongestTask>,
    failed: Vec<TaskRow>,
    slowest: Vec<TaskRow>,
}

/// Failures of one class.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    pub(super) class: String,
    /// Tasks that failed permanently.
    pub(super) failed: u64,
    /// Attempts that were repeated.
    pub(super) retried: u64,
    /// The first line of the first message.
    pub(super) example: String,
}

/// A task that is worth a look.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TaskRow {
    pub(super) task: u64,
    pub(super) attempt: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// It has run for this long, in seconds.
    Runs(f64),
    /// It failed with this message.
    Failed(String),
    /// It was done after it had computed this long, in seconds.
    Done(f64),
}

/// The share of a phase in the time of all attempts, waiting for a worker excepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PhaseRow {
    pub(super) name: &'static str,
    /// `None` for the time before a worker is free.
    pub(super) share: Option<f64>,
    /// Mean per task, in seconds.
    pub(super) mean_s: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            memory_mb: None,
            done: Series::sums(),
            recent: Recent::default(),
            running: Series::maxima(),
            causes: Vec::new(),
            phases: Default::default(),
            attempts: 0,
            longest: Vec::new(),
            failed: Vec::new(),
            slowest: Vec::new(),
        }
    }
}

impl Figures {
    pub(super) fn add(&mut self, event: &Event) {
        if let Some(phases) = event.phases() {
            self.add_phases(event, &phases);
        }
        match event {
            // Another run of the job starts here.
            Event::Job { about, .. } => *self = Self { memory_mb: about.memory_mb, ..Self::default() },
            Event::Done { t, first, count, new, attempt, times, .. } => {
                self.done.add(*t, *new as f64);
                self.recent.add(*t, *new);
                self.longest.retain(|running| !(*first..first.saturating_add(*count)).contains(&running.task));
                let compute_s = times.compute_us as f64 / 1e6 / (*count).max(1) as f64;
                self.add_slow(*first, *attempt, compute_s);
            }
            Event::Failed { task, attempt, class, message, .. } => {
                self.longest.retain(|running| running.task != *task);
                let message = first_line(message);
                self.cause(class, message, |cause| cause.failed += 1);
                if self.failed.len() < FAILED {
                    let what = What::Failed(message.to_owned());
                    self.failed.push(TaskRow { task: *task, attempt: *attempt, what });
                }
            }
            Event::Retry { task, class, message, .. } => {
                self.longest.retain(|running| running.task != *task);
                self.cause(class, first_line(message), |cause| cause.retried += 1);
            }
            Event::Progress { t, running, longest, .. } => {
                self.running.add(*t, *running as f64);
                self.longest.clear();
                self.longest.extend(longest.iter().take(SLOWEST));
            }
            Event::End { .. } => self.longest.clear(),
            _ => {}
        }
    }

    fn add_phases(&mut self, event: &Event, phases: &[u64; Phase::ALL.len()]) {
        let tasks = if let Event::Done { count, .. } = event { *count } else { 1 };
        self.attempts = self.attempts.saturating_add(tasks);
        for ((phase, sum), us) in Phase::ALL.into_iter().zip(&mut self.phases).zip(phases) {
            // All tasks of a batch wait for a worker at the same time, and share the time of the other phases.
            let us = if phase == Phase::Queue { us.saturating_mul(tasks) } else { *us };
            *sum = sum.saturating_add(us);
        }
    }

    fn add_slow(&mut self, task: u64, attempt: u32, compute_s: f64) {
        let is_full = self.slowest.len() >= SLOWEST;
        let seconds = |row: &TaskRow| if let What::Done(seconds) = row.what { seconds } else { 0.0 };
        if is_full && self.slowest.last().is_some_and(|last| seconds(last) >= compute_s) {
            return;
        }
        let place = self.slowest.partition_point(|row| seconds(row) >= compute_s);
        self.slowest.insert(place, TaskRow { task, attempt, what: What::Done(compute_s) });
        self.slowest.truncate(SLOWEST);
    }

    fn cause(&mut self, class: &str, message: &str, count: impl FnOnce(&mut Cause)) {
        let index = self.causes.iter().position(|cause| cause.class == class);
        let index = index.or_else(|| {
            let cause = Cause { class: class.to_owned(), failed: 0, retried: 0, example: message.to_owned() };
            (self.causes.len() < CAUSES).then(|| self.causes.push(cause)).map(|()| self.causes.len() - 1)
        });
        if let Some(index) = index {
            count(&mut self.causes[index]);
        }
    }

    /// Returns the tasks that are worth a look: those that have run longest at `now`, in seconds, then those that
    /// failed, then the slowest that are done.
    pub(super) fn tasks(&self, now: f64) -> Vec<TaskRow> {
        let running = self.longest.iter().map(|running| TaskRow {
            task: running.task,
            attempt: running.attempt,
            what: What::Runs((now - running.since).max(0.0)),
        });
        let mut rows: Vec<TaskRow> = Vec::new();
        for row in running.chain(self.failed.iter().cloned()).chain(self.slowest.iter().cloned()) {
            // A copy of a task that failed or is done may still run.
            if rows.iter().all(|earlier| earlier.task != row.task) {
                rows.push(row);
            }
        }
        rows
    }

    /// Returns the phases in which attempts spent any time, in order.
    pub(super) fn phases(&self) -> Vec<PhaseRow> {
        let is_waiting = |phase: Phase| phase == Phase::Queue;
        let all = || Phase::ALL.into_iter().zip(self.phases);
        let whole: u64 = all().filter(|(phase, _)| !is_waiting(*phase)).map(|(_, us)| us).sum();
        let rows = all().filter(|(_, us)| *us > 0).map(|(phase, us)| PhaseRow {
            name: phase.name(),
            share: (!is_waiting(phase)).then(|| us as f64 / whole.max(1) as f64),
            mean_s: us as f64 / 1e6 / self.attempts.max(1) as f64,
        });
        rows.collect()
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}
