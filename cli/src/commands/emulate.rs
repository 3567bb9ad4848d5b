//! `cargo wren emulate`: a command beside a stand-in for AWS.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use wren_emulator::{Emulator, FaultOptions, Setup};

/// Run a command beside a stand-in for AWS on this machine
///
/// Lambda, S3 and what deploying needs of IAM, STS and CloudWatch Logs, on a port of loopback. The
/// command finds it by variables that every AWS SDK and tool knows, and no account is needed or
/// reached. Functions run as ordinary processes of yours, each in an environment like that of Lambda,
/// where `TMPDIR` names the folder that stands in for /tmp. Memory, time, payloads and concurrency
/// are limited as there. It is for learning and for tests: it is no sandbox, and its speed is not
/// that of AWS. Without a command it runs until it is stopped,
/// and prints the variables. The exit code is that of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren emulate -- sh -c 'cargo wren deploy && cargo run --release'\n  \
                        cargo wren emulate --throttle 0.05 --lose 0.01 -- ./test.sh")]
pub(crate) struct Args {
    #[command(flatten)]
    faults: FaultOptions,
    /// Port; by default any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder that keeps the buckets; functions, roles and logs always end with the emulator
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    /// Instances of all functions that may run at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Print what functions write, and at the end how many invocations there were
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn emulate(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the system gives no event loop")?.block_on(run(args))
}

async fn run(args: Args) -> Result<ExitCode> {
    let temporary = tempfile::Builder::new().prefix("wren-emulator-").tempdir().context("no temporary folder")?;
    let setup = Setup {
        port: args.port,
        buckets: &args.keep.as_deref().unwrap_or(temporary.path()).join("s3"),
        scratch: &temporary.path().join("lambda"),
        concurrency: args.concurrency as usize,
        verbose: args.verbose,
        faults: args.faults,
    };
    let emulator = Emulator::start(setup).await?;
    let ended = beside(&emulator, &args.command).await;
    // Before the folder goes that they run in.
    emulator.stop();
    if args.verbose {
        eprintln!("the emulator ends: {}", emulator.summary());
    }
    ended
}

/// Runs the command, or waits for a signal where there is none.
async fn beside(emulator: &Emulator, command: &[OsString]) -> Result<ExitCode> {
    let variables = emulator.variables();
    // Whoever is asked to stop stops the command too, and cleans up.
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
    let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
    loop {
        tokio::select! {
            ended = child.wait() => return Ok(code(ended?)),
            // The terminal has told the command as well; it may take its time.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.start_kill()?,
        }
    }
}

fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let signal = || status.signal().map_or(1, |signal| 128 + signal);
    ExitCode::from(u8::try_from(status.code().unwrap_or_else(signal)).unwrap_or(1))
}
