//! Sends one invocation, and turns its response into replies.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::invoke::{InvokeError, InvokeOutput};
use aws_sdk_lambda::primitives::{Blob, DateTime, DateTimeFormat};
use aws_sdk_lambda::types::InvocationType;
use serde::Deserialize;

use super::{Batch, LONG, LambdaState, Reply, watch};
use crate::aws::deployment::LambdaFn;
use crate::aws::{self, limits};
use crate::backend::lambda::wire::{Answer, Response};
use crate::error::Failure;
use crate::function::Backoff;
use crate::terminal;

/// Space reserved for the rest of a payload beside the arguments, in bytes.
const AROUND: usize = 16 << 10;

/// Maximum number of times that an invocation is sent if Lambda does not answer or fails.
const SENDINGS: u32 = 6;

/// Pauses before an invocation is sent again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100));

pub(super) async fn send(shared: Arc<LambdaState>, batch: Batch, run: Arc<str>) {
    let lambda = match shared.lambda_for(batch.block.function().name, &batch.block.limits()) {
        Ok(lambda) => lambda,
        Err(why) => return shared.fail_all(&batch, &Failure::Backend(why)),
    };
    let one_more = |n: usize| (n < shared.most_direct).then_some(n + 1);
    // After a lost connection, the outcome of an invocation is unknown; the store has it.
    let by_store = batch.block.limits().at_most_once;
    let direct = !by_store && shared.direct.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok();
    let _place = direct.then(|| Place(&shared));
    let (inline, answer) = match direct {
        true => (limits::SYNC_PAYLOAD, Answer::Response { store_after: LONG }),
        false => (limits::ASYNC_PAYLOAD, Answer::Store),
    };
    // Base64 encodes three bytes as four.
    let message = shared.uploads.message(&batch, &run, inline / 4 * 3 - AROUND, answer).await;
    let payload = message.map_err(Failure::Store).and_then(|m| m.to_json().map_err(Failure::Backend));
    let payload = match payload {
        Ok(payload) if payload.len() <= inline => payload,
        Ok(payload) => {
            let reason = format!(
                "the references to the arguments make a request of {} bytes, which is too long; use a smaller \
                 `.chunk(..)`",
                payload.len()
            );
            let failure = Failure::BadArguments { reason };
            return shared.fail_all(&batch, &failure);
        }
        Err(failure) => return shared.fail_all(&batch, &failure),
    };
    let sending = Sending { shared: &shared, batch: &batch, run: &run, lambda };
    if direct { sending.direct(payload).await } else { sending.event(payload).await }
}

/// A place among the invocations that wait for their response, until it is dropped.
struct Place<'a>(&'a LambdaState);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.direct.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Sending<'a> {
    shared: &'a Arc<LambdaState>,
    batch: &'a Batch,
    run: &'a Arc<str>,
    lambda: &'a LambdaFn,
}

/// The result of sending a request.
enum SendResult {
    Accepted(Box<InvokeOutput>),
    /// The connection was lost after the request was sent, or was never made.
    NoResponse,
}

impl Sending<'_> {
    async fn direct(&self, payload: Vec<u8>) {
        let start = Instant::now();
        match self.send(InvocationType::RequestResponse, payload).await {
            Some(SendResult::Accepted(output)) => self.report_response(&output).await,
            Some(SendResult::NoResponse) if start.elapsed() > LONG / 2 => {
                self.shared.watch.add(self.shared, self.run, self.batch)
            }
            Some(SendResult::NoResponse) => self.report_unreachable(start),
            None => {}
        }
    }

    async fn event(&self, payload: Vec<u8>) {
        let start = Instant::now();
        // The outcome may arrive before the response to the request.
        self.shared.watch.add(self.shared, self.run, self.batch);
        match self.send(InvocationType::Event, payload).await {
            Some(SendResult::Accepted(_)) => {}
            Some(SendResult::NoResponse) => {
                self.shared.watch.forget(self.run, self.batch.id);
                self.report_unreachable(start);
            }
            None => self.shared.watch.forget(self.run, self.batch.id),
        }
    }

    fn report_unreachable(&self, start: Instant) {
        self.shared.fail_all(self.batch, &Failure::NeverStarted { waited: start.elapsed() });
    }

    /// Sends the request, and repeats it after a pause if that may help. Returns `None` if it has already sent replies.
    async fn send(&self, kind: InvocationType, payload: Vec<u8>) -> Option<SendResult> {
        let client = aws::lambda().await;
        let start = Instant::now();
        let payload = Blob::new(payload);
        let (mut was_silent, mut had_wrong_clock) = (false, false);
        for sending in 1.. {
            // If the semaphore were closed, the request would be sent without a permit.
            let permit = (kind == InvocationType::Event).then(|| self.shared.requests.acquire());
            let _permit = match permit {
                Some(permit) => permit.await.ok(),
                None => None,
            };
            let invoke = client.invoke().function_name(&self.lambda.name).invocation_type(kind.clone());
            let error = match invoke.payload(payload.clone()).send().await {
                Ok(output) => return Some(SendResult::Accepted(Box::new(output))),
                Err(error) => error,
            };
            match classify(&error) {
                // An earlier request that got no response may be running.
                RequestError::Throttled | RequestError::WrongClock(_) | RequestError::Refused(_)
                    if was_silent && self.batch.block.limits().at_most_once =>
                {
                    return Some(SendResult::NoResponse);
                }
                RequestError::Throttled => {
                    self.shared
                        .send_reply(Reply::Throttled { batch_id: self.batch.id, message: aws::describe_error(&error) });
                    return None;
                }
                // The SDK takes the time from this response, and signs the next request with it.
                RequestError::WrongClock(away) if !had_wrong_clock => {
                    had_wrong_clock = true;
                    warn_about_clock(away);
                    continue;
                }
                RequestError::WrongClock(_) => {
                    self.shared.fail_all(self.batch, &Failure::Backend(aws::describe_error(&error)));
                    return None;
                }
                RequestError::Refused(why) => {
                    self.shared.fail_all(self.batch, &Failure::Backend(why));
                    return None;
                }
                RequestError::NoResponse if sending >= SENDINGS || start.elapsed() > LONG / 2 => {
                    return Some(SendResult::NoResponse);
                }
                RequestError::NoResponse => was_silent = true,
            }
            tokio::time::sleep(PAUSES.pause(sending, &mut fastrand::Rng::new())).await;
        }
        None
    }

    /// Sends the replies for a response.
    async fn report_response(&self, output: &InvokeOutput) {
        let payload = output.payload().map(Blob::as_ref).unwrap_or_default();
        if output.function_error().is_some() {
            return self.shared.fail_all(self.batch, &self.instance_failure(payload));
        }
        let batch_id = self.batch.id;
        match Response::from_json(payload) {
            Ok(Response::BatchOutcome(outcome)) => self.shared.send_outcome(batch_id, *outcome),
            Ok(Response::Stored) => watch::fetch(self.shared, self.run, self.batch).await,
            Ok(Response::Refused(failure)) => self.shared.fail_all(self.batch, &failure),
            Err(reason) => {
                let why = format!("{reason}; check that `cargo wren deploy` created `{}`", self.lambda.name);
                self.shared.fail_all(self.batch, &Failure::Backend(why));
            }
        }
    }

    /// Converts Lambda's report about an instance that ended while it ran the worker.
    fn instance_failure(&self, payload: &[u8]) -> Failure {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct ErrorReport {
            error_type: String,
            error_message: String,
        }
        let report: ErrorReport = serde_json::from_slice(payload).unwrap_or_default();
        let has = |text: &str| report.error_type.contains(text) || report.error_message.contains(text);
        let memory = self.lambda.memory_mb;
        if has("Runtime.OutOfMemory") {
            return Failure::OutOfMemory { limit_mb: memory, peak_mb: memory };
        }
        if has("Sandbox.Timedout") || has("Task timed out") {
            return Failure::TimedOut { limit: Duration::from_secs(self.lambda.timeout_s.into()) };
        }
        if has("Runtime.ExitError") || has("Extension.Crash") {
            let signal = if has("signal: killed") { Some(9) } else { None };
            let code = report.error_message.rsplit_once("exit status ").and_then(|(_, code)| code.trim().parse().ok());
            return Failure::WorkerDied { signal, exit_code: code };
        }
        Failure::Backend(format!("AWS Lambda returned no result: {} {}", report.error_type, report.error_message))
    }
}

/// The meaning of an error of a request.
enum RequestError {
    /// The time in the signature differs from AWS's by this much.
    WrongClock(Duration),
    /// The request may be repeated later, with fewer at once.
    Throttled,
    /// The request must not be repeated.
    Refused(String),
    /// There was no response, or the service failed: the request may be repeated soon.
    NoResponse,
}

/// Errors that a wrong clock may have caused.
const CLOCK_CODES: [&str; 5] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "AccessDeniedException",
];

/// Clock difference that AWS certainly accepts: it refuses signatures whose time differs by five minutes.
const CLOCK_MAY_BE_OFF: Duration = Duration::from_secs(240);

/// Returns the difference between this machine's clock and that of the service that answered, if it is too large.
fn wrong_clock(error: &SdkError<InvokeError>) -> Option<Duration> {
    let date = error.raw_response()?.headers().get("date")?;
    let theirs = SystemTime::try_from(DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?).ok()?;
    let ours = SystemTime::now();
    let away = theirs.duration_since(ours).unwrap_or_else(|e| e.duration());
    (away > CLOCK_MAY_BE_OFF).then_some(away)
}

/// Prints a warning about the clock, once.
fn warn_about_clock(away: Duration) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        terminal::note(&format!(
            "this machine's clock is off by about {} minutes, compared with AWS; requests are signed with AWS's time; \
             set the clock",
            away.as_secs().div_ceil(60)
        ));
    });
}

fn classify(error: &SdkError<InvokeError>) -> RequestError {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    if CLOCK_CODES.contains(&code)
        && let Some(away) = wrong_clock(error)
    {
        return RequestError::WrongClock(away);
    }
    match (code, status) {
        ("TooManyRequestsException" | "EC2ThrottledException" | "ENILimitReachedException", _)
        // The function is being created or changed.
        | ("ResourceConflictException" | "ResourceNotReadyException", _)
        | (_, Some(429)) => RequestError::Throttled,
        ("ResourceNotFoundException", _) => {
            RequestError::Refused(format!("{}; run `cargo wren deploy`", aws::describe_error(error)))
        }
        (_, Some(400..500)) => RequestError::Refused(format!("{}; see `cargo wren doctor`", aws::describe_error(error))),
        _ => match error {
            SdkError::ConstructionFailure(_) => RequestError::Refused(aws::describe_error(error)),
            SdkError::DispatchFailure(failure) if failure.is_user() || failure.is_other() => {
                RequestError::Refused(aws::describe_error(error))
            }
            _ => RequestError::NoResponse,
        },
    }
}
