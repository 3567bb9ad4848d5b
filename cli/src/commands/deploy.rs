//! `cargo wren deploy`: builds a program and deploys it to AWS.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use wren::deployment::{Code, DeployedFn, Deployment, FORMAT, LambdaFn, Source};
use wren::registry::is_wrens;
use wren::{history, limits};

use crate::aws::{self, Aws};
use crate::deploy::build::{self, Built, Host};
use crate::deploy::feature::{self, Feature};
use crate::deploy::name::{self, Name};
use crate::deploy::package::Package;
use crate::deploy::report::{Change, Report};
use crate::deploy::{Arch, Site, bucket, counted, debug_info, functions, log_groups, policy, profile, role, verify};
use crate::program::{self, Select};
use crate::{listing, numbers};

/// The default of `--keep-days`.
const KEEP_DAYS: i32 = 30;

/// Deploy a program to AWS Lambda and S3
///
/// Builds the program for Amazon Linux 2023 and checks that it will start there. Then creates or updates the AWS
/// resources that it needs: a private bucket, a role that can access nothing else, and one Lambda function for each
/// pair of memory and timeout among its remote functions. Resources that are up to date stay unchanged, so you can
/// deploy as often as you like.
///
/// The build uses a profile of its own: release without LTO, so that the next deploy takes seconds. Choose another one
/// with --profile. Credentials and region come from the same settings as for the AWS tools: AWS_PROFILE, AWS_REGION and
/// so on. `cargo wren destroy` removes everything again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren deploy\n  cargo wren deploy --example sweep --dry-run\n  \
                        AWS_REGION=eu-central-1 cargo wren deploy --name sweep-2 --keep-days 7")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Name of the deployment (a-z, 0-9 and -); defaults to the names of the package and the program
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Processor architecture; arm64 is cheaper but untested
    #[arg(long, value_name = "PROCESSOR", value_enum, default_value_t = Arch::X86_64)]
    target: Arch,
    /// Number of days after which the deployment's objects expire: arguments, results and uploaded programs
    #[arg(long, value_name = "N", default_value_t = KEEP_DAYS,
          value_parser = numbers::whole::<i32>(1..=i32::MAX as u64, 30))]
    keep_days: i32,
    /// Show the steps and the permissions of the role without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: `dry_run`, `deployment`, `steps`, `package`, `policy`
    #[arg(long)]
    json: bool,
    /// Deploy this program instead of building one
    #[arg(long, value_name = "PATH", hide = true)]
    binary: Option<PathBuf>,
    /// Read the program's remote functions from this file, for a program that cannot run here
    #[arg(long, value_name = "PATH", hide = true)]
    registry: Option<PathBuf>,
    /// Do not call a deployed function to verify it, for emulators that run no programs
    #[arg(long, hide = true)]
    no_verify: bool,
}

impl Args {
    /// Returns the arguments for a program that is not deployed yet.
    pub(crate) fn first(select: Select) -> Self {
        Self {
            select,
            name: None,
            target: Arch::X86_64,
            keep_days: KEEP_DAYS,
            dry_run: false,
            json: false,
            binary: None,
            registry: None,
            no_verify: false,
        }
    }

    /// Returns the arguments that repeat an earlier deployment.
    pub(crate) fn again(select: Select, record: &Deployment) -> Self {
        let target = Arch::ALL.into_iter().find(|arch| arch.name() == record.code.architecture);
        Self {
            name: Some(record.name.clone()),
            target: target.unwrap_or(Arch::X86_64),
            keep_days: record.keep_days,
            ..Self::first(select)
        }
    }
}

/// A program that is ready to be deployed.
struct Program {
    /// The options of cargo that select the program, or the path given by `--binary`.
    options: String,
    package: Package,
    functions: Vec<DeployedFn>,
    lambdas: Vec<LambdaFn>,
    sources: Vec<Source>,
}

pub(crate) fn deploy(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let report = Report::new(args.dry_run, false);
    if let Some(emulator) = aws::emulator_note() {
        eprintln!("deploying to {emulator}");
    }
    aws::block_on(async {
        // Checked before the build, which can take minutes.
        let name = name_of(args)?;
        let identity = identity(&report).await;
        match &identity {
            Err(error) if args.dry_run => report.note(&format!("account    unknown: {error:#}")),
            Err(error) => bail!("{error:#}"),
            Ok(_) => {}
        }
        let program = program(args, &name, &report)?;
        match identity {
            Ok((aws, account)) => {
                let site = Site { aws, account, name, dry_run: args.dry_run, report };
                with_aws(args, &site, &program, &directory).await
            }
            Err(_) => without_aws(args, &name, &program, &report),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn name_of(args: &Args) -> Result<Name> {
    if let Some(name) = &args.name {
        return Name::given(name);
    }
    if let Some(binary) = &args.binary {
        let stem = binary.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(Name::of_program(&stem, &stem));
    }
    let chosen = args.select.chosen()?;
    Ok(Name::of_program(chosen.package(), chosen.name()))
}

async fn identity(report: &Report) -> Result<(Aws, String)> {
    report.doing("looking up the AWS account");
    let aws = Aws::open().await?;
    let account = aws.account().await?;
    report.note(&format!("account    {account}, region {}", aws.region));
    Ok((aws, account))
}

/// Builds, checks and packs the program, and reads its registry of remote functions.
fn program(args: &Args, name: &Name, report: &Report) -> Result<Program> {
    if let Some(place) = build::native_flags().filter(|_| args.binary.is_none()) {
        bail!(
            "{place} sets target-cpu=native, but Lambda's processors may lack this machine's instructions, and the \
             program may crash there; choose a processor level that Lambda supports, as in \
             `RUSTFLAGS='-C target-cpu=x86-64-v3' cargo wren deploy`"
        );
    }
    let host = Host::here()?;
    let select = with_aws_feature(args, report)?;
    report.doing("building");
    let built = match &args.binary {
        Some(path) => build::read(path, args.target)?,
        None => built(args, &select, &host, report)?,
    };
    report.doing("listing the program's remote functions");
    let answer = match &args.registry {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None if host.runs(args.target) => listing::ask(&built.path)?,
        // The program cannot run on this machine, so build it for this machine too and list that one.
        None => listing::ask(&report.aside(|| select.build())?)?,
    };
    let functions: Vec<_> = listing::parse(&answer)?.functions.iter().map(listing::Function::deployed).collect();
    if functions.is_empty() {
        bail!("the program has no remote functions to deploy; put `#[wren::remote]` on one");
    }
    // Some programs only sort, and need no functions of their own.
    if functions.iter().all(|function| is_wrens(&function.name)) {
        report.note("functions  none with `#[wren::remote]`: on AWS, the program can only sort and split inputs");
    }
    report.doing("packing");
    let deployed = debug_info::fitting(&built.bytes, limits::UNPACKED_CODE);
    if deployed.len() < built.bytes.len() {
        report.note(&format!(
            "program    deployed with {} MB, without its debug information ({} MB): Lambda accepts at most {} MB; for \
             backtraces with lines, set `debug = \"line-tables-only\"` in the profile",
            deployed.len() >> 20,
            (built.bytes.len() - deployed.len()) >> 20,
            limits::UNPACKED_CODE >> 20
        ));
    }
    let package = Package::of(&deployed)?;
    let lambdas = functions::needed(name, &functions);
    let options = match &args.binary {
        Some(path) => path.display().to_string(),
        None => args.select.chosen()?.options(),
    };
    let sources = Source::of_program(&built.path);
    Ok(Program { options, package, functions, lambdas, sources })
}

/// Makes sure that the program is built with the feature `aws`: the first deploy turns it on.
fn with_aws_feature(args: &Args, report: &Report) -> Result<Select> {
    if args.binary.is_some() {
        return Ok(args.select.clone());
    }
    report.doing("checking the feature `aws`");
    Ok(match feature::ensure(&args.select, &args.select.chosen()?, args.dry_run)? {
        Feature::On => args.select.clone(),
        Feature::TurnedOn(manifest) => {
            let manifest = manifest.display();
            report.note(&format!("feature    `aws` of {} turned on in {manifest}", feature::PACKAGE));
            args.select.clone()
        }
        Feature::Off(feature) => {
            report.note(&format!("feature    `aws` of {} would be turned on in Cargo.toml", feature::PACKAGE));
            args.select.with_feature(&feature)
        }
    })
}

fn built(args: &Args, select: &Select, host: &Host, report: &Report) -> Result<Built> {
    let chosen = select.chosen()?;
    let profile = match select.own_profile() {
        Some(own) => own,
        None => profile::of_program(select, &chosen)?,
    };
    build::build(
        host,
        args.target,
        |way| {
            let mut command = build::command(way);
            command.args(&profile);
            select.add_to(&mut command, &chosen);
            report.aside(|| program::built(command))
        },
        |note| report.note(note),
    )
}

async fn with_aws(args: &Args, site: &Site, program: &Program, directory: &Path) -> Result<()> {
    let deployed = steps(args, site, program).await;
    let concurrency = deployed.map_err(|error| match site.report.made() {
        None => error,
        Some(made) => anyhow!(
            "{error:#}\nchanged so far: {made}; run `cargo wren deploy` again to continue, or `cargo wren destroy \
             --name {}` to remove it",
            site.name
        ),
    })?;
    site.report.finish();
    let deployment = record(args, site, program, concurrency);
    if !args.dry_run {
        let path = Deployment::path(directory, deployment.endpoint.as_deref());
        if let Some(before) = Deployment::load(directory).ok().flatten().filter(|before| before.name != deployment.name)
        {
            let name = before.name;
            eprintln!(
                "the deployment {name}, which was recorded here before, still exists; remove it with `cargo wren \
                 destroy --name {name}`"
            );
        }
        let saved = deployment.save(directory);
        saved.with_context(|| format!("deployed, but cannot write {}; deploy again", path.display()))?;
    }
    show(args, &site.report, Some(&deployment), &site.account, &site.aws.region, &site.name, program)
}

/// Runs all steps in order: each one depends on those before it. Returns the account's concurrency limit.
async fn steps(args: &Args, site: &Site, program: &Program) -> Result<usize> {
    bucket::ensure(site, args.keep_days).await?;
    bucket::upload(site, &program.package).await?;
    role::ensure(site).await?;
    let code = functions::Program {
        key: bucket::code_key(site, &program.package),
        sha256: program.package.base64(),
        arch: args.target,
    };
    for lambda in &program.lambdas {
        log_groups::ensure(site, &lambda.name).await?;
        functions::ensure(site, lambda, &code).await?;
    }
    functions::remove_others(site, &program.lambdas).await?;
    let concurrency = match functions::concurrency(site).await? {
        Some(concurrency) => concurrency,
        None => {
            let assumed = limits::CONCURRENCY;
            site.report.note(&format!("           cannot read the account's concurrency limit; assuming {assumed}"));
            assumed
        }
    };
    if let Some(lambda) = program.lambdas.first().filter(|_| !args.no_verify && !args.dry_run) {
        verify::same(site, &lambda.name, &program.functions).await?;
        let count = functions::counted(&program.functions);
        site.report.note(&format!("verified   {} runs, with {count}", lambda.name));
    }
    Ok(concurrency)
}

fn record(args: &Args, site: &Site, program: &Program, concurrency: usize) -> Deployment {
    Deployment {
        format: FORMAT,
        name: site.name.to_string(),
        program: program.options.clone(),
        region: site.aws.region.clone(),
        account: site.account.clone(),
        endpoint: Deployment::endpoint_of_environment(),
        store: site.store(),
        role: site.role_arn(),
        lambdas: program.lambdas.clone(),
        code: Code {
            sha256: program.package.hex(),
            key: bucket::code_key(site, &program.package),
            bytes: program.package.zip.len() as u64,
            architecture: args.target.name().to_owned(),
        },
        keep_days: args.keep_days,
        concurrency,
        functions: program.functions.clone(),
        sources: program.sources.clone(),
        deployed_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    }
}

/// Shows the plan of a dry run that cannot reach AWS or has no credentials.
fn without_aws(args: &Args, name: &Name, program: &Program, report: &Report) -> Result<()> {
    let region = std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION"));
    let (account, region) = ("ACCOUNT", region.unwrap_or_else(|_| "REGION".to_owned()));
    let unknown = |part, name: &str| report.step(part, name, Change::Unknown, "it would be created if it is missing");
    unknown("bucket", &name::bucket(account, &region));
    unknown("program", &format!("{}code/{}.zip", name.prefix(), program.package.hex()));
    unknown("role", &name.role(&region));
    for lambda in &program.lambdas {
        unknown("log group", &name::log_group(&lambda.name));
        unknown("function", &lambda.name);
    }
    report.finish();
    show(args, report, None, account, &region, name, program)
}

fn show(
    args: &Args,
    report: &Report,
    deployment: Option<&Deployment>,
    account: &str,
    region: &str,
    name: &Name,
    program: &Program,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let policy = policy::permissions(name, account, region);
    if args.json {
        let package = json!({ "zip_bytes": program.package.zip.len(), "program_bytes": program.package.unpacked });
        let shown = json!({
            "dry_run": args.dry_run,
            "deployment": deployment,
            "steps": report.all(),
            "package": package,
            "policy": policy,
        });
        writeln!(out, "{shown}")?;
    } else if args.dry_run {
        writeln!(out, "{}", serde_json::to_string_pretty(&policy)?)?;
        eprintln!("nothing was changed; the role would have the permissions printed above");
    } else {
        eprintln!(
            "deployed {name}: {} in {}, {:.1} MB; run `cargo wren doctor` to check it",
            functions::counted(&program.functions),
            counted(program.lambdas.len(), "Lambda function"),
            program.package.zip.len() as f64 / 1e6
        );
    }
    Ok(())
}
