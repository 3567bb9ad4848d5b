//! Lambda: functions, and their instances as processes of the local machine.

mod code;
mod control;
mod events;
mod fleet;
mod instance;
mod invoke;
mod meter;
mod output;
mod runtime_api;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::answer::Failure;
use super::identity::Identity;
use super::logs::Logs;
use super::objects::Reader;
use super::{ACCOUNT, Answer, Credentials, Faults, REGION};
use control::Function;
use fleet::Fleet;
use meter::Meter;

/// The parts of the emulator that Lambda needs.
pub(super) struct Place {
    pub(super) endpoint: String,
    pub(super) credentials: Credentials,
    /// Folder for code and for the scratch folders of instances.
    pub(super) folder: PathBuf,
    pub(super) objects: Reader,
    pub(super) identity: Arc<Identity>,
    pub(super) logs: Arc<Logs>,
    pub(super) faults: Arc<Faults>,
    /// Largest number of instances that run at once.
    pub(super) concurrency: usize,
}

/// The Lambda service.
pub(super) struct Lambda {
    place: Place,
    functions: Mutex<BTreeMap<String, Function>>,
    fleet: Arc<Fleet>,
    meter: Arc<Meter>,
    events: events::Queues,
    counts: Counts,
}

/// Counters since the start.
#[derive(Default)]
struct Counts {
    invocations: AtomicU64,
    cold_starts: AtomicU64,
    throttled: AtomicU64,
    lost: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Lambda {
    pub(super) fn new(place: Place) -> std::io::Result<Arc<Self>> {
        let meter = Meter::start()?;
        let fleet = Fleet::new(place.concurrency);
        tokio::spawn(fleet::sweep(Arc::downgrade(&fleet)));
        let (functions, events, counts) = Default::default();
        Ok(Arc::new(Self { place, functions, fleet, meter, events, counts }))
    }

    /// Ends all instances and prevents new ones.
    pub(super) fn stop(&self) {
        self.fleet.stop();
        self.meter.stop();
    }

    /// Returns the counters as one line.
    pub(super) fn summary(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { invocations, cold_starts, throttled, lost } = &self.counts;
        format!(
            "{} invocations, {} cold starts, {} throttled, {} lost",
            of(invocations),
            of(cold_starts),
            of(throttled),
            of(lost)
        )
    }

    /// Handles a request. The protocol is REST with JSON.
    pub(super) async fn call(self: &Arc<Self>, parts: &Parts, body: Bytes) -> Result<Answer, Failure> {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let path: Vec<_> = parts.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let query = parts.uri.query().unwrap_or_default();
        let named = |name: &str| function_name(name, query);
        match (parts.method.as_str(), path.as_slice()) {
            ("POST", ["2015-03-31", "functions"]) => self.create(&body).await,
            ("GET", ["2015-03-31", "functions"]) => self.list(query),
            ("GET", ["2015-03-31", "functions", name]) => self.get(&named(name)?),
            ("DELETE", ["2015-03-31", "functions", name]) => self.delete(&named(name)?),
            ("GET", ["2015-03-31", "functions", name, "configuration"]) => self.configuration(&named(name)?),
            ("PUT", ["2015-03-31", "functions", name, "configuration"]) => self.configure(&named(name)?, &body),
            ("PUT", ["2015-03-31", "functions", name, "code"]) => self.update_code(&named(name)?, &body).await,
            ("POST", ["2015-03-31", "functions", name, "invocations"]) => self.invoke(&named(name)?, parts, body).await,
            (method, ["2019-09-25", "functions", name, "event-invoke-config"]) => {
                self.event_config(&named(name)?, method, &body)
            }
            (method, ["2017-10-31" | "2019-09-30", "functions", name, "concurrency"]) => {
                self.concurrency(&named(name)?, method, &body)
            }
            (method, ["2017-03-31", "tags", name]) => self.tags(&named(name)?, method, query, &body),
            ("GET", ["2016-08-19", "account-settings"]) => Ok(self.account()),
            (method, _) => {
                let message = format!("the emulator does not support `{method} {}` of Lambda", parts.uri.path());
                Err(Failure::new(501, "NotImplemented", message))
            }
        }
    }

    fn functions(&self) -> MutexGuard<'_, BTreeMap<String, Function>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the function of this name.
    fn with<T>(&self, name: &str, look: impl FnOnce(&mut Function) -> Result<T, Failure>) -> Result<T, Failure> {
        look(self.functions().get_mut(name).ok_or_else(|| no_function(name))?)
    }
}

/// Returns the ARN of a function.
fn arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

fn no_function(name: &str) -> Failure {
    Failure::new(404, "ResourceNotFoundException", format!("Function not found: {}", arn(name)))
}

/// Extracts the name from a name, a partial ARN or an ARN, each with or without a qualifier.
fn function_name(text: &str, query: &str) -> Result<String, Failure> {
    let short = text.strip_prefix(&arn("")).or_else(|| text.strip_prefix(&format!("{ACCOUNT}:function:")));
    let (name, qualifier) = match short.unwrap_or(text).split_once(':') {
        Some((name, qualifier)) if short.is_some() || !qualifier.contains(':') => (name, qualifier.to_owned()),
        // The function is in another account or region.
        Some(_) => return Err(Failure::new(404, "ResourceNotFoundException", format!("Function not found: {text}"))),
        None => (short.unwrap_or(text), parameter(query, "Qualifier").unwrap_or_else(|| "$LATEST".to_owned())),
    };
    valid_name(name)?;
    if qualifier == "$LATEST" { Ok(name.to_owned()) } else { Err(no_function(&format!("{name}:{qualifier}"))) }
}

fn valid_name(name: &str) -> Result<(), Failure> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(valid) {
        return Ok(());
    }
    let message = format!(
        "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: [a-zA-Z0-9-_]+, with length less than or equal to 64"
    );
    Err(Failure::new(400, "ValidationException", message))
}

/// Returns a parameter of the query.
fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Parses the JSON body of a request.
fn input<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let wrong = |e: serde_json::Error| Failure::new(400, "SerializationException", e.to_string());
    serde_json::from_slice(body).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::function_name;

    #[test]
    fn names_and_arns() {
        let name = |text: &str| function_name(text, "").ok();
        let f = Some("f".to_owned());
        assert_eq!(name("f"), f);
        assert_eq!(name("f:$LATEST"), f);
        assert_eq!(name("123456789012:function:f"), f);
        assert_eq!(name("arn:aws:lambda:us-east-1:123456789012:function:f"), f);
        assert_eq!(name("arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST"), f);
        for other in ["arn:aws:lambda:eu-west-1:123456789012:function:f", "000000000000:function:f", "f:7", "a/b", ""] {
            assert_eq!(name(other), None, "{other}");
        }
        assert!(function_name("f", "Qualifier=7").is_err());
    }
}
