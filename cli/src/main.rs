//! The `cargo wren` command: creates, runs and deploys programs, and inspects the jobs that they ran.

mod aws;
mod commands;
mod deploy;
mod durations;
mod json;
mod listing;
mod numbers;
mod program;
#[cfg(test)]
mod reference;
mod report;
mod screen;
mod table;
mod top;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args as _, CommandFactory, Parser, Subcommand};

use screen::Screen;

use commands::{
    attach, cancel, clean, completions, deploy as deploy_command, destroy, doctor, emulate, jobs, list, logs, man, new,
    plan, replay, report as report_command, run, top as top_command,
};

/// The program's name.
const NAME: &str = "cargo-wren";

/// The program's version, with the commit if it was built in a checkout.
const VERSION: &str = env!("VERSION_AND_COMMIT");

/// The command line as cargo passes it: `cargo wren ...` runs `cargo-wren wren ...`.
#[derive(Parser)]
#[command(bin_name = "cargo", styles = clap::builder::Styles::styled())]
enum Cargo {
    Wren(Wren),
}

/// Run ordinary Rust functions in parallel, on all processors or on AWS Lambda.
#[derive(clap::Args)]
#[command(
    version = VERSION,
    display_name = NAME,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage error, 101 the program does not build."
)]
struct Wren {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    List(list::Args),
    Run(run::Args),
    Plan(plan::Args),
    Deploy(deploy_command::Args),
    Doctor(doctor::Args),
    Destroy(destroy::Args),
    Logs(logs::Args),
    Jobs(jobs::Args),
    Top(top_command::Args),
    Attach(attach::Args),
    Cancel(cancel::Args),
    Clean(clean::Args),
    Report(report_command::Args),
    Replay(replay::Args),
    Emulate(emulate::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    let wren = match Cargo::try_parse_from(arguments()) {
        Ok(Cargo::Wren(wren)) => wren,
        Err(error) => return usage(error),
    };
    let result = match wren.command {
        Command::New(args) => new::new(&args),
        Command::List(args) => list::list(&args),
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Deploy(args) => deploy_command::deploy(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Destroy(args) => destroy::destroy(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Jobs(args) => jobs::jobs(&args),
        Command::Top(args) => top_command::top(&args),
        Command::Attach(args) => attach::attach(&args),
        Command::Cancel(args) => cancel::cancel(&args),
        Command::Clean(args) => clean::clean(&args),
        Command::Report(args) => report_command::report(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Emulate(args) => emulate::emulate(args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
    };
    result.unwrap_or_else(|error| {
        if error.is::<program::DoesNotBuild>() {
            // Cargo has already printed the reason.
            return ExitCode::from(101);
        }
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            // The reader of the output has closed the pipe, as `head` does.
            return ExitCode::SUCCESS;
        }
        print_error(&error);
        ExitCode::FAILURE
    })
}

/// Prints the help, the version, or a usage error, and returns the exit code.
fn usage(mut error: clap::Error) -> ExitCode {
    if let Some(ContextValue::Strings(similar)) = error.get(ContextKind::SuggestedSubcommand)
        && let Some(nearest) = similar.last().cloned()
    {
        // clap lists all that are similar, the nearest last. A typo of `deploy` must not suggest `destroy` first.
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::String(nearest));
    }
    // If the stream is closed, there is nowhere left to report this.
    let _ = match error.kind() {
        ErrorKind::DisplayHelp => {
            let (mut out, text) = (Screen::stdout(), error.render());
            let text = if out.has_colors() { text.ansi().to_string() } else { text.to_string() };
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        _ => error.print(),
    };
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints an error in the style of clap's usage errors: `error:` is colored on a terminal, subject to NO_COLOR and
/// CLICOLOR_FORCE.
fn print_error(error: &anyhow::Error) {
    let printed = clap::Error::raw(ErrorKind::Io, format!("{error:#}\n")).with_cmd(&Cargo::command()).print();
    // Standard error is closed: there is nowhere left to report this.
    drop(printed);
}

/// Returns the command under the program's own name: `cargo-wren new` is `cargo wren new`.
fn alone() -> clap::Command {
    Wren::augment_args(clap::Command::new(NAME).bin_name("cargo wren"))
}

/// Returns the arguments in the form that cargo passes, even if the program was started under its own name.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_none_or(|first| first != "wren") {
        arguments.insert(1.min(arguments.len()), "wren".into());
    }
    arguments
}
