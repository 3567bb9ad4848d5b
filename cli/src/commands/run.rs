//! `cargo wren run`: build and run a program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use wren::backend::is_lambda;
use wren::deployment::Deployment;
use wren::history;

use super::deploy;
use crate::deploy::profile;
use crate::program::{Chosen, RELEASE, Select};

/// Build a program and run it
///
/// As `cargo run`, with settings of wren as options. A program that is deployed is deployed again
/// first, which changes only what differs, and runs there; any other runs here, built with the release
/// profile. The exit code is the program's own.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren run\n  cargo wren run --example pi --workers 4 -- 1000 50000\n  cargo wren run --deploy"
)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// Where calls run: `local` (worker processes), `inline` (threads) or `lambda`; sets WREN_BACKEND
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// How many calls run at once; sets WREN_WORKERS
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Where values and the results of named jobs are kept, as `file:<path>`; sets WREN_STORE
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Deploy the program also where it was not deployed before, as `cargo wren deploy` does
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
    let chosen = args.select.chosen()?;
    let mut profile = vec![RELEASE.to_owned()];
    if let Some(deployment) = deployment(args, &chosen)? {
        deploy::deploy(&deployment)?;
        // The program is built in this way already.
        profile = profile::of_program(&args.select, &chosen)?;
    }
    let mut command = args.select.cargo("run", &chosen, profile);
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

/// How the program is to be deployed first; `None` where it is to run here.
fn deployment(args: &Args, chosen: &Chosen) -> Result<Option<deploy::Args>> {
    let backend = args.backend.clone().or_else(|| std::env::var("WREN_BACKEND").ok());
    let elsewhere = backend.is_some_and(|url| !is_lambda(&url));
    if elsewhere && !args.deploy {
        return Ok(None);
    }
    // Another program's deployment is left alone.
    let record = Deployment::load(&history::directory()?)?.filter(|record| record.program == chosen.options());
    Ok(match record {
        Some(record) => Some(deploy::Args::again(args.select.clone(), &record)),
        None => args.deploy.then(|| deploy::Args::first(args.select.clone())),
    })
}
