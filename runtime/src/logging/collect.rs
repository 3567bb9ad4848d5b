//! The logger and the subscriber of a process that has no others.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use log::kv::{self, VisitSource, VisitValue};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber, span};
use tracing_core::{Interest, LevelFilter, callsite};

use super::record::{MOST_FIELDS, Record, Source, Value};
use super::{Levels, number_of};

/// Receives records, on the thread that makes them.
type Sink = fn(&Record);

/// Collects records of [`log`] and [`tracing`].
struct Collector;

static SINK: OnceLock<Sink> = OnceLock::new();
/// Whether the collector is the logger of [`log`], once this was tried.
static HAS_LOG: OnceLock<bool> = OnceLock::new();
/// Whether the collector is the subscriber of [`tracing`], or a layer of it, once this was tried.
static HAS_TRACING: OnceLock<bool> = OnceLock::new();
/// Maximum level of the events of [`tracing`].
static TRACING_LEVEL: AtomicU8 = AtomicU8::new(0);

/// Passes the records of this process up to `levels` to `sink` from now on, which must always be the same. If the
/// program has installed a logger or a subscriber of its own, that one gets them instead.
pub(crate) fn collect(levels: Levels, sink: Sink) {
    static CURRENT: AtomicU32 = AtomicU32::new(0);
    let packed = levels.pack();
    // Setting the same levels again must cost nothing: it happens before each batch.
    if CURRENT.load(Ordering::Relaxed) == packed {
        return;
    }
    CURRENT.store(packed, Ordering::Relaxed);
    let _ = SINK.set(sink);
    // Without records, nothing is installed, and functions may install loggers.
    if (levels.log > 0 || HAS_LOG.get().is_some()) && *HAS_LOG.get_or_init(|| log::set_logger(&Collector).is_ok()) {
        log::set_max_level(log::LevelFilter::iter().nth(levels.log.into()).unwrap_or(log::LevelFilter::Trace));
    }
    TRACING_LEVEL.store(levels.tracing, Ordering::Relaxed);
    let has_tracing = || tracing::subscriber::set_global_default(Collector).is_ok();
    if (levels.tracing > 0 || HAS_TRACING.get().is_some()) && *HAS_TRACING.get_or_init(has_tracing) {
        callsite::rebuild_interest_cache();
    }
}

fn emit(mut record: Record) {
    if let Some(sink) = SINK.get() {
        record.shorten();
        sink(&record);
    }
}

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !log::Log::enabled(self, record.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        // The visitor returns no errors.
        let _ = record.key_values().visit(&mut fields);
        emit(Record {
            source: Source::Log,
            level: record.level() as u8,
            target: record.target().to_owned(),
            message: record.args().to_string(),
            module: record.module_path().map(str::to_owned),
            file: record.file().map(str::to_owned),
            line: record.line(),
            fields: fields.all,
        });
    }

    fn flush(&self) {}
}

fn wants(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && number_of(metadata.level()) <= TRACING_LEVEL.load(Ordering::Relaxed)
}

fn take_event(event: &Event<'_>) {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    emit(Record {
        source: Source::Tracing(metadata.name().to_owned()),
        level: number_of(metadata.level()),
        target: metadata.target().to_owned(),
        message: fields.message,
        module: metadata.module_path().map(str::to_owned),
        file: metadata.file().map(str::to_owned),
        line: metadata.line(),
        fields: fields.all,
    });
}

/// Events only: a span of a function means nothing in the driver.
impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        const FILTERS: [LevelFilter; 6] = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        FILTERS.get(usize::from(TRACING_LEVEL.load(Ordering::Relaxed))).copied()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        take_event(event);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Returns the collector as a layer, for a process whose subscriber also exports spans. It must be installed.
#[cfg(feature = "otel")]
pub(crate) fn layer<S>() -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    use tracing_subscriber::Layer as _;

    let _ = HAS_TRACING.set(true);
    CollectorLayer.with_filter(tracing_subscriber::filter::filter_fn(wants))
}

#[cfg(feature = "otel")]
struct CollectorLayer;

#[cfg(feature = "otel")]
impl<S: Subscriber> tracing_subscriber::Layer<S> for CollectorLayer {
    fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        take_event(event);
    }
}

/// The fields of a record, as far as they were visited.
#[derive(Default)]
struct Fields {
    message: String,
    all: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        if self.all.len() < MOST_FIELDS {
            self.all.push((name.to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.add(name, Value::Text(value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.add(name, Value::Formatted(format!("{value:?}"))),
        }
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut kept = ValueOf(Value::Formatted(String::new()));
        value.visit(&mut kept)?;
        self.add(key.as_str(), kept.0);
        Ok(())
    }
}

/// The value of a field of [`log`].
struct ValueOf(Value);

impl<'v> VisitValue<'v> for ValueOf {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = Value::Formatted(value.to_string());
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = Value::Unsigned(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = Value::Signed(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = Value::Float(value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = Value::Bool(value);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = Value::Text(value.to_owned());
        Ok(())
    }
}
