//! `cargo wren run`: builds and runs a program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use wren::backend::is_lambda;
use wren::deployment::Deployment;
use wren::history;

use super::deploy;
use crate::deploy::profile;
use crate::numbers;
use crate::program::{Chosen, RELEASE, Select};

/// Build a program and run it
///
/// Works like `cargo run`, and has options for wren's settings. If the program is deployed and no other backend is set,
/// this command deploys it again, which changes only the parts that differ, and its calls run on AWS. Otherwise, the
/// program is built with the release profile and its calls run here. The exit code is that of the program.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren run\n  cargo wren run --example pi --workers 4 -- 1000 50000\n  cargo wren run --deploy"
)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// Run calls with this backend: `local` (worker processes), `inline` (threads) or `lambda`; sets WREN_BACKEND
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// Run at most N calls at once; sets WREN_WORKERS
    #[arg(long, value_name = "N", value_parser = numbers::whole::<usize>(1..=u64::MAX, 4))]
    workers: Option<usize>,
    /// Keep values and the results of named jobs in this store, such as `file:<path>`; sets WREN_STORE
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Deploy the program first, even if it was not deployed before, as `cargo wren deploy` does
    #[arg(long)]
    deploy: bool,
    /// Do not print a progress bar or a summary; sets WREN_QUIET
    #[arg(short, long)]
    quiet: bool,
    /// Arguments for the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let chosen = args.select.chosen()?;
    let mut profile = vec![RELEASE.to_owned()];
    if let Some(deployment) = deployment(args, &chosen)? {
        deploy::deploy(&deployment)?;
        // Deploying has just built the program with this profile.
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
    Err(anyhow!("cannot start cargo: {error}"))
}

/// Returns how to deploy the program before it runs; `None` if it is not deployed.
fn deployment(args: &Args, chosen: &Chosen) -> Result<Option<deploy::Args>> {
    let backend = args.backend.clone().or_else(|| std::env::var("WREN_BACKEND").ok());
    let elsewhere = backend.is_some_and(|url| !is_lambda(&url));
    if elsewhere && !args.deploy {
        return Ok(None);
    }
    // A recorded deployment of another program does not count.
    let record = Deployment::load(&history::directory()?)?.filter(|record| record.program == chosen.options());
    Ok(match record {
        Some(record) => Some(deploy::Args::again(args.select.clone(), &record)),
        None => args.deploy.then(|| deploy::Args::first(args.select.clone())),
    })
}
