//! Settings of an executor.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Executor;
use crate::config::Config;
use crate::error::Result;
use crate::faults::Faults;
use crate::store::Store;

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
    /// batches are sent). With the feature `sim` also `sim:`, which runs them as `inline` does and says
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
