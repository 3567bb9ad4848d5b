//! The executor: combines a backend, a store and a scheduler to run jobs.

mod blocking;
mod builder;
pub(crate) mod commit;
mod core;
mod lone;
mod outcomes;
mod output;
mod pending;
mod reactor;
mod settings;
mod waiter;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
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
use crate::terminal;

use self::core::Core;
pub use blocking::{block_on, run_async};
pub use builder::Builder;
pub(crate) use commit::{Lookup, ResultCommitter, ResultPolicy, Submitted};
pub(crate) use outcomes::{Outcome, OutcomeQueue};
use output::TaskOutput;
pub(crate) use pending::Pending;
pub(crate) use reactor::{Reactor, SuppressGuard, cancel_all};
pub(crate) use settings::Settings;

/// Runs calls and jobs. Cheap to clone; dropping the last clone stops its workers.
///
/// Most programs do not need to name one: calls run on the default executor, which is created from `WREN_*` variables
/// and `Wren.toml` when the first call is awaited. A test may use its own:
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
    /// Identifies this executor and the executors of `levels`, which share the number.
    family: u64,
    /// Nesting depth of the calls that it runs.
    level: usize,
    /// The executors for calls that are made inside of calls on threads of this process, by depth. A level waits only
    /// for deeper levels.
    levels: Mutex<HashMap<usize, Executor>>,
}

/// The level of the executors for calls of unknown depth. Calls that are made on their own threads come back to this
/// level.
const MOST_LEVEL: usize = UNKNOWN_DEPTH - 1;

/// Maximum number of calls of unknown depth that run or wait for each other at once.
const MOST_UNKNOWN: usize = 1024;

/// Maximum number of workers of one executor. No machine starts more processes, so a larger number is a mistake.
const MOST_WORKERS: usize = 10_000;

fn default_backend() -> &'static str {
    if platform::is_initialized() { "local" } else { "inline" }
}

fn backend_of(config: &Config) -> &str {
    config.backend.as_deref().unwrap_or_else(|| default_backend())
}

/// Returns whether an executor shows nothing of its jobs. On threads of the program itself, calls are for tests and
/// debuggers, unless the program only lacks [`init`](crate::init).
fn is_quiet(config: &Config) -> bool {
    config.quiet || backend_of(config) == "inline" && !lacks_init(config)
}

/// Whether this program runs its calls on threads only because it never called [`init`](crate::init). Tests do so on
/// purpose.
fn lacks_init(config: &Config) -> bool {
    config.backend.is_none() && !platform::is_initialized() && !platform::is_worker() && !platform::is_test()
}

/// Says once that calls have no processes of their own, because the results of the program do not show it.
fn note_missing_init() {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        terminal::note(
            "calls run on threads of this process, because `main` has no `#[wren::main]` and does not call \
             `wren::init()`: a crash of a call ends the program, and `memory` is not enforced; put `#[wren::main]` on \
             `main` to run calls in worker processes, or set WREN_BACKEND=inline to keep threads",
        );
    });
}

impl Executor {
    /// Returns a builder for an executor of your own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the executor for calls that do not name one. A call that is made inside a remote function goes one level
    /// deeper, to threads of the worker. A level waits only for deeper levels, so no call can wait for itself. On a
    /// thread that a remote function started, such as one of rayon's, a call that [`block_on`](crate::block_on) waits
    /// for runs on that thread itself. Other calls from such a thread go to an executor that starts a new thread for
    /// each call that finds no idle thread.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn current() -> Result<Self> {
        Self::of_thread(true)
    }

    /// Like [`current`](Self::current), for a job that may continue after its caller has stopped waiting.
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

    /// Returns the default executor, for calls that do not name one and are not nested.
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

    /// Returns the executor for a call that names this one. If the call is made inside of another call, on a thread of
    /// this process, it goes to threads of a deeper level. Otherwise the outer call, which may run on this executor or
    /// be awaited by a call of this executor, could wait for itself.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub(crate) fn for_caller(self) -> Result<Self> {
        if self.is_inline() { self.at_level(platform::depth()) } else { Ok(self) }
    }

    /// Returns this executor, or the executor of its family for calls of this depth.
    fn at_level(&self, depth: usize) -> Result<Self> {
        let level = depth.min(MOST_LEVEL);
        if self.0.level >= level {
            return Ok(self.clone());
        }
        let mut levels = self.0.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(executor) = levels.get(&level) {
            return Ok(executor.clone());
        }
        // If this executor's calls run elsewhere, its number of workers is not a number of threads of this process.
        let mut config = if self.is_inline() { self.0.reactor.config.clone() } else { Config::load()? };
        config.backend = Some("inline".to_owned());
        if depth == UNKNOWN_DEPTH {
            config.at_once = NonZeroUsize::new(config.workers);
            config.workers = MOST_UNKNOWN;
        }
        let (family, store) = (Some(self.0.family), Some(self.store()));
        let opened = Self::open_on(config, None, store, level, family, |context| backend::open("inline", context))?;
        Ok(levels.entry(level).or_insert(opened).clone())
    }

    fn open(config: Config, faults: Option<Faults>, opened: Option<Arc<dyn Store>>) -> Result<Self> {
        if lacks_init(&config) {
            note_missing_init();
        }
        let url = config.backend.clone().unwrap_or_else(|| default_backend().to_owned());
        Self::open_on(config, faults, opened, 0, None, |context| backend::open(&url, context))
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
                "`workers` is {}, but an executor can have at most {MOST_WORKERS}; set it to the number of calls that \
                 run at once",
                config.workers
            )));
        }
        let no_notifier = |e| Error::Backend(format!("cannot create a pipe or shared memory: {e}"));
        let notifier = Notifier::new().map_err(no_notifier)?;
        let store = opened.map_or_else(|| store::open(&config.store_url()?), Ok)?;
        static FAMILIES: AtomicU64 = AtomicU64::new(1);
        let family = family.unwrap_or_else(|| FAMILIES.fetch_add(1, Ordering::Relaxed));
        let mut context = BackendContext::new(config.workers, notifier.clone(), level + 1);
        context.directory.clone_from(&config.directory);
        (context.idle_timeout, context.max_calls) = (config.idle_timeout, config.max_calls);
        context.on_other_build = config.other_build;
        let output = Arc::<TaskOutput>::default();
        let sink = output.clone();
        context.lines = OutputSink::new(move |line| sink.take(line));
        let mut backend = open_backend(&mut context)?;
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
        let shows_calls = !is_quiet(&config) && terminal::shows_bars();
        let core = Core::new(Scheduler::new(settings), backend, shows_calls);
        let reactor =
            Arc::new(Reactor { core: Mutex::new(core), notifier, clock: context.clock, output, config, store });
        reactor::all().push(Arc::downgrade(&reactor));
        if reactor::is_cancelled() {
            reactor.cancel_all();
        }
        let thread = thread::Builder::new().name("wren-reactor".into());
        let weak = Arc::downgrade(&reactor);
        let notifier = reactor.notifier.clone();
        thread
            .spawn(move || reactor::react(&weak, &notifier))
            .map_err(|e| Error::Backend(format!("cannot start the reactor thread: {e}")))?;
        Ok(Self(Arc::new(Inner { reactor, family, level, levels: Mutex::default() })))
    }

    /// Whether both are the same executor, or one of them is for calls that are nested in calls of the other.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.family == other.0.family
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.0.reactor
    }

    /// Returns the store for values and results.
    pub fn store(&self) -> Arc<dyn Store> {
        self.0.reactor.store.clone()
    }

    /// Returns the URL of the backend.
    fn backend_url(&self) -> &str {
        backend_of(&self.0.reactor.config)
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

    /// Whether calls see the same values in a store as this process.
    #[cfg(feature = "data")]
    pub(crate) fn shares(&self, store: &dyn Store) -> bool {
        self.is_inline() || store.is_shared() && (self.is_local() || !store.url().starts_with("file:"))
    }

    /// Returns where calls of a function would run; see [`Backend::placement`].
    #[cfg(feature = "data")]
    pub(crate) fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        self.0.reactor.lock().backend.placement(function, limits)
    }

    /// Returns the maximum number of calls that run at once.
    pub fn workers(&self) -> usize {
        self.0.reactor.config.workers
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if platform::is_forked() {
            // The workers belong to the parent process, and its locks may stay locked in this process forever.
            std::mem::forget(self.reactor.clone());
            return;
        }
        self.reactor.lock().stopped = true;
        self.reactor.notifier.notify_always();
    }
}
