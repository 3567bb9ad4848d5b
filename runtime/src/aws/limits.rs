//! Limits of AWS Lambda and Amazon S3 that wren respects, and wren's own defaults.
//!
//! Read on 2026-11-20. "Lambda quotas" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>; "Lambda scaling" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>; "S3 performance" is
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>.

use std::time::Duration;

/// Largest request and response of a synchronous invocation, in bytes (Lambda quotas).
pub const SYNC_PAYLOAD: usize = 6 << 20;

/// Largest request of an asynchronous invocation, in bytes (Lambda quotas; 256 KB before October 2025).
pub const ASYNC_PAYLOAD: usize = 1 << 20;

/// Minimum memory of a function, in MB (Lambda quotas).
pub const MIN_MEMORY_MB: u32 = 128;

/// Maximum memory of a function, in MB (Lambda quotas). New accounts may have less.
pub const MAX_MEMORY_MB: u32 = 10_240;

/// Memory that buys one vCPU, in MB ("Configure Lambda function memory").
pub const MB_PER_VCPU: u32 = 1_769;

/// Maximum number of vCPUs of a function ("Configure Lambda function memory").
pub const MAX_VCPUS: u32 = 6;

/// Longest duration of an invocation, in seconds (Lambda quotas).
pub const MAX_TIMEOUT_S: u32 = 900;

/// Instances of all functions of an account in a region, unless the quota was raised (Lambda quotas). New accounts may
/// have 10.
pub const CONCURRENCY: usize = 1_000;

/// Instances that one function may gain every [`SCALING_PERIOD`] (Lambda scaling).
pub const SCALING_STEP: usize = 1_000;

/// Period in which a function may gain [`SCALING_STEP`] instances, in seconds (Lambda scaling).
pub const SCALING_PERIOD: Duration = Duration::from_secs(10);

/// Invocations per second for each instance that the account may have (Lambda quotas).
pub const RATE_PER_CONCURRENCY: usize = 10;

/// Largest unpacked size of a zip file with code, in bytes (Lambda quotas).
pub const UNPACKED_CODE: u64 = 250 << 20;

/// Size of `/tmp` in a function that does not request more, in MB (Lambda quotas).
pub const TMP_MB: u32 = 512;

/// PUT, COPY, POST and DELETE requests per second for each prefix (S3 performance).
pub const PUTS_PER_SECOND: usize = 3_500;

/// GET and HEAD requests per second for each prefix (S3 performance).
pub const GETS_PER_SECOND: usize = 5_500;

/// Memory of functions that do not set any, in MB: enough for one full vCPU.
pub const DEFAULT_MEMORY_MB: u32 = MB_PER_VCPU;

/// Time that a Lambda function gets beyond the timeout of its calls, for arguments and results, in seconds.
pub const OVERHEAD_S: u32 = 10;

/// Returns the number of vCPUs of a function with this memory.
pub fn vcpus(memory_mb: u32) -> u32 {
    memory_mb.div_ceil(MB_PER_VCPU).clamp(1, MAX_VCPUS)
}
