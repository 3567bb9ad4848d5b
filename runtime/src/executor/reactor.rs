//! The reactor: a thread that handles replies and timers while no other thread does.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::core::{Core, Entry, REPORT_EVERY};
use super::output::TaskOutput;
use super::{OutcomeQueue, Pending, ResultCommitter, Settings, backend_of, is_quiet};
use crate::attempt::TaskBlock;
use crate::config::Config;
use crate::function::{Args, Limits, RemoteFn, registry};
use crate::history::{self, About, Forecast, Inputs, JobLog, LogPlace, Note, SharedLog, spans};
use crate::platform::{self, Notifier};
use crate::scheduler::{JobKey, JobSpec};
use crate::store::Store;

/// Interval at which the reactor checks while there are jobs, even without being notified: a thread that does the
/// reactor's work may be blocked in the program's iterator, or a worker may have been killed before it notified.
const LOOK_ANYWAY: Duration = Duration::from_millis(20);

/// How long a thread that awaits a short call polls for its result before it sleeps.
const WATCH: Duration = Duration::from_micros(50);

/// The key that is returned for a job that was refused.
pub(super) const NO_JOB: JobKey = JobKey::MAX;

/// The part of an executor that its reactor thread shares. The thread ends after `Inner` is dropped.
#[derive(Debug)]
pub(crate) struct Reactor {
    pub(super) core: Mutex<Core>,
    pub(super) notifier: Notifier,
    pub(super) clock: Instant,
    pub(super) output: Arc<TaskOutput>,
    pub(crate) config: Config,
    pub(super) store: Arc<dyn Store>,
}

/// The executors of this process, so that all calls can be cancelled when it is asked to exit.
static ALL: Mutex<Vec<Weak<Reactor>>> = Mutex::new(Vec::new());
/// Whether all calls of this process were cancelled.
static CANCELLED: AtomicBool = AtomicBool::new(false);

pub(super) fn all() -> MutexGuard<'static, Vec<Weak<Reactor>>> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|reactor| reactor.strong_count() > 0);
    all
}

pub(super) fn is_cancelled() -> bool {
    CANCELLED.load(Ordering::Acquire)
}

/// Ends all calls of this process, running and future ones, with [`Error::Cancelled`](crate::Error::Cancelled).
pub(crate) fn cancel_all() {
    CANCELLED.store(true, Ordering::Release);
    let all: Vec<_> = all().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|reactor| reactor.cancel_all());
}

/// Runs the reactor thread: handles replies and timers while no other thread does.
pub(super) fn react(reactor: &Weak<Reactor>, notifier: &Notifier) {
    loop {
        let Some(strong) = reactor.upgrade() else { return };
        notifier.set_asleep();
        let Some(wait) = strong.turn() else { return };
        drop(strong);
        notifier.sleep(wait);
    }
}

impl Reactor {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is a bug in wren. Continuing is better than a program that hangs.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one turn of the reactor. Returns how long the reactor may sleep, or `None` if the executor has stopped.
    fn turn(&self) -> Option<Option<Duration>> {
        let mut core = self.lock();
        if core.stopped {
            return None;
        }
        let now = self.clock.elapsed();
        let pumped = core.guarded(|core| {
            core.submit_for_idle_workers(now);
            core.pump(now)
        });
        core.next_look = pumped.flatten();
        if !core.jobs.is_empty() {
            let anyway = now + LOOK_ANYWAY;
            core.next_look = Some(core.next_look.map_or(anyway, |at| at.min(anyway)));
        }
        let wait = core.next_look.map(|at| at.saturating_sub(now));
        self.unlock(core);
        Some(wait)
    }

    /// Does the reactor's work once, on the calling thread.
    pub(crate) fn pump(&self) {
        if platform::is_forked() {
            return;
        }
        self.with_core(|_, _| ());
    }

    /// Runs `act` under the lock, then does the reactor's work. Returns `None` if the executor is broken.
    fn with_core<T>(&self, act: impl FnOnce(&mut Core, Duration) -> T) -> Option<T> {
        let mut core = self.lock();
        let now = self.clock.elapsed();
        let done = core.guarded(|core| (act(core, now), core.pump(now)));
        let Some((value, next)) = done else {
            self.unlock(core);
            return None;
        };
        if next.is_some_and(|next| core.next_look.is_none_or(|known| next < known)) {
            // The reactor would sleep too long.
            core.next_look = next;
            self.notifier.notify_always();
        }
        self.unlock(core);
        Some(value)
    }

    /// Releases the lock, then wakes the waiting tasks, because they may need the lock.
    fn unlock(&self, mut core: MutexGuard<'_, Core>) {
        if core.wakers.is_empty() {
            return;
        }
        let wakers = std::mem::take(&mut core.wakers);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn open_job(
        &self,
        mut spec: JobSpec,
        outcomes: Arc<OutcomeQueue>,
        committer: Option<Arc<ResultCommitter>>,
        pending: Option<Arc<Pending>>,
        log: SharedLog,
    ) -> JobKey {
        if let Some(run) = &spec.run {
            self.output.open(run, &log);
        }
        spec.concurrency = spec.concurrency.or(self.config.at_once);
        let mut core = self.lock();
        let entry = Entry { pending, committer, log: Some(log), ..Entry::new(outcomes) };
        let opened = if core.refuses { None } else { core.guarded(|core| core.scheduler.open(spec)) };
        let Some(job) = opened else {
            core.refuse(&entry);
            self.unlock(core);
            return NO_JOB;
        };
        let now = self.clock.elapsed();
        core.add(job, entry, Some(now + REPORT_EVERY));
        if core.next_look.is_none_or(|at| at > now + LOOK_ANYWAY) {
            // There was no job before, so the reactor may sleep for a long time.
            core.next_look = Some(now + LOOK_ANYWAY);
            self.notifier.notify_always();
        }
        job
    }

    /// Starts the log of a job. `claimed` is its log file, if the job was claimed before.
    pub(crate) fn begin_log(
        &self,
        log: &SharedLog,
        id: &str,
        settings: &Settings,
        function: &str,
        tasks: Option<u64>,
        claimed: Option<File>,
    ) {
        let config = &self.config;
        let store = self.store.url();
        let folder = history::folder(&config.directory, id, &store);
        let about = About {
            id: folder.file_name().map_or_else(|| id.to_owned(), |name| name.to_string_lossy().into_owned()),
            name: settings.name.clone(),
            function: function.to_owned(),
            tasks,
            backend: backend_of(config).to_owned(),
            store,
            workers: config.workers,
            memory_mb: registry::find(function).ok().and_then(|function| function.memory_mb),
            stage: settings.stage.clone(),
            program: platform::own_path().unwrap_or_default(),
        };
        let quiet = self.is_quiet(settings);
        let place = match claimed {
            Some(file) => LogPlace::Open(file, folder.clone()),
            None if !config.logs || config.history == 0 => LogPlace::Nowhere,
            None => {
                let place = LogPlace::New { folder: folder.clone(), history: config.history };
                // Other processes may check at any time whether a job of that name is running.
                if settings.name.is_some() { place.opened() } else { place }
            }
        };
        let most = config.keep_inputs;
        let inputs = (most > 0 && !matches!(place, LogPlace::Nowhere)).then(|| (Inputs::new(&folder, most), most));
        let forecast = forecast_of(&about.backend);
        let job_log = JobLog::new(about, quiet, place, forecast, self.clock);
        log.begin(job_log, inputs);
    }

    /// Returns whether wren shows nothing of a job with these settings.
    pub(crate) fn is_quiet(&self, settings: &Settings) -> bool {
        settings.quiet || is_quiet(&self.config)
    }

    pub(crate) fn submit(&self, job: JobKey, block: TaskBlock) {
        self.with_core(|core, now| core.submit(job, block, now));
    }

    /// Returns the mean duration of a call of this function, if one was measured.
    pub(crate) fn estimate(&self, function: &'static RemoteFn) -> Option<Duration> {
        self.lock().scheduler.estimate(function.id())
    }

    pub(crate) fn close(&self, job: JobKey) {
        self.with_core(|core, _| {
            let Core { scheduler, updates, .. } = core;
            scheduler.close(job, updates);
        });
    }

    pub(super) fn cancel_all(&self) {
        self.with_core(|core, _| {
            let jobs: Vec<JobKey> = core.jobs.keys().copied().collect();
            for job in jobs {
                let Core { scheduler, updates, .. } = core;
                scheduler.cancel(job, updates);
                if let Some(entry) = core.jobs.remove(&job) {
                    if let Some(log) = &entry.log {
                        log.note(Note::End("cancelled"));
                    }
                    core.refuse(&entry);
                }
            }
            core.refuses = true;
        });
    }

    /// Removes a job and stops its running calls.
    pub(crate) fn cancel(&self, job: JobKey) {
        if platform::is_forked() {
            return;
        }
        let known = self.with_core(|core, _| {
            let known = core.jobs.remove(&job);
            if known.is_some() {
                let Core { scheduler, updates, .. } = core;
                scheduler.cancel(job, updates);
            }
            known
        });
        drop(known.flatten());
    }

    /// Submits a job with a single call.
    pub(crate) fn submit_one(
        &self,
        function: &'static RemoteFn,
        limits: Limits,
        args: Args,
        outcomes: Arc<OutcomeQueue>,
    ) -> JobKey {
        let mut block = TaskBlock::new(function, limits, 0);
        block.set_traceparent(spans::current());
        block.push(args);
        let entry = Entry::new(outcomes.clone());
        let job = self.with_core(|core, now| {
            if core.refuses {
                return NO_JOB;
            }
            let job = core.scheduler.open(JobSpec::default());
            core.add_lone(job, entry, function.name, now);
            core.scheduler.submit(job, Arc::new(block), now);
            let Core { scheduler, updates, .. } = core;
            scheduler.close(job, updates);
            job
        });
        job.filter(|job| *job != NO_JOB).unwrap_or_else(|| {
            let mut core = self.lock();
            core.refuse(&Entry::new(outcomes));
            self.unlock(core);
            NO_JOB
        })
    }

    /// Whether calls of this function are so short that polling for the result is faster than sleeping.
    pub(crate) fn is_short(&self, function: &'static RemoteFn) -> bool {
        self.estimate(function).is_some_and(|mean| mean < WATCH / 2)
    }

    /// Does the reactor's work, for at most about [`WATCH`], until `done` returns `true`. Returns whether it did.
    pub(crate) fn watch(&self, mut done: impl FnMut() -> bool) -> bool {
        let suppressed = self.notifier.suppress();
        let start = Instant::now();
        let mut looks = 0u32;
        let found = loop {
            self.pump();
            if done() {
                break true;
            }
            looks += 1;
            if looks.is_multiple_of(16) {
                if start.elapsed() > WATCH {
                    break false;
                }
                thread::yield_now();
            }
            std::hint::spin_loop();
        };
        if suppressed {
            self.notifier.set_asleep();
            self.pump();
        }
        found || done()
    }

    /// Keeps the reactor asleep while the calling thread does its work. Replies that arrive after the thread's last
    /// `pump` are handled when the guard is dropped, or when the reactor wakes up by itself.
    pub(crate) fn suppress_reactor(&self) -> SuppressGuard<'_> {
        SuppressGuard(self.notifier.suppress().then_some(self))
    }
}

pub(crate) struct SuppressGuard<'a>(Option<&'a Reactor>);

impl Drop for SuppressGuard<'_> {
    fn drop(&mut self) {
        if let Some(reactor) = self.0 {
            reactor.notifier.set_asleep();
            reactor.pump();
        }
    }
}

#[cfg(feature = "sim")]
fn forecast_of(backend: &str) -> Option<Box<dyn Forecast>> {
    let watch = crate::sim::JobForecast::of(backend)?;
    Some(Box::new(watch))
}

#[cfg(not(feature = "sim"))]
fn forecast_of(_backend: &str) -> Option<Box<dyn Forecast>> {
    None
}
