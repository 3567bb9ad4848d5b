//! Job histories: a log of every job that shows where its time went and how its tasks ended.
//!
//! A job writes `.wren/jobs/<id>/events.jsonl` while it runs: one [`Event`] per line, as JSON. Calls too short to be
//! worth a line each share one line per batch, so that the log never limits the speed. [`jobs`] and
//! [`JobSummary::read`] read the logs back, in this process or any other:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! for job in wren::history::jobs(".wren".as_ref())? {
//!     println!("{}: {:?}, {} tasks done", job.id, job.state, job.done);
//! }
//! # Ok(()) }
//! ```
//!
//! The driver of a job holds a lock on the job's log (`flock`), so that other processes can distinguish a running job
//! from one whose driver died.

mod claim;
mod clock;
mod display;
mod driver;
mod event;
mod failures;
mod files;
mod follow;
mod inputs;
mod job_line;
mod log;
mod notes;
#[cfg(feature = "otel")]
pub mod otel;
mod output;
mod prune;
pub(crate) mod spans;
mod summary;
mod task_report;
mod tasks;
mod timeline;

pub use crate::terminal::{ProgressBar, ProgressSnapshot};
pub use claim::{CANCEL, LOG, folder, id_in_store};
pub(crate) use claim::{Claim, claim, try_claim};
pub use clock::{Alignment, Exchange};
use driver::DriverWork;
pub use event::{About, DriverTotals, Event, LongestTask, RemoteTimes, Stage, Times};
pub use failures::Failures;
pub(crate) use files::LogPlace;
pub use follow::Follow;
pub(crate) use inputs::Inputs;
pub use inputs::{TaskInput, task_input};
pub(crate) use job_line::{store_of, task_count};
pub(crate) use log::{Forecast, JobLog};
pub(crate) use notes::{Note, SharedLog, WeakLog, tally};
pub use output::{Line, Outputs, outputs};
pub use summary::{JobState, JobSummary, directory, jobs};
pub(crate) use task_report::{Sizes, TaskReport};
pub use timeline::{Ended, Phase, Span, Timeline};

/// Converts microseconds to seconds, the unit of times in the log.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
