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

/// A builder for an [`Executor`]. Settings that are not set here come from `WREN_*` variables, `Wren.toml` or the
/// defaults.
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
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
    /// Sets where calls run: `local`, `inline` or `lambda` (`lambda:direct` and `lambda:event` choose how batches are
    /// sent). With the feature `sim` also `sim:`, which runs calls like `inline` and reports the time and cost that
    /// each job would have on Lambda.
    pub fn backend(mut self, url: impl Into<String>) -> Self {
        self.backend = Some(url.into());
        self
    }

    /// Sets the store for values and the results of named jobs: `file:<path>`, `memory:` or `s3://bucket/prefix`.
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Some(url.into());
        self
    }

    /// Uses a store that is already open, for instance one from [`Faults::around_store`].
    pub fn opened_store(mut self, store: Arc<dyn Store>) -> Self {
        self.opened_store = Some(store);
        self
    }

    /// Sets how many calls run at once. The default is the number of processors.
    ///
    /// With the backend `inline`, calls that are made inside of calls run in addition to them, up to the same number at
    /// once. A call from a thread that wren did not start also runs in addition, once no running call has used a
    /// processor for a second, because all of them may be waiting for it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Stops a worker of the `local` backend after it was idle for this long. The worker is started again when it is
    /// needed. The default is five minutes; zero keeps idle workers.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = Some(idle);
        self
    }

    /// Replaces a worker of the `local` backend after `n` calls, which frees what foreign code in it has leaked. By
    /// default, and with 0, the number of calls is not limited. A longer `.chunk(..)` is not split.
    pub fn max_calls(mut self, n: u64) -> Self {
        self.max_calls = Some(n);
        self
    }

    /// Sets the folder for job histories. The default is `.wren` next to the nearest `Wren.toml` or `Cargo.lock`. A
    /// program that does not call [`init`](crate::init), such as a test, writes no job histories unless a folder is set
    /// here or in `WREN_DIR`.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Injects faults between scheduler and backend.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Creates the executor. Workers are started when the first call needs them.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for invalid settings, [`Error::Backend`](crate::Error::Backend) if the
    /// system provides no thread, pipe or memory.
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
