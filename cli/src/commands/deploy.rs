//! `cargo wren deploy`: the program to AWS.

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
use crate::deploy::{Arch, Site, bucket, counted, functions, log_groups, policy, profile, role, verify};
use crate::listing;
use crate::program::{self, Select};

/// How long objects are kept where nothing is said.
const KEEP_DAYS: i32 = 30;

/// Deploy a program to AWS Lambda and S3
///
/// Builds the program for Amazon Linux 2023 with a profile of its own (release without LTO, so that
/// the next deploy takes seconds; --profile takes another), looks whether it will start there, and
/// makes or updates what it needs: a private bucket, a role that may reach nothing else, and a Lambda
/// function for each pair of memory and timeout among its remote functions. What is as it should be
/// is left alone, so that it may be run as often as one likes. Credentials and region are those of
/// the AWS tools: AWS_PROFILE, AWS_REGION, and so on. `cargo wren destroy` removes all of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren deploy\n  cargo wren deploy --example sweep --dry-run\n  \
                        AWS_REGION=eu-central-1 cargo wren deploy --name sweep-2 --keep-days 7")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Name of the deployment, of a-z, 0-9 and -; by default made of the package's and the program's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Processor; arm64 is cheaper, and not verified
    #[arg(long, value_name = "PROCESSOR", value_enum, default_value_t = Arch::X86_64)]
    target: Arch,
    /// Days after which objects of the deployment expire: arguments, results, uploaded programs
    #[arg(long, value_name = "N", default_value_t = KEEP_DAYS, value_parser = clap::value_parser!(i32).range(1..))]
    keep_days: i32,
    /// Show what would be done and the role's rights, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: `deployment`, `steps`, `package`
    #[arg(long)]
    json: bool,
    /// A program that is built already
    #[arg(long, value_name = "PATH", hide = true)]
    binary: Option<PathBuf>,
    /// What the program says of its remote functions, where it cannot be asked
    #[arg(long, value_name = "PATH", hide = true)]
    registry: Option<PathBuf>,
    /// Do not call what was deployed: for stand-ins that run no programs
    #[arg(long, hide = true)]
    no_verify: bool,
}

impl Args {
    /// For a program that is not deployed yet.
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

    /// For a program that is deployed: as it was deployed before.
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

/// What is deployed.
struct Program {
    /// As options of cargo, or the path of one that was built already.
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
        // Known before a build of minutes.
        let name = name_of(args)?;
        let identity = identity(&report).await;
        if !args.dry_run {
            identity.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        }
        let program = program(args, &name, &report)?;
        match identity {
            Ok((aws, account)) => {
                let site = Site { aws, account, name, dry_run: args.dry_run, report };
                with_aws(args, &site, &program, &directory).await
            }
            Err(error) => without_aws(args, &name, &program, &report, &error),
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
    report.doing("asking AWS who you are");
    let aws = Aws::open().await?;
    let account = aws.account().await?;
    report.note(&format!("account    {account}, region {}", aws.region));
    Ok((aws, account))
}

/// Builds, checks, asks and packs the program.
fn program(args: &Args, name: &Name, report: &Report) -> Result<Program> {
    if let Some(place) = build::native_flags().filter(|_| args.binary.is_none()) {
        bail!(
            "{place} asks for target-cpu=native, and Lambda's processors are others: the program might die there; name \
             one that they are, as in `RUSTFLAGS='-C target-cpu=x86-64-v3' cargo wren deploy`"
        );
    }
    let host = Host::here()?;
    let select = with_aws_feature(args, report)?;
    report.doing("building");
    let built = match &args.binary {
        Some(path) => build::read(path, args.target)?,
        None => built(args, &select, &host, report)?,
    };
    report.doing("asking the program for its remote functions");
    let answer = match &args.registry {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
        None if host.runs(args.target) => listing::ask(&built.path)?,
        // It does not run here: the same program for this machine does.
        None => listing::ask(&report.aside(|| select.build())?)?,
    };
    let functions: Vec<_> = listing::parse(&answer)?.functions.iter().map(listing::Function::deployed).collect();
    if functions.is_empty() {
        bail!("the program has no remote function to deploy; put `#[wren::remote]` on one");
    }
    // A sort is all that some programs need.
    if functions.iter().all(|function| is_wrens(&function.name)) {
        report.note("functions  no `#[wren::remote]` of its own: the program can sort there, and split inputs");
    }
    report.doing("packing");
    let package = Package::of(&built.bytes)?;
    let lambdas = functions::needed(name, &functions);
    let options = match &args.binary {
        Some(path) => path.display().to_string(),
        None => args.select.chosen()?.options(),
    };
    let sources = Source::of_program(&built.path);
    Ok(Program { options, package, functions, lambdas, sources })
}

/// Has the program built with what runs on AWS, from the first deploy on.
fn with_aws_feature(args: &Args, report: &Report) -> Result<Select> {
    if args.binary.is_some() {
        return Ok(args.select.clone());
    }
    report.doing("looking for the feature `aws`");
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
            "{error:#}\nmade so far: {made}; `cargo wren deploy` again goes on from there, and `cargo wren destroy \
             --name {}` removes it",
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
                "the deployment {name} was recorded here before; it is still there: `cargo wren destroy --name {name}`"
            );
        }
        let saved = deployment.save(directory);
        saved.with_context(|| format!("all is deployed, but {} cannot be written; deploy again", path.display()))?;
    }
    show(args, &site.report, Some(&deployment), &site.account, &site.aws.region, &site.name, program)
}

/// Every step, in the order in which each needs the ones before. Gives the account's concurrency.
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
            site.report.note(&format!("           the account's concurrency is not told; {assumed} is assumed"));
            assumed
        }
    };
    if let Some(lambda) = program.lambdas.first().filter(|_| !args.no_verify && !args.dry_run) {
        verify::same(site, &lambda.name, &program.functions).await?;
        let count = functions::counted(&program.functions);
        site.report.note(&format!("verified   {} answers, with {count}", lambda.name));
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

/// The plan of a dry run that AWS could not be asked for.
fn without_aws(args: &Args, name: &Name, program: &Program, report: &Report, error: &anyhow::Error) -> Result<()> {
    let region = std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION"));
    let (account, region) = ("ACCOUNT", region.unwrap_or_else(|_| "REGION".to_owned()));
    report.note(&format!("account    unknown: {error:#}"));
    let unknown = |part, name: &str| report.step(part, name, Change::Unknown, "it may be there, or would be created");
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
        eprintln!("nothing was changed; these are the rights that the role would have");
    } else {
        eprintln!(
            "deployed {name}: {} in {}, {:.1} MB; `cargo wren doctor` looks whether all is well",
            functions::counted(&program.functions),
            counted(program.lambdas.len(), "Lambda function"),
            program.package.zip.len() as f64 / 1e6
        );
    }
    Ok(())
}
