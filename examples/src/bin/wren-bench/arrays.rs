//! Arrays of numbers as arguments and results.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const MIB: usize = 1 << 20;

/// A row of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sample {
    x: f32,
    y: f32,
    id: u32,
    kind: u32,
}

#[wren::remote]
fn floats(mib: usize) -> Vec<f64> {
    vec![0.5; mib * MIB / 8]
}

#[wren::remote]
fn back(floats: Vec<f64>) -> Vec<f64> {
    floats
}

#[wren::remote]
fn samples(mib: usize) -> Vec<Sample> {
    (0..(mib * MIB / size_of::<Sample>()) as u32).map(|id| Sample { x: 0.5, y: id as f32, id, kind: id % 7 }).collect()
}

#[wren::remote]
fn pixels(mib: usize) -> Vec<[u8; 4]> {
    (0..(mib * MIB / 4) as u32).map(u32::to_le_bytes).collect()
}

#[wren::remote]
fn flags(mib: usize) -> Vec<bool> {
    (0..mib * MIB).map(|i| i % 3 == 0).collect()
}

#[wren::remote]
fn two_of(floats: &[f64], at: usize) -> f64 {
    floats[at] + floats[floats.len() - 1 - at]
}

/// Returns megabytes (10^6 bytes) per second, the best of some rounds on warm workers.
pub(crate) async fn measure() -> wren::Result<BTreeMap<&'static str, f64>> {
    let mut rates = BTreeMap::new();
    let mib = 64;
    rates.insert("result_f64_mb_per_s", rate(mib, 7, || floats(mib)).await?);
    // The arrays to send are made before the measurement, as in the programs that this is compared with.
    let sent = RefCell::new(vec![vec![0.25; mib * MIB / 8]; 7]);
    let send = || back(sent.borrow_mut().pop().unwrap_or_default());
    rates.insert("there_and_back_f64_mb_per_s", rate(mib, 7, send).await?);
    rates.insert("result_struct_mb_per_s", rate(mib, 5, || samples(mib)).await?);
    rates.insert("result_u8x4_mb_per_s", rate(mib, 5, || pixels(mib)).await?);
    rates.insert("result_bool_mb_per_s", rate(mib, 5, || flags(mib)).await?);
    // 32 calls with 32 MB each.
    let captured: Vec<f64> = (0..4_000_000).map(f64::from).collect();
    let bytes = 32 * captured.len() * 8;
    let capture = || wren::map(|at| two_of(&captured, at), 0..32).quiet();
    rates.insert("captured_f64_mb_per_s", bytes as f64 / 1e6 / best(7, capture).await?.as_secs_f64());
    Ok(rates)
}

async fn rate<R>(mib: usize, rounds: usize, call: impl Fn() -> wren::Call<R>) -> wren::Result<f64>
where
    R: serde::de::DeserializeOwned,
{
    Ok((mib * MIB) as f64 / 1e6 / best(rounds, call).await?.as_secs_f64())
}

async fn best<F: IntoFuture<Output = wren::Result<R>>, R>(
    rounds: usize,
    make: impl Fn() -> F,
) -> wren::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        let result = make().await?;
        best = best.min(start.elapsed());
        drop(result);
    }
    Ok(best)
}
