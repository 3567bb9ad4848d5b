//! The messages between driver and worker if they share no memory: a batch of consecutive tasks, and its outcome.
//!
//! Both are sent as JSON, the only format that AWS Lambda accepts: `{"wren": 1, "batch": "<base64>"}` and
//! `{"wren": 1, "outcome": "<base64>"}`, each with a sealed envelope. Neither contains credentials.

use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::attempt::BatchId;
use crate::codec;
use crate::codec::envelope::{open, seal};
use crate::error::Failure;
use crate::function::Limits;
use crate::logging::Levels;

/// Version of the JSON around envelopes.
const VERSION: u32 = 1;

/// A batch: the tasks `first..first + count` of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchRequest {
    /// The prefix of all keys that belong to this run of the job.
    pub(crate) run: String,
    pub(crate) batch_id: BatchId,
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Number of the attempt, counted from 1.
    pub(crate) attempt: u32,
    pub(crate) function: String,
    pub(crate) signature_hash: u64,
    pub(crate) body_hash: u64,
    pub(crate) limits: Limits,
    /// The span that the tasks belong to, where spans are exported.
    pub(crate) traceparent: Option<String>,
    /// The records of its functions that the driver's logger would want.
    pub(crate) levels: Levels,
    pub(crate) args: PackedArgs,
    /// The BLAKE3 hashes of large arguments. The store keeps each under its hash.
    pub(crate) blobs: Vec<[u8; 32]>,
    /// For each task with large arguments: the task, and the indices of its arguments in `blobs`.
    pub(crate) blobs_of: Vec<(u64, Vec<u32>)>,
    pub(crate) answer: Answer,
}

/// Encoded arguments of consecutive tasks, in the format of [`TaskBlock`](crate::attempt::TaskBlock).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum PackedArgs {
    Inline(#[serde(with = "codec::bytes")] Vec<u8>),
    /// A part of an object in the store.
    Stored {
        key: String,
        range: Range<u64>,
    },
}

/// Where the outcome goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Into the response. After this much time also into the store, because the connection may be lost.
    Response { store_after: Duration },
    /// Into the store only.
    Store,
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchOutcome {
    pub(crate) parts: Vec<Part>,
    pub(crate) report: Report,
}

/// The outcome of some of its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Part {
    Done {
        first: u64,
        count: u64,
        #[serde(with = "codec::bytes")]
        results: Vec<u8>,
        ran: TaskTimes,
    },
    Failed {
        task: u64,
        failure: Failure,
        stderr: String,
        ran: TaskTimes,
    },
    /// These tasks were not run.
    Returned {
        first: u64,
        count: u64,
    },
}

/// When and where tasks of a batch ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskTimes {
    /// When the first of them started, since the start of the batch.
    pub(crate) started: Duration,
    #[serde(default)]
    pub(crate) decode: Duration,
    pub(crate) compute: Duration,
    #[serde(default)]
    pub(crate) encode: Duration,
    /// The worker process of the instance.
    pub(crate) worker: u32,
}

/// Measurements of a batch, by the machine that ran it; see [`RemoteTiming`](crate::attempt::RemoteTiming).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) request: String,
    /// Random; the same for all batches of an instance.
    pub(crate) instance: u64,
    pub(crate) cold: bool,
    pub(crate) memory_mb: u32,
    pub(crate) peak_memory: u64,
    /// Since the Unix epoch.
    pub(crate) started: Duration,
    /// If `cold`, the time between the start of the process and its first request for work.
    pub(crate) setup: Duration,
    pub(crate) fetch: Duration,
    pub(crate) ran: Duration,
    /// Number of large arguments that the instance fetched for the batch.
    #[serde(default)]
    pub(crate) fetched_values: u32,
    /// Their size in bytes.
    #[serde(default)]
    pub(crate) fetched_bytes: u64,
}

impl TaskTimes {
    /// Returns when the last of the tasks had ended, since the start of the batch, if they started at `started`.
    pub(crate) fn ended(&self, started: Duration) -> Duration {
        [self.decode, self.compute, self.encode].into_iter().fold(started, Duration::saturating_add)
    }
}

impl BatchRequest {
    pub(crate) fn tasks(&self) -> Range<u64> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Returns the key of the outcome, if it goes to the store.
    pub(crate) fn done_key(&self) -> String {
        done_key(&self.run, self.batch_id)
    }

    /// Returns the JSON to send.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, String> {
        let sealed = seal(self).map_err(|e| e.to_string())?;
        Ok(wrapped("batch", &sealed))
    }
}

/// Returns the key of the outcome of a batch. The keys sort in the order of the batch ids.
pub(crate) fn done_key(run: &str, batch_id: BatchId) -> String {
    format!("{run}/done/{batch_id:012}")
}

/// Returns the key whose existence stops the workers of a run.
pub(crate) fn cancel_key(run: &str) -> String {
    format!("{run}/cancel")
}

/// Returns the key whose existence stops one batch.
pub(crate) fn stop_key(run: &str, batch_id: BatchId) -> String {
    format!("{run}/stop/{batch_id:012}")
}

/// Returns the key of the mark of a batch that must run at most once: the delivery that stores the mark runs it.
pub(crate) fn claim_key(run: &str, batch_id: BatchId) -> String {
    format!("{run}/claims/{batch_id:012}")
}

fn wrapped(name: &str, sealed: &[u8]) -> Vec<u8> {
    let mut json = format!("{{\"wren\":{VERSION},\"{name}\":\"");
    BASE64_STANDARD.encode_string(sealed, &mut json);
    json.push_str("\"}");
    json.into_bytes()
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    wren: u32,
    #[serde(default, borrow)]
    batch: Option<&'a str>,
    #[serde(default)]
    registry: bool,
}

/// A request to a worker.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Batch(Box<BatchRequest>),
    /// Asks for the list of the worker's remote functions.
    Registry,
}

impl Request {
    /// Parses a payload, which may come from any sender.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let foreign = |_| "the payload was not made by wren: it is not `{\"wren\": 1, ..}`".to_owned();
        let request: RequestJson<'_> = serde_json::from_str(json).map_err(foreign)?;
        if request.wren != VERSION {
            return Err(format!("the payload has version {}, but this program expects {VERSION}", request.wren));
        }
        if request.registry {
            return Ok(Request::Registry);
        }
        let batch = request.batch.ok_or("the payload has neither `batch` nor `registry`")?;
        let sealed = BASE64_STANDARD.decode(batch).map_err(|e| format!("`batch` is not base64: {e}"))?;
        Ok(Request::Batch(Box::new(open(&sealed)?)))
    }
}

/// The response of a worker to a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Response {
    BatchOutcome(Box<BatchOutcome>),
    /// The outcome is in the store, as requested or because it is too long for a response.
    Stored,
    /// The payload could not be read.
    Refused(Failure),
}

#[derive(Serialize, Deserialize)]
struct ResponseJson {
    wren: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(default)]
    stored: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Failure>,
    /// Explains `refused` to people who read the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Response {
    /// Returns the JSON of the response.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = ResponseJson { wren: VERSION, outcome: None, stored: false, refused: None, message: None };
        match self {
            Response::BatchOutcome(outcome) => match seal(&**outcome) {
                Ok(sealed) => return wrapped("outcome", &sealed),
                Err(error) => json.refused = Some(Failure::Backend(error.to_string())),
            },
            Response::Stored => json.stored = true,
            Response::Refused(failure) => {
                json.message = Some(failure.clone().into_error(Default::default()).to_string());
                json.refused = Some(failure.clone());
            }
        }
        // Strings and plain enums always encode.
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// Parses the response of a worker.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, String> {
        let foreign = |e| format!("the response was not made by wren: {e}");
        let response: ResponseJson = serde_json::from_slice(json).map_err(foreign)?;
        if response.wren != VERSION {
            return Err(format!("the response has version {}, but this program expects {VERSION}", response.wren));
        }
        if let Some(failure) = response.refused {
            return Ok(Response::Refused(failure));
        }
        if response.stored {
            return Ok(Response::Stored);
        }
        let outcome = response.outcome.ok_or("the response has no outcome")?;
        let sealed = BASE64_STANDARD.decode(outcome).map_err(|e| format!("the outcome is not base64: {e}"))?;
        Ok(Response::BatchOutcome(Box::new(open(&sealed)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> BatchRequest {
        BatchRequest {
            run: "job.1".into(),
            batch_id: 7,
            first: 10,
            count: 2,
            attempt: 1,
            function: "a::f".into(),
            signature_hash: 1,
            body_hash: 2,
            limits: Limits { memory_mb: Some(512), timeout: Some(Duration::from_secs(3)), ..Limits::default() },
            traceparent: None,
            levels: Levels::default(),
            args: PackedArgs::Inline(vec![1, 2, 3]),
            blobs: vec![[3; 32]],
            blobs_of: vec![(11, vec![0])],
            answer: Answer::Response { store_after: Duration::from_secs(60) },
        }
    }

    fn outcome() -> BatchOutcome {
        let failure = Failure::TimedOut { limit: Duration::from_secs(3) };
        let ms = Duration::from_millis;
        let ran = |worker| TaskTimes { started: ms(2), decode: ms(1), compute: ms(5), encode: ms(3), worker };
        let parts = vec![
            Part::Done { first: 10, count: 1, results: vec![0; 40], ran: ran(1) },
            Part::Failed { task: 11, failure, stderr: "last words".into(), ran: ran(0) },
            Part::Returned { first: 12, count: 3 },
        ];
        BatchOutcome { parts, report: Report { cold: true, memory_mb: 512, ..Report::default() } }
    }

    #[test]
    fn batches_and_outcomes_round_trip() {
        let json = String::from_utf8(request().to_json().unwrap()).unwrap();
        assert_eq!(Request::from_json(&json).unwrap(), Request::Batch(Box::new(request())));
        assert_eq!(Request::from_json("{\"registry\": true, \"wren\": 1}").unwrap(), Request::Registry);
        for response in [
            Response::BatchOutcome(Box::new(outcome())),
            Response::Stored,
            Response::Refused(Failure::BadArguments { reason: "none".into() }),
        ] {
            assert_eq!(Response::from_json(&response.to_json()).unwrap(), response);
        }
    }

    #[test]
    fn batch_keys_sort_by_number() {
        assert!(done_key("a", 9) < done_key("a", 10) && done_key("a", 99_999) < done_key("a", 100_000));
    }

    #[test]
    fn foreign_requests_are_clearly_refused() {
        let message = |json: &str| Request::from_json(json).unwrap_err();
        assert!(message("{}").contains("not made by wren"));
        assert!(message("[1, 2]").contains("not made by wren"));
        assert!(message("{\"wren\": 2}").contains("version 2"));
        assert!(message("{\"wren\": 1}").contains("neither"));
        assert!(message("{\"wren\": 1, \"batch\": \"-\"}").contains("base64"));
        assert!(message("{\"wren\": 1, \"batch\": \"V1JFTgE=\"}").contains("truncated"));
    }

    proptest! {
        #[test]
        fn damage_is_never_taken_for_a_batch(at in 0usize..400, byte: u8) {
            let mut json = request().to_json().unwrap();
            let at = at % json.len();
            let before = std::mem::replace(&mut json[at], byte);
            if let Ok(text) = std::str::from_utf8(&json) {
                let read = Request::from_json(text);
                prop_assert!(before == byte || read.is_err() || read == Ok(Request::Batch(Box::new(request()))));
            }
        }
    }
}
