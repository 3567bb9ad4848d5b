//! The settings of jobs with a shuffle, and the methods that set them.

use crate::executor::Executor;
use crate::function::Limits;

/// The settings of a job with a shuffle.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settings {
    pub(crate) partitions: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) shuffle: Option<String>,
    pub(crate) run: RunSettings,
}

/// The settings of every stage.
#[derive(Debug, Default, Clone)]
pub(crate) struct RunSettings {
    pub(crate) name: Option<String>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) budget_usd: Option<f64>,
    pub(crate) quiet: bool,
    pub(crate) executor: Option<Executor>,
}

macro_rules! common_settings {
    () => {
        /// Sets the number of partitions: of reduce tasks, or of tasks in each superstep. 0 is treated as 1. By
        /// default, a sort uses the number that its cost model gives; other jobs use one per worker, but no more than
        /// inputs.
        pub fn partitions(mut self, n: usize) -> Self {
            self.settings.partitions = Some(n.max(1));
            self
        }

        /// Allows each worker `mb` megabytes of memory; data that does not fit goes to disk. The default is 512, or on
        /// AWS Lambda the memory of the deployed function.
        pub fn memory(mut self, mb: u32) -> Self {
            self.settings.limits.memory_mb = Some(mb);
            self
        }

        /// Sets the time limit of each task: a [`Duration`](std::time::Duration) or a number of seconds.
        pub fn timeout(mut self, limit: impl crate::function::Timeout) -> Self {
            self.settings.limits.timeout = Some(limit.into_duration());
            self
        }

        /// Runs a task again up to `retries` times if it panics or returns `Err`.
        pub fn retries(mut self, retries: u32) -> Self {
            self.settings.limits.retries = Some(retries);
            self
        }

        /// Keeps the data between the stages in the store of this URL, such as `redis://host:port`, instead of the
        /// executor's store.
        pub fn shuffle(mut self, url: impl Into<String>) -> Self {
            self.settings.shuffle = Some(url.into());
            self
        }

        /// Names the job, so that it can be resumed: if it runs again with the same name, program and inputs, it
        /// executes only the tasks that have not succeeded.
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.settings.run.name = Some(name.into());
            self
        }

        /// Runs at most `n` tasks at once. 0 is treated as 1.
        pub fn concurrency(mut self, n: usize) -> Self {
            self.settings.run.concurrency = Some(n);
            self
        }

        /// Stops each stage before it costs more than `usd` dollars. Local work costs nothing.
        pub fn budget(mut self, usd: f64) -> Self {
            self.settings.run.budget_usd = Some(usd);
            self
        }

        /// Hides the progress bar and the summary.
        pub fn quiet(mut self) -> Self {
            self.settings.run.quiet = true;
            self
        }

        /// Runs the job on this executor instead of the default one.
        pub fn on(mut self, executor: &Executor) -> Self {
            self.settings.run.executor = Some(executor.clone());
            self
        }
    };
}
pub(crate) use common_settings;
