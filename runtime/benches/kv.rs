//! Measures how many operations on 128 bytes one thread performs per second: with a bare Redis client, with wren on the
//! same server, and with the embedded storage, in turns.
//!
//!     cargo bench -p wren-cloud --features kv,redis --bench kv

#[path = "../tests/support/redis_server.rs"]
mod redis_server;

use std::error::Error;
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use wren::kv::{Kv, Params};

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(200);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Returns the operations per second.
fn rate(mut operation: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < SLICE {
        for _ in 0..16 {
            operation()?;
        }
        done += 16;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Measures several rates in turns. Prints their medians, and the medians of their ratios in each round.
fn compare(what: &str, contenders: &mut [(&str, &mut dyn FnMut() -> Outcome<()>)]) -> Outcome<()> {
    let mut rates = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            // The order rotates, because the first in a round is slowed down by the effects of the last.
            let i = (round + turn) % contenders.len();
            rates[i].push(rate(&mut *contenders[i].1)?);
        }
    }
    for ((name, _), own) in contenders.iter().zip(&rates) {
        let ratio = median(own.iter().zip(&rates[0]).map(|(own, first)| own / first).collect());
        println!("kv_{what}: {name:<16} {:>9.0}/s  {ratio:.3} of {}", median(own.clone()), contenders[0].0);
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let server = RedisServer::start();
    let folder = tempfile::tempdir()?;
    let wren = Kv::open(&server.url())?;
    let embedded = Kv::open(&format!("embedded:{}", folder.path().display()))?;
    let value = [7u8; 128];

    let mut bare = redis::Client::open(server.url())?.get_connection()?;
    compare(
        "set",
        &mut [
            ("a bare client", &mut || Ok(redis::cmd("SET").arg("key").arg(&value).exec(&mut bare)?)),
            ("wren on Redis", &mut || Ok(wren.set_bytes("key", &value)?)),
            ("wren embedded", &mut || Ok(embedded.set_bytes("key", &value)?)),
        ],
    )?;
    compare(
        "get",
        &mut [
            ("a bare client", &mut || {
                let got: Vec<u8> = redis::cmd("GET").arg("key").query(&mut bare)?;
                assert_eq!(got, value);
                Ok(())
            }),
            ("wren on Redis", &mut || {
                assert_eq!(wren.get_bytes("key")?.as_deref(), Some(&value[..]));
                Ok(())
            }),
            ("wren embedded", &mut || {
                assert_eq!(embedded.get_bytes("key")?.as_deref(), Some(&value[..]));
                Ok(())
            }),
        ],
    )?;
    compare(
        "increment",
        &mut [
            ("a bare client", &mut || {
                let _: i64 = redis::cmd("INCRBY").arg("n").arg(1).query(&mut bare)?;
                Ok(())
            }),
            ("wren on Redis", &mut || {
                wren.increment("n", 1)?;
                Ok(())
            }),
            ("wren embedded", &mut || {
                embedded.increment("n", 1)?;
                Ok(())
            }),
        ],
    )?;

    let numbers = vec![0.5f32; 65];
    let on_redis = Params::create(&wren, "params", &numbers)?;
    let on_disk = Params::create(&embedded, "params", &numbers)?;
    let step = |params: &Params<f32>| {
        params.pull()?;
        Ok(params.push(0, &numbers)?)
    };
    compare(
        "pull and push 65 f32",
        &mut [("wren on Redis", &mut || step(&on_redis)), ("wren embedded", &mut || step(&on_disk))],
    )
}
