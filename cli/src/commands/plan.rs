//! `cargo wren plan`: predicts the duration and the cost of a job.

mod measured;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use wren::deployment::Deployment;
use wren::sim::{Interval, Limit, Model, Prediction, STATED_ERROR, Workload, predict};
use wren::{history, limits, price};

use crate::screen::Screen;
use crate::{durations, json, numbers};
use measured::Measured;

/// Number of simulated runs.
const RUNS: u64 = 20;
/// Minimum number of simulated runs, for a large job.
const FEWEST_RUNS: u64 = 3;

/// Approximate number of tasks to simulate in all runs together.
const MOST_SIMULATED: u64 = 200_000;

/// Predict the duration and the cost of a job on AWS Lambda
///
/// The prediction starts from the duration of a task: the one given by `--duration`, or the measured durations of the
/// same function in the jobs that ran here. If any of those jobs ran on Lambda, only these count.
///
/// The job is simulated twenty times, by wren's own scheduler and a model of Lambda and S3. The output shows the median
/// and the range from the 5th to the 95th percentile. Costs are based on wren's copy of the AWS price list, without the
/// free tier; your bill may differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren plan --tasks 10000 --duration 2.5\n  \
                        cargo wren plan --tasks 100000 --duration 5m --memory 3072 --json\n  \
                        # With the durations that were measured here:\n  \
                        cargo wren plan sweep::train --tasks 100000")]
pub(crate) struct Args {
    /// Use the measured durations of this function or job: a function name or the last part of one, a job id, the start
    /// of one, or a job name; defaults to the latest job
    #[arg(conflicts_with = "duration")]
    of: Option<String>,
    /// Number of tasks; defaults to that of the function's latest job
    #[arg(long, value_name = "N", value_parser = numbers::whole::<u64>(1..=10_000_000, 10_000))]
    tasks: Option<u64>,
    /// Duration of one task: seconds, or a number with the unit `ms`, `s`, `m`, `h` or `d`
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    duration: Option<f64>,
    /// Memory of a Lambda function, in MB or with a unit, such as `2g`; defaults to the function's `memory` option, or
    /// else to the size that comes with one whole processor
    #[arg(long, value_name = "MB", value_parser = parse_memory)]
    memory: Option<u32>,
    /// Maximum number of concurrent instances; defaults to the limit of the deployment here, or to Lambda's default
    #[arg(long, value_name = "N", value_parser = numbers::whole::<u64>(1..=100_000, 1_000))]
    concurrency: Option<u64>,
    /// Model of Lambda to simulate: `today`, or `pywren2017` for PyWren on the Lambda of 2017
    #[arg(long, value_name = "MODEL", default_value = "today", value_parser = ["today", "pywren2017"])]
    model: String,
    /// Number of simulated runs; defaults to 20, and to fewer for a job of more than 10,000 tasks
    #[arg(long, value_name = "N", value_parser = numbers::whole::<u64>(1..=1_000, 20))]
    runs: Option<u64>,
    /// Seed of the random numbers; the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = numbers::whole::<u64>(0..=u64::MAX, 7))]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The resources and costs of a job, calculated without simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Plan {
    tasks: u64,
    requests: u64,
    memory_mb: u32,
    /// Mean duration of one task.
    duration_s: f64,
    concurrency: u64,
    /// Maximum number of instances that run at once.
    instances: u64,
    gb_seconds: f64,
    compute_usd: f64,
    requests_usd: f64,
    s3_usd: f64,
    usd: f64,
    /// Lower bound of the wall time with this number of instances.
    wall_s: f64,
    /// Duration on a single processor like one of Lambda's.
    serial_s: f64,
    /// The limit that determines `wall_s`.
    limited_by: &'static str,
    prices_of: &'static str,
    prices_region: &'static str,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Output<'a> {
    /// The calculated part.
    #[serde(flatten)]
    plan: &'a Plan,
    /// The source of the durations, if they were measured.
    measured: Option<&'a Measured>,
    model: &'a str,
    seed: u64,
    /// The simulated part.
    predicted: &'a Prediction,
    /// Maximum relative error of the model for the measured launches of PyWren.
    model_error: f64,
}

pub(crate) fn plan(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let measured = match args.duration {
        Some(_) => None,
        None => Some(Measured::find(&directory, args.of.as_deref())?),
    };
    let tasks = args.tasks.or_else(|| measured.as_ref()?.tasks);
    let Some(tasks) = tasks.filter(|tasks| *tasks > 0) else {
        bail!("the number of tasks is unknown; pass it with --tasks");
    };
    let duration_s = args.duration.or_else(|| Some(measured.as_ref()?.mean_s)).unwrap_or_default();
    if !(duration_s > 0.0 && duration_s <= f64::from(limits::MAX_TIMEOUT_S)) {
        bail!(
            "a task cannot take {duration_s} s: Lambda stops an invocation after {} s; split it into shorter tasks",
            limits::MAX_TIMEOUT_S
        );
    }
    let recorded = || Deployment::load(&directory).ok().flatten().map(|d| d.concurrency as u64);
    let Some(model) = Model::named(&args.model) else { bail!("unknown model `{}`", args.model) };
    let is_today = model == Model::today();
    let default = || if is_today { recorded().unwrap_or(model.concurrency as u64) } else { model.concurrency as u64 };
    let concurrency = args.concurrency.unwrap_or_else(default).max(1);
    let memory = args.memory.or_else(|| measured.as_ref()?.memory_mb).unwrap_or(limits::DEFAULT_MEMORY_MB);

    let plan = Plan::of(tasks, duration_s, memory, concurrency);
    let work = match &measured {
        Some(measured) => Workload::measured(tasks, measured.seconds.clone()),
        None => Workload::new(tasks, duration_s),
    };
    let runs = args.runs.unwrap_or((MOST_SIMULATED / tasks).clamp(FEWEST_RUNS, RUNS));
    let model = model.with_concurrency(concurrency as usize);
    let predicted = predict(&model, &work.with_memory(memory), runs as usize, args.seed);

    let mut out = Screen::stdout();
    let measured = measured.as_ref();
    if args.json {
        let (model, seed, model_error) = (args.model.as_str(), args.seed, STATED_ERROR);
        let output = Output { plan: &plan, measured, model, seed, predicted: &predicted, model_error };
        out.whole_line(&json::line(&output)?)?;
    } else {
        show(&mut out, &plan, measured, &predicted)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_memory(text: &str) -> Result<u32, String> {
    numbers::memory(text, limits::MIN_MEMORY_MB..=limits::MAX_MEMORY_MB)
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    durations::parse(text).map(|duration| duration.as_secs_f64())
}

impl Plan {
    fn of(tasks: u64, duration_s: f64, memory_mb: u32, concurrency: u64) -> Self {
        let seconds = tasks as f64 * duration_s;
        let gb_seconds = seconds * f64::from(memory_mb) / 1024.0;
        let compute_usd = gb_seconds * price::GB_SECOND;
        let requests_usd = tasks as f64 * price::REQUEST;
        // The worker reads the arguments and writes the outcome, and the driver reads the outcome.
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

/// Returns a lower bound of the job's wall time, and the limit that determines it.
fn wall(tasks: u64, duration_s: f64, concurrency: u64) -> (f64, &'static str) {
    let rate = limits::RATE_PER_CONCURRENCY as f64 * concurrency as f64;
    let invoked = tasks as f64 / rate;
    let computed = ramped(tasks, duration_s, concurrency);
    if invoked > computed {
        return (invoked, "invocations per second");
    }
    // The wall time if all instances started at once.
    let waves = tasks.div_ceil(concurrency) as f64 * duration_s;
    let limited_by = match (computed > waves, tasks > concurrency) {
        (true, _) => "instances that Lambda adds per ten seconds",
        (false, true) => "concurrency",
        (false, false) => "the task itself",
    };
    (computed, limited_by)
}

/// Returns when the last task ends if Lambda adds instances in steps, and each instance runs one task after another.
fn ramped(tasks: u64, duration_s: f64, concurrency: u64) -> f64 {
    let step = limits::SCALING_STEP as u64;
    let period = limits::SCALING_PERIOD.as_secs_f64();
    let steps = concurrency.div_ceil(step).min(tasks.div_ceil(step));
    // The number of instances that step i adds, and the number of tasks done by the time t.
    let instances = |i: u64| step.min(concurrency - i * step);
    let done_by = |t: f64| {
        let of_step = |i: u64| {
            let running = t - i as f64 * period;
            let each = if running > 0.0 { (running / duration_s * (1.0 + 1e-12)).floor() } else { 0.0 };
            each * instances(i) as f64
        };
        (0..steps).map(of_step).sum::<f64>()
    };
    // Bisect for the first time at which all tasks are done.
    let (mut low, mut high) = (0.0, tasks.div_ceil(step.min(concurrency)) as f64 * duration_s);
    while high - low > 1e-9 * high.max(1.0) {
        let middle = (low + high) / 2.0;
        if done_by(middle) >= tasks as f64 { high = middle } else { low = middle }
    }
    high
}

fn show(out: &mut impl Write, plan: &Plan, measured: Option<&Measured>, predicted: &Prediction) -> Result<()> {
    let Interval { low, middle, high } = predicted.wall_s;
    let seconds = |s: f64| if s < 10.0 { format!("{s:.2} s") } else { format!("{s:.1} s") };
    writeln!(out, "tasks       {} of {}, each with {} MB", plan.tasks, seconds(plan.duration_s), plan.memory_mb)?;
    if let Some(measured) = measured {
        writeln!(out, "measured    {}", measured.description())?;
    }
    writeln!(out, "time        {}, between {} and {}", seconds(middle), seconds(low), seconds(high))?;
    writeln!(
        out,
        "            {} times as fast as one processor, which takes {}",
        (plan.serial_s / middle).round(),
        seconds(plan.serial_s)
    )?;
    let usd = predicted.usd;
    writeln!(out, "dollars     {:.4}, between {:.4} and {:.4}", usd.middle, usd.low, usd.high)?;
    writeln!(
        out,
        "            for at least {:.0} GB-seconds and {:.0} invocations; {}, as of {}",
        plan.gb_seconds, predicted.invocations, plan.prices_region, plan.prices_of
    )?;
    writeln!(
        out,
        "efficiency  {:.0}% of {} instances: compute / (time x instances at once x processors of one)",
        100.0 * predicted.efficiency.middle,
        predicted.most_at_once
    )?;
    match (predicted.limited_by(), predicted.without.first()) {
        (Some(limit), Some(most)) => {
            let change = if limit == Limit::Concurrency { "with ten times as much" } else { "without this limit" };
            writeln!(out, "limited by  {}; {change}, {}", limit.name(), seconds(most.wall_s))?;
        }
        _ => writeln!(out, "limited by  the tasks themselves")?,
    }
    writeln!(out, "bound       no job with {} instances takes less than {}", plan.instances, seconds(plan.wall_s))?;
    if predicted.failed > 0 {
        writeln!(out, "failed      {} tasks in {} runs", predicted.failed, predicted.runs)?;
    }
    writeln!(
        out,
        "error       5th to 95th percentile of {} simulated runs; the model was within {:.0}% of four launches of \
         PyWren, and has not been compared with today's Lambda",
        predicted.runs,
        100.0 * STATED_ERROR
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-6), "{a} is not {b}");
    }

    #[test]
    fn dollars_match_the_price_list() {
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
        // 1,000 start at once, 1,000 more after ten seconds, and so on: the fifth thousand starts at 40 s.
        let plan = Plan::of(5_000, 60.0, 1_769, 5_000);
        near(plan.wall_s, 100.0);
        assert!(plan.limited_by.starts_with("instances"), "{}", plan.limited_by);
        // Instances that start first do more: by 20 s, each of the first thousand has done two, the second one.
        near(Plan::of(3_000, 10.0, 1_769, 5_000).wall_s, 20.0);
    }

    #[test]
    fn time_is_bound_by_invocations() {
        let plan = Plan::of(100_000, 0.001, 128, 1_000);
        near(plan.wall_s, 10.0);
        assert_eq!(plan.limited_by, "invocations per second");
    }
}
