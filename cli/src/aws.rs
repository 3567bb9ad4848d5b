//! AWS as this command uses it: found as programs find it, one client for each service.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::future::Future;

use anyhow::{Context, Result, anyhow, bail};
use aws_config::retry::RetryConfig;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use wren::__private::aws::{describe_error, s3, sdk_config};
use wren::deployment::Deployment;

/// How often a request is sent before its failure counts: somebody waits for it.
const ATTEMPTS: u32 = 5;

/// The first request of all tells soon whether there is a network.
const FIRST_ATTEMPTS: u32 = 3;

/// Clients of all services, in the region of the environment or the profile.
#[derive(Debug, Clone)]
pub(crate) struct Aws {
    pub(crate) region: String,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

impl Aws {
    /// Reads the settings. Nothing is sent.
    pub(crate) async fn open() -> Result<Self> {
        let config = sdk_config().await;
        let Some(region) = config.region() else {
            bail!(
                "no AWS region is set; set AWS_REGION, as in `AWS_REGION=eu-central-1`, or give the profile one with \
                 `aws configure`"
            );
        };
        let region = region.to_string();
        let attempts = |n| config.to_builder().retry_config(RetryConfig::standard().with_max_attempts(n)).build();
        let (patient, first) = (attempts(ATTEMPTS), attempts(FIRST_ATTEMPTS));
        Ok(Self {
            region,
            s3: s3().await,
            iam: aws_sdk_iam::Client::new(&patient),
            lambda: aws_sdk_lambda::Client::new(&patient),
            logs: aws_sdk_cloudwatchlogs::Client::new(&patient),
            sts: aws_sdk_sts::Client::new(&first),
        })
    }

    /// The account that the credentials belong to.
    pub(crate) async fn account(&self) -> Result<String> {
        let identity = self.sts.get_caller_identity().send().await.explained("asking AWS who you are")?;
        identity.account().map(str::to_owned).context("AWS gives the credentials no account; use those of another user")
    }
}

/// One line where things go to a stand-in.
pub(crate) fn emulator_note() -> Option<String> {
    Deployment::endpoint_of_environment().map(|url| format!("the emulator at {url}, not AWS"))
}

/// Runs what talks to AWS.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("the system gives no event loop")?.block_on(future)
}

/// Errors of the SDK in words.
pub(crate) trait Explained<T> {
    /// `doing` continues "... failed".
    fn explained(self, doing: &str) -> Result<T>;
}

impl<T, E, R> Explained<T> for std::result::Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: Debug + 'static,
{
    fn explained(self, doing: &str) -> Result<T> {
        self.map_err(|error| {
            let unreached = matches!(&error, SdkError::DispatchFailure(e) if e.is_io() || e.is_timeout());
            let mend = match error.code() {
                Some(code) => mend(code),
                None if unreached => {
                    "; AWS is not reached: look at the network, proxies, and AWS_ENDPOINT_URL if it is set"
                }
                None => "",
            };
            anyhow!("{doing} failed: {}{mend}", describe_error(&error))
        })
    }
}

/// What to do about an error that AWS gives for many requests.
fn mend(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => "; log in again, as with `aws sso login`",
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            "; AWS does not know these credentials: mend AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with \
             `aws sso login` or `aws configure`"
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            "; have this right added to the user or role, or use credentials that have it"
        }
        "InvalidSignatureException" => "; look whether the clock of this machine is right",
        _ => "",
    }
}

/// The code of an error's answer, or its HTTP status where it has no body to say more.
pub(crate) trait Coded {
    fn is(&self, codes: &[&str]) -> bool;
}

impl<E: ProvideErrorMetadata> Coded for SdkError<E, aws_sdk_lambda::config::http::HttpResponse> {
    fn is(&self, codes: &[&str]) -> bool {
        let status = self.raw_response().map(|response| response.status().as_u16().to_string());
        let code = self.code();
        codes.iter().any(|wanted| code == Some(*wanted) || (code.is_none() && status.as_deref() == Some(*wanted)))
    }
}

/// Whether it failed only because the thing is not there.
pub(crate) fn if_there<T, E>(
    answer: std::result::Result<T, SdkError<E, aws_sdk_lambda::config::http::HttpResponse>>,
    absent: &[&str],
    doing: &str,
) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is(absent) => Ok(None),
        Err(error) => Err(error).explained(doing),
    }
}
