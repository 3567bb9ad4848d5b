//! Passes records of workers to the logger and the subscriber of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use log::kv;
use tracing::Event;
use tracing::dispatcher::get_default;
use tracing_core::field::{self, Field};

use super::record::{MOST_FIELDS, Record, Source, Value};
use super::{Levels, callsite};

/// The task that made a record.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The last part of the function's name.
    pub(crate) function: &'static str,
    pub(crate) task: u64,
}

/// The use of a record in this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Its logger or its subscriber, which does not drop the record.
    Logger,
    /// The terminal, because this process has no logger.
    Terminal,
    Nowhere,
}

impl Record {
    /// Returns where the record goes. Loggers answer this without writing anything.
    pub(crate) fn destination(&self) -> Destination {
        if Levels::relayed().is_some() {
            return Destination::Terminal;
        }
        let is_enabled = || match &self.source {
            Source::Log => {
                let metadata = log::Metadata::builder().level(self.log_level()).target(&self.target).build();
                metadata.level() <= log::max_level() && log::logger().enabled(&metadata)
            }
            Source::Tracing(name) => {
                let metadata = callsite::of(self, name).metadata;
                get_default(|subscriber| subscriber.enabled(metadata))
            }
        };
        // This may be the user's code, and the thread that calls it also serves other workers.
        match catch_unwind(AssertUnwindSafe(is_enabled)) {
            Ok(true) => Destination::Logger,
            _ => Destination::Nowhere,
        }
    }

    /// Passes the record to the logger or the subscriber of this process, which may take any time.
    pub(crate) fn deliver(&self, origin: Option<&Origin>) {
        match &self.source {
            Source::Log => self.to_log(origin),
            Source::Tracing(name) => self.to_tracing(name, origin.map(|origin| origin.task)),
        }
    }

    fn to_log(&self, origin: Option<&Origin>) {
        let mark = match origin {
            Some(Origin { function, task }) => format!("[{function} {task}] "),
            None => "[worker] ".to_owned(),
        };
        let mut pairs: Vec<(&str, kv::Value<'_>)> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.to_kv())).collect();
        pairs.extend(origin.map(|origin| ("task", kv::Value::from(origin.task))));
        log::logger().log(
            &log::Record::builder()
                .args(format_args!("{mark}{}", self.message))
                .level(self.log_level())
                .target(&self.target)
                .module_path(self.module.as_deref())
                .file(self.file.as_deref())
                .line(self.line)
                .key_values(&&pairs[..])
                .build(),
        );
    }

    fn to_tracing(&self, name: &str, task: Option<u64>) {
        let place = callsite::of(self, name);
        let metadata = place.metadata;
        let text = if place.is_shared { self.text() } else { self.message.clone() };
        let message = field::display(text);
        let own = if place.is_shared { &[][..] } else { &self.fields };
        let own: Vec<Box<dyn field::Value>> = own.iter().map(|(_, value)| value.to_field()).collect();
        let mut values: Vec<Option<&dyn field::Value>> = vec![Some(&message), task.as_ref().map(|task| task as _)];
        values.extend(own.iter().map(|value| Some(&**value)));
        let Some(first) = metadata.fields().iter().next() else { return };
        let fields: Vec<Field> = metadata.fields().iter().collect();
        // `tracing` takes arrays only. A field without a value is not recorded.
        let pairs: [(&Field, Option<&dyn field::Value>); MOST_FIELDS + 2] =
            std::array::from_fn(|at| (fields.get(at).unwrap_or(&first), values.get(at).copied().flatten()));
        let values = metadata.fields().value_set(&pairs);
        get_default(|subscriber| {
            if subscriber.enabled(metadata) {
                subscriber.event(&Event::new(metadata, &values));
            }
        });
    }
}

impl Value {
    fn to_kv(&self) -> kv::Value<'_> {
        match self {
            Value::Text(text) => text.as_str().into(),
            Value::Formatted(text) => kv::Value::from_display(text),
            Value::Unsigned(number) => (*number).into(),
            Value::Signed(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Bool(bool) => (*bool).into(),
        }
    }

    fn to_field(&self) -> Box<dyn field::Value + '_> {
        match self {
            Value::Text(text) => Box::new(text.as_str()),
            Value::Formatted(text) => Box::new(field::display(text)),
            Value::Unsigned(number) => Box::new(*number),
            Value::Signed(number) => Box::new(*number),
            Value::Float(number) => Box::new(*number),
            Value::Bool(bool) => Box::new(*bool),
        }
    }
}
