//! The `cargo wren` command: new projects, their remote functions, runs, deployments, and the jobs they left.

mod aws;
mod commands;
mod deploy;
mod listing;
mod program;
#[cfg(test)]
mod reference;
mod report;
mod table;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args as _, CommandFactory, Parser, Subcommand};

use commands::{
    attach, cancel, clean, completions, deploy as deploy_command, destroy, doctor, emulate, jobs, list, logs, man, new,
    plan, replay, report as report_command, run,
};

/// What the program is called.
const NAME: &str = "cargo-wren";

/// Its version, with the commit where it is built in a checkout.
const VERSION: &str = env!("VERSION_AND_COMMIT");

/// Cargo runs `cargo-wren wren ...` for `cargo wren ...`.
#[derive(Parser)]
#[command(bin_name = "cargo", styles = clap::builder::Styles::styled())]
enum Cargo {
    Wren(Wren),
}

/// Run ordinary functions ten thousand times, on all processors.
#[derive(clap::Args)]
#[command(
    version = VERSION,
    display_name = NAME,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 101 the program does not build."
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
    let Cargo::Wren(wren) = Cargo::parse_from(arguments());
    let ended = match wren.command {
        Command::New(args) => new::new(&args),
        Command::List(args) => list::list(&args),
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Deploy(args) => deploy_command::deploy(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Destroy(args) => destroy::destroy(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Jobs(args) => jobs::jobs(&args),
        Command::Attach(args) => attach::attach(&args),
        Command::Cancel(args) => cancel::cancel(&args),
        Command::Clean(args) => clean::clean(&args),
        Command::Report(args) => report_command::report(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Emulate(args) => emulate::emulate(args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
    };
    ended.unwrap_or_else(|error| {
        if error.is::<program::DoesNotBuild>() {
            // Cargo has told why.
            return ExitCode::from(101);
        }
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read the output has seen enough.
            return ExitCode::SUCCESS;
        }
        tell(&error);
        ExitCode::FAILURE
    })
}

/// As clap tells of wrong usage: `error:` has a colour on a terminal, as NO_COLOR and CLICOLOR_FORCE have it.
fn tell(error: &anyhow::Error) {
    let told = clap::Error::raw(ErrorKind::Io, format!("{error:#}\n")).with_cmd(&Cargo::command()).print();
    // Nobody is left to be told.
    drop(told);
}

/// The command by its own name: `cargo-wren new` is `cargo wren new`.
fn alone() -> clap::Command {
    Wren::augment_args(clap::Command::new(NAME).bin_name("cargo wren"))
}

/// The arguments as cargo gives them, also when the program was started by its own name.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_none_or(|first| first != "wren") {
        arguments.insert(1.min(arguments.len()), "wren".into());
    }
    arguments
}
