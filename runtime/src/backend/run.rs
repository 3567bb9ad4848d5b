//! Runs one task of a batch on the current thread.

use std::time::{Duration, Instant};

use crate::attempt::{Batch, Reply, Results, Timing};
use crate::error::Failure;
use crate::function::framed::Pieces;
use crate::function::{self, CallClock, Conversion, Encoded};
use crate::history::spans::InvocationSpan;

impl Batch {
    /// Runs one of the tasks on this thread. `now` is the current time on the scheduler's clock. A panic becomes a
    /// failure of the task.
    pub fn run_task(&self, task: u64, now: Duration) -> Reply {
        function::install_hook();
        let batch_id = self.id;
        let start = Instant::now();
        let (mut out, mut clock) = (Encoded::default(), CallClock::new(true));
        let one = task..task.saturating_add(1);
        let outcome = if self.tasks.contains(&task) {
            let args = Pieces(self.block.args(one.clone())).next().unwrap_or_default();
            let blobs = self.block.blobs(one.clone()).next().map_or(&[][..], |(_, blobs)| blobs);
            let function = self.block.function();
            let mut span = InvocationSpan::begin(self.block.traceparent(), function.name, &one, self.attempt);
            span.task(task, true, || function::run(function, args, blobs, &mut out, &mut clock))
        } else {
            Err(Failure::Backend(format!("task {task} is not in the batch {:?}", self.tasks)))
        };
        let end = Instant::now();
        let conversion = Conversion { decode: clock.decoding(), encode: clock.encoding(end) };
        let (decode, compute, encode) = conversion.divide(end - start);
        let timing = Timing { started: now, decode, compute, encode, ..Timing::default() };
        match outcome {
            Ok(()) => {
                let mut packed = Vec::with_capacity(out.len() + 4);
                out.append_to(&mut packed);
                Reply::Done { batch_id, tasks: one, results: Results::packed(packed), timing }
            }
            Err(failure) => Reply::Failed { batch_id, task, failure, stderr: String::new(), timing },
        }
    }
}
