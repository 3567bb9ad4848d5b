//! A collector of spans: runs `collector.py` with the Python environment that `make stand-ins` installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) struct Collector {
    process: Child,
    port: u16,
    lines: Receiver<String>,
}

/// A decoded span.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the root span.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// In nanoseconds since the Unix epoch.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_error: bool,
    pub(crate) events: Vec<String>,
    pub(crate) role: String,
    pub(crate) pid: u64,
    attributes: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = folder.join("../target/stand-ins/bin/python");
        assert!(python.exists(), "the stand-ins are not installed: run `make stand-ins` once");
        let mut command = Command::new(python);
        command.arg(folder.join("tests/support/collector.py")).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = out.next().unwrap().unwrap().parse().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, port, lines }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until the spans are enough, and returns all of them.
    pub(crate) fn until(&mut self, are_enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let start = Instant::now();
        let mut spans = Vec::new();
        while !are_enough(&spans) {
            match self.lines.recv_timeout(Duration::from_secs(60).saturating_sub(start.elapsed())) {
                Ok(line) => spans.push(Span::read(&line)),
                Err(_) => panic!("only these spans were received: {spans:#?}"),
            }
        }
        // Spans that are still on their way.
        spans.extend(
            std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_secs(1)).ok()).map(|l| Span::read(&l)),
        );
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Span {
    fn read(line: &str) -> Self {
        let span: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = |name: &str| text(&span[name]).parse().unwrap();
        let events = span["events"].as_array().into_iter().flatten().map(|event| text(&event["name"])).collect();
        Self {
            trace: text(&span["traceId"]),
            id: text(&span["spanId"]),
            parent: text(&span["parentSpanId"]),
            name: text(&span["name"]),
            start: time("startTimeUnixNano"),
            end: time("endTimeUnixNano"),
            is_error: span["status"]["code"] == "STATUS_CODE_ERROR",
            events,
            role: values(&span["resource"])["wren.role"].clone(),
            pid: values(&span["resource"])["process.pid"].parse().unwrap(),
            attributes: values(&span["attributes"]),
        }
    }

    /// Returns an attribute as text, or an empty string if there is none.
    pub(crate) fn attribute(&self, key: &str) -> String {
        self.attributes.get(key).cloned().unwrap_or_default()
    }
}

fn values(attributes: &Value) -> BTreeMap<String, String> {
    let value = |attribute: &Value| {
        // `{"stringValue": ".."}`, `{"intValue": ".."}`: one value, with the name of its type.
        match attribute["value"].as_object()?.values().next()? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    };
    let named = |attribute: &Value| Some((attribute["key"].as_str()?.to_owned(), value(attribute)?));
    attributes.as_array().into_iter().flatten().filter_map(named).collect()
}
