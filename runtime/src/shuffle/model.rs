//! A model of a shuffle's duration. It determines the number of reduce tasks.
//!
//! With `R` reduce tasks, `M` map tasks, `W` workers and `D` bytes, reading takes about
//!
//! ```text
//! D / min(min(R, W) · bandwidth, total)  +  ⌈R / W⌉ · M · latency / parallel  +  M · R / rate
//! ```
//!
//! seconds: the bytes divided by the bandwidth of the readers, a request for each map task's object, and the number of
//! requests divided by the rate at which the storage answers them. More reduce tasks use more workers but make more
//! requests, so there is a best number. It is not below the number at which a partition fits into a worker's memory.

/// The performance of one kind of storage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Model {
    /// Bytes per second that one worker reads.
    bandwidth: f64,
    /// Bytes per second that all workers read together.
    total: f64,
    /// Seconds until a request is answered.
    latency: f64,
    /// Requests that one worker sends at the same time.
    parallel: f64,
    /// Requests answered per second.
    rate: f64,
}

impl Model {
    /// Files on this machine: read from the page cache, as measured on two cores.
    const FILES: Self = Self { bandwidth: 1.5e9, total: 10e9, latency: 20e-6, parallel: 1.0, rate: 200e3 };

    /// S3: 85–90 MB/s per connection, 100–200 ms to the first byte of small requests, and 5,500 GETs per second and
    /// prefix ("Best practices design patterns: optimizing Amazon S3 performance"). A worker's network is that of a
    /// Lambda function, measured by others at about 600 Mbit/s.
    const S3: Self = Self { bandwidth: 75e6, total: 1e12, latency: 0.1, parallel: 32.0, rate: 5_500.0 };

    /// Redis: one thread serves all requests, at about a gigabyte and a hundred thousand requests per second.
    const REDIS: Self = Self { bandwidth: 75e6, total: 1e9, latency: 1e-3, parallel: 32.0, rate: 100e3 };

    /// Returns the model of the store with this URL.
    pub(crate) fn of(store: &str) -> Self {
        match store.split(':').next() {
            Some("s3") => Self::S3,
            Some("redis" | "rediss") => Self::REDIS,
            _ => Self::FILES,
        }
    }

    /// Whether a shuffle fits into the storage at `url`, and is faster there than in the storage at `than`.
    pub(crate) fn is_better(url: &str, than: &str, bytes: u64, maps: usize, workers: usize, memory: u64) -> bool {
        let seconds = |url| {
            let model = Self::of(url);
            model.seconds(bytes, maps, model.partitions(bytes, maps, workers, memory), workers)
        };
        bytes <= IN_MEMORY && seconds(url) < seconds(than)
    }

    /// Returns the duration of reading, in seconds.
    pub(crate) fn seconds(&self, bytes: u64, maps: usize, reduces: usize, workers: usize) -> f64 {
        let [maps, reduces, workers] = [maps, reduces, workers.max(1)].map(|n| n as f64);
        let bandwidth = (reduces.min(workers) * self.bandwidth).min(self.total);
        let rounds = (reduces / workers).ceil();
        bytes as f64 / bandwidth + rounds * maps * self.latency / self.parallel + maps * reduces / self.rate
    }

    /// Returns the best number of reduce tasks, if each worker has `memory` bytes of memory.
    pub(crate) fn partitions(&self, bytes: u64, maps: usize, workers: usize, memory: u64) -> usize {
        // Entries and frames take memory in addition to the records, and no partition is exactly as large as its share.
        let fits = (memory / 2).clamp(1, PARTITION);
        let least = usize::try_from(bytes.div_ceil(fits)).unwrap_or(usize::MAX).max(1);
        let seconds = |reduces: &usize| self.seconds(bytes, maps, *reduces, workers);
        let candidates =
            std::iter::successors(Some(least), |n| n.checked_mul(2)).take_while(|n| *n <= workers.max(least));
        let best = candidates.chain([workers.max(least)]).min_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        best.unwrap_or(least)
    }
}

/// Maximum size of a partition, in bytes, where it can be chosen: if there are more tasks than workers, all workers are
/// busy until the end.
const PARTITION: u64 = 64 << 20;

/// Maximum size of the data that a shuffle puts into a Redis server beside its other data, in bytes.
const IN_MEMORY: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_fit_in_memory() {
        for bytes in [0, 1, 1 << 20, 1 << 30, 1 << 40] {
            for memory in [1 << 20, 100 << 20, 1 << 30] {
                let partitions = Model::FILES.partitions(bytes, 16, 2, memory) as u64;
                assert!(bytes <= partitions * memory / 2, "{bytes} bytes in {partitions} of {memory}");
            }
        }
    }

    #[test]
    fn only_large_data_takes_many_workers() {
        let of = |bytes, maps| Model::S3.partitions(bytes, maps, 1_000, 700 << 20);
        assert!(of(1 << 20, 4) < 10, "{}", of(1 << 20, 4));
        assert!((200..=2_000).contains(&of(100 << 30, 1_600)), "{}", of(100 << 30, 1_600));
    }

    #[test]
    fn low_latency_stores_pay_off_for_many_requests() {
        let time = |model: Model| model.seconds(1 << 30, 500, 500, 500);
        assert!(time(Model::REDIS) < time(Model::S3) / 4.0);
        let time = |model: Model| model.seconds(1 << 40, 500, 500, 500);
        assert!(time(Model::REDIS) > time(Model::S3));
    }

    #[test]
    fn redis_is_chosen_for_many_small_pieces() {
        let better = |than, bytes, maps| Model::is_better("redis://cache", than, bytes, maps, 500, 300 << 20);
        assert!(better("s3://bucket/prefix", 1 << 30, 500));
        assert!(!better("s3://bucket/prefix", 1 << 40, 500), "it does not fit");
        assert!(!better("file:/tmp/store", 1 << 30, 500));
    }
}
