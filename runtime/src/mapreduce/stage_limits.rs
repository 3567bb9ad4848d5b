//! What the tasks of a stage get of the machines that run them.

use crate::calls::{Call, call};
use crate::error::Result;
use crate::executor::Executor;
use crate::function::{ArgsEncoder, Limits, RemoteFn};

/// Memory of a worker where neither the attribute, nor the builder, nor the backend says one, in MB.
const DEFAULT_MEMORY_MB: u32 = 512;

/// The limits of a stage's calls, as there are machines for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageLimits {
    limits: Limits,
    /// What a task may use of the memory, in MB: calls that run side by side on a machine share it.
    pub(super) share_mb: u32,
}

impl StageLimits {
    /// For calls of this function, or of functions that share its beginning.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where no machine has as much.
    pub(crate) fn of(executor: &Executor, function: &str, stated: Limits) -> Result<Self> {
        let placement = executor.placement(function, &stated)?;
        let memory_mb =
            stated.memory_mb.or(placement.map(|placement| placement.memory_mb)).unwrap_or(DEFAULT_MEMORY_MB);
        let share_mb = placement
            .map_or(memory_mb, |placement| (placement.memory_mb / placement.calls.max(1)).clamp(1, memory_mb.max(1)));
        Ok(Self { limits: Limits { memory_mb: Some(memory_mb), ..stated }, share_mb })
    }

    /// A call of a stage.
    pub(crate) fn call<R>(&self, function: &'static RemoteFn, push: impl FnOnce(&mut ArgsEncoder)) -> Call<R> {
        let mut args = ArgsEncoder::new();
        push(&mut args);
        self.limit(call(function, args))
    }

    /// A call under these limits.
    pub(crate) fn limit<R>(&self, call: Call<R>) -> Call<R> {
        call.limited(self.limits)
    }
}
