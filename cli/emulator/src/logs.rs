//! CloudWatch Logs: the output of functions, in memory. The oldest events are dropped first.

mod filter;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::answer::{Failure, with_body};
use super::{ACCOUNT, Answer, REGION};
use filter::Filter;

/// Largest size of the events of a group, in bytes.
const GROUP_BYTES: usize = 64 << 20;

/// Size of an event in addition to its message, in bytes.
const EVENT_BYTES: usize = 64;

/// Largest number of events in one answer.
const LARGEST_PAGE: usize = 10_000;

/// All log groups.
pub(super) struct Logs {
    groups: Mutex<BTreeMap<String, Group>>,
    /// Whether to print every line to standard error as well.
    verbose: bool,
}

struct Group {
    created: i64,
    retention: Option<u32>,
    streams: BTreeMap<Arc<str>, Stream>,
    /// The events of all streams, in order of arrival.
    events: VecDeque<Event>,
    /// The number of the first of `events` among all events of the group, including dropped ones.
    first: usize,
    bytes: usize,
}

struct Stream {
    created: i64,
    first: i64,
    last: i64,
}

struct Event {
    stream: Arc<str>,
    at: i64,
    message: String,
}

impl Group {
    fn new() -> Self {
        let (streams, events) = (BTreeMap::new(), VecDeque::new());
        Self { created: now(), retention: None, streams, events, first: 0, bytes: 0 }
    }

    fn push(&mut self, stream: &Arc<str>, message: String) {
        let at = now();
        let known = self.streams.entry(stream.clone()).or_insert(Stream { created: at, first: at, last: at });
        known.last = at;
        self.bytes += message.len() + EVENT_BYTES;
        self.events.push_back(Event { stream: stream.clone(), at, message });
        while self.bytes > GROUP_BYTES
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.message.len() + EVENT_BYTES;
            self.first += 1;
        }
    }

    /// Returns the events from the number `start` on, each with its number.
    fn since(&self, start: usize) -> impl Iterator<Item = (usize, &Event)> {
        let skipped = start.saturating_sub(self.first);
        self.events.iter().enumerate().skip(skipped).map(|(n, event)| (n + self.first, event))
    }
}

/// The fields of all kinds of requests.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    log_stream_name: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    descending: bool,
    retention_in_days: Option<u32>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    start_from_head: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

impl Input {
    fn group(&self) -> Result<&str, Failure> {
        let name = self.log_group_name.as_deref().or(self.log_group_identifier.as_deref());
        let name = name.ok_or_else(|| parameter("the request does not name a log group"))?;
        // An identifier may be an ARN.
        Ok(name.strip_prefix(&arn("")).unwrap_or(name).trim_end_matches(":*"))
    }

    fn token(&self) -> Result<Option<usize>, Failure> {
        let number = |token: &str| token.rsplit('/').next().and_then(|number| number.parse().ok());
        let wrong = || parameter("The specified nextToken is invalid.");
        self.next_token.as_deref().map(|token| number(token).ok_or_else(wrong)).transpose()
    }

    fn limit(&self, otherwise: usize) -> usize {
        self.limit.unwrap_or(otherwise).clamp(1, LARGEST_PAGE)
    }

    fn in_time(&self, event: &Event) -> bool {
        self.start_time.is_none_or(|start| event.at >= start) && self.end_time.is_none_or(|end| event.at < end)
    }
}

impl Logs {
    pub(super) fn new(verbose: bool) -> Self {
        Self { groups: Mutex::default(), verbose }
    }

    /// Stores a line, which ends in a newline as lines of Lambda do.
    pub(super) fn write(&self, group: &str, stream: &Arc<str>, line: &str) {
        if self.verbose {
            // Standard error may be closed.
            let _ = write!(io::stderr(), "{}: {line}", group.rsplit('/').next().unwrap_or(group));
        }
        let mut groups = self.groups();
        if !groups.contains_key(group) {
            groups.insert(group.to_owned(), Group::new());
        }
        if let Some(group) = groups.get_mut(group) {
            group.push(stream, line.to_owned());
        }
    }

    /// Handles a request. The protocol is JSON 1.1, with the operation in a header.
    pub(super) fn call(&self, parts: &Parts, body: &[u8]) -> Result<Answer, Failure> {
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.split('.').next_back()).unwrap_or_default();
        let input = serde_json::from_slice::<Input>(if body.is_empty() { b"{}" } else { body });
        let input = input.map_err(|e| Failure::new(400, "SerializationException", e.to_string()))?;
        let mut groups = self.groups();
        let output = match operation {
            "CreateLogGroup" => create(&mut groups, input.group()?)?,
            "DescribeLogGroups" => describe_groups(&groups, &input)?,
            "DeleteLogGroup" => {
                groups.remove(input.group()?).ok_or_else(no_group)?;
                json!({})
            }
            "PutRetentionPolicy" | "DeleteRetentionPolicy" => {
                groups.get_mut(input.group()?).ok_or_else(no_group)?.retention = input.retention_in_days;
                json!({})
            }
            "DescribeLogStreams" => describe_streams(groups.get(input.group()?).ok_or_else(no_group)?, &input)?,
            "GetLogEvents" => get(groups.get(input.group()?).ok_or_else(no_group)?, &input)?,
            "FilterLogEvents" => filtered(groups.get(input.group()?).ok_or_else(no_group)?, &input)?,
            other => {
                let message = format!("the emulator does not support `{other}` of CloudWatch Logs");
                return Err(Failure::new(400, "UnknownOperationException", message));
            }
        };
        Ok(with_body(200, "application/x-amz-json-1.1", serde_json::to_vec(&output).unwrap_or_default()))
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(groups: &mut BTreeMap<String, Group>, name: &str) -> Result<Value, Failure> {
    if groups.contains_key(name) {
        let message = "The specified log group already exists";
        return Err(Failure::new(400, "ResourceAlreadyExistsException", message));
    }
    groups.insert(name.to_owned(), Group::new());
    Ok(json!({}))
}

fn describe_groups(groups: &BTreeMap<String, Group>, input: &Input) -> Result<Value, Failure> {
    let prefix = input.log_group_name_prefix.as_deref().unwrap_or_default();
    let pattern = input.log_group_name_pattern.as_deref().unwrap_or_default();
    let found = groups.iter().filter(|(name, _)| name.starts_with(prefix) && name.contains(pattern));
    let described = found.map(|(name, group)| {
        let mut value = json!({
            "logGroupName": name, "creationTime": group.created, "storedBytes": group.bytes,
            "arn": format!("{}:*", arn(name)), "logGroupArn": arn(name), "logGroupClass": "STANDARD",
            "metricFilterCount": 0,
        });
        if let Some(days) = group.retention {
            value["retentionInDays"] = days.into();
        }
        value
    });
    page("logGroups", described.collect(), input)
}

fn describe_streams(group: &Group, input: &Input) -> Result<Value, Failure> {
    let prefix = input.log_stream_name_prefix.as_deref().unwrap_or_default();
    let mut found: Vec<_> = group.streams.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
    if input.order_by.as_deref() == Some("LastEventTime") {
        found.sort_by_key(|(_, stream)| stream.last);
    }
    if input.descending {
        found.reverse();
    }
    let described = found.into_iter().map(|(name, stream)| {
        json!({
            "logStreamName": &**name, "creationTime": stream.created, "firstEventTimestamp": stream.first,
            "lastEventTimestamp": stream.last, "lastIngestionTime": stream.last, "storedBytes": 0,
        })
    });
    page("logStreams", described.collect(), input)
}

/// Returns a part of a list. The default size is 50.
fn page(name: &str, all: Vec<Value>, input: &Input) -> Result<Value, Failure> {
    let start = input.token()?.unwrap_or(0);
    let limit = input.limit(50);
    let more = all.len() > start.saturating_add(limit);
    let part: Vec<_> = all.into_iter().skip(start).take(limit).collect();
    let mut output = json!({ name: part });
    if more {
        output["nextToken"] = (start + limit).to_string().into();
    }
    Ok(output)
}

fn get(group: &Group, input: &Input) -> Result<Value, Failure> {
    let stream = input.log_stream_name.as_deref().ok_or_else(|| parameter("the request does not name a log stream"))?;
    if !group.streams.contains_key(stream) {
        return Err(Failure::new(400, "ResourceNotFoundException", "The specified log stream does not exist."));
    }
    let limit = input.limit(LARGEST_PAGE);
    let backward = input.next_token.as_deref().is_some_and(|token| token.starts_with('b'));
    let token = input.token()?;
    let wanted = |(_, event): &(usize, &Event)| &*event.stream == stream && input.in_time(event);
    let found: Vec<_> = if backward || (token.is_none() && !input.start_from_head) {
        let before = token.unwrap_or(usize::MAX);
        let all: Vec<_> = group.since(0).take_while(|(n, _)| *n < before).filter(wanted).collect();
        all[all.len().saturating_sub(limit)..].to_vec()
    } else {
        group.since(token.unwrap_or(0)).filter(wanted).take(limit).collect()
    };
    let first = found.first().map_or(token.unwrap_or(0), |(n, _)| *n);
    let last = found.last().map_or(token.unwrap_or(0), |(n, _)| n + 1);
    let events = found
        .iter()
        .map(|(_, event)| json!({"timestamp": event.at, "message": event.message, "ingestionTime": event.at}));
    Ok(json!({
        "events": events.collect::<Vec<_>>(),
        "nextForwardToken": format!("f/{last}"),
        "nextBackwardToken": format!("b/{first}"),
    }))
}

fn filtered(group: &Group, input: &Input) -> Result<Value, Failure> {
    let filter = Filter::parse(input.filter_pattern.as_deref().unwrap_or_default()).map_err(parameter)?;
    let named = |event: &Event| match (&input.log_stream_names, &input.log_stream_name_prefix) {
        (Some(names), _) => names.iter().any(|name| **name == *event.stream),
        (None, Some(prefix)) => event.stream.starts_with(prefix.as_str()),
        (None, None) => true,
    };
    let limit = input.limit(LARGEST_PAGE);
    let mut events = Vec::new();
    let mut next = None;
    for (number, event) in group.since(input.token()?.unwrap_or(0)) {
        if !input.in_time(event) || !named(event) || !filter.takes(&event.message) {
            continue;
        }
        if events.len() == limit {
            next = Some(number.to_string());
            break;
        }
        events.push(json!({
            "logStreamName": &*event.stream, "timestamp": event.at, "message": event.message,
            "ingestionTime": event.at, "eventId": format!("{number:056}"),
        }));
    }
    let mut output = json!({"events": events, "searchedLogStreams": []});
    if let Some(next) = next {
        output["nextToken"] = next.into();
    }
    Ok(output)
}

fn arn(group: &str) -> String {
    format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}")
}

fn no_group() -> Failure {
    Failure::new(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

fn parameter(message: impl Into<String>) -> Failure {
    Failure::new(400, "InvalidParameterException", message)
}

/// Returns the time in milliseconds since the Unix epoch.
fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
