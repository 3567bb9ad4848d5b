//! `cargo wren doctor`: whether all that a deployment needs is there and well.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use wren::deployment::Deployment;
use wren::history;

use crate::aws::{self, Aws};
use crate::deploy::build::{Host, Way};
use crate::deploy::report::Report;
use crate::deploy::{Arch, Site, bucket, functions, role, verify};

/// With less than this a large job is slow, and AWS raises it for the asking.
const FEW: usize = 100;

/// Check credentials, deployment and quotas
///
/// One line for each thing, with the fix where it is not well. Only reads, but for one call of
/// a deployed function that answers with its registry. The exit code is 1 if anything fails.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren doctor\n  cargo wren doctor --json | jq '.[] | select(.state != \"ok\")'"
)]
pub(crate) struct Args {
    /// Print JSON: an array of checks
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What was looked at, how it is, and what mends it.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

const DEPLOY: &str = "run `cargo wren deploy`";

impl Checks {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push(Check { name, state: State::Ok, text: text.into(), mend: None });
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Check { name, state: State::Warn, text: text.into(), mend: Some(mend.into()) });
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Check { name, state: State::Fail, text: text.into(), mend: Some(mend.into()) });
    }

    /// Of a check that could not be made; errors of wren say themselves what to do.
    fn broken(&mut self, name: &'static str, error: &anyhow::Error) {
        self.0.push(Check { name, state: State::Fail, text: format!("{error:#}"), mend: None });
    }
}

pub(crate) fn doctor(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let mut checks = Checks::default();
    build_check(&mut checks);
    aws::block_on(async {
        aws_checks(&mut checks, &directory).await;
        Ok(())
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&checks.0)?)?;
    } else {
        show(&mut out, &checks.0)?;
    }
    let failed = checks.0.iter().any(|check| check.state == State::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(out: &mut impl Write, checks: &[Check]) -> Result<()> {
    for check in checks {
        let state = match check.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        writeln!(out, "{state}  {:12} {}", check.name, check.text)?;
        if let Some(mend) = &check.mend {
            writeln!(out, "                   {mend}")?;
        }
    }
    Ok(())
}

fn build_check(checks: &mut Checks) {
    const NAME: &str = "build";
    let host = match Host::here() {
        Ok(host) => host,
        Err(error) => return checks.broken(NAME, &error),
    };
    let ways = |arch| host.ways(arch).into_iter().map(Way::describe).collect::<Vec<_>>().join(", or ");
    let can: Vec<_> = Arch::ALL.into_iter().filter(|arch| !host.ways(*arch).is_empty()).collect();
    match can[..] {
        [] => checks.fail(NAME, format!("{} cannot build for Lambda", host.triple), host.no_way(Arch::X86_64)),
        _ => {
            let text: Vec<_> = can.iter().map(|arch| format!("for {arch} {}", ways(*arch))).collect();
            checks.ok(NAME, text.join("; "));
        }
    }
}

async fn aws_checks(checks: &mut Checks, directory: &Path) {
    if let Some(emulator) = aws::emulator_note() {
        checks.warn("endpoint", format!("what follows is of {emulator}"), "unset AWS_ENDPOINT_URL to look at AWS");
    }
    let aws = match Aws::open().await {
        Ok(aws) => aws,
        Err(error) => return checks.broken("region", &error),
    };
    checks.ok("region", aws.region.clone());
    let account = match aws.account().await {
        Ok(account) => account,
        Err(error) => return checks.broken("credentials", &error),
    };
    checks.ok("credentials", format!("account {account}"));
    let record = match Deployment::load(directory) {
        Ok(Some(record)) => record,
        Ok(None) => return checks.warn("deployment", "nothing is deployed from here", DEPLOY),
        Err(error) => return checks.broken("deployment", &error.into()),
    };
    let site = match Site::recorded(aws, account, &record, Report::new(false, true)) {
        Ok(site) => site,
        Err(error) => return checks.broken("deployment", &error),
    };
    checks.ok("deployment", format!("{}, {}", record.name, functions::counted(&record.functions)));
    bucket_check(checks, &site).await;
    role_check(checks, &site).await;
    let well = function_checks(checks, &site, &record).await;
    concurrency_check(checks, &site).await;
    if well {
        round_trip(checks, &site, &record).await;
    }
}

async fn bucket_check(checks: &mut Checks, site: &Site) {
    const NAME: &str = "bucket";
    let name = site.bucket();
    match bucket::exists(site).await {
        Ok(true) => {}
        Ok(false) => return checks.fail(NAME, format!("{name} is gone"), DEPLOY),
        Err(error) => return checks.broken(NAME, &error),
    }
    match bucket::is_private(site).await {
        Ok(Some(true)) => checks.ok(NAME, format!("{name}, private")),
        Ok(Some(false)) => checks.fail(NAME, format!("{name} may be made public"), DEPLOY),
        Ok(None) => checks.warn(NAME, format!("{name} is there"), "the emulator does not tell who may see it"),
        Err(error) => checks.broken(NAME, &error),
    }
}

async fn role_check(checks: &mut Checks, site: &Site) {
    const NAME: &str = "role";
    let role = site.role();
    match role::look(site).await {
        Ok(role::Found::Right) => checks.ok(NAME, role),
        Ok(role::Found::Absent) => checks.fail(NAME, format!("{role} is gone"), DEPLOY),
        Ok(role::Found::Differs) => checks.fail(NAME, format!("{role} has other rights than deploy gives"), DEPLOY),
        Ok(role::Found::Foreign) => checks.fail(NAME, format!("{role} has lost its tag"), DEPLOY),
        Err(error) => checks.broken(NAME, &error),
    }
}

/// Gives whether all functions can be called.
async fn function_checks(checks: &mut Checks, site: &Site, record: &Deployment) -> bool {
    const NAME: &str = "function";
    let mut well = true;
    for lambda in &record.lambdas {
        let name = &lambda.name;
        let found = match functions::configuration(site, name).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                checks.fail(NAME, format!("{name} is gone"), DEPLOY);
                well = false;
                continue;
            }
            Err(error) => {
                checks.broken(NAME, &error);
                well = false;
                continue;
            }
        };
        let state = found.state().map_or("Active", |state| state.as_str()).to_owned();
        if found.code_sha256().map(str::to_owned) != base64_of(&record.code.sha256) {
            checks.fail(NAME, format!("{name} runs another program than the record says"), DEPLOY);
        } else if state != "Active" && state != "Inactive" {
            checks.fail(NAME, format!("{name} is {state}"), "wait, and run `cargo wren deploy` if it stays so");
            well = false;
        } else {
            checks.ok(NAME, format!("{name}, {state}"));
        }
    }
    well
}

/// The record has the hash in hexadecimal, Lambda in base64.
fn base64_of(hex: &str) -> Option<String> {
    use base64::Engine;
    let byte = |i: usize| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
    let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}

async fn concurrency_check(checks: &mut Checks, site: &Site) {
    const NAME: &str = "concurrency";
    match functions::concurrency(site).await {
        Ok(Some(limit)) if limit < FEW => checks.warn(
            NAME,
            format!("the account may run {limit} instances at once, of all its functions"),
            "ask for more under Service Quotas, AWS Lambda, `Concurrent executions`: it costs nothing",
        ),
        Ok(Some(limit)) => checks.ok(NAME, format!("{limit} instances at once, of all the account's functions")),
        Ok(None) => checks.warn(NAME, "it is not told", "allow lambda:GetAccountSettings, or look at Service Quotas"),
        Err(error) => checks.broken(NAME, &error),
    }
}

async fn round_trip(checks: &mut Checks, site: &Site, record: &Deployment) {
    const NAME: &str = "round trip";
    let Some(lambda) = record.lambdas.first() else { return };
    let begun = Instant::now();
    let listing = match verify::registry(site, &lambda.name).await {
        Ok(listing) => listing,
        Err(error) => return checks.broken(NAME, &error),
    };
    let took = begun.elapsed();
    let deployed: Vec<_> = listing.functions.iter().map(crate::listing::Function::deployed).collect();
    match verify::differing(&record.functions, &deployed)[..] {
        [] => checks.ok(NAME, format!("{} answered in {took:.1?}, by wren {}", lambda.name, listing.wren)),
        ref names => checks.fail(NAME, format!("other functions than recorded: {}", names.join(", ")), DEPLOY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_as_lambda_does() {
        assert_eq!(base64_of("00ff10").as_deref(), Some("AP8Q"));
        assert_eq!((base64_of("0"), base64_of("zz"), base64_of("é0")), (None, None, None));
    }
}
