//! `cargo wren replay`: run one task of a job again, in this process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use wren::history::{self, Event, JobSummary};

use super::jobs;
use crate::listing;
use crate::program::{self, RELEASE, Select};

/// Run one task of a job again, here, with the input that it had
///
/// The program that ran the job is built as it is now, without optimization unless --release or
/// --profile says otherwise, so that a mended function is tried on the input that it failed on. The
/// task runs in the program's main thread: a debugger, RUST_BACKTRACE and `dbg!` work as in any
/// program, and limits of memory and time do not count. Inputs of a job's tasks are kept while they
/// are small, and beyond that those of tasks that failed or were tried again.
///
/// The exit code is 0 if the function returned, 1 if it returned an error, 101 if it panicked.
#[derive(Debug, clap::Args)]
// Its help says that release is the default, which is so for all other commands.
#[command(mut_arg("debug", |debug| debug.hide(true)), after_help = "Examples:\n  cargo wren replay sweep 17\n  cargo wren replay sweep 17 --local-pool\n  \
                        cargo wren replay sweep 17 --debugger rust-gdb")]
pub(crate) struct Args {
    /// A job's id, the beginning of one, or a name
    job: String,
    /// The task, counted from 0
    task: u64,
    #[command(flatten)]
    select: Select,
    /// Build with the release profile
    #[arg(long, conflicts_with_all = ["profile", "debug"])]
    release: bool,
    /// Run the very file that ran the job, and build nothing
    #[arg(long, conflicts_with_all = ["package", "bin", "example", "release", "profile"])]
    no_build: bool,
    /// Run it in a worker process, with the memory and the time that the task might use
    #[arg(long)]
    local_pool: bool,
    /// Run the program under this debugger: rust-gdb, gdb, rust-lldb, lldb
    #[arg(long, value_name = "DEBUGGER")]
    debugger: Option<String>,
    /// Print the command that runs the task, for a debugger's settings, and do not run it
    #[arg(long, conflicts_with = "debugger")]
    print_command: bool,
}

/// What the log says of the task.
#[derive(Default)]
struct Recorded {
    program: PathBuf,
    failure: Option<String>,
}

pub(crate) fn replay(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let job = jobs::find(jobs::all(&directory)?, &args.job)?;
    jobs::check_task(&job, args.task)?;
    let folder = jobs::folder(&directory, &job);
    let folder = folder.canonicalize().with_context(|| format!("{} is gone", folder.display()))?;
    let recorded = recorded(&folder, args.task)?;
    let program = program(args, &recorded.program)?;
    // One that does not begin by `init` would run its own `main`.
    listing::ask(&program)?;
    if let Some(failure) = &recorded.failure {
        eprintln!("wren: in the job: {failure}");
    }
    let mut command = match &args.debugger {
        None => Command::new(&program),
        Some(debugger) => {
            let mut command = Command::new(debugger);
            // gdb wants to be told that what follows is a program and its arguments.
            command.args((!debugger.contains("lldb")).then_some("--args"));
            command.arg(&program);
            command
        }
    };
    let mut asked = OsString::from(format!("{}@", args.task));
    asked.push(&folder);
    command.env("WREN_REPLAY", asked);
    command.envs(args.local_pool.then_some(("WREN_REPLAY_POOL", "1")));
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        command.env("RUST_BACKTRACE", "1");
    }
    if args.print_command {
        println!("{}", printed(&command));
        return Ok(ExitCode::SUCCESS);
    }
    let error = command.exec();
    Err(anyhow!("{} does not start: {error}", command.get_program().display()))
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
    read.with_context(|| format!("the log in {} cannot be read", folder.display()))?;
    Ok(recorded)
}

/// The program that is to run: what is built of it now, or where it is no program of this workspace
/// the file that ran the job.
fn program(args: &Args, recorded: &Path) -> Result<PathBuf> {
    let chosen = if args.no_build { None } else { args.select.chosen_or_recorded(recorded)? };
    if let Some(chosen) = chosen {
        let profile = if args.release { vec![RELEASE.to_owned()] } else { Vec::new() };
        return program::built(args.select.cargo("build", &chosen, profile));
    }
    if !recorded.is_file() {
        bail!(
            "the program that ran the job, {}, is gone, and this workspace has none of its name; choose one with -p, \
             --bin or --example",
            recorded.display()
        );
    }
    if !args.no_build {
        eprintln!("wren: {} is no program of this workspace; it runs as it was built", recorded.display());
    }
    Ok(recorded.to_owned())
}

/// A command with its variables, as a shell takes it.
fn printed(command: &Command) -> String {
    let quoted = |text: &OsStr| match text.to_str() {
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
        // As bash, zsh and ksh take bytes that are no text.
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
