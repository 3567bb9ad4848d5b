//! Spans of a job, in its driver and its workers, as one trace of OpenTelemetry (feature `otel`).
//!
//! ```no_run
//! # fn load() {}
//! fn main() -> wren::Result<()> {
//!     wren::init();
//!     // Until it is dropped, spans go to the collector.
//!     let _exporter = wren::otel::install()?;
//!     let _span = tracing::info_span!("nightly").entered();
//!     // Jobs that are awaited here are inside `nightly`, and their tasks inside them.
//!     load();
//!     Ok(())
//! }
//! ```
//!
//! Spans are sent by OTLP over HTTP, to `OTEL_EXPORTER_OTLP_ENDPOINT` (`http://localhost:4318` by default);
//! this and the other variables of OpenTelemetry's SDK mean what they
//! [always do](https://opentelemetry.io/docs/specs/otel/protocol/exporter/). TLS is not spoken: a collector
//! stands beside the program, or in its network, and speaks it to others.
//!
//! A worker exports if the driver does, and has the spans of the driver around its own: the driver sends it
//! the `traceparent` of [W3C's Trace Context](https://www.w3.org/TR/trace-context/). Whatever the function
//! itself tells [`tracing`] is inside its task. On AWS the endpoint must be one that the functions
//! reach: `cargo wren deploy` gives them the `OTEL_` variables of its own environment that hold no secrets.
//!
//! A worker that is killed, for it ran out of time or memory, loses the spans of its last second.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::error::{Error, Result};
use crate::{platform, terminal};

/// How long an export may take; `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long spans wait for others; `OTEL_BSP_SCHEDULE_DELAY` says otherwise.
const DELAY: Duration = Duration::from_secs(1);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Exports spans until it is dropped; what waits is sent then.
#[derive(Debug)]
#[must_use = "spans are exported until it is dropped"]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends what waits.
    ///
    /// # Errors
    /// [`Error::Config`] where no collector takes it.
    pub fn flush(&self) -> Result<()> {
        self.0.force_flush().map_err(|error| Error::Config(unexported(&error)))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // `shutdown` sends too, and does not say whether that was taken.
        if let Err(error) = self.0.force_flush() {
            terminal::note(&unexported(&error));
        }
        let _ = self.0.shutdown();
    }
}

fn unexported(error: &dyn std::fmt::Display) -> String {
    format!("spans could not be exported: {error}; is a collector at OTEL_EXPORTER_OTLP_ENDPOINT?")
}

/// Exports all spans of level INFO and above, of this process and of its workers. A program with a subscriber
/// of its own takes the [`layer`].
///
/// # Errors
/// [`Error::Config`] where the program has a subscriber already, or the endpoint cannot be one.
pub fn install() -> Result<Exporter> {
    let provider = provider()?;
    let subscriber = tracing_subscriber::registry().with(layer_of(&provider).with_filter(LevelFilter::INFO));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| {
        Error::Config("this program has a subscriber of its own: add to it what `wren::otel::layer()` gives".to_owned())
    })?;
    let _ = PROVIDER.set(provider.clone());
    Ok(Exporter(provider))
}

/// A layer of a subscriber that exports spans. Where it is to be in workers too, with whatever else the
/// subscriber has, install it before [`wren::init()`](crate::init()).
///
/// # Errors
/// [`Error::Config`] where the endpoint cannot be one.
pub fn layer<S>() -> Result<(impl Layer<S> + Send + Sync + 'static, Exporter)>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let provider = provider()?;
    let _ = PROVIDER.set(provider.clone());
    Ok((layer_of(&provider), Exporter(provider)))
}

fn layer_of<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("wren")).with_threads(false);
    // A span of a job is busy elsewhere.
    layer.with_tracked_inactivity(false)
}

fn provider() -> Result<SdkTracerProvider> {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    // The first that is set counts.
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let endpoint = endpoints.into_iter().find(|name| is_set(name));
    if let Some(name) = endpoint.filter(|name| std::env::var(name).is_ok_and(|url| url.starts_with("https:"))) {
        return Err(Error::Config(format!(
            "{name} wants TLS, which wren does not speak to collectors: run one beside the program \
             (http://localhost:4318), which exports to others"
        )));
    }
    let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_http();
    if !is_set("OTEL_EXPORTER_OTLP_TIMEOUT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") {
        exporter = exporter.with_timeout(TIMEOUT);
    }
    let exporter = exporter.build().map_err(|error| Error::Config(format!("no exporter of spans: {error}")))?;
    let mut batches = BatchConfigBuilder::default();
    if !is_set("OTEL_BSP_SCHEDULE_DELAY") {
        batches = batches.with_scheduled_delay(DELAY);
    }
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
    let role = if platform::is_worker() { "worker" } else { "driver" };
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("wren.role", role))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())));
    if !is_set("OTEL_SERVICE_NAME")
        && !std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|a| a.contains("service.name"))
    {
        let program = crate::platform::own_path().ok();
        let name = program.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
        resource = resource.with_service_name(name.to_string_lossy().into_owned());
    }
    Ok(SdkTracerProvider::builder().with_span_processor(batches).with_resource(resource.build()).build())
}

/// Whether spans of this process, and with it of its workers, are exported.
pub(crate) fn are_exported() -> bool {
    PROVIDER.get().is_some()
}

/// Exports the spans of this worker from now on, as its driver does its own.
pub(crate) fn adopt(traceparent: Option<&str>) {
    static INSTALLED: OnceLock<Option<Exporter>> = OnceLock::new();
    if traceparent.is_some() && platform::is_worker() && PROVIDER.get().is_none() {
        INSTALLED.get_or_init(|| match install() {
            Ok(exporter) => Some(exporter),
            Err(error) => {
                eprintln!("wren: {error}");
                None
            }
        });
    }
}

/// The span as others name it; none where it is not of a trace.
pub(crate) fn traceparent(span: &Span) -> Option<Arc<str>> {
    if PROVIDER.get().is_none() || span.is_disabled() {
        return None;
    }
    let mut fields = HashMap::new();
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    TraceContextPropagator::new().inject_context(&context, &mut fields);
    fields.get("traceparent").map(|text| text.as_str().into())
}

/// The span that the caller is in, for a worker.
pub(crate) fn current() -> Option<Arc<str>> {
    traceparent(&Span::current())
}

/// Puts a span that was not entered yet into one of another process.
pub(crate) fn inside(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent {
        let fields = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // Refused where a subscriber of the program's own has no layer for it: then it is a trace of its own.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&fields));
    }
    span
}

/// Sends what waits, before this process ends.
pub(crate) fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.force_flush()
    {
        eprintln!("wren: {}", unexported(&error));
    }
}

/// Sends what waits where nothing is sent later.
pub(crate) fn flush_before_a_freeze() {
    if platform::in_lambda() {
        flush();
    }
}
