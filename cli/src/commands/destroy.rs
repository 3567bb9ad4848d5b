//! `cargo wren destroy`: removes a deployment from AWS.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::json;
use wren::deployment::Deployment;
use wren::history;

use crate::aws::{self, Aws};
use crate::deploy::name::Name;
use crate::deploy::report::Report;
use crate::deploy::{Site, removal};

/// Remove a deployment from AWS
///
/// Removes everything that `cargo wren deploy` created, and nothing else: the functions and their log groups, the role,
/// the deployment's objects, including all arguments and results, and the bucket if no other deployment has objects in
/// it. Lists what it found and asks before it removes anything. You can run it again, even after an earlier run or a
/// deploy stopped halfway.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren destroy\n  cargo wren destroy --name sweep --yes")]
pub(crate) struct Args {
    /// Name of the deployment; defaults to the one that is recorded here
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Print one JSON object that lists everything that was removed
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
        eprintln!("nothing to remove for {} in account {}, region {}", site.name, site.account, site.aws.region);
    } else {
        let place = format!("account {}, region {}", site.account, site.aws.region);
        eprintln!("found for {} in {place}:\n    {}", site.name, lines.join("\n    "));
        if !args.yes && !agreed()? {
            eprintln!("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        removal::remove(&site, &found).await.map_err(|error| {
            error.context(format!("{} is only partly removed; run `cargo wren destroy --name {0}` again", site.name))
        })?;
    }
    site.report.finish();
    if args.json {
        writeln!(io::stdout(), "{}", json!({ "name": site.name.as_str(), "removed": found }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the deployment's location, and the path of its record if there is one.
async fn located(args: &Args, directory: &Path, report: Report) -> Result<(Site, Option<PathBuf>)> {
    report.doing("looking up the AWS account");
    let endpoint = Deployment::endpoint_of_environment();
    let path = Deployment::path(directory, endpoint.as_deref());
    let name = args.name.as_deref().map(Name::given).transpose()?;
    // If a name is given, the record is not needed, so ignore one that cannot be read.
    let record = match &name {
        None => Some(Deployment::load(directory)?.with_context(|| {
            format!(
                "nothing is deployed from here, so there is nothing to remove: {} does not exist; if a deployment was \
                 made from another folder, name it, as in `cargo wren destroy --name sweep`",
                path.display()
            )
        })?),
        Some(name) => Deployment::load(directory).ok().flatten().filter(|record| record.name == name.as_str()),
    };
    let aws = Aws::open().await?;
    let account = aws.account().await?;
    match (record, name) {
        (Some(record), _) => Ok((Site::recorded(aws, account, &record, report)?, Some(path))),
        (None, Some(name)) => Ok((Site { aws, account, name, dry_run: false, report }, None)),
        (None, None) => bail!("nothing is deployed from here; name a deployment with --name"),
    }
}

/// Asks the user for confirmation.
pub(super) fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("cannot ask for confirmation: standard input is not a terminal; pass --yes");
    }
    eprint!("remove all of these? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
