//! `cargo wren doctor`: checks what running programs here needs, and everything that a deployment needs.

mod local;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use console::Style;
use serde::Serialize;
use wren::deployment::Deployment;
use wren::history;

use crate::aws::{self, Aws};
use crate::deploy::build::{BuildMethod, Host};
use crate::deploy::report::Report;
use crate::deploy::{Arch, Site, bucket, functions, role, verify};
use crate::json;
use crate::screen::Screen;

/// A concurrency limit below this makes large jobs slow, and AWS raises it on request.
const FEW: usize = 100;

/// Check that programs can run on this machine and, if one is deployed, on AWS
///
/// Starts a worker process, and looks at the store and at the limits of this machine. Then checks the credentials, the
/// deployment and the quotas on AWS; as long as nothing is deployed from here, none of these is an error. Prints one
/// line per check, with the fix if there is a problem. Changes nothing: it only reads, and calls one deployed function
/// to get its registry. The exit code is 1 if any check fails.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren doctor\n  cargo wren doctor --json | jq '.[] | select(.state == \"fail\")'"
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
    /// Needed only for a deployment, and nothing is deployed from here.
    Off,
    Warn,
    Fail,
}

/// The result of one check, with the fix if there is a problem.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Default)]
struct Checks {
    all: Vec<Check>,
    /// Whether problems do not matter now.
    is_optional: bool,
}

const DEPLOY: &str = "run `cargo wren deploy`";

impl Checks {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.all.push(Check { name, state: State::Ok, text: text.into(), fix: None });
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.all.push(Check { name, state: State::Warn, text: text.into(), fix: Some(fix.into()) });
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.all.push(Check { name, state: self.problem(), text: text.into(), fix: Some(fix.into()) });
    }

    /// Records a check that could not be made. The error message already contains the fix.
    fn broken(&mut self, name: &'static str, error: &anyhow::Error) {
        self.all.push(Check { name, state: self.problem(), text: format!("{error:#}"), fix: None });
    }

    fn problem(&self) -> State {
        if self.is_optional { State::Off } else { State::Fail }
    }
}

pub(crate) fn doctor(args: &Args) -> Result<ExitCode> {
    // In a worker process that the check of this machine starts, this does not return.
    wren::init();
    let directory = history::directory()?;
    let mut checks = Checks::default();
    local::check(&mut checks, &directory);
    // A record that cannot be read is a problem, too.
    checks.is_optional = matches!(Deployment::load(&directory), Ok(None));
    build_check(&mut checks);
    aws::block_on(async {
        aws_checks(&mut checks, &directory).await;
        Ok(())
    })?;
    let mut out = Screen::stdout();
    if args.json {
        out.whole_line(&json::line(&checks.all)?)?;
    } else {
        show(&mut out, &checks)?;
    }
    let failed = checks.all.iter().any(|check| check.state == State::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(out: &mut Screen<impl Write>, checks: &Checks) -> Result<()> {
    for check in &checks.all {
        let (state, style) = match check.state {
            State::Ok => ("ok  ", Style::new().green()),
            State::Off => ("off ", Style::new()),
            State::Warn => ("warn", Style::new().yellow()),
            State::Fail => ("FAIL", Style::new().red()),
        };
        let state = out.styled(style, state);
        writeln!(out, "{state}  {:12} {}", check.name, check.text)?;
        if let Some(fix) = &check.fix {
            writeln!(out, "                   {fix}")?;
        }
    }
    if checks.all.iter().any(|check| check.state == State::Off) {
        writeln!(out, "off: needed only for `cargo wren deploy`, and nothing is deployed from here")?;
    }
    Ok(())
}

fn build_check(checks: &mut Checks) {
    const NAME: &str = "build";
    let host = match Host::here() {
        Ok(host) => host,
        Err(error) => return checks.broken(NAME, &error),
    };
    let ways = |arch| host.ways(arch).into_iter().map(BuildMethod::describe).collect::<Vec<_>>().join(", or ");
    let can: Vec<_> = Arch::ALL.into_iter().filter(|arch| !host.ways(*arch).is_empty()).collect();
    match can[..] {
        [] => checks.fail(NAME, format!("{} cannot build for Lambda", host.triple), host.no_method(Arch::X86_64)),
        _ => {
            let text: Vec<_> = can.iter().map(|arch| format!("for {arch}: {}", ways(*arch))).collect();
            checks.ok(NAME, text.join("; "));
        }
    }
}

async fn aws_checks(checks: &mut Checks, directory: &Path) {
    if let Some(emulator) = aws::emulator_note() {
        checks.warn("endpoint", format!("checking {emulator}"), "unset AWS_ENDPOINT_URL to check AWS");
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
        // It only reads.
        Ok(site) => Site { dry_run: true, ..site },
        Err(error) => return checks.broken("deployment", &error),
    };
    checks.ok("deployment", format!("{}, {}", record.name, functions::counted(&record.functions)));
    bucket_check(checks, &site).await;
    role_check(checks, &site).await;
    let callable = function_checks(checks, &site, &record).await;
    concurrency_check(checks, &site).await;
    if callable {
        round_trip(checks, &site, &record).await;
    }
}

async fn bucket_check(checks: &mut Checks, site: &Site) {
    const NAME: &str = "bucket";
    let name = site.bucket();
    match bucket::exists(site).await {
        Ok(true) => {}
        Ok(false) => return checks.fail(NAME, format!("{name} does not exist"), DEPLOY),
        Err(error) => return checks.broken(NAME, &error),
    }
    match bucket::is_private(site).await {
        Ok(Some(true)) => checks.ok(NAME, format!("{name}, private")),
        Ok(Some(false)) => checks.fail(NAME, format!("{name} does not block public access"), DEPLOY),
        Ok(None) => checks.warn(NAME, format!("{name} exists"), "the emulator does not support access settings"),
        Err(error) => checks.broken(NAME, &error),
    }
}

async fn role_check(checks: &mut Checks, site: &Site) {
    const NAME: &str = "role";
    let role = site.role();
    match role::look(site).await {
        Ok(role::RoleState::Right) => checks.ok(NAME, role),
        Ok(role::RoleState::Absent) => checks.fail(NAME, format!("{role} does not exist"), DEPLOY),
        Ok(role::RoleState::Differs) => {
            checks.fail(NAME, format!("{role} does not have the permissions that deploy sets"), DEPLOY)
        }
        Ok(role::RoleState::Foreign) => checks.fail(NAME, format!("{role} does not have the deployment's tag"), DEPLOY),
        Err(error) => checks.broken(NAME, &error),
    }
}

/// Checks all functions and returns whether all of them can be called.
async fn function_checks(checks: &mut Checks, site: &Site, record: &Deployment) -> bool {
    const NAME: &str = "function";
    let mut callable = true;
    for lambda in &record.lambdas {
        let name = &lambda.name;
        let found = match functions::configuration(site, name).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                checks.fail(NAME, format!("{name} does not exist"), DEPLOY);
                callable = false;
                continue;
            }
            Err(error) => {
                checks.broken(NAME, &error);
                callable = false;
                continue;
            }
        };
        let state = found.state().map_or("Active", |state| state.as_str()).to_owned();
        if found.code_sha256().map(str::to_owned) != base64_of(&record.code.sha256) {
            checks.fail(NAME, format!("{name} does not run the recorded program"), DEPLOY);
        } else if state != "Active" && state != "Inactive" {
            checks.fail(NAME, format!("{name} is {state}"), "wait; if it stays so, run `cargo wren deploy`");
            callable = false;
        } else {
            checks.ok(NAME, format!("{name}, {state}"));
        }
    }
    callable
}

/// Converts a hash from hexadecimal, as in the record, to base64, as in Lambda's responses.
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
            format!("the account may run {limit} instances at once, for all of its functions together"),
            "request more under Service Quotas, AWS Lambda, `Concurrent executions`; this is free",
        ),
        Ok(Some(limit)) => checks.ok(NAME, format!("{limit} instances at once, for all functions of the account")),
        Ok(None) => {
            checks.warn(NAME, "cannot read the limit", "allow lambda:GetAccountSettings, or look at Service Quotas")
        }
        Err(error) => checks.broken(NAME, &error),
    }
}

async fn round_trip(checks: &mut Checks, site: &Site, record: &Deployment) {
    const NAME: &str = "round trip";
    let Some(lambda) = record.lambdas.first() else { return };
    let called = Instant::now();
    let listing = match verify::registry(site, &lambda.name).await {
        Ok(listing) => listing,
        Err(error) => return checks.broken(NAME, &error),
    };
    let took = called.elapsed();
    let deployed: Vec<_> = listing.functions.iter().map(crate::listing::Function::deployed).collect();
    match verify::differing(&record.functions, &deployed)[..] {
        [] => checks.ok(NAME, format!("{} answered in {took:.1?}, with wren {}", lambda.name, listing.wren)),
        ref names => checks.fail(NAME, format!("functions that differ from the record: {}", names.join(", ")), DEPLOY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_in_lambdas_format() {
        assert_eq!(base64_of("00ff10").as_deref(), Some("AP8Q"));
        assert_eq!((base64_of("0"), base64_of("zz"), base64_of("é0")), (None, None, None));
    }
}
