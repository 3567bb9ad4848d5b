//! What runs jobs: a backend, a store and a scheduler, bound together.

mod blocking;
mod builder;
pub(crate) mod commit;
mod core;
mod outcomes;
mod output;
mod pending;
mod reactor;
mod settings;
mod waiter;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::attempt::OutputSink;
#[cfg(feature = "data")]
use crate::backend::Placement;
use crate::backend::{self, Backend, BackendContext};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::faults::Faults;
#[cfg(feature = "data")]
use crate::function::Limits;
use crate::platform::{self, Notifier, UNKNOWN_DEPTH};
use crate::scheduler::{self, Scheduler};
use crate::store::{self, Store};
use std::time::Duration;

use self::core::Core;
pub use blocking::{block_on, run_async};
pub use builder::Builder;
pub(crate) use commit::{ResultCommitter, ResultPolicy, Sought, Submitted};
pub(crate) use outcomes::{Outcome, OutcomeQueue};
use output::Printing;
pub(crate) use pending::Pending;
pub(crate) use reactor::{Reactor, SuppressGuard, cancel_all};
pub(crate) use settings::Settings;

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
    reactor: Arc<Reactor>,
    /// Tells it from others, with the executors of `levels`.
    family: u64,
    /// How deep the calls are nested that it is for.
    level: usize,
    /// Where calls go that calls on threads of this process make, by their depth: levels wait for deeper ones only.
    levels: Mutex<HashMap<usize, Executor>>,
}

/// The level of executors for calls from such threads: the calls that their own threads make come back to them.
const MOST_LEVEL: usize = UNKNOWN_DEPTH - 1;

/// How many of those may wait for each other.
const MOST_UNKNOWN: usize = 1024;

/// Workers of one executor at most: more processes no machine starts, and a larger number is a mistake.
const MOST_WORKERS: usize = 10_000;

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
        let mut config = if self.is_inline() { self.0.reactor.config.clone() } else { Config::load()? };
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
        open_backend: impl FnOnce(&mut BackendContext) -> Result<Box<dyn Backend>>,
    ) -> Result<Self> {
        Error::if_forked()?;
        if config.workers > MOST_WORKERS {
            return Err(Error::Config(format!(
                "{} workers are more than the {MOST_WORKERS} that an executor can have; set `workers` to how many calls \
                 are to run at once",
                config.workers
            )));
        }
        let no_notifier = |e| Error::Backend(format!("the system gives no pipe or shared memory: {e}"));
        let notifier = Notifier::new().map_err(no_notifier)?;
        let store = opened.map_or_else(|| store::open(&config.store_url()?), Ok)?;
        static FAMILIES: AtomicU64 = AtomicU64::new(1);
        let family = family.unwrap_or_else(|| FAMILIES.fetch_add(1, Ordering::Relaxed));
        let mut setup = BackendContext::new(config.workers, notifier.clone(), level + 1);
        setup.directory.clone_from(&config.directory);
        (setup.idle_timeout, setup.max_calls) = (config.idle_timeout, config.max_calls);
        setup.on_other_build = config.other_build;
        let printing = Arc::<Printing>::default();
        let prints = printing.clone();
        setup.lines = OutputSink::new(move |line| prints.take(line));
        let mut backend = open_backend(&mut setup)?;
        config.workers = backend.workers();
        #[cfg(feature = "aws")]
        if config.deployed && !config.quiet {
            backend::lambda::announce(&config.directory);
        }
        if let Some(faults) = faults {
            backend = faults.around(backend);
        }
        let mut settings = scheduler::SchedulerConfig {
            slots: backend.slots(),
            workers: backend.workers(),
            usd_per_second: backend.usd_per_second(),
            ..scheduler::SchedulerConfig::default()
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
            next_report: None,
            stopped: false,
            broken: None,
            refuses: false,
        };
        let reactor =
            Arc::new(Reactor { core: Mutex::new(core), notifier, clock: setup.clock, printing, config, store });
        reactor::all().push(Arc::downgrade(&reactor));
        if reactor::is_cancelled() {
            reactor.cancel_all();
        }
        let thread = thread::Builder::new().name("wren-reactor".into());
        let weak = Arc::downgrade(&reactor);
        let notifier = reactor.notifier.clone();
        thread
            .spawn(move || reactor::react(&weak, &notifier))
            .map_err(|e| Error::Backend(format!("the system gives no thread: {e}")))?;
        Ok(Self(Arc::new(Inner { reactor, family, level, levels: Mutex::default() })))
    }

    /// Whether it is the same executor, or that for calls which are nested in the other's.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.family == other.0.family
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.0.reactor
    }

    /// The store that values and results are kept in.
    pub fn store(&self) -> Arc<dyn Store> {
        self.0.reactor.store.clone()
    }

    /// The URL of its backend.
    fn backend_url(&self) -> &str {
        self.0.reactor.config.backend.as_deref().unwrap_or_else(|| default_backend())
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
    pub(crate) fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        self.0.reactor.lock().backend.placement(function, limits)
    }

    /// How many calls run at once at most.
    pub fn workers(&self) -> usize {
        self.0.reactor.config.workers
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if platform::is_forked() {
            // The workers are those of the parent, and its locks may be held here for ever.
            std::mem::forget(self.reactor.clone());
            return;
        }
        self.reactor.lock().stopped = true;
        self.reactor.notifier.notify_always();
    }
}
