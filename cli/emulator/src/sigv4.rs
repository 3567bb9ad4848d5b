//! Checks the signatures of requests, as AWS does (Signature Version 4).

use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use aws_credential_types::Credentials as SdkCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use hyper::HeaderMap;
use hyper::http::request::Parts;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::Credentials;

type SigningParams<'a> = v4::SigningParams<'a, SigningSettings>;

/// The content of an `Authorization` header.
pub(super) struct Authorization<'a> {
    access_key: &'a str,
    region: &'a str,
    /// The service that the request is signed for, such as `s3` or `lambda`.
    pub(super) service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Parses the header. Returns `None` if there is none of this kind.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let fields = headers.get("authorization")?.to_str().ok()?.strip_prefix("AWS4-HMAC-SHA256")?;
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        let mut scope = field("Credential")?.split('/');
        let access_key = scope.next()?;
        let (region, service) = (scope.nth(1)?, scope.next()?);
        Some(Self {
            access_key,
            region,
            service,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }

    /// Checks that the request was signed with the secret key of its access key, and less than 900 seconds from `now`.
    pub(super) fn verify(&self, parts: &Parts, body: &[u8], known: &Credentials, now: SystemTime) -> Result<()> {
        ensure!(known.access_key == self.access_key, "the access key does not belong to this emulator");
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let date = header("x-amz-date").context("the request has no x-amz-date header")?;
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let time: SystemTime = PrimitiveDateTime::parse(date, &format)?.assume_utc().into();
        let away = now.duration_since(time).unwrap_or_else(|e| e.duration());
        ensure!(away.as_secs() < 900, "the time of the signature is off by {} seconds", away.as_secs());
        let signed: Vec<&str> = self.signed_headers.split(';').collect();
        ensure!(signed.contains(&"host"), "the host header is not signed");
        let own = ["authorization", "x-amz-date", "x-amz-security-token"];
        let headers = parts.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str();
            (signed.contains(&name) && !own.contains(&name)).then_some((name, value.to_str().ok()?))
        });
        let uri = format!("http://{}{}", header("host").context("the request has no host header")?, parts.uri);
        let token = header("x-amz-security-token").map(str::to_owned);
        let identity = SdkCredentials::new(&known.access_key, &known.secret_key, token, None, "emulator").into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()?;
        let request = SignableRequest::new(parts.method.as_str(), &uri, headers, SignableBody::Bytes(body))?;
        let (_, expected) = sign(request, &params.into())?.into_parts();
        if expected != self.signature {
            bail!("the request signature does not match the one calculated from the secret key");
        }
        Ok(())
    }
}
