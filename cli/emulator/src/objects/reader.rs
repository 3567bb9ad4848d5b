//! Reads objects for the other services.

use std::path::Path;

use futures_util::StreamExt;
use hyper::body::Bytes;
use s3s::dto::GetObjectInput;
use s3s::{S3, S3Error};
use s3s_fs::FileSystem;

use super::names::path_of;
use super::request;

/// Reads objects for the other services.
pub(crate) struct Reader(FileSystem);

impl Reader {
    pub(crate) fn new(root: &Path) -> Result<Self, s3s_fs::Error> {
        FileSystem::new(root).map(Self)
    }

    /// Returns the bytes of an object, or the code and the message of the error.
    pub(crate) async fn read(&self, bucket: &str, key: &str) -> Result<Bytes, (String, String)> {
        let input = GetObjectInput { bucket: bucket.to_owned(), key: path_of(key), ..Default::default() };
        let failed = |e: S3Error| (e.code().as_str().to_owned(), e.message().unwrap_or_default().to_owned());
        let mut body = self.0.get_object(request(input)).await.map_err(failed)?.output.body;
        let mut bytes = Vec::new();
        while let Some(part) = body.as_mut() {
            match part.next().await {
                Some(Ok(part)) => bytes.extend_from_slice(&part),
                Some(Err(e)) => return Err(("InternalError".to_owned(), e.to_string())),
                None => break,
            }
        }
        Ok(bytes.into())
    }
}
