//! `cargo wren emulate`: runs a command against an emulator of AWS.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::numbers;
use wren_emulator::{Emulator, FaultOptions, Setup};

/// Run a command with an emulator of AWS on this machine
///
/// Emulates Lambda, S3, and the parts of IAM, STS and CloudWatch Logs that deploying needs, on a port of the loopback
/// interface. The command finds the emulator through environment variables that all AWS SDKs and tools know. It needs
/// no account and never contacts AWS.
///
/// Functions run as ordinary processes under your user, each in an environment like that of Lambda, in which `TMPDIR`
/// is the folder that replaces /tmp. The limits of memory, time, payload size and concurrency are those of Lambda. The
/// emulator is for learning and for tests: it is not a sandbox, and its performance is not that of AWS.
///
/// Without a command, the emulator prints the variables and runs until it is stopped. The exit code is that of the
/// command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren emulate -- sh -c 'cargo wren deploy && cargo run --release'\n  \
                        cargo wren emulate --throttle 0.05 --lose 0.01 -- ./test.sh")]
pub(crate) struct Args {
    #[command(flatten)]
    faults: FaultOptions,
    /// Port to listen on; 0 for any free port
    #[arg(long, default_value_t = 0, value_parser = numbers::whole::<u16>(0..=65_535, 4566))]
    port: u16,
    /// Keep the buckets in this folder; functions, roles and logs are always lost when the emulator stops
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    /// Maximum number of concurrent instances of all functions together
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = numbers::whole::<u32>(1..=u64::from(u32::MAX), 32))]
    concurrency: u32,
    /// Print the output of functions, and a summary of the invocations at the end
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn emulate(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot create the async runtime")?.block_on(run(args))
}

async fn run(args: Args) -> Result<ExitCode> {
    let temporary = tempfile::Builder::new().prefix("wren-emulator-").tempdir();
    let temporary = temporary.context("cannot create a temporary folder")?;
    let setup = Setup {
        port: args.port,
        buckets: &args.keep.as_deref().unwrap_or(temporary.path()).join("s3"),
        scratch: &temporary.path().join("lambda"),
        concurrency: args.concurrency as usize,
        verbose: args.verbose,
        faults: args.faults,
    };
    let emulator = Emulator::start(setup).await?;
    let result = run_command(&emulator, &args.command).await;
    // Stop the functions before their temporary folder is removed.
    emulator.stop();
    if args.verbose {
        eprintln!("the emulator stopped: {}", emulator.summary());
    }
    result
}

/// Runs the command; without one, waits for a signal.
async fn run_command(emulator: &Emulator, command: &[OsString]) -> Result<ExitCode> {
    let variables = emulator.variables();
    // Handle the signals, so that the emulator stops the command and cleans up before it exits.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let Some((program, arguments)) = command.split_first() else {
        variables.iter().for_each(|(name, value)| println!("export {name}={value}"));
        eprintln!("the emulator runs until it is stopped (Ctrl-C)");
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(variables).kill_on_drop(true);
    for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"] {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(code(status?)),
            // The terminal sends the interrupt to the command as well; wait until the command has handled it.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.start_kill()?,
        }
    }
}

/// Returns the exit code that a shell would report: 128 plus the signal's number for a killed process.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let signal = || status.signal().map_or(1, |signal| 128 + signal);
    ExitCode::from(u8::try_from(status.code().unwrap_or_else(signal)).unwrap_or(1))
}
