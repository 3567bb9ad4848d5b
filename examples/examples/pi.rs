//! Estimates pi by throwing points at a square.
//!
//!     cargo run --release -p examples \
//!         --example pi -- [tasks] [points per task]

/// How many of `points` random points in the unit square fall into the
/// quarter circle.
#[wren::remote]
fn hits(seed: u64, points: u64) -> u64 {
    let mut random = SplitMix(seed);
    (0..points)
        .filter(|_| random.unit().powi(2) + random.unit().powi(2) <= 1.0)
        .count() as u64
}

/// SplitMix64: small, fast, and good enough to throw points with.
struct SplitMix(u64);

impl SplitMix {
    /// The next number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let tasks: u64 = args.next().map_or(Ok(10_000), |arg| arg.parse())?;
    let points: u64 = args.next().map_or(Ok(20_000), |arg| arg.parse())?;

    let hits: u64 = wren::map(|task| hits(task * points, points), 0..tasks)
        .await?
        .into_iter()
        .sum();

    let pi = 4.0 * hits as f64 / (tasks * points) as f64;
    println!("pi is about {pi:.5} after {} points", tasks * points);
    Ok(())
}
