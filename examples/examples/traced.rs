//! Exports spans of a program and of its workers as one trace to an
//! OpenTelemetry collector.
//!
//!     cargo run --release -p examples --features otel --example traced

// ANCHOR: all
use tracing::{Instrument, info_span};

#[wren::remote]
fn count_primes(hundred_thousand: u64) -> usize {
    let all = hundred_thousand * 100_000..(hundred_thousand + 1) * 100_000;
    // A function's own spans are inside the span of its task.
    info_span!("sieve").in_scope(|| all.filter(|n| is_prime(*n)).count())
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let _exporter = wren::otel::install()?;
    let counts = async { wren::map(count_primes, 0..10).await };
    let counts = counts.instrument(info_span!("primes")).await?;
    println!(
        "{} primes are below a million",
        counts.into_iter().sum::<usize>()
    );
    Ok(())
}
// ANCHOR_END: all
