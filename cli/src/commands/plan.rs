//! `cargo wren plan`: what a job would take and cost, before it runs.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use wren::deployment::Deployment;
use wren::{limits, price, trace};

/// Say what a job on AWS Lambda would take and cost
///
/// From the number of tasks and how long one takes there. The time is a lower bound: the compute
/// itself, the number of instances, and how fast Lambda adds them; starts and transfers come on top.
/// The dollars are those of the list prices that wren knows, without free tier; the bill counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren plan --tasks 10000 --duration 2.5\n  \
                        cargo wren plan --tasks 100000 --duration 30 --memory 3072 --concurrency 5000 --json")]
pub(crate) struct Args {
    /// How many tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,
    /// Seconds that one task takes
    #[arg(long, value_name = "S")]
    duration: f64,
    /// Memory of a function, in MB
    #[arg(long, value_name = "MB", default_value_t = limits::DEFAULT_MEMORY_MB,
          value_parser = clap::value_parser!(u32).range(i64::from(limits::MIN_MEMORY_MB)..=i64::from(limits::MAX_MEMORY_MB)))]
    memory: u32,
    /// Instances at once; by default what the deployment here may have, or else Lambda's own default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    concurrency: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a job takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Plan {
    tasks: u64,
    requests: u64,
    memory_mb: u32,
    duration_s: f64,
    concurrency: u64,
    /// How many instances run at once at most.
    instances: u64,
    gb_seconds: f64,
    compute_usd: f64,
    requests_usd: f64,
    s3_usd: f64,
    usd: f64,
    /// No job with these instances is shorter.
    wall_s: f64,
    /// On one processor like one of Lambda's.
    serial_s: f64,
    /// Which limit keeps it from being shorter.
    limited_by: &'static str,
    prices_of: &'static str,
    prices_region: &'static str,
}

pub(crate) fn plan(args: &Args) -> Result<ExitCode> {
    if !(args.duration > 0.0 && args.duration <= f64::from(limits::MAX_TIMEOUT_S)) {
        bail!(
            "a task of {} s cannot be: Lambda ends an invocation after {} s; split it into shorter ones",
            args.duration,
            limits::MAX_TIMEOUT_S
        );
    }
    let recorded = || Deployment::load(&trace::directory().ok()?).ok().flatten().map(|d| d.concurrency as u64);
    let concurrency = args.concurrency.or_else(recorded).unwrap_or(limits::CONCURRENCY as u64).max(1);
    let plan = Plan::of(args.tasks, args.duration, args.memory, concurrency);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&plan)?)?;
    } else {
        show(&mut out, &plan)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Plan {
    fn of(tasks: u64, duration_s: f64, memory_mb: u32, concurrency: u64) -> Self {
        let seconds = tasks as f64 * duration_s;
        let gb_seconds = seconds * f64::from(memory_mb) / 1024.0;
        let compute_usd = gb_seconds * price::GB_SECOND;
        let requests_usd = tasks as f64 * price::REQUEST;
        // Its arguments are read, its outcome is written, and read by the driver.
        let s3_usd = tasks as f64 * (price::S3_WRITE + 2.0 * price::S3_READ);
        let (wall_s, limited_by) = wall(tasks, duration_s, concurrency);
        Self {
            tasks,
            requests: tasks,
            memory_mb,
            duration_s,
            concurrency,
            instances: tasks.min(concurrency),
            gb_seconds,
            compute_usd,
            requests_usd,
            s3_usd,
            usd: compute_usd + requests_usd + s3_usd,
            wall_s,
            serial_s: seconds,
            limited_by,
            prices_of: price::AS_OF,
            prices_region: price::REGION,
        }
    }
}

/// How long the job takes at least, and because of what.
fn wall(tasks: u64, duration_s: f64, concurrency: u64) -> (f64, &'static str) {
    let rate = limits::RATE_PER_CONCURRENCY as f64 * concurrency as f64;
    let invoked = tasks as f64 / rate;
    let computed = ramped(tasks, duration_s, concurrency);
    if invoked > computed {
        return (invoked, "invocations a second");
    }
    // With all instances at once from the start.
    let waves = tasks.div_ceil(concurrency) as f64 * duration_s;
    let limited_by = match (computed > waves, tasks > concurrency) {
        (true, _) => "instances that Lambda adds in ten seconds",
        (false, true) => "concurrency",
        (false, false) => "the task itself",
    };
    (computed, limited_by)
}

/// When the last task ends, with instances added in steps, each running one task after another.
fn ramped(tasks: u64, duration_s: f64, concurrency: u64) -> f64 {
    let step = limits::SCALING_STEP as u64;
    let period = limits::SCALING_PERIOD.as_secs_f64();
    let steps = concurrency.div_ceil(step).min(tasks.div_ceil(step));
    // Instances of each step and their beginning; of the whole, the number of tasks done by a time.
    let instances = |i: u64| step.min(concurrency - i * step);
    let done_by = |t: f64| {
        let of_step = |i: u64| {
            let running = t - i as f64 * period;
            let each = if running > 0.0 { (running / duration_s * (1.0 + 1e-12)).floor() } else { 0.0 };
            each * instances(i) as f64
        };
        (0..steps).map(of_step).sum::<f64>()
    };
    // The end of some task: the first time by which all are done.
    let (mut low, mut high) = (0.0, tasks.div_ceil(step.min(concurrency)) as f64 * duration_s);
    while high - low > 1e-9 * high.max(1.0) {
        let middle = (low + high) / 2.0;
        if done_by(middle) >= tasks as f64 { high = middle } else { low = middle }
    }
    high
}

fn show(out: &mut impl Write, plan: &Plan) -> Result<()> {
    writeln!(out, "tasks       {} of {} s, each with {} MB", plan.tasks, plan.duration_s, plan.memory_mb)?;
    writeln!(out, "requests    {}", plan.requests)?;
    writeln!(out, "compute     {:.0} GB-seconds", plan.gb_seconds)?;
    writeln!(
        out,
        "dollars     {:.4}: Lambda {:.4} for compute and {:.4} for requests, S3 {:.4}",
        plan.usd, plan.compute_usd, plan.requests_usd, plan.s3_usd
    )?;
    writeln!(
        out,
        "time        {:.1} s at least, where one processor takes {:.1} s: {} times as fast",
        plan.wall_s,
        plan.serial_s,
        (plan.serial_s / plan.wall_s).round()
    )?;
    writeln!(out, "limited by  {}; {} instances at once", plan.limited_by, plan.instances)?;
    writeln!(out, "prices      {}, as of {}", plan.prices_region, plan.prices_of)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-6), "{a} is not {b}");
    }

    #[test]
    fn dollars_are_those_of_the_price_list() {
        let plan = Plan::of(10_000, 2.0, 2048, 1_000);
        near(plan.gb_seconds, 40_000.0);
        near(plan.compute_usd, 40_000.0 * 0.000_016_666_7);
        near(plan.requests_usd, 0.002);
        near(plan.s3_usd, 10_000.0 * (0.005e-3 + 2.0 * 0.000_4e-3));
        near(plan.usd, plan.compute_usd + plan.requests_usd + plan.s3_usd);
        assert_eq!((plan.requests, plan.instances), (10_000, 1_000));
    }

    #[test]
    fn time_is_bound_by_concurrency() {
        let plan = Plan::of(10_000, 2.0, 1_769, 1_000);
        near(plan.wall_s, 20.0);
        assert_eq!(plan.limited_by, "concurrency");
        let plan = Plan::of(11, 5.0, 1_769, 10);
        near(plan.wall_s, 10.0);
        let plan = Plan::of(7, 5.0, 1_769, 10);
        near(plan.wall_s, 5.0);
        assert_eq!((plan.limited_by, plan.instances), ("the task itself", 7));
    }

    #[test]
    fn time_is_bound_by_the_ramp() {
        // 1,000 start at once, 1,000 after ten seconds, and so on: the fifth thousand begins at 40 s.
        let plan = Plan::of(5_000, 60.0, 1_769, 5_000);
        near(plan.wall_s, 100.0);
        assert!(plan.limited_by.starts_with("instances"), "{}", plan.limited_by);
        // Those that began first do more: by 20 s they did two each, and the second thousand one.
        near(Plan::of(3_000, 10.0, 1_769, 5_000).wall_s, 20.0);
    }

    #[test]
    fn time_is_bound_by_invocations() {
        let plan = Plan::of(100_000, 0.001, 128, 1_000);
        near(plan.wall_s, 10.0);
        assert_eq!(plan.limited_by, "invocations a second");
    }
}
