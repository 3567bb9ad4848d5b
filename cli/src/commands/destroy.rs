//! `cargo wren destroy`: what deploy made, taken away.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;
use wren::deployment::Deployment;
use wren::history;

use crate::aws::{self, Aws};
use crate::deploy::name::Name;
use crate::deploy::report::Report;
use crate::deploy::{Site, removal, site};

/// Remove a deployment from AWS
///
/// Everything that `cargo wren deploy` made, and nothing else: functions and log groups, the role,
/// the deployment's objects with all arguments and results in them, and the bucket, where no other
/// deployment has objects there. It shows what it found and asks. It may be run again, also when an
/// earlier run or a deploy stopped half-way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren destroy\n  cargo wren destroy --name sweep --yes")]
pub(crate) struct Args {
    /// Name of the deployment; by default the one that is recorded here
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print one JSON object: what was found and removed
    #[arg(long)]
    json: bool,
}

pub(crate) fn destroy(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    if let Some(emulator) = aws::emulator_note() {
        eprintln!("destroying at {emulator}");
    }
    aws::block_on(run(args, &directory))
}

async fn run(args: &Args, directory: &Path) -> Result<ExitCode> {
    let report = Report::new(false, args.json);
    let (site, record) = located(args, directory, report).await?;
    let found = removal::find(&site, record).await?;
    site.report.finish();
    let lines = found.lines(&site);
    if lines.is_empty() {
        eprintln!("there is nothing of {} in account {}, region {}", site.name, site.account, site.aws.region);
    } else {
        let place = format!("account {}, region {}", site.account, site.aws.region);
        eprintln!("of {} in {place}, there are:\n    {}", site.name, lines.join("\n    "));
        if !args.yes && !agreed()? {
            eprintln!("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        removal::remove(&site, &found).await.map_err(|error| {
            error.context(format!("{} is not wholly removed; run `cargo wren destroy --name {0}` again", site.name))
        })?;
    }
    site.report.finish();
    if args.json {
        writeln!(io::stdout(), "{}", json!({ "name": site.name.as_str(), "removed": found }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where it is, and its record if there is one.
async fn located(args: &Args, directory: &Path, report: Report) -> Result<(Site, Option<PathBuf>)> {
    report.doing("asking AWS who you are");
    let endpoint = Deployment::endpoint_of_environment();
    let path = Deployment::path(directory, endpoint.as_deref());
    let name = args.name.as_deref().map(Name::given).transpose()?;
    // With a name, a record that cannot be read is no obstacle.
    let record = match &name {
        None => Some(site::record(directory)?),
        Some(name) => Deployment::load(directory).ok().flatten().filter(|record| record.name == name.as_str()),
    };
    let aws = Aws::open().await?;
    let account = aws.account().await?;
    match (record, name) {
        (Some(record), _) => Ok((Site::recorded(aws, account, &record, report)?, Some(path))),
        (None, Some(name)) => Ok((Site { aws, account, name, dry_run: false, report }, None)),
        (None, None) => bail!("nothing is deployed from here; name a deployment by --name"),
    }
}

pub(super) fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nobody can be asked whether to remove this; give --yes");
    }
    eprint!("remove all of this? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
