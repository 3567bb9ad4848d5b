//! The reasons why S3 does not carry out a request.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::aws;

/// The reason why a request was not carried out.
pub(super) enum Refusal {
    NotFound,
    /// `If-None-Match: *` found an object.
    Exists,
    /// Another conditional write of the key is in progress.
    Conflict,
    /// The range starts after the end of the object.
    PastEnd,
    /// `If-Match` found another version of the object.
    Changed,
    /// The connection was lost while a body was received.
    BrokeOff(String),
    Other(String),
}

impl Refusal {
    pub(super) fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (status, error.as_service_error().and_then(ProvideErrorMetadata::code)) {
            (_, Some("NoSuchBucket")) => Refusal::Other(format!(
                "{}; create the bucket with `cargo wren deploy`, or fix the store's URL",
                aws::describe_error(error)
            )),
            (Some(403), _) => Refusal::Other(format!(
                "{}; the functions of a deployment can access only objects below its store; move the object there, or \
                 allow the deployment's role in the policy of the other bucket",
                aws::describe_error(error)
            )),
            (_, Some("NoSuchKey" | "NotFound")) | (Some(404), None) => Refusal::NotFound,
            (Some(409), _) => Refusal::Conflict,
            (Some(412), _) => Refusal::Changed,
            (Some(416), _) => Refusal::PastEnd,
            _ => Refusal::Other(aws::describe_error(error)),
        }
    }

    /// Converts the error of a request with `If-None-Match: *`.
    pub(super) fn of_conditional<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match Self::of(error) {
            Refusal::Changed => Refusal::Exists,
            other => other,
        }
    }
}

/// The answer to a request, or why there is none.
pub(super) type Answer<T> = std::result::Result<T, Refusal>;
