//! The async runtime, settings and error messages that the S3 store and the Lambda backend share.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// Number of times that a request is sent before its failure is reported, with growing random pauses in between: S3
/// answers 503 while it splits a prefix, which takes at most minutes.
const ATTEMPTS: u32 = 14;

const CONNECT: Duration = Duration::from_secs(5);

/// Spawns a future on the async runtime that runs all requests to AWS, because stores and backends are called from
/// threads without a runtime.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<Task<T>, String> {
    Ok(Task(runtime()?.spawn(future)))
}

/// A spawned future. Dropping the `Task` aborts it.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

impl<T> Task<T> {
    /// Waits for the future and returns its value.
    pub(crate) async fn join(mut self) -> Result<T, String> {
        (&mut self.0).await.map_err(|e| format!("a request ended early: {e}"))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("wren-aws")
            .enable_all()
            .build()
            .map_err(|e| format!("cannot create the async runtime: {e}"))
    };
    RUNTIME.get_or_init(build).as_ref().map_err(Clone::clone)
}

/// Returns the credentials, region and endpoints, read as by every AWS tool: from the environment, a profile, SSO or a
/// role.
pub async fn sdk_config() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    let load = || async {
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.build_https())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            .load()
            .await
    };
    CONFIG.get_or_init(load).await
}

/// The longest first pause before a refused request to S3 is sent again; it doubles each time. The SDK's default of one
/// second would be most of the duration of a short task.
const BACKOFF: Duration = Duration::from_millis(100);

/// Returns an S3 client. It uses all of its attempts: with the SDK's default quota for retries, it would give up early
/// just when thousands of requests are refused at once.
pub async fn s3() -> aws_sdk_s3::Client {
    static CLIENT: OnceCell<aws_sdk_s3::Client> = OnceCell::const_new();
    let build = || async {
        let shared = sdk_config().await;
        let own_endpoint = shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = aws_sdk_s3::config::Builder::from(shared)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF))
            .retry_partition(RetryPartition::custom("wren-s3").token_bucket(TokenBucket::unlimited()).build())
            // A server other than Amazon's may have an IP address, which cannot contain the name of the bucket.
            .force_path_style(own_endpoint)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    };
    CLIENT.get_or_init(build).await.clone()
}

/// Returns a Lambda client. It sends each request once, because the scheduler paces refused requests.
pub(crate) async fn lambda() -> aws_sdk_lambda::Client {
    static CLIENT: OnceCell<aws_sdk_lambda::Client> = OnceCell::const_new();
    let build = || async {
        let config = aws_sdk_lambda::config::Builder::from(sdk_config().await);
        aws_sdk_lambda::Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
    };
    CLIENT.get_or_init(build).await.clone()
}

/// Spawns a request that is sent even if the program ends in the meantime.
pub(crate) fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = runtime() {
        crate::platform::finish_before_exit(runtime.spawn(future));
    }
}

/// Formats an error of the SDK in one line: the service's code and message if the service answered, otherwise the error
/// with all its causes.
pub fn describe_error<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(answer) = error.as_service_error().filter(|answer| answer.code().is_some()) {
        let message = answer.message().map_or_else(String::new, |message| format!(": {message}"));
        return format!("{}{message}", answer.code().unwrap_or_default());
    }
    let mut text = error.to_string();
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let hint = match error {
        SdkError::ConstructionFailure(_) if text.contains("region") => {
            "; set AWS_REGION, or a region in the profile of `aws configure`"
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) if text.contains("credential") => {
            "; log in with `aws sso login` or `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        _ => "",
    };
    text + hint
}
