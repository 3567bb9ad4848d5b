//! Sends one invocation, and makes replies of what comes back.

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
use crate::terminal;

/// Room for what is around the arguments in a payload, in bytes.
const AROUND: usize = 16 << 10;

/// How often an invocation is sent that Lambda did not answer, or could not take.
const SENDINGS: u32 = 6;

pub(super) async fn send(shared: Arc<LambdaState>, batch: Batch, run: Arc<str>) {
    let lambda = match shared.lambda_for(batch.block.function().name, &batch.block.limits()) {
        Ok(lambda) => lambda,
        Err(why) => return shared.fail_all(&batch, &Failure::Backend(why)),
    };
    let one_more = |n: usize| (n < shared.most_direct).then_some(n + 1);
    // A connection that is lost says nothing of what became of a call; the store does.
    let by_store = batch.block.limits().at_most_once;
    let direct = !by_store && shared.direct.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok();
    let _place = direct.then(|| Place(&shared));
    let (inline, answer) = match direct {
        true => (limits::SYNC_PAYLOAD, Answer::Response { store_after: LONG }),
        false => (limits::ASYNC_PAYLOAD, Answer::Store),
    };
    // Base64 makes four bytes of three.
    let message = shared.uploads.message(&batch, &run, inline / 4 * 3 - AROUND, answer).await;
    let payload = message.map_err(Failure::Store).and_then(|m| m.to_json().map_err(Failure::Backend));
    let payload = match payload {
        Ok(payload) if payload.len() <= inline => payload,
        Ok(payload) => {
            let reason =
                format!("their names alone take {} bytes of a request; use a smaller `.chunk(..)`", payload.len());
            let function = Failure::BadArguments { reason };
            return shared.fail_all(&batch, &function);
        }
        Err(failure) => return shared.fail_all(&batch, &failure),
    };
    let sending = Sending { shared: &shared, batch: &batch, run: &run, lambda };
    if direct { sending.direct(payload).await } else { sending.event(payload).await }
}

/// One of the invocations that wait for their response.
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

/// What became of a request.
enum Sent {
    Taken(Box<InvokeOutput>),
    /// The connection was lost after it was sent, or was never made.
    NoResponse,
}

impl Sending<'_> {
    async fn direct(&self, payload: Vec<u8>) {
        let begun = Instant::now();
        match self.send(InvocationType::RequestResponse, payload).await {
            Some(Sent::Taken(output)) => self.answered(&output).await,
            Some(Sent::NoResponse) if begun.elapsed() > LONG / 2 => {
                self.shared.watch.add(self.shared, self.run, self.batch)
            }
            Some(Sent::NoResponse) => self.unreachable(begun),
            None => {}
        }
    }

    async fn event(&self, payload: Vec<u8>) {
        let begun = Instant::now();
        // The outcome may come before the answer to the request.
        self.shared.watch.add(self.shared, self.run, self.batch);
        match self.send(InvocationType::Event, payload).await {
            Some(Sent::Taken(_)) => {}
            Some(Sent::NoResponse) => {
                self.shared.watch.forget(self.run, self.batch.id);
                self.unreachable(begun);
            }
            None => self.shared.watch.forget(self.run, self.batch.id),
        }
    }

    fn unreachable(&self, begun: Instant) {
        self.shared.fail_all(self.batch, &Failure::NeverStarted { waited: begun.elapsed() });
    }

    /// Sends, again after pauses where that helps; `None` where replies were given already.
    async fn send(&self, kind: InvocationType, payload: Vec<u8>) -> Option<Sent> {
        let client = aws::lambda().await;
        let begun = Instant::now();
        let payload = Blob::new(payload);
        let (mut was_silent, mut had_wrong_clock) = (false, false);
        for sending in 1.. {
            // A closed semaphore would be no reason to stop.
            let permit = (kind == InvocationType::Event).then(|| self.shared.requests.acquire());
            let _permit = match permit {
                Some(permit) => permit.await.ok(),
                None => None,
            };
            let invoke = client.invoke().function_name(&self.lambda.name).invocation_type(kind.clone());
            let error = match invoke.payload(payload.clone()).send().await {
                Ok(output) => return Some(Sent::Taken(Box::new(output))),
                Err(error) => error,
            };
            match classify(&error) {
                // One that was not answered may run.
                Verdict::Throttled | Verdict::WrongClock(_) | Verdict::Refused(_)
                    if was_silent && self.batch.block.limits().at_most_once =>
                {
                    return Some(Sent::NoResponse);
                }
                Verdict::Throttled => {
                    self.shared
                        .give(Reply::Throttled { batch_id: self.batch.id, message: aws::describe_error(&error) });
                    return None;
                }
                // The SDK has the time from this answer, and signs the next request by it.
                Verdict::WrongClock(away) if !had_wrong_clock => {
                    had_wrong_clock = true;
                    say_that_the_clock_is_wrong(away);
                    continue;
                }
                Verdict::WrongClock(_) => {
                    self.shared.fail_all(self.batch, &Failure::Backend(aws::describe_error(&error)));
                    return None;
                }
                Verdict::Refused(why) => {
                    self.shared.fail_all(self.batch, &Failure::Backend(why));
                    return None;
                }
                Verdict::NoResponse if sending >= SENDINGS || begun.elapsed() > LONG / 2 => {
                    return Some(Sent::NoResponse);
                }
                Verdict::NoResponse => was_silent = true,
            }
            let longest = Duration::from_millis(50 << sending);
            tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        }
        None
    }

    async fn answered(&self, output: &InvokeOutput) {
        let payload = output.payload().map(Blob::as_ref).unwrap_or_default();
        if output.function_error().is_some() {
            return self.shared.fail_all(self.batch, &self.instance_failure(payload));
        }
        let batch_id = self.batch.id;
        match Response::from_json(payload) {
            Ok(Response::BatchOutcome(outcome)) => self.shared.give_outcome(batch_id, *outcome),
            Ok(Response::Stored) => watch::fetch(self.shared, self.run, self.batch).await,
            Ok(Response::Refused(failure)) => self.shared.fail_all(self.batch, &failure),
            Err(reason) => {
                let why = format!("{reason}; is `{}` a function that `cargo wren deploy` made?", self.lambda.name);
                self.shared.fail_all(self.batch, &Failure::Backend(why));
            }
        }
    }

    /// What Lambda says of an instance that ended under the worker.
    fn instance_failure(&self, payload: &[u8]) -> Failure {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Said {
            error_type: String,
            error_message: String,
        }
        let said: Said = serde_json::from_slice(payload).unwrap_or_default();
        let has = |text: &str| said.error_type.contains(text) || said.error_message.contains(text);
        let memory = self.lambda.memory_mb;
        if has("Runtime.OutOfMemory") {
            return Failure::OutOfMemory { limit_mb: memory, peak_mb: memory };
        }
        if has("Sandbox.Timedout") || has("Task timed out") {
            return Failure::TimedOut { limit: Duration::from_secs(self.lambda.timeout_s.into()) };
        }
        if has("Runtime.ExitError") || has("Extension.Crash") {
            let signal = if has("signal: killed") { Some(9) } else { None };
            let code = said.error_message.rsplit_once("exit status ").and_then(|(_, code)| code.trim().parse().ok());
            return Failure::WorkerDied { signal, exit_code: code };
        }
        Failure::Backend(format!("AWS Lambda gave no result: {} {}", said.error_type, said.error_message))
    }
}

/// What an error of a request means.
enum Verdict {
    /// The signature is of another time, so far from AWS's.
    WrongClock(Duration),
    /// Later, and less at once.
    Throttled,
    /// Never.
    Refused(String),
    /// Nobody answered, or the service failed: perhaps at once again.
    NoResponse,
}

/// Errors that a wrong clock may have made.
const CLOCK_CODES: [&str; 5] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "AccessDeniedException",
];

/// How far off a clock may be that AWS still takes, less some: it refuses signatures that are five minutes away.
const CLOCK_MAY_BE_OFF: Duration = Duration::from_secs(240);

/// How far this machine's clock is from that of the service that answered, if that is too far.
fn wrong_clock(error: &SdkError<InvokeError>) -> Option<Duration> {
    let date = error.raw_response()?.headers().get("date")?;
    let theirs = SystemTime::try_from(DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?).ok()?;
    let ours = SystemTime::now();
    let away = theirs.duration_since(ours).unwrap_or_else(|e| e.duration());
    (away > CLOCK_MAY_BE_OFF).then_some(away)
}

/// Says so, once.
fn say_that_the_clock_is_wrong(away: Duration) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        terminal::note(&format!(
            "this machine's clock is off by about {} minutes, by the time that AWS has; requests are signed by AWS's time, \
             and the clock needs to be set",
            away.as_secs().div_ceil(60)
        ));
    });
}

fn classify(error: &SdkError<InvokeError>) -> Verdict {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    if CLOCK_CODES.contains(&code)
        && let Some(away) = wrong_clock(error)
    {
        return Verdict::WrongClock(away);
    }
    match (code, status) {
        ("TooManyRequestsException" | "EC2ThrottledException" | "ENILimitReachedException", _)
        // The function is being made or changed.
        | ("ResourceConflictException" | "ResourceNotReadyException", _)
        | (_, Some(429)) => Verdict::Throttled,
        ("ResourceNotFoundException", _) => {
            Verdict::Refused(format!("{}; run `cargo wren deploy`", aws::describe_error(error)))
        }
        (_, Some(400..500)) => Verdict::Refused(format!("{}; see `cargo wren doctor`", aws::describe_error(error))),
        _ => match error {
            SdkError::ConstructionFailure(_) => Verdict::Refused(aws::describe_error(error)),
            SdkError::DispatchFailure(failure) if failure.is_user() || failure.is_other() => {
                Verdict::Refused(aws::describe_error(error))
            }
            _ => Verdict::NoResponse,
        },
    }
}
