//! Prices of AWS, in US dollars.
//!
//! These are list prices of us-east-1 without free tier, taxes or discounts, read on 2026-11-20 from
//! <https://aws.amazon.com/lambda/pricing/> and <https://aws.amazon.com/s3/pricing/>. Prices of other regions differ by
//! a few percent up to a third. Only the bill from AWS is exact.

/// The date on which the prices were read.
pub const AS_OF: &str = "2026-11-20";

/// The region that the prices are for.
pub const REGION: &str = "us-east-1";

/// A GB of memory for one second, x86-64. A GB is 2^30 bytes.
pub const GB_SECOND: f64 = 0.000_016_666_7;

/// A GB of memory for one second, arm64.
pub const GB_SECOND_ARM: f64 = 0.000_013_333_4;

/// One invocation of a Lambda function.
pub const REQUEST: f64 = 0.20e-6;

/// One PUT, COPY, POST or LIST request to S3.
pub const S3_WRITE: f64 = 0.005e-3;

/// One GET request to S3.
pub const S3_READ: f64 = 0.000_4e-3;

/// A GB stored in S3 for one month.
pub const S3_GB_MONTH: f64 = 0.023;

/// Returns the price of one second of one instance with this memory. Lambda bills by the millisecond, including the
/// start of an instance.
pub fn per_second(memory_mb: u32) -> f64 {
    f64::from(memory_mb) / 1024.0 * GB_SECOND
}
