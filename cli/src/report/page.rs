//! The HTML page of a report: the timeline of a job or of all stages of a computation, concurrency, distribution of
//! durations, and failures. It is a single file that loads nothing else, so it can be sent to other people.
//!
//! The page gets the job's data only as JSON, in an element that no browser executes, and its script turns the data
//! into text. The page's content security policy allows its own style and script, by their hashes, and nothing else.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wren::history::{Ended, JobSummary, Phase, Span, Timeline};

use super::Whole;
use super::whole::StageRow;

#[cfg(test)]
mod tests;

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// All files, as one script with a scope of its own: modules cannot be loaded from `file:`.
const SCRIPT: &str = concat!(
    "\"use strict\";\n{\n",
    include_str!("page/read.js"),
    include_str!("page/arrange.js"),
    include_str!("page/draw.js"),
    include_str!("page/strips.js"),
    include_str!("page/text.js"),
    include_str!("page/rows.js"),
    include_str!("page/input.js"),
    include_str!("page/page.js"),
);
/// The end of the script of a page that is served.
const LIVE: &str = include_str!("page/live.js");

/// Maximum number of bytes of one message or output.
const LONGEST_TEXT: usize = 16 * 1024;
/// Maximum number of bytes of all messages together, and of all outputs together, to keep the page small enough to
/// send.
const ALL_TEXT: usize = 8 * 1024 * 1024;

/// The contents of a page.
pub(crate) struct Page<'a> {
    /// The job, or all stages of a computation.
    pub(crate) whole: &'a Whole,
    /// The report's figures, as `cargo wren report --json` prints them. All of them are optional.
    pub(crate) summary: &'a Value,
    /// The known output of tasks: of the job, or of each stage.
    pub(crate) outputs: &'a [BTreeMap<u64, String>],
    /// The number of the page, if it is served and follows the job.
    pub(crate) live: Option<u64>,
}

impl Page<'_> {
    /// Writes the page.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let script = [SCRIPT, self.live.map_or("", |_| LIVE), "}\n"].concat();
        let job = &self.whole.timeline.job;
        let mut rest = HTML;
        while let Some((before, after)) = rest.split_once('{') {
            out.write_all(before.as_bytes())?;
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            match name {
                "policy" => write!(out, "{}", policy(&script, self.live.is_some()))?,
                "title" => {
                    let title = format!("{} – wren report", job.name.as_ref().unwrap_or(&job.function));
                    out.write_all(text(&title).as_bytes())?;
                }
                "style" => out.write_all(STYLE.as_bytes())?,
                "script" => out.write_all(script.as_bytes())?,
                "data" => {
                    self.data().serialize(&mut serde_json::Serializer::with_formatter(&mut *out, HtmlSafeJson))?
                }
                _ => unreachable!("unknown placeholder {name} in page.html"),
            }
            rest = after;
        }
        out.write_all(rest.as_bytes())
    }

    fn data(&self) -> Data<'_> {
        let Whole { timeline, stages } = self.whole;
        let Timeline { job, about, spans, runs, clock_error_us, .. } = timeline;
        let took = Phase::ALL.map(|_| Column::default()).into();
        let mut columns = Columns { length: spans.len(), took, ..Columns::default() };
        let mut errors = Numbered::default();
        let mut lanes = Numbered::default();
        let mut requests = BTreeMap::new();
        // Lanes are in the order of worker numbers, and not in the order of their first spans.
        let mut all: Vec<_> = spans.iter().map(lane).collect();
        all.sort_unstable();
        all.dedup();
        for lane in all {
            lanes.number(lane);
        }
        for (index, span) in spans.iter().enumerate() {
            let (state, error) = match &span.ended {
                Ended::Done => (0, None),
                Ended::Retried { class, message } => (1, Some((class, message))),
                Ended::Failed { class, message } => (2, Some((class, message))),
            };
            columns.run.push(span.run as u64);
            columns.first.push(span.tasks.start);
            columns.count.push(span.count());
            columns.attempt.push(span.attempt.into());
            columns.ended.push(state << 1 | u64::from(span.cold));
            columns.lane.push(lanes.number(lane(span)));
            let error = error.map(|(class, message)| errors.number((class.as_str(), message.as_str())) + 1);
            columns.error.push(error.unwrap_or(0));
            columns.queued.push(span.moments[0]);
            for (column, moments) in columns.took.iter_mut().zip(span.moments.windows(2)) {
                column.push(moments[1].saturating_sub(moments[0]));
            }
            columns.bytes_in.push(span.bytes_in as u64);
            columns.bytes_out.push(span.bytes_out as u64);
            columns.peak_mb.push(span.peak_mb);
            if let (Some(request), true) = (&span.request, state > 0) {
                requests.insert(index, request.as_str());
            }
        }
        let (mut of_errors, mut of_outputs) = (ALL_TEXT, ALL_TEXT);
        Data {
            wren: env!("CARGO_PKG_VERSION"),
            phases: Phase::ALL.map(|phase| NamedPhase { name: phase.name(), meaning: meaning(phase) }).into(),
            job,
            stages,
            memory_mb: about.memory_mb,
            runs: runs.iter().map(|run| [run.start, run.end]).collect(),
            clock_error_us: *clock_error_us,
            spans: columns,
            lanes: lanes
                .items
                .iter()
                .map(|(instance, worker)| (instance.map(|i| format!("{i:016x}")), *worker))
                .collect(),
            errors: errors.items.iter().map(|(class, message)| (*class, limited(message, &mut of_errors))).collect(),
            requests,
            outputs: self
                .outputs
                .iter()
                .map(|of| of.iter().map(|(task, output)| (*task, limited(output, &mut of_outputs))).collect())
                .collect(),
            summary: self.summary.as_object(),
            live: self.live,
        }
    }
}

/// Returns what happens in a phase, for people.
fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Queue => "the task waited for a worker",
        Phase::Start => "the task was sent, but the worker had not started it",
        Phase::Setup => "a new worker prepared itself",
        Phase::Fetch => "the worker waited for arguments",
        Phase::Turn => "earlier tasks of the same batch ran",
        Phase::Decode => "the worker decoded arguments",
        Phase::Compute => "the function ran",
        Phase::Encode => "the worker encoded the result",
        Phase::Commit => "the outcome was written",
        Phase::Observe => "the outcome was on its way to the driver",
    }
}

fn lane(span: &Span) -> (Option<u64>, u32) {
    (span.instance, span.worker)
}

/// The data that the script reads.
#[derive(Serialize)]
struct Data<'a> {
    wren: &'static str,
    phases: Vec<NamedPhase>,
    job: &'a JobSummary,
    stages: &'a [StageRow],
    memory_mb: Option<u32>,
    runs: Vec<[u64; 2]>,
    clock_error_us: u64,
    spans: Columns,
    lanes: Vec<(Option<String>, u32)>,
    errors: Vec<(&'a str, Cow<'a, str>)>,
    requests: BTreeMap<usize, &'a str>,
    outputs: Vec<BTreeMap<u64, Cow<'a, str>>>,
    summary: Option<&'a serde_json::Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<u64>,
}

/// A phase, as the script shows it. The script draws any list of phases.
#[derive(Serialize)]
struct NamedPhase {
    name: &'static str,
    meaning: &'static str,
}

#[derive(Default, Serialize)]
struct Columns {
    length: usize,
    run: Column,
    first: Column,
    count: Column,
    attempt: Column,
    ended: Column,
    lane: Column,
    error: Column,
    queued: Column,
    took: Vec<Column>,
    bytes_in: Column,
    bytes_out: Column,
    peak_mb: Column,
}

/// Numbers in LEB128, which needs a byte or two for most of them. In JSON, they are in base64.
#[derive(Default)]
struct Column(Vec<u8>);

impl Column {
    fn push(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

/// Items that are written once, and then referred to by number.
struct Numbered<T> {
    items: Vec<T>,
    numbers: HashMap<T, u64>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, item: T) -> u64 {
        let next = self.items.len() as u64;
        *self.numbers.entry(item).or_insert_with_key(|item| {
            self.items.push(item.clone());
            next
        })
    }
}

/// Returns the text, cut to [`LONGEST_TEXT`] and to the bytes that are left for all texts together.
fn limited<'a>(text: &'a str, left: &mut usize) -> Cow<'a, str> {
    let length = text.floor_char_boundary(LONGEST_TEXT.min(*left));
    *left -= length;
    if length == text.len() {
        return Cow::Borrowed(text);
    }
    format!("{}\n[{} more bytes are in the job history]", &text[..length], text.len() - length).into()
}

/// Escapes text for HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the content security policy. Only a page that is served may load anything: newer data from its server.
fn policy(script: &str, is_live: bool) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (hash(STYLE), hash(script));
    let connect = if is_live { " connect-src 'self';" } else { "" };
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}';{connect} base-uri 'none'; \
         form-action 'none'"
    )
}

/// Formats JSON for a `script` element: no string can end the element or start a comment in it.
struct HtmlSafeJson;

impl serde_json::ser::Formatter for HtmlSafeJson {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for (index, part) in fragment.split('<').enumerate() {
            if index > 0 {
                writer.write_all(b"\\u003c")?;
            }
            writer.write_all(part.as_bytes())?;
        }
        Ok(())
    }
}
