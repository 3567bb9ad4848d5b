//! The settings of buckets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use s3s::dto::{LifecycleRule, PublicAccessBlockConfiguration, ServerSideEncryptionConfiguration, TagSet};
use s3s::{S3Error, S3ErrorCode, S3Result};

/// Settings of a bucket. They are stored and returned, but have no effect.
#[derive(Default, Clone)]
pub(super) struct Settings {
    pub(super) encryption: Option<ServerSideEncryptionConfiguration>,
    pub(super) lifecycle: Option<Vec<LifecycleRule>>,
    pub(super) public_access: Option<PublicAccessBlockConfiguration>,
    pub(super) tags: Option<TagSet>,
    pub(super) policy: Option<String>,
}

/// The settings of all buckets that have some.
#[derive(Default)]
pub(super) struct Buckets(Mutex<HashMap<String, Settings>>);

impl Buckets {
    pub(super) fn change(&self, bucket: &str, change: impl FnOnce(&mut Settings)) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(buckets.entry(bucket.to_owned()).or_default());
    }

    /// Returns a setting of a bucket, or an error with this code.
    pub(super) fn get<T>(
        &self,
        bucket: &str,
        code: &'static str,
        get: impl FnOnce(Settings) -> Option<T>,
    ) -> S3Result<T> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || {
            let mut error =
                S3Error::with_message(S3ErrorCode::Custom(code.into()), "the bucket has no such configuration");
            // `s3s` would report codes that it does not know as server errors, which clients retry.
            error.set_status_code(hyper::StatusCode::NOT_FOUND);
            error
        };
        buckets.get(bucket).cloned().and_then(get).ok_or_else(missing)
    }

    pub(super) fn remove(&self, bucket: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
    }
}
