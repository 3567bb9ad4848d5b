//! Options that are constant expressions, of any type of number.
#![deny(warnings, trivial_numeric_casts, clippy::all)]

const GB: u32 = 1024;
const MINUTE: u64 = 60;
const RETRIES: u32 = 2;

const fn half(seconds: u64) -> f32 {
    seconds as f32 / 2.0
}

#[wren::remote(memory = 2 * GB, timeout = 5 * MINUTE, retries = RETRIES + 1)]
fn large(x: u64) -> u64 {
    x
}

#[wren::remote(memory = (512), timeout = half(MINUTE), retries = 1_u32)]
fn small(x: u64) -> u64 {
    x
}

/// More than AWS Lambda has, for a machine of one's own.
#[allow(deprecated)]
#[wren::remote(memory = 64 * GB, timeout = 24.5 * 3600.0)]
fn largest(x: u64) -> u64 {
    x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    assert_eq!(large(1).await? + small(2).await? + largest(3).await?, 6);
    Ok(())
}
