//! Measures how fast workers write to the store and read from it, with 1,
//! 2, 4, .. workers at once: the second measurement of the PyWren paper,
//! which uses up to 3,000 workers.
//!
//!     cargo run --release -p examples \
//!         --example store_bandwidth -- [workers] [MB] [objects]
//!
//! Each worker writes `objects` objects of `MB` megabytes (10⁶ bytes) one
//! after the other, and then reads those that another worker wrote. Without
//! arguments: as many workers as there are processors, and 4 objects of 16
//! MB each. The store is that of the program: `WREN_STORE`, or the bucket
//! of its deployment.

use std::error::Error;
use std::time::{Duration, Instant};

use examples::spread::Spread;
use examples::workers;
use serde::{Deserialize, Serialize};

/// The amount of data that a worker wrote or read, and the time.
#[derive(Debug, Serialize, Deserialize)]
struct Moved {
    bytes: u64,
    took: Duration,
}

impl Moved {
    fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64() / 1e6
    }
}

/// Writes objects of `bytes` random bytes under these keys.
#[wren::remote(memory = 1769, timeout = 300)]
async fn write(
    store: &str,
    keys: &[String],
    bytes: usize,
) -> wren::Result<Moved> {
    let store = wren::store::open(store)?;
    let mut value = vec![0; bytes];
    let mut took = Duration::ZERO;
    for key in keys {
        fastrand::fill(&mut value);
        let begin = Instant::now();
        store.put(key, &value).await?;
        took += begin.elapsed();
    }
    Ok(Moved { bytes: (keys.len() * bytes) as u64, took })
}

/// Reads the objects under these keys.
#[wren::remote(memory = 1769, timeout = 300)]
async fn read(store: &str, keys: &[String]) -> wren::Result<Moved> {
    let store = wren::store::open(store)?;
    let begin = Instant::now();
    let mut bytes = 0;
    for key in keys {
        bytes += store.get(key).await?.len() as u64;
    }
    Ok(Moved { bytes, took: begin.elapsed() })
}

/// The settings of a measurement.
struct Bench {
    executor: wren::Executor,
    store: String,
    /// Only this run uses this prefix.
    prefix: String,
    bytes: usize,
    objects: usize,
}

/// MB/s: of each worker, and of the job as a whole.
struct Row {
    each: Spread,
    whole: f64,
}

impl Row {
    fn of(moved: &[Moved], wall: Duration) -> Self {
        let bytes: u64 = moved.iter().map(|moved| moved.bytes).sum();
        Self {
            each: Spread::of(moved.iter().map(Moved::mb_per_s)),
            whole: bytes as f64 / wall.as_secs_f64() / 1e6,
        }
    }
}

impl Bench {
    /// The keys of a worker's objects. They are random, so that a store
    /// that is partitioned by key distributes them.
    fn keys(&self) -> Vec<String> {
        (0..self.objects)
            .map(|_| format!("{}/{:016x}", self.prefix, fastrand::u64(..)))
            .collect()
    }

    /// Measures writing, then reading, with this number of workers at once.
    async fn measure(&self, workers: usize) -> wren::Result<[Row; 2]> {
        let keys: Vec<Vec<String>> =
            (0..workers).map(|_| self.keys()).collect();
        let begin = Instant::now();
        let calls =
            |keys: &Vec<String>| write(&self.store, keys, self.bytes);
        let written = wren::map(calls, &keys)
            .chunk(1)
            .quiet()
            .on(&self.executor)
            .await?;
        let written = Row::of(&written, begin.elapsed());
        let begin = Instant::now();
        // Each worker reads the objects of the next one, which are not in a
        // cache of its own.
        let others =
            (0..workers).map(|worker| &keys[(worker + 1) % workers]);
        let got = wren::map(|keys| read(&self.store, keys), others)
            .chunk(1)
            .quiet()
            .on(&self.executor)
            .await?;
        let got = Row::of(&got, begin.elapsed());
        self.delete().await?;
        Ok([written, got])
    }

    /// Deletes the objects that are left of the run.
    async fn delete(&self) -> wren::Result<()> {
        let store = self.executor.store();
        loop {
            let keys = store
                .list(&format!("{}/", self.prefix), None, 1_000)
                .await?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                store.delete(&key).await?;
            }
        }
    }

    async fn table(&self, most: usize) -> wren::Result<String> {
        // Starts the workers and connects them to the store before the
        // measurement.
        self.measure_small(most).await?;
        let title = [
            "workers",
            "write, each",
            "whole job",
            "read, each",
            "whole job",
        ];
        println!(
            "{:>7} {:>18} {:>10} {:>18} {:>10}",
            title[0], title[1], title[2], title[3], title[4]
        );
        let mut last = String::new();
        for workers in workers::counts(most) {
            let [written, got] = self.measure(workers).await?;
            println!(
                "{workers:>7} {:>18.1} {:>10.1} {:>18.1} {:>10.1}",
                written.each, written.whole, got.each, got.whole
            );
            last = format!(
                "{workers} workers wrote {:.0} MB/s and read {:.0} MB/s",
                written.whole, got.whole
            );
        }
        Ok(last)
    }

    async fn measure_small(&self, workers: usize) -> wren::Result<()> {
        let keys: Vec<Vec<String>> =
            (0..workers).map(|_| self.keys()).collect();
        wren::map(|keys| write(&self.store, keys, 1_000), &keys)
            .chunk(1)
            .quiet()
            .on(&self.executor)
            .await?;
        self.delete().await
    }
}

#[wren::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let processors = std::thread::available_parallelism()?.get();
    let most =
        args.next().map_or(Ok(processors), |arg| arg.parse())?.max(1);
    let megabytes: f64 = args.next().map_or(Ok(16.0), |arg| arg.parse())?;
    let objects: usize =
        args.next().map_or(Ok(4), |arg| arg.parse())?.max(1);
    let executor = workers::executor(most)?;
    let store = executor.store();
    if !store.is_shared() {
        return Err(
            format!("only one process can use {}; set WREN_STORE to a `file:` or `s3:` store", store.url()).into()
        );
    }
    let bench = Bench {
        store: store.url(),
        prefix: format!("bandwidth-{:016x}", fastrand::u64(..)),
        bytes: (megabytes * 1e6) as usize,
        objects,
        executor,
    };
    println!(
        "MB/s, {objects} objects of {megabytes} MB for each worker: mean (std)\n{}\n",
        bench.store
    );
    let last = bench.table(most).await;
    // Deletes the objects also after a failure.
    bench.delete().await?;
    println!("\n{}", last?);
    Ok(())
}
