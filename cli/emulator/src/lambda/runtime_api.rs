//! The Lambda Runtime API: the process of an instance requests work and answers with it.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Largest response of a function, in bytes.
pub(super) const LARGEST_RESPONSE: usize = wren::limits::SYNC_PAYLOAD + 100;

/// An invocation for the process.
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) payload: Bytes,
    /// In milliseconds since the Unix epoch.
    pub(super) deadline: u128,
    pub(super) arn: String,
}

/// A request of the process.
pub(super) enum RuntimeRequest {
    /// The process requests an invocation.
    Next(oneshot::Sender<Invocation>),
    /// The process answers the invocation of this ID. The reply is whether that is its current invocation.
    Done(String, Done, oneshot::Sender<bool>),
    /// The process could not initialize.
    InitError(Bytes),
}

pub(super) enum Done {
    Answered(Bytes),
    Failed(Bytes),
    TooLarge,
}

type Answer = Response<Full<Bytes>>;

/// Serves one instance until this future is dropped.
pub(super) async fn serve(listener: TcpListener, requests: mpsc::Sender<RuntimeRequest>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, requests.clone()))),
                // Usually there is no free file descriptor. Some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, requests: mpsc::Sender<RuntimeRequest>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let requests = requests.clone();
        async move { Ok::<_, Infallible>(answer(request, requests).await) }
    });
    // If the connection breaks, the process sees the error.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, requests: mpsc::Sender<RuntimeRequest>) -> Answer {
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix("/2018-06-01/runtime/") else { return refused(404, "NotFound") };
    let parts: Vec<_> = path.split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(requests).await,
        (&Method::POST, ["invocation", id, kind @ ("response" | "error")]) => {
            let done = match Limited::new(request.into_body(), LARGEST_RESPONSE).collect().await {
                Ok(body) if *kind == "response" => Done::Answered(body.to_bytes()),
                Ok(body) => Done::Failed(body.to_bytes()),
                Err(e) if e.is::<LengthLimitError>() => Done::TooLarge,
                Err(_) => return refused(400, "InvalidRequest"),
            };
            finish(id, done, requests).await
        }
        (&Method::POST, ["init", "error"]) => {
            let body = Limited::new(request.into_body(), LARGEST_RESPONSE).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let _ = requests.send(RuntimeRequest::InitError(body)).await;
            accepted()
        }
        _ => refused(404, "NotFound"),
    }
}

async fn next(requests: mpsc::Sender<RuntimeRequest>) -> Answer {
    let (asking, work) = oneshot::channel();
    let _ = requests.send(RuntimeRequest::Next(asking)).await;
    // The sender was dropped: the instance ends, and the process with it.
    let Ok(work) = work.await else { return refused(500, "Shutdown") };
    let trace = format!(
        "Root=1-{:08x}-{:024x};Parent={:016x};Sampled=0",
        work.deadline / 1_000,
        fastrand::u64(..),
        fastrand::u64(..)
    );
    let answer = Response::builder()
        .header("content-type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", work.id)
        .header("Lambda-Runtime-Deadline-Ms", work.deadline.to_string())
        .header("Lambda-Runtime-Invoked-Function-Arn", work.arn)
        .header("Lambda-Runtime-Trace-Id", trace);
    answer.body(Full::new(work.payload)).unwrap_or_default()
}

async fn finish(id: &str, done: Done, requests: mpsc::Sender<RuntimeRequest>) -> Answer {
    let too_large = matches!(done, Done::TooLarge);
    let (reply, mine) = oneshot::channel();
    let _ = requests.send(RuntimeRequest::Done(id.to_owned(), done, reply)).await;
    match mine.await {
        Ok(true) if too_large => refused(413, "RequestEntityTooLarge"),
        Ok(true) => accepted(),
        _ => refused(400, "InvalidRequestID"),
    }
}

fn accepted() -> Answer {
    json_answer(202, &json!({"status": "OK"}))
}

fn refused(status: u16, kind: &str) -> Answer {
    json_answer(status, &json!({"errorType": kind, "errorMessage": kind}))
}

fn json_answer(status: u16, value: &serde_json::Value) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(value.to_string().into())).unwrap_or_default()
}
