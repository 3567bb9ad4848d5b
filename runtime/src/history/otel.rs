//! Exports the spans of a job, from its driver and its workers, as one OpenTelemetry trace (feature `otel`).
//!
//! ```no_run
//! # fn load() {}
//! fn main() -> wren::Result<()> {
//!     wren::init();
//!     // Spans are exported to the collector until this is dropped.
//!     let _exporter = wren::otel::install()?;
//!     let _span = tracing::info_span!("nightly").entered();
//!     // Jobs that are awaited here are inside `nightly`, and their tasks are inside the jobs.
//!     load();
//!     Ok(())
//! }
//! ```
//!
//! Spans are sent with OTLP over HTTP to `OTEL_EXPORTER_OTLP_ENDPOINT` (`http://localhost:4318` by default). This and
//! the other variables of the OpenTelemetry SDK have their
//! [usual meaning](https://opentelemetry.io/docs/specs/otel/protocol/exporter/). TLS is not supported: run a collector
//! next to the program, or in its network, and let it forward the spans over TLS.
//!
//! A worker exports spans if its driver does. Its spans are inside those of the driver, because the driver sends the
//! worker a `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/). The [`tracing`] spans and
//! events of the function itself are inside the span of its task. On AWS, the functions must be able to reach the
//! endpoint: `cargo wren deploy` passes on those `OTEL_` variables of its own environment that hold no secrets.
//!
//! A worker that is killed because it exceeded its time or memory limit loses the spans of its last second.

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
use crate::{logging, platform, terminal};

/// Time limit of an export, unless `OTEL_EXPORTER_OTLP_TIMEOUT` sets another.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long spans wait to be exported together, unless `OTEL_BSP_SCHEDULE_DELAY` sets another time.
const DELAY: Duration = Duration::from_secs(1);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A handle that exports spans until it is dropped. Dropping it exports the spans that still wait.
#[derive(Debug)]
#[must_use = "spans are exported until it is dropped"]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Exports the spans that still wait.
    ///
    /// # Errors
    /// [`Error::Config`] if no collector accepts them.
    pub fn flush(&self) -> Result<()> {
        self.0.force_flush().map_err(|error| Error::Config(unexported(&error)))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // `shutdown` exports too, but does not report whether that succeeded.
        if let Err(error) = self.0.force_flush() {
            terminal::note(&unexported(&error));
        }
        let _ = self.0.shutdown();
    }
}

fn unexported(error: &dyn std::fmt::Display) -> String {
    format!("cannot export spans: {error}; is a collector running at OTEL_EXPORTER_OTLP_ENDPOINT?")
}

/// Exports all spans of level INFO and above, of this process and of its workers. A program with its own subscriber
/// uses [`layer`] instead.
///
/// # Errors
/// [`Error::Config`] if the program has already installed a subscriber, or if the endpoint is invalid.
pub fn install() -> Result<Exporter> {
    let provider = provider()?;
    // A worker also passes its events to the subscriber of its driver.
    let collector = platform::is_worker().then(logging::layer);
    let subscriber =
        tracing_subscriber::registry().with(layer_of(&provider).with_filter(LevelFilter::INFO)).with(collector);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| {
        Error::Config(
            "the program has already installed a tracing subscriber; add the layer from `wren::otel::layer()` to it"
                .to_owned(),
        )
    })?;
    let _ = PROVIDER.set(provider.clone());
    Ok(Exporter(provider))
}

/// Returns a subscriber layer that exports spans. To use the whole subscriber in workers too, install it before
/// [`wren::init()`](crate::init()).
///
/// # Errors
/// [`Error::Config`] if the endpoint is invalid.
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
    // The work of a job's span happens in other processes, so its idle time here means nothing.
    layer.with_tracked_inactivity(false)
}

fn provider() -> Result<SdkTracerProvider> {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    // The first variable that is set takes precedence.
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let endpoint = endpoints.into_iter().find(|name| is_set(name));
    if let Some(name) = endpoint.filter(|name| std::env::var(name).is_ok_and(|url| url.starts_with("https:"))) {
        return Err(Error::Config(format!(
            "{name} is an https URL, but wren does not support TLS to collectors; run a collector next to the program \
             (http://localhost:4318) and let it forward the spans"
        )));
    }
    let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_http();
    if !is_set("OTEL_EXPORTER_OTLP_TIMEOUT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") {
        exporter = exporter.with_timeout(TIMEOUT);
    }
    let exporter =
        exporter.build().map_err(|error| Error::Config(format!("cannot create the span exporter: {error}")))?;
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

/// Returns whether the spans of this process and of its workers are exported.
pub(crate) fn are_exported() -> bool {
    PROVIDER.get().is_some()
}

/// Starts to export the spans of this worker, if its driver exports its own.
pub(crate) fn adopt(is_exported: bool) {
    static INSTALLED: OnceLock<Option<Exporter>> = OnceLock::new();
    if is_exported && platform::is_worker() && PROVIDER.get().is_none() {
        INSTALLED.get_or_init(|| match install() {
            Ok(exporter) => Some(exporter),
            Err(error) => {
                eprintln!("wren: {error}");
                None
            }
        });
    }
}

/// Returns the `traceparent` that identifies the span in other processes, or `None` if the span is not in a trace.
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

/// Returns the `traceparent` of the current span, to send it to a worker.
pub(crate) fn current() -> Option<Arc<str>> {
    traceparent(&Span::current())
}

/// Makes a span that was not entered yet a child of a span in another process.
pub(crate) fn inside(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent {
        let fields = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // This fails if the program's own subscriber has no OpenTelemetry layer; the span then starts its own trace.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&fields));
    }
    span
}

/// Exports the spans that still wait, before this process ends.
pub(crate) fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.force_flush()
    {
        eprintln!("wren: {}", unexported(&error));
    }
}

/// On Lambda, exports the spans that still wait, because the process is frozen after its answer.
pub(crate) fn flush_before_a_freeze() {
    if platform::in_lambda() {
        flush();
    }
}
