//! What runs jobs: a backend, a store and a scheduler, bound together.

mod waiter;

use std::collections::HashMap;
use std::fs::File;
use std::num::{NonZeroU64, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crate::attempt::{Block, Lines, Printed, Reply};
use crate::backend;
#[cfg(feature = "data")]
use crate::backend::Room;
use crate::backend::{Backend, Setup};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::faults::Faults;
use crate::function::{Args, Limits, RemoteFn, registry};
use crate::history::{About, Forecast, Inputs, JobLog, Note, Place, Ran, SharedLog, WeakLog, spans};
use crate::job::{Kept, Outcome, Pending, Port};
use crate::map::Settings;
use crate::platform::{self, Bell, UNKNOWN_DEPTH};
use crate::scheduler::{self, JobKey, JobSpec, Scheduler, Update};
use crate::store::{self, Store};

/// How often it is shown where jobs stand, and looked whether one is to be cancelled.
const STAND_EVERY: Duration = Duration::from_millis(200);

/// How soon the backend is asked again after it was told something: it may now have limits to enforce, and
/// nothing rings while a call just runs.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How often the reactor looks while there are jobs: a thread that does its work may be held up, by a program's iterator.
const LOOK_ANYWAY: Duration = Duration::from_millis(20);

/// How often it is looked whether all calls wait for others.
const LOOK_FOR_BLOCKED: Duration = Duration::from_millis(250);

/// Bytes of results that a job may have waiting for whoever takes them: beyond them its workers wait.
const MOST_RESULTS: usize = 64 << 20;

/// How long the thread that awaits a short call watches for its result before it sleeps.
const WATCH: Duration = Duration::from_micros(50);

/// Runs calls and jobs. Cheap to clone; the last clone's drop stops its workers.
///
/// Most programs never name one: calls go to the default executor, which is made from `WREN_*`
/// variables and `Wren.toml` when the first call is awaited. A test may want its own:
///
/// ```
/// # #[wren::remote] fn double(x: u64) -> u64 { 2 * x }
/// # wren::block_on(async {
/// let executor = wren::Executor::builder().backend("inline").workers(4).build()?;
/// let doubled = wren::map(double, 0..100).on(&executor).await?;
/// assert_eq!(doubled[21], 42);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Executor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// Tells it from others, with the executors of `levels`.
    family: u64,
    /// How deep the calls are nested that it is for.
    level: usize,
    /// Where calls go that calls on threads of this process make, by their depth: levels wait for deeper ones only.
    levels: Mutex<HashMap<usize, Executor>>,
}

/// What the reactor thread holds too; it ends when `Inner` is dropped.
#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    bell: Bell,
    clock: Instant,
    printing: Arc<Printing>,
    pub(crate) config: Config,
    store: Arc<dyn Store>,
}

struct Core {
    scheduler: Scheduler,
    backend: Box<dyn Backend>,
    jobs: HashMap<JobKey, Entry>,
    replies: Vec<Reply>,
    updates: Vec<Update>,
    wakers: Vec<Waker>,
    /// When the reactor looks again by itself.
    next_look: Option<Duration>,
    /// Whether the backend was told something after it had last said when to look again.
    is_unpolled: bool,
    /// When it is next looked whether all calls wait for others.
    blocked_at: Duration,
    /// Jobs that wait until their results are taken.
    held: Vec<JobKey>,
    /// When it is next shown where jobs stand; none while there are no jobs with a log.
    next_stand: Option<Duration>,
    stopped: bool,
    /// Why nothing runs any more: scheduler or backend panicked.
    broken: Option<Error>,
    /// Whether the program is asked to end, and begins nothing any more.
    refuses: bool,
}

/// The logs of jobs by what backends know of them, for lines that tasks print. Beside the core: a line
/// does not wait for the scheduler.
#[derive(Debug, Default)]
struct Printing(Mutex<Logs>);

#[derive(Debug, Default)]
struct Logs {
    by_run: HashMap<Arc<str>, WeakLog>,
    /// At how many logs those that have ended are removed.
    full: usize,
}

impl Printing {
    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, run: &Arc<str>, log: &SharedLog) {
        let mut logs = self.logs();
        if logs.by_run.len() >= logs.full {
            logs.by_run.retain(|_, log| log.is_held());
            // Of thousands that are open at once, all are looked at a few times only.
            logs.full = 2 * logs.by_run.len() + 16;
        }
        logs.by_run.insert(run.clone(), log.downgrade());
    }

    fn take(&self, line: &Printed<'_>) {
        let log = self.logs().by_run.get(line.run).and_then(WeakLog::upgrade);
        if let Some(log) = log {
            log.note(Note::Printed(line.into()));
        }
    }
}

struct Entry {
    port: Arc<Port>,
    /// Calls that its iterator gave and that are not submitted.
    pending: Option<Arc<Pending>>,
    /// Stands before the port where results go to the store first.
    kept: Option<Arc<Kept>>,
    log: Option<SharedLog>,
    /// Whether one of the program's calls may wait for it: it comes from a thread that a call may have started.
    may_be_awaited: bool,
}

impl Entry {
    fn new(port: Arc<Port>) -> Self {
        // In a worker, calls from such threads go elsewhere.
        let may_be_awaited = matches!(platform::depth(), 0 | UNKNOWN_DEPTH) && thread::current().name() != Some("main");
        Self { port, pending: None, kept: None, log: None, may_be_awaited }
    }

    fn give(&self, outcome: Outcome, wakers: &mut Vec<Waker>) {
        match &self.kept {
            Some(kept) => kept.give(outcome),
            None => self.port.give(outcome, wakers),
        }
    }

    /// Bytes of results that were not taken, or not committed.
    fn bytes(&self) -> usize {
        self.port.bytes().saturating_add(self.kept.as_ref().map_or(0, |kept| kept.bytes()))
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({} jobs)", self.jobs.len())
    }
}

/// Settings of an [`Executor`]; what is not set comes from `WREN_*` variables, `Wren.toml` or defaults.
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct Builder {
    backend: Option<String>,
    store: Option<String>,
    workers: Option<usize>,
    idle_timeout: Option<Duration>,
    max_calls: Option<u64>,
    directory: Option<PathBuf>,
    faults: Option<Faults>,
    opened_store: Option<Arc<dyn Store>>,
}

impl Builder {
    /// Where calls run: `local`, `inline` or `lambda` (`lambda:direct` and `lambda:event` fix how
    /// invocations are sent). With the feature `sim` also `sim:`, which runs them as `inline` does and says
    /// what each job would take on Lambda.
    pub fn backend(mut self, url: impl Into<String>) -> Self {
        self.backend = Some(url.into());
        self
    }

    /// Where values and the results of named jobs are kept: `file:<path>`, `memory:` or
    /// `s3://bucket/prefix`.
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Some(url.into());
        self
    }

    /// A store that is open already, for instance a `Faults` around another.
    pub fn opened_store(mut self, store: Arc<dyn Store>) -> Self {
        self.opened_store = Some(store);
        self
    }

    /// How many calls run at once; the number of processors by default.
    ///
    /// Calls that calls on threads of this process make (backend `inline`) run beside them, as many at once. So does a call
    /// from a thread that wren did not start, once no running call has used a processor for a second: they may all wait for
    /// that one.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Ends a worker of the `local` backend that was idle for so long; it is started again when it is needed. Five
    /// minutes by default; zero keeps idle workers.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = Some(idle);
        self
    }

    /// Replaces a worker of the `local` backend after `n` calls, and so what foreign code in it has leaked. By default, and
    /// for 0, a worker runs as many calls as there are. A `.chunk(..)` that is longer stays whole.
    pub fn max_calls(mut self, n: u64) -> Self {
        self.max_calls = Some(n);
        self
    }

    /// Where job logs go. By default `.wren` beside the nearest `Wren.toml` or `Cargo.lock`; a program
    /// that did not pass through [`init`](crate::init), such as a test, has none unless it names a
    /// folder here or in `WREN_DIR`.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Injects faults between scheduler and backend.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Makes the executor. Workers are started when the first call needs them.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot be, [`Error::Backend`] where the system gives no
    /// thread or memory.
    pub fn build(self) -> Result<Executor> {
        let mut config = Config::load()?;
        if let Some(backend) = self.backend {
            config.backend = Some(backend);
            config.deployed = false;
        }
        if let Some(store) = self.store {
            config.store = Some(store);
        }
        if let Some(workers) = self.workers {
            config.set_workers(workers)?;
        }
        if let Some(idle) = self.idle_timeout {
            config.idle_timeout = Some(idle).filter(|idle| !idle.is_zero());
        }
        if let Some(n) = self.max_calls {
            config.max_calls = NonZeroU64::new(n);
        }
        if let Some(directory) = self.directory {
            config.set_directory(directory);
        }
        Executor::open(config, self.faults, self.opened_store)
    }
}

pub(crate) use waiter::block_on;

/// The level of executors for calls from such threads: the calls that their own threads make come back to them.
const MOST_LEVEL: usize = UNKNOWN_DEPTH - 1;

/// How many of those may wait for each other.
const MOST_UNKNOWN: usize = 1024;

/// Workers of one executor at most: more processes no machine starts, and a larger number is a mistake.
const MOST_WORKERS: usize = 10_000;

#[cfg(feature = "sim")]
fn forecast_of(backend: &str) -> Option<Box<dyn Forecast>> {
    let watch = crate::sim::Watch::of(backend)?;
    Some(Box::new(watch))
}

#[cfg(not(feature = "sim"))]
fn forecast_of(_backend: &str) -> Option<Box<dyn Forecast>> {
    None
}

fn default_backend() -> &'static str {
    if platform::is_initialized() { "local" } else { "inline" }
}

impl Executor {
    /// Settings for an executor of one's own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The executor of calls that name none. A call made inside a remote function goes one level
    /// deeper, to threads of the worker: levels wait for deeper ones only, so that none can wait
    /// for itself. A call that [`block_on`](crate::block_on) waits for on a thread that a remote function
    /// started, such as one of rayon's, runs on that thread itself; another call from such a thread goes to an
    /// executor that starts a thread for each call that finds none idle.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn current() -> Result<Self> {
        Self::of_thread(true)
    }

    /// As [`current`](Self::current), for a job that may go on when whoever started it waits no more.
    pub(crate) fn current_in_background() -> Result<Self> {
        Self::of_thread(false)
    }

    fn of_thread(waits: bool) -> Result<Self> {
        Error::if_forked()?;
        let depth = platform::depth();
        if waits
            && depth == UNKNOWN_DEPTH
            && let Some(executor) = waiter::executor_of_this_thread()
        {
            return executor;
        }
        Self::first()?.at_level(depth)
    }

    /// The executor of calls that name none and are not nested.
    fn first() -> Result<&'static Self> {
        static FIRST: OnceLock<Executor> = OnceLock::new();
        static OPENING: Mutex<()> = Mutex::new(());
        if let Some(first) = FIRST.get() {
            return Ok(first);
        }
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = FIRST.get() {
            return Ok(first);
        }
        let mut config = Config::load()?;
        if platform::is_worker() {
            config.backend = Some("inline".to_owned());
        }
        let first = Self::open(config, None, None)?;
        Ok(FIRST.get_or_init(|| first))
    }

    /// Where a call goes that names this executor: to threads of a deeper level, where a call makes it on a thread of this
    /// process. The thread's own call may be one of this executor, or be waited for by one, and so wait for itself.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub(crate) fn for_caller(self) -> Result<Self> {
        if self.is_inline() { self.at_level(platform::depth()) } else { Ok(self) }
    }

    /// This executor, or the one of its relatives that is for calls nested so deep.
    fn at_level(&self, depth: usize) -> Result<Self> {
        let level = depth.min(MOST_LEVEL);
        if self.0.level >= level {
            return Ok(self.clone());
        }
        let mut levels = self.0.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(executor) = levels.get(&level) {
            return Ok(executor.clone());
        }
        // Where the first one's calls run elsewhere, its workers are not threads of this process.
        let mut config = if self.is_inline() { self.0.shared.config.clone() } else { Config::load()? };
        config.backend = Some("inline".to_owned());
        if depth == UNKNOWN_DEPTH {
            config.at_once = NonZeroUsize::new(config.workers);
            config.workers = MOST_UNKNOWN;
        }
        let (family, store) = (Some(self.0.family), Some(self.store()));
        let opened = Self::open_on(config, None, store, level, family, |setup| backend::open("inline", setup))?;
        Ok(levels.entry(level).or_insert(opened).clone())
    }

    fn open(config: Config, faults: Option<Faults>, opened: Option<Arc<dyn Store>>) -> Result<Self> {
        let url = config.backend.clone().unwrap_or_else(|| default_backend().to_owned());
        Self::open_on(config, faults, opened, 0, None, |setup| backend::open(&url, setup))
    }

    fn open_on(
        mut config: Config,
        faults: Option<Faults>,
        opened: Option<Arc<dyn Store>>,
        level: usize,
        family: Option<u64>,
        open_backend: impl FnOnce(&mut Setup) -> Result<Box<dyn Backend>>,
    ) -> Result<Self> {
        Error::if_forked()?;
        if config.workers > MOST_WORKERS {
            return Err(Error::Config(format!(
                "{} workers are more than the {MOST_WORKERS} that an executor can have; set `workers` to how many calls \
                 are to run at once",
                config.workers
            )));
        }
        let no_bell = |e| Error::Backend(format!("the system gives no pipe or shared memory: {e}"));
        let bell = Bell::new().map_err(no_bell)?;
        let store = opened.map_or_else(|| store::open(&config.store_url()?), Ok)?;
        static FAMILIES: AtomicU64 = AtomicU64::new(1);
        let family = family.unwrap_or_else(|| FAMILIES.fetch_add(1, Ordering::Relaxed));
        let mut setup = Setup::new(config.workers, bell.clone(), level + 1);
        setup.directory.clone_from(&config.directory);
        (setup.idle_timeout, setup.max_calls) = (config.idle_timeout, config.max_calls);
        setup.on_other_build = config.other_build;
        let printing = Arc::<Printing>::default();
        let prints = printing.clone();
        setup.lines = Lines::new(move |line| prints.take(line));
        let mut backend = open_backend(&mut setup)?;
        config.workers = backend.workers();
        #[cfg(feature = "aws")]
        if config.deployed && !config.quiet {
            backend::lambda::announce(&config.directory);
        }
        if let Some(faults) = faults {
            backend = faults.around(backend);
        }
        let mut settings = scheduler::Config {
            slots: backend.slots(),
            workers: backend.workers(),
            usd_per_second: backend.usd_per_second(),
            ..scheduler::Config::default()
        };
        backend.tune(&mut settings);
        let core = Core {
            scheduler: Scheduler::new(settings),
            backend,
            jobs: HashMap::new(),
            replies: Vec::new(),
            updates: Vec::new(),
            wakers: Vec::new(),
            next_look: None,
            is_unpolled: false,
            blocked_at: Duration::ZERO,
            held: Vec::new(),
            next_stand: None,
            stopped: false,
            broken: None,
            refuses: false,
        };
        let shared = Arc::new(Shared { core: Mutex::new(core), bell, clock: setup.clock, printing, config, store });
        all().push(Arc::downgrade(&shared));
        if is_cancelled() {
            shared.cancel_all();
        }
        let reactor = thread::Builder::new().name("wren-reactor".into());
        let weak = Arc::downgrade(&shared);
        let bell = shared.bell.clone();
        reactor
            .spawn(move || react(&weak, &bell))
            .map_err(|e| Error::Backend(format!("the system gives no thread: {e}")))?;
        Ok(Self(Arc::new(Inner { shared, family, level, levels: Mutex::default() })))
    }

    /// Whether it is the same executor, or that for calls which are nested in the other's.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.family == other.0.family
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The store that values and results are kept in.
    pub fn store(&self) -> Arc<dyn Store> {
        self.0.shared.store.clone()
    }

    /// The URL of its backend.
    fn backend_url(&self) -> &str {
        self.0.shared.config.backend.as_deref().unwrap_or_else(|| default_backend())
    }

    /// Whether calls run in this process.
    pub(crate) fn is_inline(&self) -> bool {
        config::is_inline(self.backend_url())
    }

    /// Whether calls run on this machine.
    #[cfg(feature = "data")]
    pub(crate) fn is_local(&self) -> bool {
        self.is_inline() || self.backend_url() == "local"
    }

    /// Whether its calls see the same values in a store as this process does.
    #[cfg(feature = "data")]
    pub(crate) fn shares(&self, store: &dyn Store) -> bool {
        self.is_inline() || store.is_shared() && (self.is_local() || !store.url().starts_with("file:"))
    }

    /// Where calls of a function would run, see [`Backend::room`].
    #[cfg(feature = "data")]
    pub(crate) fn room(&self, function: &str, limits: &Limits) -> Result<Option<Room>> {
        self.0.shared.lock().backend.room(function, limits)
    }

    /// How many calls run at once at most.
    pub fn workers(&self) -> usize {
        self.0.shared.config.workers
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if platform::is_forked() {
            // The workers are those of the parent, and its locks may be held here for ever.
            std::mem::forget(self.shared.clone());
            return;
        }
        self.shared.lock().stopped = true;
        self.shared.bell.wake();
    }
}

/// The executors of this process, for who ends it; and whether somebody does.
static ALL: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
static CANCELLED: AtomicBool = AtomicBool::new(false);

fn all() -> MutexGuard<'static, Vec<Weak<Shared>>> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|shared| shared.strong_count() > 0);
    all
}

fn is_cancelled() -> bool {
    CANCELLED.load(Ordering::Acquire)
}

/// Ends all calls of this process, those under way and those to come, with [`Error::Cancelled`].
pub(crate) fn cancel_all() {
    CANCELLED.store(true, Ordering::Release);
    let all: Vec<_> = all().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|shared| shared.cancel_all());
}

/// The reactor thread: moves replies and timers on while nobody else does.
fn react(shared: &Weak<Shared>, bell: &Bell) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        bell.set_asleep();
        let Some(wait) = strong.turn() else { return };
        drop(strong);
        bell.sleep(wait);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is a defect of wren's; going on is better than a program that hangs.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One turn of the reactor; gives how long it may sleep, or `None` at the end.
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

    /// Moves everything on from the calling thread.
    pub(crate) fn pump(&self) {
        if platform::is_forked() {
            return;
        }
        self.with_core(|_, _| ());
    }

    /// Acts, and moves everything on. None where nothing runs any more.
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
            self.bell.wake();
        }
        self.unlock(core);
        Some(value)
    }

    /// Releases the lock, then wakes: who is woken may want it.
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
        port: Arc<Port>,
        kept: Option<Arc<Kept>>,
        pending: Option<Arc<Pending>>,
        log: SharedLog,
    ) -> JobKey {
        if let Some(run) = &spec.run {
            self.printing.open(run, &log);
        }
        spec.concurrency = spec.concurrency.or(self.config.at_once);
        let mut core = self.lock();
        let entry = Entry { pending, kept, log: Some(log), ..Entry::new(port) };
        let opened = if core.refuses { None } else { core.guarded(|core| core.scheduler.open(spec)) };
        let Some(job) = opened else {
            core.refuse(&entry);
            self.unlock(core);
            return NO_JOB;
        };
        core.jobs.insert(job, entry);
        let now = self.clock.elapsed();
        core.next_stand.get_or_insert(now + STAND_EVERY);
        if core.next_look.is_none_or(|at| at > now + LOOK_ANYWAY) {
            // There was no job, and the reactor sleeps for long.
            core.next_look = Some(now + LOOK_ANYWAY);
            self.bell.wake();
        }
        job
    }

    /// Begins the log of a job; `claimed` is its file, where that was taken before.
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
        let about = About {
            id: id.to_owned(),
            name: settings.name.clone(),
            function: function.to_owned(),
            tasks,
            backend: config.backend.clone().unwrap_or_else(|| default_backend().to_owned()),
            workers: config.workers,
            memory_mb: registry::find(function).ok().and_then(|function| function.memory_mb),
            program: platform::own_path().unwrap_or_default(),
        };
        let quiet = settings.quiet || config.quiet || about.backend == "inline";
        let directory = &config.directory;
        let folder = directory.join("jobs").join(id);
        let place = match claimed {
            Some(file) => Place::Open(file, folder.clone()),
            None if !config.logs || config.history == 0 => Place::Nowhere,
            None => {
                let place = Place::New { directory: directory.clone(), history: config.history };
                // Others look at once whether a job of that name runs.
                if settings.name.is_some() { place.opened(id) } else { place }
            }
        };
        let most = config.keep_inputs;
        let inputs = (most > 0 && !matches!(place, Place::Nowhere)).then(|| (Inputs::new(&folder, most), most));
        let forecast = forecast_of(&about.backend);
        let begun = JobLog::new(about, quiet, place, forecast, self.clock);
        log.begin(begun, inputs);
    }

    pub(crate) fn submit(&self, job: JobKey, block: Block) {
        self.with_core(|core, now| core.submit(job, block, now));
    }

    /// The mean duration of a call of this function, if any was measured.
    pub(crate) fn estimate(&self, function: &'static RemoteFn) -> Option<Duration> {
        self.lock().scheduler.estimate(function.id())
    }

    pub(crate) fn close(&self, job: JobKey) {
        self.with_core(|core, _| {
            let Core { scheduler, updates, .. } = core;
            scheduler.close(job, updates);
        });
    }

    fn cancel_all(&self) {
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

    /// Forgets a job, and stops what runs of it.
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

    /// Submits a job of one call.
    pub(crate) fn submit_one(
        &self,
        function: &'static RemoteFn,
        limits: Limits,
        args: Args,
        port: Arc<Port>,
    ) -> JobKey {
        let mut block = Block::new(function, limits, 0);
        block.set_traceparent(spans::current());
        block.push(args);
        let entry = Entry::new(port.clone());
        let job = self.with_core(|core, now| {
            if core.refuses {
                return NO_JOB;
            }
            let job = core.scheduler.open(JobSpec::default());
            core.jobs.insert(job, entry);
            core.scheduler.submit(job, Arc::new(block), now);
            let Core { scheduler, updates, .. } = core;
            scheduler.close(job, updates);
            job
        });
        job.filter(|job| *job != NO_JOB).unwrap_or_else(|| {
            let mut core = self.lock();
            core.refuse(&Entry::new(port));
            self.unlock(core);
            NO_JOB
        })
    }

    /// Whether calls of this function are so short that watching for the result beats sleeping.
    pub(crate) fn is_short(&self, function: &'static RemoteFn) -> bool {
        self.estimate(function).is_some_and(|mean| mean < WATCH / 2)
    }

    /// Watches for a moment until `done` says so, in the reactor's place.
    pub(crate) fn watch(&self, mut done: impl FnMut() -> bool) -> bool {
        let hushed = self.bell.hush();
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
        if hushed {
            self.bell.set_asleep();
            self.pump();
        }
        found || done()
    }

    /// Keeps the reactor asleep while the calling thread moves things on; what comes after its last
    /// `pump` is seen when the guard is dropped, or when the reactor looks by itself.
    pub(crate) fn in_the_reactors_place(&self) -> Hushed<'_> {
        Hushed(self.bell.hush().then_some(self))
    }
}

pub(crate) struct Hushed<'a>(Option<&'a Shared>);

impl Drop for Hushed<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.bell.set_asleep();
            shared.pump();
        }
    }
}

/// What a job is called that is none: nothing runs any more.
const NO_JOB: JobKey = JobKey::MAX;

impl Core {
    /// Acts, unless something panicked before. If this does, all jobs end with an error, and those to come do: what a
    /// panic leaves behind cannot be relied upon.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.broken.is_some() {
            return None;
        }
        // What is broken after a panic is not used again.
        let acted = catch_unwind(AssertUnwindSafe(|| act(self)));
        acted.map_err(|panic| self.break_down(&crate::function::message_of(&*panic))).ok()
    }

    fn break_down(&mut self, message: &str) {
        self.broken = Some(Error::Backend(format!(
            "scheduler or backend panicked: {message}; nothing runs on this executor any more. This is a defect of \
             wren, or of the backend that it was given"
        )));
        for (_, entry) in std::mem::take(&mut self.jobs) {
            self.refuse(&entry);
        }
    }

    /// Ends a job that cannot be run.
    fn refuse(&mut self, entry: &Entry) {
        // Not `Outcome::Cancelled`: that the program ends says nothing of the job, which another may go on with.
        let error = self.broken.clone().unwrap_or(Error::Cancelled { done: 0 });
        entry.give(Outcome::Broken(error), &mut self.wakers);
        match &entry.kept {
            Some(kept) => kept.finish(),
            None => entry.port.finish(&mut self.wakers),
        }
    }

    fn submit(&mut self, job: JobKey, mut block: Block, now: Duration) {
        let log = self.jobs.get(&job).and_then(|entry| entry.log.as_ref());
        block.set_traceparent(log.and_then(SharedLog::traceparent));
        let block = Arc::new(block);
        log.into_iter().for_each(|log| log.submitted(&block));
        self.scheduler.submit(job, block, now);
    }

    /// Submits what iterators gave that hold up who asked them for more.
    fn submit_for_idle_workers(&mut self, now: Duration) {
        let mut blocks = Vec::new();
        for (job, entry) in &self.jobs {
            let Some(pending) = &entry.pending else { continue };
            if !self.scheduler.has_use_for(*job) {
                continue;
            }
            blocks.extend(pending.take_for_idle_workers().map(|block| (*job, block)));
            if let Some(kept) = &entry.kept {
                let not_kept = pending.seeking.act_for_idle_workers(kept, &entry.port);
                blocks.extend(not_kept.into_iter().map(|block| (*job, block)));
            }
        }
        for (job, block) in blocks {
            self.submit(job, block, now);
        }
    }

    /// Goes on with jobs whose results were taken.
    fn release(&mut self) {
        let Self { held, jobs, scheduler, .. } = self;
        held.retain(|job| {
            let is_held = jobs.get(job).is_some_and(|entry| entry.bytes() > MOST_RESULTS / 2);
            if !is_held {
                scheduler.hold(*job, false);
            }
            is_held
        });
    }

    /// Takes replies, decides, begins what can begin. Gives when to look again.
    fn pump(&mut self, now: Duration) -> Option<Duration> {
        let mut poll_after;
        loop {
            self.is_unpolled = false;
            poll_after = self.backend.poll(now, &mut self.replies);
            for reply in self.replies.drain(..) {
                self.scheduler.handle(now, reply, &mut self.updates);
            }
            self.scheduler.tick(now, &mut self.updates);
            self.deliver(now);
            if !self.held.is_empty() {
                self.release();
            }
            if self.next_stand.is_some_and(|at| at <= now) {
                self.stand(now);
            }
            if self.blocked_at <= now {
                self.look_for_blocked(now);
            }
            while let Some(invocation) = self.scheduler.next(now) {
                self.is_unpolled = true;
                self.backend.invoke(invocation, now, &mut self.replies);
            }
            if self.replies.is_empty() && self.updates.is_empty() {
                break;
            }
        }
        let unpolled = self.is_unpolled.then_some(LOOK_AGAIN);
        let polled = [poll_after, unpolled].into_iter().flatten().min().map(|after| now + after);
        [polled, self.scheduler.wake_at(), self.next_stand].into_iter().flatten().min()
    }

    /// Lets calls begin that the running ones may all wait for.
    fn look_for_blocked(&mut self, now: Duration) {
        self.blocked_at = now + LOOK_FOR_BLOCKED;
        let may_be = self.jobs.values().any(|entry| entry.may_be_awaited);
        let blocked = if may_be { self.backend.blocked() } else { 0 };
        self.scheduler.set_blocked(blocked);
    }

    /// Shows where jobs stand, and cancels those that somebody asked to.
    fn stand(&mut self, now: Duration) {
        let Self { jobs, scheduler, updates, wakers, next_stand, .. } = self;
        *next_stand = None;
        for (job, entry) in jobs.iter() {
            let Some(log) = &entry.log else { continue };
            *next_stand = Some(now + STAND_EVERY);
            log.stand(scheduler.progress(*job).unwrap_or_default());
            if log.takes_cancellation() {
                scheduler.cancel(*job, updates);
                log.note(Note::End("cancelled"));
                entry.give(Outcome::Cancelled, wakers);
            }
        }
    }

    fn deliver(&mut self, now: Duration) {
        // Taking the list keeps its memory: it is put back below.
        let mut updates = std::mem::take(&mut self.updates);
        for update in updates.drain(..) {
            self.deliver_one(update, now);
        }
        if self.updates.is_empty() {
            self.updates = updates;
        }
    }

    fn deliver_one(&mut self, update: Update, now: Duration) {
        match update {
            Update::Cancel { flight } => {
                self.is_unpolled = true;
                self.backend.cancel(flight, now);
            }
            Update::CancelJob { run } => self.backend.cancel_job(&run),
            Update::Reclaim { flight } => self.backend.reclaim(flight, &mut self.replies),
            Update::Done { job, tasks, new, results, attempt, bytes_in, sent, timing } => {
                let Some(entry) = self.jobs.get_mut(&job) else { return };
                if let Some(log) = &entry.log {
                    let new = new.iter().map(|range| range.end - range.start).sum();
                    let ran = Ran { attempt, function: "", sent, timing };
                    log.done(tasks.clone(), new, ran, bytes_in, results.size());
                }
                entry.give(Outcome::Done { tasks, new, results, attempt }, &mut self.wakers);
                if entry.bytes() > MOST_RESULTS && !self.held.contains(&job) {
                    self.scheduler.hold(job, true);
                    self.held.push(job);
                }
            }
            Update::Failed { job, task, attempt, failure, stderr, block, sent, timing, function } => {
                let Some(entry) = self.jobs.get_mut(&job) else { return };
                if let Some(log) = &entry.log {
                    let ran = Ran { attempt, function, sent, timing };
                    let (failure, stderr) = (failure.clone(), stderr.clone());
                    log.note(Note::Failed { task, ran, failure, stderr });
                    log.keep_failed(block, task);
                }
                entry.give(Outcome::Failed { task, attempt, function, failure, stderr }, &mut self.wakers);
            }
            Update::Retry { job, task, attempt, failure, block, at, sent, timing } => {
                if let Some(log) = self.jobs.get(&job).and_then(|entry| entry.log.as_ref()) {
                    let ran = Ran { attempt, function: block.function().name, sent, timing };
                    log.note(Note::Retry { task, ran, failure, after: at.saturating_sub(now) });
                    log.keep_failed(block, task);
                }
            }
            Update::OverBudget { job, spent_usd } => {
                if let Some(entry) = self.jobs.get(&job) {
                    entry.give(Outcome::OverBudget { spent_usd }, &mut self.wakers);
                }
            }
            Update::JobDone { job } => {
                if let Some(entry) = self.jobs.remove(&job) {
                    match entry.kept {
                        Some(kept) => kept.finish(),
                        None => entry.port.finish(&mut self.wakers),
                    }
                }
            }
        }
    }
}
