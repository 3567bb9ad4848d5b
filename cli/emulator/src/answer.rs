//! Answers in the protocol of each service.

use std::fmt;

use hyper::Response;
use s3s::Body;
use serde::Serialize;

use super::Answer;

/// The reason why a request is refused: the HTTP status, the service's error code, a message.
#[derive(Debug)]
pub(super) struct Failure {
    status: u16,
    code: &'static str,
    message: String,
    reason: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), reason: None }
    }

    /// Adds a machine-readable reason: the name of the limit that a request exceeds.
    pub(super) fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Creates the failure for a parameter that Lambda does not accept.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameterValueException", message)
    }

    /// Returns the answer in the format of this service.
    pub(super) fn answer(self, service: &str) -> Answer {
        let Self { status, code, message, reason } = self;
        let error = format!("<Code>{code}</Code><Message>{}</Message>", Escaped(&message));
        match service {
            "s3" => xml(status, format!("<?xml version=\"1.0\"?><Error>{error}</Error>")),
            "iam" | "sts" => xml(
                status,
                format!(
                    "<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>{}</RequestId></ErrorResponse>",
                    new_id()
                ),
            ),
            _ => {
                let mut error =
                    serde_json::json!({"__type": code, "Type": "User", "message": message, "Message": message});
                if let Some(reason) = reason {
                    error["Reason"] = reason.into();
                }
                let mut answer = json(status, &error);
                if let Ok(code) = code.parse() {
                    answer.headers_mut().insert("x-amzn-errortype", code);
                }
                answer
            }
        }
    }
}

/// Text that is escaped for XML.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            other => write!(f, "{other}"),
        })
    }
}

pub(super) fn xml(status: u16, text: String) -> Answer {
    with_body(status, "text/xml", text.into())
}

pub(super) fn json(status: u16, value: &impl Serialize) -> Answer {
    with_body(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

pub(super) fn with_body(status: u16, kind: &'static str, body: Vec<u8>) -> Answer {
    let answer = Response::builder().status(status).header("content-type", kind).header("x-amzn-requestid", new_id());
    answer.body(Body::from(body)).unwrap_or_default()
}

pub(super) fn empty(status: u16) -> Answer {
    with_body(status, "application/json", Vec::new())
}

/// Returns a new random ID in the form of a UUID.
pub(super) fn new_id() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
