//! Spans and events for [`tracing`]: a span for each job, batch and task, and an event for each failure.
//!
//! | span | where | fields |
//! | --- | --- | --- |
//! | `job` | the driver, inside the span that awaited it | `job`, `name`, `function`, `tasks`, `backend`; at its end `state`, `done`, `failed`, `retried` |
//! | `invocation`, for a batch | a worker, inside the span of the job | `function`, `first`, `count`, `attempt` |
//! | `task` | a worker, inside the span of the batch, around the function; most short tasks have none | `function`, `task`, `attempt`; `error` if it failed |
//!
//! All spans have the target `wren` and the level INFO. Without a subscriber, a span costs only an atomic load. Workers
//! connect their spans to the driver's spans only with the feature `otel`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing::dispatcher::{get_default, with_default};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Span, error, field, info_span, warn};

use crate::error::Failure;
use crate::history::About;

/// Number of tasks of a batch that always have spans of their own.
const FIRST: u32 = 4;

/// Tasks that take less than this on average have no spans: thousands of them would crowd out the others.
const WORTH_A_SPAN: Duration = Duration::from_millis(1);

/// Maximum number of events that wait for a slow subscriber. Further ones are dropped.
const MOST_EVENTS: usize = 1024;

/// How long the end of a job waits for a slow subscriber.
const PATIENCE: Duration = Duration::from_millis(100);

/// The span of a job, in its driver.
#[derive(Debug)]
pub(crate) struct JobSpan {
    span: Span,
    /// Subscriber of the thread that started the job.
    subscriber: Dispatch,
    /// Whether events were queued for the subscriber.
    has_events: bool,
    /// Identifies the span to workers.
    traceparent: Option<Arc<str>>,
}

/// Queues an event for a separate thread that calls subscribers, which may take any time.
fn queue_event(event: impl FnOnce() + Send + 'static) {
    type Event = Box<dyn FnOnce() + Send>;
    static EVENTS: OnceLock<Option<SyncSender<Event>>> = OnceLock::new();
    let start = || {
        let (sender, events): (_, Receiver<Event>) = sync_channel(MOST_EVENTS);
        let thread = thread::Builder::new().name("wren-spans".into());
        thread.spawn(move || events.into_iter().for_each(run_event)).ok().map(|_| sender)
    };
    if let Some(events) = EVENTS.get_or_init(start) {
        let _ = events.try_send(Box::new(event));
    }
}

fn run_event(event: Box<dyn FnOnce() + Send>) {
    // A subscriber that panics still receives the next event.
    let _ = catch_unwind(AssertUnwindSafe(event));
}

impl JobSpan {
    pub(crate) fn begin(about: &About) -> Self {
        let span = info_span!(
            target: "wren",
            "job",
            job = about.id,
            name = about.name,
            function = about.function,
            tasks = about.tasks,
            backend = about.backend,
            state = field::Empty,
            done = field::Empty,
            failed = field::Empty,
            retried = field::Empty,
            otel.status_code = field::Empty,
        );
        Self { traceparent: traceparent(&span), span, subscriber: get_default(Dispatch::clone), has_events: false }
    }

    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        self.traceparent.clone()
    }

    pub(crate) fn failed(&mut self, task: u64, attempt: u32, class: &'static str) {
        self.send(move |span| error!(target: "wren", parent: span, task, attempt, class, "a task failed"));
    }

    pub(crate) fn retried(&mut self, task: u64, attempt: u32, class: &'static str, after: Duration) {
        let after_ms = after.as_millis() as u64;
        self.send(move |span| {
            warn!(target: "wren", parent: span, task, attempt, class, after_ms, "a task failed and will be retried");
        });
    }

    fn send(&mut self, event: impl FnOnce(&Span) + Send + 'static) {
        if self.subscriber.is::<NoSubscriber>() {
            return;
        }
        self.has_events = true;
        let (span, subscriber) = (self.span.clone(), self.subscriber.clone());
        queue_event(move || with_default(&subscriber, || event(&span)));
    }

    pub(crate) fn end(&mut self, state: &str, done: u64, failed: u64, retried: u64) {
        if self.has_events {
            let (sender, all_sent) = sync_channel(1);
            queue_event(move || {
                // This fails if the end of the job has stopped waiting.
                let _ = sender.try_send(());
            });
            let _ = all_sent.recv_timeout(PATIENCE);
        }
        let span = std::mem::replace(&mut self.span, Span::none());
        span.record("state", state).record("done", done).record("failed", failed).record("retried", retried);
        if state == "failed" {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The span of a batch in its worker. `None` without a subscriber, and after the last task.
#[derive(Debug)]
pub(crate) struct InvocationSpan(Option<Open>);

#[derive(Debug)]
struct Open {
    span: Span,
    function: &'static str,
    attempt: u32,
    started: Instant,
    ran: u32,
}

impl InvocationSpan {
    pub(crate) fn begin(traceparent: Option<&str>, function: &'static str, tasks: &Range<u64>, attempt: u32) -> Self {
        let (first, count) = (tasks.start, tasks.end - tasks.start);
        let span = info_span!(target: "wren", parent: None, "invocation", function, first, count, attempt);
        if span.is_disabled() {
            return Self(None);
        }
        let span = inside(span, traceparent);
        Self(Some(Open { span, function, attempt, started: Instant::now(), ran: 0 }))
    }

    /// Runs a task, in a span of its own if it is worth one. The last task ends the span of the batch.
    #[inline]
    pub(crate) fn task<T>(
        &mut self,
        task: u64,
        is_last: bool,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(open) = &mut self.0 else { return run() };
        let result = if open.ran < FIRST || open.started.elapsed() >= WORTH_A_SPAN * open.ran {
            in_span(task_span(&open.span, open.function, task, open.attempt), run)
        } else {
            open.span.in_scope(run)
        };
        open.ran += 1;
        if is_last {
            self.0 = None;
            flush_before_a_freeze();
        }
        result
    }
}

fn task_span(parent: &Span, function: &'static str, task: u64, attempt: u32) -> Span {
    info_span!(
        target: "wren",
        parent: parent,
        "task",
        function,
        task,
        attempt,
        error = field::Empty,
        otel.status_code = field::Empty,
    )
}

fn in_span<T>(span: Span, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let result = span.in_scope(run);
    if let Err(failure) = &result {
        span.record("error", failure.name()).record("otel.status_code", "ERROR");
    }
    result
}

#[cfg(feature = "otel")]
pub(crate) use crate::history::otel::{adopt, are_exported, current, flush};
#[cfg(feature = "otel")]
use crate::history::otel::{flush_before_a_freeze, inside, traceparent};

#[cfg(not(feature = "otel"))]
pub(crate) use without_otel::{adopt, are_exported, current, flush};
#[cfg(not(feature = "otel"))]
use without_otel::{flush_before_a_freeze, inside, traceparent};

/// Without OpenTelemetry, spans cannot be identified in other processes.
#[cfg(not(feature = "otel"))]
mod without_otel {
    use super::{Arc, Span};

    pub(crate) fn current() -> Option<Arc<str>> {
        None
    }

    pub(crate) fn are_exported() -> bool {
        false
    }

    pub(crate) fn flush() {}

    pub(crate) fn adopt(_: bool) {}

    pub(super) fn inside(span: Span, _: Option<&str>) -> Span {
        span
    }

    pub(super) fn traceparent(_: &Span) -> Option<Arc<str>> {
        None
    }

    pub(super) fn flush_before_a_freeze() {}
}
