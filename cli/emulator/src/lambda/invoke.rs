//! Invocations: the three modes, and the course of one call from its slot to its answer.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::json;
use tokio::net::TcpListener;
use wren::limits::{ASYNC_PAYLOAD, SYNC_PAYLOAD};

use super::super::Answer;
use super::super::answer::{Failure, new_id, with_body};
use super::control::Version;
use super::fleet::{Full, Slot};
use super::instance::{End, Ended, Instance};
use super::runtime_api::{Done, LARGEST_RESPONSE};
use super::{Lambda, count};

/// The result of a call.
pub(super) struct Outcome {
    body: Bytes,
    pub(super) failed: bool,
    tail: String,
}

impl Lambda {
    /// Handles an invocation in the mode that its headers request.
    pub(super) async fn invoke(self: &Arc<Self>, name: &str, parts: &Parts, payload: Bytes) -> Result<Answer, Failure> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let mode = header("x-amz-invocation-type").unwrap_or("RequestResponse");
        let limit = if mode == "Event" { ASYNC_PAYLOAD } else { SYNC_PAYLOAD };
        if payload.len() > limit {
            let message = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
            return Err(Failure::new(413, "RequestTooLargeException", message));
        }
        let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
        if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
            let message = format!("Could not parse request body into json: {e}");
            return Err(Failure::new(400, "InvalidRequestContentException", message));
        }
        let version = self.with(name, |function| function.serving())?;
        if mode != "DryRun" && self.place.faults.throttles() {
            count(&self.counts.throttled);
            return Err(throttled("CallerRateLimitExceeded"));
        }
        let id = new_id();
        match mode {
            "DryRun" => Ok(answer(204, &id, Bytes::new())),
            "Event" => {
                self.accept(name, id.clone(), payload);
                Ok(answer(202, &id, Bytes::new()))
            }
            "RequestResponse" => {
                let outcome = self.synchronous(version, id.clone(), payload).await?;
                let mut answer = answer(200, &id, outcome.body);
                let headers = answer.headers_mut();
                headers.insert("x-amz-executed-version", "$LATEST".try_into().map_err(internal)?);
                if outcome.failed {
                    headers.insert("x-amz-function-error", "Unhandled".try_into().map_err(internal)?);
                }
                if header("x-amz-log-type") == Some("Tail") {
                    let tail = BASE64_STANDARD.encode(outcome.tail);
                    headers.insert("x-amz-log-result", tail.try_into().map_err(internal)?);
                }
                Ok(answer)
            }
            other => Err(Failure::parameter(format!("`{other}` is not an invocation type"))),
        }
    }

    async fn synchronous(
        self: &Arc<Self>,
        version: Arc<Version>,
        id: String,
        payload: Bytes,
    ) -> Result<Outcome, Failure> {
        let slot = self.fleet.admit(&version.name).map_err(|full| {
            count(&self.counts.throttled);
            throttled(match full {
                Full::Account => "ConcurrentInvocationLimitExceeded",
                Full::Reserved => "ReservedFunctionConcurrentInvocationLimitExceeded",
            })
        })?;
        let lose = self.place.faults.loses();
        // In a task of its own, so that the call continues if the caller disconnects.
        tokio::spawn(self.clone().run(slot, version, id, payload, lose)).await.map_err(internal)
    }

    /// Runs one call in an idle instance, or in a new one.
    pub(super) async fn run(
        self: Arc<Self>,
        slot: Slot,
        version: Arc<Version>,
        id: String,
        payload: Bytes,
        lose: bool,
    ) -> Outcome {
        count(&self.counts.invocations);
        let lost = lose.then(|| {
            count(&self.counts.lost);
            self.place.faults.moment(self.fleet.duration(&version.name))
        });
        let outcome = match self.instance(version.clone()).await {
            Ok(mut instance) => {
                let Ended { end, tail, duration } = instance.call(&id, payload, lost).await;
                if matches!(end, End::Done(_)) {
                    self.fleet.take_back(instance, duration);
                } else {
                    // Its processes have ended, but removing its folder may block.
                    drop(tokio::task::spawn_blocking(move || drop(instance)));
                }
                outcome(&id, &version, end, tail)
            }
            Err(why) => error("Runtime.InvalidEntrypoint", &format!("RequestId: {id} Error: {why}"), String::new()),
        };
        drop(slot);
        self.pump_all();
        outcome
    }

    async fn instance(&self, version: Arc<Version>) -> Result<Instance, String> {
        if let Some(instance) = self.fleet.warm(&version) {
            return Ok(instance);
        }
        count(&self.counts.cold_starts);
        self.fleet.make_room();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        Instance::start(&self.place, &self.meter, version, listener)
    }
}

fn outcome(id: &str, version: &Version, end: End, tail: String) -> Outcome {
    match end {
        End::Done(Done::Answered(body)) => Outcome { body, failed: false, tail },
        End::Done(Done::Failed(body)) | End::InitFailed(body) => Outcome { body, failed: true, tail },
        End::Done(Done::TooLarge) => {
            let message =
                format!("Response payload size exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes).");
            error("Function.ResponseSizeTooLarge", &message, tail)
        }
        End::TimedOut => {
            let timeout = Duration::from_secs(version.settings.timeout.into()).as_secs_f64();
            let message = format!("RequestId: {id} Error: Task timed out after {timeout:.2} seconds");
            error("Sandbox.Timedout", &message, tail)
        }
        End::Exited(how) => error("Runtime.ExitError", &format!("RequestId: {id} Error: {how}"), tail),
    }
}

fn error(kind: &str, message: &str, tail: String) -> Outcome {
    let body = json!({"errorType": kind, "errorMessage": message}).to_string().into();
    Outcome { body, failed: true, tail }
}

fn throttled(reason: &'static str) -> Failure {
    Failure::new(429, "TooManyRequestsException", "Rate Exceeded.").because(reason)
}

fn internal(e: impl std::fmt::Display) -> Failure {
    Failure::new(500, "ServiceException", e.to_string())
}

fn answer(status: u16, id: &str, body: Bytes) -> Answer {
    let mut answer = with_body(status, "application/json", body.into());
    if let Ok(id) = id.try_into() {
        answer.headers_mut().insert("x-amzn-requestid", id);
    }
    answer
}
