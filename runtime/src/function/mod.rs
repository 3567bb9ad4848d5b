//! Remote functions: their registry, arguments, results and panics. Worker processes, threads of the `inline` backend
//! and workers on AWS Lambda share this code.

pub mod annotation;
pub(crate) mod args;
pub(crate) mod attached;
mod backoff;
pub(crate) mod blob;
mod clock;
pub mod errors;
mod excerpt;
pub(crate) mod framed;
mod immutable;
mod limits;
mod output;
mod panics;
pub mod registry;
mod roles;
mod run;
mod stop;
pub(crate) mod types;

pub(crate) use args::Args;
pub use args::{ArgsDecoder, ArgsEncoder, INLINE_LIMIT};
pub use backoff::Backoff;
pub(crate) use blob::Blob;
pub(crate) use clock::{CallClock, Conversion};
pub(crate) use excerpt::Excerpt;
pub use immutable::Immutable;
pub use limits::{Limits, Timeout};
pub(crate) use output::Encoded;
pub use output::Output;
pub(crate) use panics::{captures_panics, install_hook, message_of, report_fatal_panics};
pub use registry::RemoteFn;
pub use roles::{Argument, BorrowedArgument, OutsideProcess, Reportable, Returned, ShortArray, Unshared};
pub use run::Invoke;
pub(crate) use run::{BlobsByTask, run, run_uncaught};
pub(crate) use stop::{StopSignal, stopped_by, until_stopped};
