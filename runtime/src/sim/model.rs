//! All parameters of the simulated AWS Lambda and S3, each with its source.
//!
//! Every number names the source from which it was taken. A number without a published source is marked *assumption*,
//! with the reasoning. The sources were read on 2026-11-26. "Scaling" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html>; "asynchronous" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>; "environment" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>; "Rust" is
//! <https://github.com/codetalkio/patterns-serverless-rust-minimal/blob/master/benchmark/response-times.md>,
//! AWS X-Ray's times of a minimal Rust function with 128 MB: cold 77 to 209 ms with a mean of 96, warm
//! 4.9 to 20.9 ms with a mean of 6.9.
//!
//! Sources for PyWren (Jonas et al., "Occupy the Cloud", SoCC 2017, <https://arxiv.org/abs/1702.04024>): "notebook" is
//! `benchmark_flops/flops_benchmark.ipynb` of <https://github.com/pywren/examples> at commit 59045b3, which
//! the paper's authors ran in February 2017; "issue 25" is <https://github.com/pywren/pywren/issues/25>;
//! "website" is `content/` of <https://github.com/pywren/website>. The paper itself was not available when this was
//! written. Numbers that other texts quote from it are marked as quoted.

use crate::aws::limits;

/// A random amount that is never negative: a log-normal distribution with this mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation. With 0, every amount equals the mean.
    pub std: f64,
}

impl Spread {
    /// Creates a distribution with this mean and standard deviation.
    pub const fn new(mean: f64, std: f64) -> Self {
        Self { mean, std }
    }

    /// Draws a random amount.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> f64 {
        if self.std <= 0.0 || self.mean <= 0.0 {
            return self.mean.max(0.0);
        }
        let variance = (1.0 + (self.std / self.mean).powi(2)).ln();
        // Box–Muller transform; `1 - f64()` is never 0.
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        (self.mean.ln() - variance / 2.0 + variance.sqrt() * normal).exp()
    }
}

/// The parameters of Lambda, S3, the network and the driver. Times are in seconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// Maximum number of executions at once in the account.
    pub concurrency: usize,
    /// Instances that a function may start at once.
    pub burst: f64,
    /// Instances that a function may start per second after that. Unused starts do not accumulate beyond `burst`.
    pub growth: f64,
    /// Number of functions that share the batches, each with its own `burst` and `growth`.
    pub functions: usize,
    /// Executions that may start per second, as a multiple of `concurrency`.
    pub rate: f64,
    /// Time from the driver's request until Lambda has accepted it.
    pub request: Spread,
    /// Requests that the driver sends at once.
    pub requests: usize,
    /// Maximum number of batches at once whose response the driver awaits. Further batches are sent as events, whose
    /// outcomes go to the store.
    pub direct: usize,
    /// First and longest pause before Lambda retries an event for which it has no capacity. Each pause is twice the
    /// previous one.
    pub requeue: (f64, f64),
    /// Time to start a new instance, until it runs our program. Not billed.
    pub start: Spread,
    /// Time from then until the instance takes its first batch. Billed.
    pub setup: Spread,
    /// Time until a free instance receives a batch.
    pub warm: Spread,
    /// Factor by which functions run longer than expected on an instance.
    pub slowness: Spread,
    /// Fraction of the batches whose instance dies while it runs them.
    pub crash: f64,
    /// Time of one request to the store, without its data.
    pub store: Spread,
    /// Bytes per second that an instance transfers to or from the store.
    pub bandwidth: f64,
    /// Outcomes per second that the store accepts.
    pub writes: f64,
    /// Shortest and longest pause between two polls of the store by the driver.
    pub look: (f64, f64),
    /// Outcomes that the driver fetches from the store at once.
    pub fetches: usize,
    /// Whether the driver's scheduler has wren's settings for Lambda: short calls are sent together, and stragglers get
    /// a second copy. PyWren did neither.
    pub is_wren: bool,
}

impl Model {
    /// Returns the model of wren on AWS as documented today, with a driver outside of AWS.
    pub fn today() -> Self {
        Self {
            // Lambda quotas: 1,000 by default; see `limits`.
            concurrency: limits::CONCURRENCY,
            // Scaling: 1,000 instances every 10 seconds for each function, refilled continuously and not
            // saved up beyond 1,000.
            burst: limits::SCALING_STEP as f64,
            growth: limits::SCALING_STEP as f64 / limits::SCALING_PERIOD.as_secs_f64(),
            // All calls with the same limits go to one function that `cargo wren deploy` made.
            functions: 1,
            // Scaling: 10,000 requests per second for 1,000 instances.
            rate: limits::RATE_PER_CONCURRENCY as f64,
            // Assumption: a round trip to a region a few thousand kilometres away, plus Lambda's response time.
            request: Spread::new(0.06, 0.02),
            // wren's own value: `requests` of the `lambda` backend.
            requests: 128,
            // wren's own value: `DIRECT` of the `lambda` backend.
            direct: 64,
            // Asynchronous: "exponentially from 1 second after the first attempt to a maximum of 5 minutes".
            requeue: (1.0, 300.0),
            // Environment: a cold start takes "from under 100 ms to over 1 second". Rust: 96 ms on average, for a
            // program much smaller than wren's. Assumption: about three times that, with a long tail, for a zip of 6 MB
            // and a thousand instances at once.
            start: Spread::new(0.25, 0.2),
            // Rust: an initialization of about 20 ms. Assumption: twice that, to start wren's worker processes.
            setup: Spread::new(0.04, 0.02),
            // Rust: 6.9 ms for a warm call.
            warm: Spread::new(0.007, 0.005),
            // Assumption: machines of the same kind differ by a few percent. AWS publishes nothing.
            slowness: Spread::new(1.0, 0.05),
            // Assumption: one in 100,000. AWS publishes nothing. It matters only that some instances die.
            crash: 1e-5,
            // AWS's "Best Practices Design Patterns: Optimizing Amazon S3 Performance" gives "roughly 100–200 ms"
            // for small objects. Assumption: its lower end, from an instance in the same region.
            store: Spread::new(0.1, 0.05),
            // Assumption: 75 MB/s, near the middle of what was measured for one function (400 to 700 Mbit/s).
            bandwidth: 75e6,
            // S3 performance: 3,500 writes per second to one prefix. All outcomes of a job share a prefix.
            writes: limits::PUTS_PER_SECOND as f64,
            // wren's own value: `PAUSE` of the `lambda` backend's watch.
            look: (0.02, 1.0),
            // wren's own value: `FETCHES` of the `lambda` backend's watch.
            fetches: 64,
            is_wren: true,
        }
    }

    /// Returns the model of PyWren on AWS in February 2017.
    pub fn pywren_2017() -> Self {
        Self {
            // Notebook: "my account has a lambda limit of 3000 simultaneous lambdas".
            concurrency: 3_000,
            // AWS's "AWS Lambda function scaling" of that time: 3,000 instances at once in us-west-2, and 500 per
            // minute after that.
            burst: 3_000.0,
            growth: 500.0 / 60.0,
            functions: 1,
            rate: limits::RATE_PER_CONCURRENCY as f64,
            // Notebook: 2,800 invocations took 27.3 s. With 64 at once, each takes 0.62 s.
            request: Spread::new(0.62, 0.2),
            // Assumption: 64 threads. Only the ratio to `request` matters, and that was measured.
            requests: 64,
            direct: 0,
            requeue: (1.0, 300.0),
            // Issue 25: a call with everything cached took 5.35 s. Assumption about the parts: this value, `warm`,
            // `look` and `store` are chosen to add up to about that. Table 2 of the paper, as quoted by others, has a
            // start latency of 9.7 s (29.1). That includes functions that Lambda ran again because they exceeded its
            // time limit (pywren issue 70), which are left out here.
            start: Spread::new(3.0, 1.5),
            // Issue 25: 18.93 s without the cache, 13.6 s more. Table 2, as quoted by others: 14.2 s (5.2).
            setup: Spread::new(14.2, 5.2),
            warm: Spread::new(3.0, 1.5),
            // Fitted: with 0.2, the slowest of 2,800 functions ends at the same time as in the notebook, 230.6 s.
            slowness: Spread::new(1.0, 0.2),
            crash: 0.0,
            // Assumption: S3 was about as fast as today.
            store: Spread::new(0.15, 0.05),
            // Website: 2,800 workers read 80 GB/s.
            bandwidth: 80e9 / 2_800.0,
            // Assumption: keys were spread over prefixes.
            writes: 10_000.0,
            // Assumption: PyWren polled every one or two seconds.
            look: (1.0, 2.0),
            fetches: 64,
            is_wren: false,
        }
    }

    /// Returns the preset with a name: `today` or `pywren2017`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "today" => Some(Self::today()),
            "pywren2017" => Some(Self::pywren_2017()),
            _ => None,
        }
    }

    /// Returns the same model with another maximum number of executions at once.
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }
}

/// A limit that may prolong a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// The maximum number of executions at once in the account.
    Concurrency,
    /// The rate at which Lambda adds instances.
    Growth,
    /// The time that an instance takes to start.
    Start,
    /// Instances that are slow, or that die.
    Stragglers,
    /// The rate at which the driver sends batches and fetches outcomes.
    Driver,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 5] = [Self::Concurrency, Self::Growth, Self::Start, Self::Stragglers, Self::Driver];

    /// Returns a short description of the limit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Growth => "how fast Lambda adds instances",
            Self::Start => "the start-up time of instances",
            Self::Stragglers => "slow or lost instances",
            Self::Driver => "the driver's requests",
        }
    }

    /// Returns the model without this limit. The concurrency is multiplied by ten instead: AWS can raise that limit on
    /// request.
    pub(super) fn lifted(self, model: &Model) -> Model {
        let mut model = model.clone();
        let zero = Spread::new(0.0, 0.0);
        match self {
            Self::Concurrency => model.concurrency = model.concurrency.saturating_mul(10),
            Self::Growth => (model.burst, model.growth) = (1e12, 1e12),
            Self::Start => (model.start, model.setup) = (zero, zero),
            Self::Stragglers => (model.slowness, model.crash) = (Spread::new(1.0, 0.0), 0.0),
            Self::Driver => {
                (model.requests, model.fetches) = (1 << 20, 1 << 20);
                (model.request, model.look) = (zero, (model.look.0, model.look.0));
            }
        }
        model
    }
}
