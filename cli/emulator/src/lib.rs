//! An emulator of Lambda, S3, and the few operations of IAM, STS and CloudWatch Logs that a deployment uses. It listens
//! on loopback and is meant for learning and for tests. It is not a sandbox: the code of functions runs in ordinary
//! processes of the current user.

mod answer;
mod faults;
mod identity;
mod lambda;
mod logs;
mod objects;
mod sigv4;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{DATE, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::Body;
use s3s::service::S3Service;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::{TcpListener, TcpStream};

use answer::Failure;
use faults::Faults;
pub use faults::Options as FaultOptions;
use identity::Identity;
use lambda::Lambda;
use logs::Logs;
use sigv4::Authorization;

/// The only region that the emulator supports.
pub(crate) const REGION: &str = "us-east-1";

/// The ID of the emulated account, which AWS's own examples use too.
pub(crate) const ACCOUNT: &str = "123456789012";

/// Largest body of a request to a service other than S3, in bytes. A zip of 50 MB in base64 fits.
const LARGEST_BODY: usize = 80 << 20;

/// The key that all requests are signed with. It is random; the command that the emulator runs gets it.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

impl Credentials {
    fn random() -> Self {
        let upper = std::iter::repeat_with(|| fastrand::char('A'..='Z')).take(16).collect::<String>();
        let secret_key = std::iter::repeat_with(fastrand::alphanumeric).take(40).collect();
        Self { access_key: format!("AKIA{upper}"), secret_key }
    }
}

/// Settings of an [`Emulator`].
#[derive(Debug)]
pub struct Setup<'a> {
    /// Port on loopback; 0 picks a free one.
    pub port: u16,
    /// Folder that holds the buckets.
    pub buckets: &'a Path,
    /// Folder for the code of functions and other files that are only needed while the emulator runs.
    pub scratch: &'a Path,
    /// Largest number of instances that run at once.
    pub concurrency: usize,
    /// Whether to print the output of functions to standard error.
    pub verbose: bool,
    /// Faults to inject.
    pub faults: FaultOptions,
}

/// A running emulator.
pub struct Emulator {
    address: SocketAddr,
    credentials: Credentials,
    lambda: Arc<Lambda>,
}

// The credentials are a secret.
impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Services {
    credentials: Credentials,
    faults: Arc<Faults>,
    objects: S3Service,
    identity: Arc<Identity>,
    logs: Arc<Logs>,
    lambda: Arc<Lambda>,
}

type Answer = Response<Body>;

impl Emulator {
    /// Starts an emulator. It serves requests until the async runtime that it was started on shuts down.
    ///
    /// # Errors
    /// Returns an error if the port is in use or a folder cannot be created.
    pub async fn start(setup: Setup<'_>) -> Result<Self> {
        let port = setup.port;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let address = listener.local_addr()?;
        raise_file_limit();
        let credentials = Credentials::random();
        let buckets = setup.buckets;
        std::fs::create_dir_all(buckets).with_context(|| format!("cannot create {}", buckets.display()))?;
        let objects = objects::service(buckets, credentials.clone()).map_err(|e| anyhow!("{e:?}"))?;
        let faults = Arc::new(Faults::new(setup.faults));
        let identity = Arc::new(Identity::default());
        let logs = Arc::new(Logs::new(setup.verbose));
        let lambda = Lambda::new(lambda::Place {
            endpoint: format!("http://{address}"),
            credentials: credentials.clone(),
            folder: setup.scratch.to_owned(),
            objects: objects::Reader::new(buckets).map_err(|e| anyhow!("{e:?}"))?,
            identity: identity.clone(),
            logs: logs.clone(),
            faults: faults.clone(),
            concurrency: setup.concurrency,
        })?;
        let services =
            Services { credentials: credentials.clone(), faults, objects, identity, logs, lambda: lambda.clone() };
        tokio::spawn(accept(listener, Arc::new(services)));
        Ok(Self { address, credentials, lambda })
    }

    /// Stops all instances of functions.
    pub fn stop(&self) {
        self.lambda.stop();
    }

    /// Returns the numbers of invocations, cold starts, throttled requests and injected losses as one line.
    pub fn summary(&self) -> String {
        self.lambda.summary()
    }

    /// Returns the environment variables that make the AWS SDKs and tools use this emulator and no other
    /// configuration.
    pub fn variables(&self) -> [(&'static str, String); 9] {
        let region = REGION.to_owned();
        let none = "/dev/null".to_owned();
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", self.credentials.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret_key.clone()),
            ("AWS_REGION", region.clone()),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_CONFIG_FILE", none.clone()),
            ("AWS_SHARED_CREDENTIALS_FILE", none),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ]
    }
}

async fn accept(listener: TcpListener, services: Arc<Services>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, services.clone()))),
            // Usually there is no free file descriptor. Some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, services: Arc<Services>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let services = services.clone();
        async move { Ok::<_, Infallible>(services.answer(request).await) }
    });
    // If the connection breaks, the client sees the error.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

impl Services {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let latency = self.faults.latency();
        if !latency.is_zero() {
            // Only here, because even a sleep of zero length takes a millisecond.
            tokio::time::sleep(latency).await;
        }
        let service = Authorization::of(request.headers()).map(|auth| auth.service.to_owned());
        match service.as_deref() {
            // S3 itself checks presigned URLs and requests without a signature.
            Some("s3") | None => self.object(request).await,
            Some(service) => {
                let (parts, body) = request.into_parts();
                let answered = match self.checked(&parts, body).await {
                    Ok(body) => self.call(service, &parts, body).await,
                    Err(failure) => Err(failure),
                };
                let mut answer = answered.unwrap_or_else(|failure| failure.answer(service));
                answer.headers_mut().extend(http_date(self.faults.now()).map(|date| (DATE, date)));
                answer
            }
        }
    }

    async fn object(&self, request: Request<Incoming>) -> Answer {
        if self.faults.throttles() {
            return Failure::new(503, "SlowDown", "Please reduce your request rate.").answer("s3");
        }
        let answered = self.objects.call(request.map(Body::from)).await;
        answered.unwrap_or_else(|e| Failure::new(500, "InternalError", format!("{e:?}")).answer("s3"))
    }

    /// Checks the signature of a request and returns its body.
    async fn checked(&self, parts: &Parts, body: Incoming) -> Result<Bytes, Failure> {
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body.map_err(|e| Failure::new(413, "RequestEntityTooLargeException", e.to_string()))?.to_bytes();
        let authorization = Authorization::of(&parts.headers);
        let authorization = authorization
            .ok_or_else(|| Failure::new(403, "MissingAuthenticationToken", "the request is not signed"))?;
        let verified = authorization.verify(parts, &body, &self.credentials, self.faults.now());
        verified.map_err(|e| Failure::new(403, "InvalidSignatureException", format!("{e:#}")))?;
        Ok(body)
    }

    async fn call(&self, service: &str, parts: &Parts, body: Bytes) -> Result<Answer, Failure> {
        match service {
            "lambda" => self.lambda.call(parts, body).await,
            "iam" | "sts" => self.identity.call(&self.credentials, &body),
            "logs" => self.logs.call(parts, &body),
            other => {
                Err(Failure::new(501, "NotImplemented", format!("the emulator does not support the service `{other}`")))
            }
        }
    }
}

/// Formats a time for the `Date` header.
fn http_date(time: SystemTime) -> Option<HeaderValue> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    OffsetDateTime::from(time).format(&format).ok()?.parse().ok()
}

/// Raises the limit of open files to the user's maximum, because an instance takes about five.
fn raise_file_limit() {
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    // If this fails, fewer instances can run at once.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, files);
}
