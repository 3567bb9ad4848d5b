//! Calls, jobs and values: the API that programs use.

mod call;
pub(crate) mod job;
pub(crate) mod map;
mod put;

pub(crate) use call::of_task;
pub use call::{Call, call};
pub use job::{Job, JobProgress, attach};
pub use map::{Map, MapStream, RemoteCall, StreamCalls, gather, map, map_stream};
pub use put::put;
