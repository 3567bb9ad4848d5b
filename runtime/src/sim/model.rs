//! The parameters of the simulated AWS Lambda and S3, each with its source. Here are all of them.
//!
//! A source that was read is named; a number that nobody publishes is marked *assumption*, with the
//! reasoning. Read on 2026-11-26. "Scaling" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html>; "asynchronous" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>; "environment" is
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>; "Rust" is
//! <https://github.com/codetalkio/patterns-serverless-rust-minimal/blob/master/benchmark/response-times.md>,
//! AWS X-Ray's times of a minimal Rust function with 128 MB: cold 77 to 209 ms with a mean of 96, warm
//! 4.9 to 20.9 ms with a mean of 6.9.
//!
//! Of PyWren (Jonas et al., "Occupy the Cloud", SoCC 2017, <https://arxiv.org/abs/1702.04024>): "notebook" is
//! `benchmark_flops/flops_benchmark.ipynb` of <https://github.com/pywren/examples> at commit 59045b3, which
//! the paper's authors ran in February 2017; "issue 25" is <https://github.com/pywren/pywren/issues/25>;
//! "website" is `content/` of <https://github.com/pywren/website>. The paper itself was not at hand when
//! this was written. Numbers that come from it by way of others say so.

use crate::aws::limits;

/// A random amount that is never negative: log-normal, with this mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation; 0 always gives the mean.
    pub std: f64,
}

impl Spread {
    /// With this mean and standard deviation.
    pub const fn new(mean: f64, std: f64) -> Self {
        Self { mean, std }
    }

    /// Draws an amount.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> f64 {
        if self.std <= 0.0 || self.mean <= 0.0 {
            return self.mean.max(0.0);
        }
        let variance = (1.0 + (self.std / self.mean).powi(2)).ln();
        // Box and Muller's transform; `1 - f64()` is never 0.
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        (self.mean.ln() - variance / 2.0 + variance.sqrt() * normal).exp()
    }
}

/// What stands between a job and its end. Times are in seconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// Executions at once that the account may have.
    pub concurrency: usize,
    /// Instances that a function may gain at once.
    pub burst: f64,
    /// Instances that it may gain a second after that; unused ones are not kept beyond `burst`.
    pub growth: f64,
    /// Functions that the invocations are spread over, each with a `burst` and a `growth` of its own.
    pub functions: usize,
    /// Executions that may begin each second, for each execution at once that the account may have.
    pub rate: f64,
    /// From the driver's request until Lambda has taken it.
    pub request: Spread,
    /// Requests that the driver has under way.
    pub requests: usize,
    /// Invocations under way whose response the driver awaits; further ones are events, whose outcomes go
    /// to the store.
    pub direct: usize,
    /// An event that finds no room is tried again after the first pause; each is twice the last, up to
    /// the second.
    pub requeue: (f64, f64),
    /// From finding no instance free until a new one runs our program: not paid for.
    pub start: Spread,
    /// From then until it takes its first invocation: paid for.
    pub setup: Spread,
    /// From finding an instance free until it has the invocation.
    pub warm: Spread,
    /// How much longer than expected functions run on an instance, as a factor.
    pub slowness: Spread,
    /// The part of the invocations whose instance dies under them.
    pub crash: f64,
    /// One request to the store, without its data.
    pub store: Spread,
    /// What an instance moves to or from the store in a second.
    pub bandwidth: f64,
    /// Outcomes that the store takes in a second.
    pub writes: f64,
    /// Shortest and longest pause between two looks of the driver for outcomes in the store.
    pub look: (f64, f64),
    /// Outcomes that the driver fetches from the store at once.
    pub fetches: usize,
    /// Whether the driver's scheduler is set up as wren's is for Lambda: short calls travel together, and
    /// stragglers get a second copy. PyWren did neither.
    pub is_wren: bool,
}

impl Model {
    /// wren on AWS as documented today, from a driver outside of AWS.
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
            // Scaling: 10,000 requests a second where there are 1,000 instances.
            rate: limits::RATE_PER_CONCURRENCY as f64,
            // Assumption: a round trip to a region some thousand kilometres away, and Lambda's answer.
            request: Spread::new(0.06, 0.02),
            // wren's own: `requests` of the `lambda` backend.
            requests: 128,
            // wren's own: `DIRECT` of the `lambda` backend.
            direct: 64,
            // Asynchronous: "exponentially from 1 second after the first attempt to a maximum of 5 minutes".
            requeue: (1.0, 300.0),
            // Environment: a cold start takes "from under 100 ms to over 1 second". Rust: 96 ms in the mean, of
            // a program much smaller than wren's. Assumption: thrice that, with a long tail, for a zip of 6 MB
            // and a thousand at once.
            start: Spread::new(0.25, 0.2),
            // Rust: an initialization of about 20 ms. Assumption: twice that, to start wren's worker processes.
            setup: Spread::new(0.04, 0.02),
            // Rust: 6.9 ms for a warm call.
            warm: Spread::new(0.007, 0.005),
            // Assumption: machines of one kind differ by some percent. AWS publishes nothing.
            slowness: Spread::new(1.0, 0.05),
            // Assumption: one in 100,000. AWS publishes nothing; what matters is that it is not none.
            crash: 1e-5,
            // AWS's "Best Practices Design Patterns: Optimizing Amazon S3 Performance" gives "roughly 100–200 ms"
            // for small objects. Assumption: its lower end, from an instance in the same region.
            store: Spread::new(0.1, 0.05),
            // Assumption: 75 MB/s, in the middle of what is measured of one function (400 to 700 Mbit/s).
            bandwidth: 75e6,
            // S3 performance: 3,500 writes a second to one prefix, and outcomes of a job share one.
            writes: limits::PUTS_PER_SECOND as f64,
            // wren's own: `PAUSE` of the `lambda` backend's watch.
            look: (0.02, 1.0),
            // wren's own: `FETCHES` of it.
            fetches: 64,
            is_wren: true,
        }
    }

    /// PyWren on AWS in February 2017.
    pub fn pywren_2017() -> Self {
        Self {
            // Notebook: "my account has a lambda limit of 3000 simultaneous lambdas".
            concurrency: 3_000,
            // AWS's "AWS Lambda function scaling" of that time: 3,000 at once in us-west-2, and 500 a minute
            // after that.
            burst: 3_000.0,
            growth: 500.0 / 60.0,
            functions: 1,
            rate: limits::RATE_PER_CONCURRENCY as f64,
            // Notebook: 2,800 invocations took 27.3 s. With 64 at once, each takes 0.62 s.
            request: Spread::new(0.62, 0.2),
            // Assumption: 64 threads; only their quotient with `request` matters, which was measured.
            requests: 64,
            direct: 0,
            requeue: (1.0, 300.0),
            // Issue 25: a call with everything cached took 5.35 s. Assumption of how that is divided: here,
            // `warm`, `look` and `store` are chosen to add up to about that. Table 2 of the paper, as others quote it,
            // has a start latency of 9.7 s (29.1), with functions that Lambda ran again after they passed its
            // time limit (pywren issue 70): these are left out here.
            start: Spread::new(3.0, 1.5),
            // Issue 25: 18.93 s without what was cached, 13.6 s more. Table 2, as others quote it: 14.2 s (5.2).
            setup: Spread::new(14.2, 5.2),
            warm: Spread::new(3.0, 1.5),
            // Fitted: with 0.2 the slowest of 2,800 functions ends when the notebook's did, at 230.6 s.
            slowness: Spread::new(1.0, 0.2),
            crash: 0.0,
            // Assumption: S3 was about as fast as today.
            store: Spread::new(0.15, 0.05),
            // Website: 80 GB/s read by 2,800 workers.
            bandwidth: 80e9 / 2_800.0,
            // Assumption: keys were spread over prefixes.
            writes: 10_000.0,
            // Assumption: PyWren looked every second or two.
            look: (1.0, 2.0),
            fetches: 64,
            is_wren: false,
        }
    }

    /// The preset of a name: `today` or `pywren2017`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "today" => Some(Self::today()),
            "pywren2017" => Some(Self::pywren_2017()),
            _ => None,
        }
    }

    /// The same with another number of executions at once.
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }
}

/// What may keep a job from being shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// How many executions the account may have at once.
    Concurrency,
    /// How fast Lambda adds instances.
    Growth,
    /// How long an instance takes to start.
    Start,
    /// Instances that are slower than others, or that die.
    Stragglers,
    /// How fast the driver sends invocations and fetches outcomes.
    Driver,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Concurrency, Self::Growth, Self::Start, Self::Stragglers, Self::Driver];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Growth => "how fast Lambda adds instances",
            Self::Start => "the start of instances",
            Self::Stragglers => "slow or lost instances",
            Self::Driver => "the driver's requests",
        }
    }

    /// The model without this limit. Of concurrency, ten times as much: that is what one asks AWS for.
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
