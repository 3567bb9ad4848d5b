//! Serves the page of a report while the job runs. The server listens on loopback only.
//!
//! Other users of the machine, and other pages in the same browser, can reach loopback too. The address therefore
//! contains a random token, and requests without it are refused. So are requests whose `Host` is not loopback: a page
//! could otherwise read this one under a name of its own that it points at loopback (DNS rebinding).

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wren::history::{Follow, LOG};

/// Minimum time between two updates of the page.
const UPDATE_EVERY: Duration = Duration::from_secs(1);

/// After it has computed a page, the server waits this many times longer than that took. So it uses at most one percent
/// of a processor, which the job may need.
const REST: u32 = 100;

/// Maximum time to wait for that reason. On a machine that is busy, computing takes long because this process has the
/// lowest priority, and not because it needs a processor.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Interval between messages to browsers that have nothing to load, which show whether they are still there.
const GREET_EVERY: Duration = Duration::from_secs(15);

/// Creates the page with this version number, and returns what it was made from.
pub(crate) type Create = Box<dyn Fn(u64) -> Result<(Vec<u8>, Sources)> + Send + Sync>;

/// What a page was made from: if it has not changed, neither has the page.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The folders of the jobs on the page.
    pub(crate) folders: Vec<PathBuf>,
    /// The folder of all jobs, if jobs that start later belong on the page.
    pub(crate) others: Option<PathBuf>,
}

/// A page, and its number among the pages so far.
#[derive(Debug, Clone, Default)]
struct Version {
    number: u64,
    page: Bytes,
}

/// The state of the sources of a page.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// Size and last change of each log, and whether its job runs.
    logs: Vec<(u64, Option<SystemTime>, bool)>,
    others: Option<SystemTime>,
}

impl Sources {
    fn stamp(&self) -> Result<Stamp> {
        let log = |folder: &PathBuf| {
            // The lock is checked first: a driver that no longer holds it has written all its lines.
            let is_running = Follow::open(folder)?.is_running();
            let log = fs::metadata(folder.join(LOG))?;
            Ok((log.len(), log.modified().ok(), is_running))
        };
        let read =
            |folder| log(folder).map_err(|error: io::Error| anyhow!("cannot read {}: {error}", folder.display()));
        let others = self.others.as_ref().and_then(|folder| fs::metadata(folder).ok()?.modified().ok());
        Ok(Stamp { logs: self.folders.iter().map(read).collect::<Result<_>>()?, others })
    }
}

/// A server that listens, and has a first page.
pub(crate) struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    sources: Sources,
    /// The state of the sources before the latest page was made.
    seen: Stamp,
    /// Time that the latest page took.
    took: Duration,
}

struct Shared {
    /// The path of the page, which contains the token.
    path: String,
    hosts: [String; 2],
    create: Create,
    latest: watch::Sender<Version>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    /// Creates the first page and listens on a port of loopback; 0 selects a free one.
    pub(crate) async fn start(port: u16, sources: Sources, create: Create) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            path: format!("/{}/", token().context("cannot read random numbers from /dev/urandom")?),
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            create,
            latest: watch::Sender::default(),
        });
        let seen = sources.stamp()?;
        let mut server = Self { listener, shared, sources, seen, took: Duration::ZERO };
        server.create().await?;
        Ok(server)
    }

    /// Returns the address of the page.
    pub(crate) fn address(&self) -> String {
        format!("http://{}{}", self.shared.hosts[0], self.shared.path)
    }

    /// Serves the page, and updates it while browsers show it. Returns only if a log can no longer be read.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut next = tokio::time::Instant::now() + UPDATE_EVERY;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, self.shared.clone()))),
                    // Usually there is no free file descriptor. Some will be closed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                () = tokio::time::sleep_until(next) => {
                    if self.shared.latest.receiver_count() > 0 {
                        self.update().await?;
                    }
                    next = tokio::time::Instant::now() + rest(self.took);
                }
            }
        }
    }

    /// Creates a new page if its sources have changed.
    async fn update(&mut self) -> Result<()> {
        let stamp = self.sources.stamp()?;
        if stamp != self.seen {
            self.seen = stamp;
            self.create().await?;
        }
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        let started = Instant::now();
        let number = self.shared.latest.borrow().number + 1;
        let shared = self.shared.clone();
        let (page, sources) = tokio::task::spawn_blocking(move || (shared.create)(number)).await??;
        self.took = started.elapsed();
        // If there are more sources than before, the next check finds a difference.
        self.sources = sources;
        self.shared.latest.send_replace(Version { number, page: page.into() });
        Ok(())
    }
}

/// Returns how long to wait after a page that took this long.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(REST).clamp(UPDATE_EVERY, LONGEST_REST)
}

/// Returns 128 random bits, which nobody can guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<_>| {
        let answer = shared.answer(request.method(), request.uri().path(), request.headers());
        async move { Ok::<_, Infallible>(answer) }
    });
    // If the connection breaks, the browser connects again.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_own_host = host.is_some_and(|host| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host)));
        let Some(name) = path.strip_prefix(&self.path).filter(|_| is_own_host) else {
            return text(StatusCode::FORBIDDEN, "open the address that `cargo wren report --serve` printed\n");
        };
        if method != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read\n");
        }
        match name {
            "" => answer(
                StatusCode::OK,
                "text/html; charset=utf-8",
                Full::new(self.latest.borrow().page.clone()).boxed_unsync(),
            ),
            "events" => {
                let events = StreamBody::new(events(self.latest.subscribe()).map(|event| Ok(Frame::data(event))));
                answer(StatusCode::OK, "text/event-stream", events.boxed_unsync())
            }
            _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
        }
    }
}

/// Returns the server-sent events of one browser: the number of the latest page, now and whenever there is another.
fn events(latest: watch::Receiver<Version>) -> impl Stream<Item = Bytes> {
    stream::unfold((latest, true), |(mut latest, is_first)| async move {
        if !is_first {
            match tokio::time::timeout(GREET_EVERY, latest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                // A line that starts with a colon is a comment.
                Err(_) => return Some((Bytes::from_static(b":\n\n"), (latest, false))),
            }
        }
        let number = latest.borrow_and_update().number;
        Some((Bytes::from(format!("data: {number}\n\n")), (latest, false)))
    })
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    answer(status, "text/plain", Full::from(text).boxed_unsync())
}

fn answer(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = [
        ("content-type", kind),
        ("cache-control", "no-store"),
        // The address contains the token, and must not be passed on.
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-security-policy", "frame-ancestors 'none'"),
    ];
    answer.headers_mut().extend(
        headers.map(|(name, value)| (hyper::header::HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    answer
}

#[cfg(test)]
mod tests;
