//! `cargo wren replay`: runs one task of a job again on this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use wren::history::{self, Event, JobSummary};

use super::jobs;
use crate::listing;
use crate::numbers;
use crate::program::{self, RELEASE, Select};

/// Run one task of a job again on this machine, with the same input
///
/// Builds the current version of the program that ran the job, so that you can try a fixed function on the input that
/// it failed on. The build is not optimized, unless you pass --release or --profile. The task runs on the program's
/// main thread, without limits of memory and time, so debuggers, RUST_BACKTRACE and `dbg!` work as usual.
///
/// wren keeps the inputs of all tasks of a job while they are small, and beyond that only those of tasks that failed or
/// were retried.
///
/// The exit code is 0 if the function returned, 1 if it returned an error, and 101 if it panicked.
#[derive(Debug, clap::Args)]
// `--debug` is hidden because its help says that release is the default, which is true for all other commands.
#[command(mut_arg("debug", |debug| debug.hide(true)), after_help = "Examples:\n  cargo wren replay\n  cargo wren replay 17\n  cargo wren replay sweep 17 --local-pool\n  \
                        cargo wren replay sweep 17 --debugger rust-gdb")]
pub(crate) struct Args {
    /// A job id, the start of one, or a job name; defaults to the latest job. A number alone is a task of the latest
    /// job
    job: Option<String>,
    /// Number of the task, from 0; defaults to the first task that failed
    #[arg(value_parser = numbers::whole::<u64>(0..=u64::MAX, 17))]
    task: Option<u64>,
    #[command(flatten)]
    select: Select,
    /// Build with the release profile
    #[arg(long, conflicts_with_all = ["profile", "debug"])]
    release: bool,
    /// Run the same executable that ran the job, without building
    #[arg(long, conflicts_with_all = ["package", "bin", "example", "release", "profile"])]
    no_build: bool,
    /// Run the task in a worker process, with the task's limits of memory and time
    #[arg(long)]
    local_pool: bool,
    /// Run the program in this debugger: rust-gdb, gdb, rust-lldb or lldb
    #[arg(long, value_name = "DEBUGGER")]
    debugger: Option<String>,
    /// Print the command that runs the task, for example for the settings of a debugger, instead of running it
    #[arg(long, conflicts_with = "debugger")]
    print_command: bool,
}

/// The parts of the job history that replaying the task needs.
#[derive(Default)]
struct Recorded {
    program: PathBuf,
    failure: Option<String>,
}

pub(crate) fn replay(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let (job, task) = jobs::with_task(&directory, args.job.as_deref(), args.task)?;
    let folder = jobs::folder(&directory, &job);
    let folder = folder.canonicalize().with_context(|| format!("{} is gone", folder.display()))?;
    let task = match task {
        Some(task) => task,
        None => first_failed(&folder)?.with_context(|| {
            format!("no task of job {0} failed; give the number of a task, as in `cargo wren replay {0} 0`", job.id)
        })?,
    };
    let recorded = recorded(&folder, task)?;
    let program = program(args, &recorded.program)?;
    // Check that the program calls `init`: otherwise it would run its own `main` instead of the task.
    listing::ask(&program)?;
    if let Some(failure) = &recorded.failure {
        eprintln!("wren: in the job: {failure}");
    }
    let mut command = match &args.debugger {
        None => Command::new(&program),
        Some(debugger) => {
            let mut command = Command::new(debugger);
            // gdb needs this option before a program with arguments.
            command.args((!debugger.contains("lldb")).then_some("--args"));
            command.arg(&program);
            command
        }
    };
    let mut request = OsString::from(format!("{task}@"));
    request.push(&folder);
    command.env("WREN_REPLAY", request);
    command.envs(args.local_pool.then_some(("WREN_REPLAY_POOL", "1")));
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        command.env("RUST_BACKTRACE", "1");
    }
    if args.print_command {
        println!("{}", printed(&command));
        return Ok(ExitCode::SUCCESS);
    }
    let error = command.exec();
    Err(anyhow!("cannot start {}: {error}", command.get_program().display()))
}

/// Returns the first task that failed in the latest run of a job.
fn first_failed(folder: &Path) -> Result<Option<u64>> {
    let mut first = None;
    let read = JobSummary::read_with(folder, |event| match event {
        Event::Job { .. } => first = None,
        Event::Failed { task, .. } => first = first.min(Some(*task)).or(Some(*task)),
        _ => {}
    });
    read.with_context(|| format!("cannot read the job history in {}", folder.display()))?;
    Ok(first)
}

fn recorded(folder: &Path, task: u64) -> Result<Recorded> {
    let mut recorded = Recorded::default();
    let read = JobSummary::read_with(folder, |event| match event {
        Event::Job { about, .. } => recorded.program.clone_from(&about.program),
        Event::Failed { task: failed, message, .. } | Event::Retry { task: failed, message, .. } if *failed == task => {
            recorded.failure = Some(message.clone());
        }
        Event::Done { first, count, .. } if (*first..first.saturating_add(*count)).contains(&task) => {
            recorded.failure = None;
        }
        _ => {}
    });
    read.with_context(|| format!("cannot read the job history in {}", folder.display()))?;
    Ok(recorded)
}

/// Builds the program and returns its path. If the program that ran the job is not part of this workspace, returns the
/// path of that one.
fn program(args: &Args, recorded: &Path) -> Result<PathBuf> {
    let chosen = if args.no_build { None } else { args.select.chosen_or_recorded(recorded)? };
    if let Some(chosen) = chosen {
        let profile = if args.release { vec![RELEASE.to_owned()] } else { Vec::new() };
        return program::built(args.select.cargo("build", &chosen, profile));
    }
    if !recorded.is_file() {
        bail!(
            "the program that ran the job, {}, does not exist any more, and this workspace has no program of its name; \
             choose one with -p, --bin or --example",
            recorded.display()
        );
    }
    if !args.no_build {
        eprintln!("wren: {} is not a program of this workspace; running it without rebuilding", recorded.display());
    }
    Ok(recorded.to_owned())
}

/// Formats a command and its environment variables for a shell.
fn printed(command: &Command) -> String {
    let quoted = |text: &OsStr| match text.to_str() {
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
        // Bytes that are not UTF-8, in the syntax of bash, zsh and ksh.
        None => {
            let bytes = text.as_bytes().iter().map(|byte| match byte {
                b' '..=b'~' if !matches!(byte, b'\'' | b'\\') => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", bytes.collect::<String>())
        }
    };
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_string_lossy(), quoted(value?))));
    let mut words: Vec<_> = variables.map(|(name, value)| format!("{name}={value}")).collect();
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_gives_a_shell_the_same_bytes() {
        let words: [&[u8]; 4] = [b"plain", b"it's", b"/caf\xe9 it's \\n", "/\u{e9}".as_bytes()];
        let mut command = Command::new("printf");
        command.arg("%s|").args(words.map(OsStr::from_bytes));
        let output = Command::new("bash").arg("-c").arg(printed(&command)).output().unwrap();
        assert_eq!(output.stdout, [words.join(&b'|'), b"|".to_vec()].concat());
    }
}
