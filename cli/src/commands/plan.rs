//! `cargo wren plan`: what a job would take and cost, before it runs.

mod measured;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use wren::deployment::Deployment;
use wren::sim::{Interval, Limit, Model, Prediction, STATED_ERROR, Workload, predict};
use wren::{history, limits, price};

use measured::Measured;

/// Runs that are simulated, and fewest of a large job.
const RUNS: u64 = 20;
const FEWEST_RUNS: u64 = 3;

/// Tasks that are simulated in all runs together, about.
const MOST_SIMULATED: u64 = 200_000;

/// Say what a job on AWS Lambda would take and cost
///
/// From how long a task takes: as `--duration` says, or as tasks of the same function took in the jobs
/// that ran here; on Lambda, where any of them ran there. The job is simulated twenty times, by wren's own
/// scheduler over a model of Lambda and S3, and what 5% and 95% of the runs take is told beside the median. The
/// dollars are those of the list prices that wren knows, without free tier; the bill counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren plan --tasks 10000 --duration 2.5\n  \
                        cargo wren plan sweep::train --tasks 100000   # as long as its tasks took here\n  \
                        cargo wren plan --tasks 100000 --duration 5m --memory 3072 --concurrency 5000 --json")]
pub(crate) struct Args {
    /// A function, or a job by id, beginning of an id, or name: how long did its tasks take? By default the
    /// latest job
    #[arg(conflicts_with = "duration")]
    of: Option<String>,
    /// How many tasks; by default as many as the latest job of that function had
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tasks: Option<u64>,
    /// How long one task takes: seconds, or a number with `ms`, `s`, `m` or `h`
    #[arg(long, value_name = "S", value_parser = duration)]
    duration: Option<f64>,
    /// Memory of a function, in MB; by default what the function states, or what one whole processor comes with
    #[arg(long, value_name = "MB",
          value_parser = clap::value_parser!(u32).range(i64::from(limits::MIN_MEMORY_MB)..=i64::from(limits::MAX_MEMORY_MB)))]
    memory: Option<u32>,
    /// Instances at once; by default what the deployment here may have, or else Lambda's own default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    concurrency: Option<u64>,
    /// What Lambda is like: `today`, or `pywren2017` for PyWren on the Lambda of 2017
    #[arg(long, value_name = "MODEL", default_value = "today", value_parser = ["today", "pywren2017"])]
    model: String,
    /// How many runs are simulated; by default 20, and fewer of a job of more than 10,000 tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: Option<u64>,
    /// Decides everything that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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
    /// Of one task, in the mean.
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

/// All that is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    /// By arithmetic.
    #[serde(flatten)]
    plan: &'a Plan,
    /// Where the durations are from, if they were measured.
    measured: Option<&'a Measured>,
    model: &'a str,
    seed: u64,
    /// By simulation.
    predicted: &'a Prediction,
    /// How far the model was from launches of PyWren that were measured, at most.
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
        bail!("nobody said how many tasks the job has; say it by --tasks");
    };
    let duration_s = args.duration.or_else(|| Some(measured.as_ref()?.mean_s)).unwrap_or_default();
    if !(duration_s > 0.0 && duration_s <= f64::from(limits::MAX_TIMEOUT_S)) {
        bail!(
            "a task of {duration_s} s cannot be: Lambda ends an invocation after {} s; split it into shorter ones",
            limits::MAX_TIMEOUT_S
        );
    }
    let recorded = || Deployment::load(&directory).ok().flatten().map(|d| d.concurrency as u64);
    let Some(model) = Model::named(&args.model) else { bail!("no model is called `{}`", args.model) };
    let is_today = model == Model::today();
    let usual = || if is_today { recorded().unwrap_or(model.concurrency as u64) } else { model.concurrency as u64 };
    let concurrency = args.concurrency.unwrap_or_else(usual).max(1);
    let memory = args.memory.or_else(|| measured.as_ref()?.memory_mb).unwrap_or(limits::DEFAULT_MEMORY_MB);

    let plan = Plan::of(tasks, duration_s, memory, concurrency);
    let work = match &measured {
        Some(measured) => Workload::measured(tasks, measured.seconds.clone()),
        None => Workload::new(tasks, duration_s),
    };
    let runs = args.runs.unwrap_or((MOST_SIMULATED / tasks).clamp(FEWEST_RUNS, RUNS));
    let model = model.with_concurrency(concurrency as usize);
    let predicted = predict(&model, &work.with_memory(memory), runs as usize, args.seed);

    let mut out = std::io::stdout().lock();
    let measured = measured.as_ref();
    if args.json {
        let (model, seed, model_error) = (args.model.as_str(), args.seed, STATED_ERROR);
        let told = Told { plan: &plan, measured, model, seed, predicted: &predicted, model_error };
        writeln!(out, "{}", serde_json::to_string(&told)?)?;
    } else {
        show(&mut out, &plan, measured, &predicted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `2.5`, `300ms`, `1.5s`, `5m`, `2h`, in seconds.
fn duration(text: &str) -> Result<f64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("`{unit}` is no unit of time here; there are `ms`, `s`, `m` and `h`")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("`{number}` is no number; write `2.5` or `5m`"))?;
    match number * factor {
        seconds if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("a task takes some time; write `2.5` or `5m`".to_owned()),
    }
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

fn show(out: &mut impl Write, plan: &Plan, measured: Option<&Measured>, predicted: &Prediction) -> Result<()> {
    let Interval { low, middle, high } = predicted.wall_s;
    let seconds = |s: f64| if s < 10.0 { format!("{s:.2} s") } else { format!("{s:.1} s") };
    writeln!(out, "tasks       {} of {}, each with {} MB", plan.tasks, seconds(plan.duration_s), plan.memory_mb)?;
    if let Some(measured) = measured {
        writeln!(out, "measured    {}", measured.words())?;
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
        "            for {:.0} GB-seconds at least and {:.0} invocations; {}, as of {}",
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
            let what = if limit == Limit::Concurrency { "with ten times as many" } else { "without that" };
            writeln!(out, "limited by  {}; {what}, {}", limit.name(), seconds(most.wall_s))?;
        }
        _ => writeln!(out, "limited by  the tasks themselves")?,
    }
    writeln!(out, "bound       no job with {} instances takes less than {}", plan.instances, seconds(plan.wall_s))?;
    if predicted.failed > 0 {
        writeln!(out, "failed      {} tasks, of {} runs", predicted.failed, predicted.runs)?;
    }
    writeln!(
        out,
        "error       5% and 95% of {} simulated runs; the model itself was within {:.0}% of four launches of PyWren, and \
         was never compared with today's Lambda",
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

    #[test]
    fn durations_have_units() {
        let cases = [("2.5", 2.5), ("300ms", 0.3), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3_600.0), ("5 m", 300.0)];
        cases.into_iter().for_each(|(text, seconds)| near(duration(text).unwrap(), seconds));
        for wrong in ["5 days", "m", "-1", "0", "inf", "1e400", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
