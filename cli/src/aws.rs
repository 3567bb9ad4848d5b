//! Clients for the AWS services that this command uses, configured in the same way as those of wren programs.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::future::Future;

use anyhow::{Context, Result, anyhow, bail};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use wren::__private::aws::{describe_error, s3, sdk_config};
use wren::deployment::Deployment;

/// Attempts of a request before it fails; a user waits for the result.
const ATTEMPTS: u32 = 5;

/// Attempts of the very first request. They are fewer so that a missing network is reported soon.
const FIRST_ATTEMPTS: u32 = 3;

/// Clients for all services, in the region that the environment or the profile sets.
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
    /// Reads the settings and the credentials.
    pub(crate) async fn open() -> Result<Self> {
        let config = sdk_config().await;
        // Before the region, of which nobody thinks who has no account yet.
        check_credentials(config).await?;
        let Some(region) = config.region() else {
            bail!(
                "no AWS region is set; set AWS_REGION, as in `AWS_REGION=eu-central-1`, or add one to the profile with \
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

    /// Returns the account that the credentials belong to.
    pub(crate) async fn account(&self) -> Result<String> {
        let identity = self.sts.get_caller_identity().send().await.explained("looking up the AWS account")?;
        identity
            .account()
            .map(str::to_owned)
            .context("AWS reports no account for these credentials; use those of another user")
    }
}

/// Fails if there are no credentials, or if they cannot be loaded.
async fn check_credentials(config: &SdkConfig) -> Result<()> {
    let loaded = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await,
        None => Err(CredentialsError::not_loaded("there is no provider")),
    };
    match loaded {
        Ok(_) => Ok(()),
        Err(CredentialsError::CredentialsNotLoaded(_)) => bail!(
            "no AWS credentials found; log in with `aws sso login` or `aws configure`, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY; without an account, use an emulator, as in `cargo wren emulate -- cargo wren \
             deploy`"
        ),
        Err(error) => {
            let error = anyhow::Error::new(error);
            bail!("cannot load the AWS credentials: {error:#}; log in again, as with `aws sso login`")
        }
    }
}

/// Names the emulator that requests go to, for messages to the user; `None` if they go to AWS.
pub(crate) fn emulator_note() -> Option<String> {
    Deployment::endpoint_of_environment().map(|url| format!("the emulator at {url}, not AWS"))
}

/// Runs a future that makes AWS requests.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot create the async runtime")?.block_on(future)
}

/// Turns errors of the SDK into messages for the user.
pub(crate) trait ExplainError<T> {
    /// Adds what failed and how to fix it. `doing` is the start of the message: "`doing` failed: ..".
    fn explained(self, doing: &str) -> Result<T>;
}

impl<T, E, R> ExplainError<T> for std::result::Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: Debug + 'static,
{
    fn explained(self, doing: &str) -> Result<T> {
        self.map_err(|error| {
            let unreachable = matches!(&error, SdkError::DispatchFailure(e) if e.is_io() || e.is_timeout());
            let fix = match error.code() {
                Some(code) => fix(code),
                None if unreachable => {
                    "; cannot reach AWS: check the network, the proxies, and AWS_ENDPOINT_URL if it is set"
                }
                None => "",
            };
            anyhow!("{doing} failed: {}{fix}", describe_error(&error))
        })
    }
}

/// Returns the fix for an error code that many kinds of requests share.
fn fix(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => "; log in again, as with `aws sso login`",
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            "; AWS rejects these credentials: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with \
             `aws sso login` or `aws configure`"
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            "; add this permission to the user or role, or use credentials that have it"
        }
        "InvalidSignatureException" => "; check the clock of this machine",
        _ => "",
    }
}

/// Errors with a code: the one in the response, or the HTTP status if the response has no body.
pub(crate) trait ErrorCode {
    /// Returns whether the error has one of these codes.
    fn is(&self, codes: &[&str]) -> bool;
}

impl<E: ProvideErrorMetadata> ErrorCode for SdkError<E, aws_sdk_lambda::config::http::HttpResponse> {
    fn is(&self, codes: &[&str]) -> bool {
        let status = self.raw_response().map(|response| response.status().as_u16().to_string());
        let code = self.code();
        codes.iter().any(|wanted| code == Some(*wanted) || (code.is_none() && status.as_deref() == Some(*wanted)))
    }
}

/// Returns the response, or `None` if the error code is one of `absent`: the requested thing does not exist.
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
