//! Callsites for events of other processes. `tracing` identifies an event by the place in the program that made it, and
//! the description of this place must be static.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::{Interest, Kind, Level, Metadata};

use super::record::Record;

/// Maximum number of callsites, because they are never freed. Events of further ones share one for each level.
const MOST: usize = 4096;

/// The first fields of each callsite.
const FIRST: [&str; 2] = ["message", "task"];

/// A callsite.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) metadata: &'static Metadata<'static>,
    /// Whether all events of the level have it. Then its only fields are `message` and `task`.
    pub(super) is_shared: bool,
}

/// Returns the callsite for an event with this name. Its fields are `message`, `task`, and those of the record.
pub(super) fn of(record: &Record, name: &str) -> Place {
    static PLACES: LazyLock<Mutex<HashMap<String, Place>>> = LazyLock::new(Mutex::default);
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let key = key(record, name);
    if let Some(place) = places.get(&key) {
        return *place;
    }
    let is_shared = places.len() >= MOST;
    let key = if is_shared { record.level.to_string() } else { key };
    if let Some(place) = places.get(&key) {
        return *place;
    }
    let site = Site::leaked();
    let place = Place { metadata: site.describe(record, name, is_shared), is_shared };
    places.insert(key, place);
    drop(places);
    // The subscriber may take any time.
    callsite::register(site);
    place
}

fn key(record: &Record, name: &str) -> String {
    let Record { level, target, module, file, line, .. } = record;
    let mut key = format!("{level}\0{name}\0{target}\0{module:?}\0{file:?}\0{line:?}");
    record.fields.iter().for_each(|(name, _)| key.extend(["\0", name]));
    key
}

/// A callsite that is described after its creation, because the description refers to it.
struct Site(OnceLock<Metadata<'static>>);

impl Site {
    fn leaked() -> &'static Self {
        Box::leak(Box::new(Self(OnceLock::new())))
    }

    fn describe(&'static self, record: &Record, name: &str, is_shared: bool) -> &'static Metadata<'static> {
        let level = match record.level {
            1 => Level::ERROR,
            2 => Level::WARN,
            3 => Level::INFO,
            4 => Level::DEBUG,
            _ => Level::TRACE,
        };
        let fields = |names: &'static [&'static str]| FieldSet::new(names, Identifier(self));
        self.0.get_or_init(|| {
            if is_shared {
                return Metadata::new(NAME, TARGET, level, None, None, None, fields(&FIRST), Kind::EVENT);
            }
            let names = FIRST.into_iter().chain(record.fields.iter().map(|(name, _)| leaked(name)));
            Metadata::new(
                leaked(name),
                leaked(&record.target),
                level,
                record.file.as_deref().map(leaked),
                record.line,
                record.module.as_deref().map(leaked),
                fields(Vec::leak(names.collect())),
                Kind::EVENT,
            )
        })
    }
}

fn leaked(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

impl Callsite for Site {
    // The subscriber is asked about each event, because its interest may change at any time.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().unwrap_or(&UNDESCRIBED)
    }
}

/// The name and the target of shared callsites.
const NAME: &str = "event of a worker";
const TARGET: &str = "wren";

/// The description of a site that has none yet. No subscriber sees it: a site is described before it is registered.
static UNDESCRIBED: Metadata<'static> = Metadata::new(
    NAME,
    TARGET,
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&FIRST, Identifier(&Undescribed)),
    Kind::EVENT,
);

struct Undescribed;

impl Callsite for Undescribed {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &UNDESCRIBED
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Source, Value};
    use super::*;

    fn record(line: u32, level: u8) -> Record {
        Record {
            source: Source::Tracing("event".to_owned()),
            level,
            target: "a::b".to_owned(),
            message: String::new(),
            module: Some("a".to_owned()),
            file: Some("src/a.rs".to_owned()),
            line: Some(line),
            fields: vec![("x".to_owned(), Value::Unsigned(1))],
        }
    }

    #[test]
    fn events_of_one_place_have_one_callsite_up_to_a_limit() {
        let first = of(&record(1, 3), "event").metadata;
        assert!(std::ptr::eq(first, of(&record(1, 3), "event").metadata));
        assert_eq!((first.target(), *first.level(), first.line()), ("a::b", Level::INFO, Some(1)));
        assert!(first.fields().iter().map(|field| field.name()).eq(["message", "task", "x"]));
        let places: Vec<_> = (0..2 * MOST as u32).map(|line| of(&record(line, 4), "event")).collect();
        let shared: Vec<_> = places.iter().filter(|place| place.is_shared).collect();
        assert!(shared.len() >= MOST && shared.iter().all(|place| std::ptr::eq(place.metadata, shared[0].metadata)));
        let of_warnings = of(&record(7_777, 2), "event").metadata;
        assert_eq!((of_warnings.target(), *of_warnings.level()), (TARGET, Level::WARN));
        assert!(std::ptr::eq(first, of(&record(1, 3), "event").metadata), "earlier callsites stay");
    }
}
