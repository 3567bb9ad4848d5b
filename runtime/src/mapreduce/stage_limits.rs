//! The resources that the tasks of a stage get on their machines.

use crate::calls::{Call, call};
use crate::error::Result;
use crate::executor::Executor;
use crate::function::{ArgsEncoder, Limits, RemoteFn};

/// Memory of a worker in MB, if neither the attribute, the builder nor the backend sets it.
const DEFAULT_MEMORY_MB: u32 = 512;

/// The limits of a stage's calls, on the machines that run them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageLimits {
    limits: Limits,
    /// Memory that a task may use, in MB. Calls that run side by side on a machine share its memory.
    pub(super) share_mb: u32,
}

impl StageLimits {
    /// Returns the limits for calls of `function`, or of functions whose names begin with it.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if no machine has enough memory or allows enough time.
    pub(crate) fn of(executor: &Executor, function: &str, stated: Limits) -> Result<Self> {
        let placement = executor.placement(function, &stated)?;
        let memory_mb =
            stated.memory_mb.or(placement.map(|placement| placement.memory_mb)).unwrap_or(DEFAULT_MEMORY_MB);
        let share_mb = placement
            .map_or(memory_mb, |placement| (placement.memory_mb / placement.calls.max(1)).clamp(1, memory_mb.max(1)));
        Ok(Self { limits: Limits { memory_mb: Some(memory_mb), ..stated }, share_mb })
    }

    /// Creates a call of a stage.
    pub(crate) fn call<R>(&self, function: &'static RemoteFn, push: impl FnOnce(&mut ArgsEncoder)) -> Call<R> {
        let mut args = ArgsEncoder::new();
        push(&mut args);
        self.limit(call(function, args))
    }

    /// Sets these limits on a call.
    pub(crate) fn limit<R>(&self, call: Call<R>) -> Call<R> {
        call.limited(self.limits)
    }
}
