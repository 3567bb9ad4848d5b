//! `cargo wren run`: build and run a program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::deploy;
use crate::program::Select;

/// Build a program with the release profile and run it
///
/// As `cargo run`, with settings of wren as options. The exit code is the program's own.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren run\n  cargo wren run --example pi --workers 4 -- 1000 50000\n  cargo wren run --deploy"
)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// Where calls run: `local` (worker processes) or `inline` (threads); sets WREN_BACKEND
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// How many calls run at once; sets WREN_WORKERS
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Where values and the results of named jobs are kept, as `file:<path>`; sets WREN_STORE
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Deploy the program first, as `cargo wren deploy` does
    #[arg(long)]
    deploy: bool,
    /// No progress bar and no summary; sets WREN_QUIET
    #[arg(short, long)]
    quiet: bool,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.deploy {
        deploy::deploy(&deploy::Args::of(args.select.clone()))?;
    }
    let mut command = args.select.cargo("run")?;
    let workers = args.workers.map(|workers| workers.to_string());
    let quiet = args.quiet.then(|| "1".to_owned());
    let settings = [
        ("WREN_BACKEND", &args.backend),
        ("WREN_WORKERS", &workers),
        ("WREN_STORE", &args.store),
        ("WREN_QUIET", &quiet),
    ];
    for (variable, value) in settings {
        command.envs(value.iter().map(|value| (variable, value)));
    }
    command.args(args.quiet.then_some("--quiet"));
    let error = command.arg("--").args(&args.args).exec();
    Err(anyhow!("cargo does not start: {error}"))
}
