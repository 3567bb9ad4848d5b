//! Selects a program of the workspace and builds it.

use std::fmt;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Dependency, DependencyKind, Message, Metadata, MetadataCommand, Package, TargetKind};

/// The default profile of programs that run on this machine, as an option of cargo.
pub(crate) const RELEASE: &str = "--release";

/// The options that select a program.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Select {
    /// Package of the program, if the workspace has several
    #[arg(short, long, value_name = "NAME")]
    package: Option<String>,
    /// Name of the binary, if the package has several
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    bin: Option<String>,
    /// Name of an example to use instead of a binary
    #[arg(long, value_name = "NAME")]
    example: Option<String>,
    /// Build with the dev profile instead of release
    #[arg(long)]
    debug: bool,
    /// Build with the given profile
    #[arg(long, value_name = "NAME", conflicts_with = "debug")]
    profile: Option<String>,
    /// Comma-separated list of the package's features to activate
    #[arg(short = 'F', long, value_name = "FEATURES")]
    features: Option<String>,
    /// Do not activate the package's default features
    #[arg(long)]
    no_default_features: bool,
    /// Path to `Cargo.toml`
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

/// A package that the program is built from, with its active features.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

/// Cargo failed to build the program and has printed the reason.
#[derive(Debug)]
pub(crate) struct DoesNotBuild;

impl fmt::Display for DoesNotBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program does not build")
    }
}

impl std::error::Error for DoesNotBuild {}

/// A program that cargo can build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    package: String,
    /// Cargo's package ID. Unlike the name, it never matches a dependency of the same name.
    id: String,
    kind: TargetKind,
    name: String,
}

impl Program {
    fn option(&self) -> &'static str {
        if self.kind == TargetKind::Example { "--example" } else { "--bin" }
    }

    /// Whether cargo writes this program to a path like `path`: `<profile>/<name>` or `<profile>/examples/<name>`.
    fn is_built_at(&self, path: &Path) -> bool {
        let folder = path.parent().and_then(Path::file_name);
        let is_example = folder.is_some_and(|folder| folder == "examples");
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == self.name)
            && is_example == (self.kind == TargetKind::Example)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-p {} {} {}", self.package, self.option(), self.name)
    }
}

/// A program that was selected by options or by default.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    program: Program,
}

impl Chosen {
    pub(crate) fn package(&self) -> &str {
        &self.program.package
    }

    pub(crate) fn name(&self) -> &str {
        &self.program.name
    }

    /// Returns the options of cargo that select this program.
    pub(crate) fn options(&self) -> String {
        self.program.to_string()
    }
}

/// Runs a build command and returns the path of the executable.
pub(crate) fn built(mut command: Command) -> Result<PathBuf> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut build = command.spawn().context("cannot start cargo")?;
    let messages = build.stdout.take().map(BufReader::new);
    let mut executable = None;
    for message in messages.into_iter().flat_map(Message::parse_stream) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot parse cargo's messages")? {
            executable = artifact.executable.or(executable);
        }
    }
    if !build.wait()?.success() {
        bail!(DoesNotBuild);
    }
    executable.map(PathBuf::from).context("cargo did not report an executable")
}

pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Select {
    /// Returns the `cargo build` or `cargo run` command for a program. `profile` is the default: the options
    /// `--debug` and `--profile` override it.
    pub(crate) fn cargo(&self, subcommand: &str, chosen: &Chosen, profile: Vec<String>) -> Command {
        let mut command = cargo();
        command.arg(subcommand);
        command.args(self.own_profile().unwrap_or(profile));
        self.add_to(&mut command, chosen);
        command
    }

    /// Builds the selected program and returns the path of the executable.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        built(self.cargo("build", &self.chosen()?, vec![RELEASE.to_owned()]))
    }

    /// Returns the profile that `--debug` or `--profile` sets, as arguments of cargo; `None` if neither was given.
    pub(crate) fn own_profile(&self) -> Option<Vec<String>> {
        match &self.profile {
            Some(profile) => Some(vec!["--profile".to_owned(), profile.clone()]),
            None => self.debug.then(Vec::new),
        }
    }

    /// Adds the options of cargo that select the program and its features.
    pub(crate) fn add_to(&self, command: &mut Command, chosen: &Chosen) {
        let program = &chosen.program;
        command.args(["-p", &program.id, program.option(), &program.name]);
        self.add_features_to(command);
    }

    fn add_features_to(&self, command: &mut Command) {
        command.args(self.features.iter().flat_map(|features| ["--features", features]));
        command.args(self.no_default_features.then_some("--no-default-features"));
        if let Some(path) = &self.manifest_path {
            command.arg("--manifest-path").arg(path);
        }
    }

    /// Returns a copy with one more feature.
    pub(crate) fn with_feature(&self, feature: &str) -> Self {
        let features = self.features.iter().map(String::as_str).chain([feature]).collect::<Vec<_>>().join(",");
        Self { features: Some(features), ..self.clone() }
    }

    /// Returns the packages that the program is built from, each with its active features.
    pub(crate) fn packages_of(&self, chosen: &Chosen) -> Result<Vec<Built>> {
        let program = &chosen.program;
        let edges = if program.kind == TargetKind::Example { "normal,build,dev" } else { "normal,build" };
        let mut command = cargo();
        command.args(["tree", "--package", &program.id, "--edges", edges, "--prefix", "none"]);
        command.args(["--format", "{p}\t{f}"]);
        self.add_features_to(&mut command);
        let output = command.output().context("cannot start cargo")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("cargo cannot resolve the dependencies: {}", reason.strip_prefix("error: ").unwrap_or(&reason));
        }
        let tree = String::from_utf8_lossy(&output.stdout);
        let package = |line: &str| {
            // Cargo marks the second occurrence of a package with `(*)` and leaves out its dependencies.
            let (package, features) = line.trim_end_matches(" (*)").split_once('\t')?;
            let name = package.split(' ').next()?.to_owned();
            Some(Built { name, features: features.split(',').map(str::to_owned).collect() })
        };
        let mut packages: Vec<_> = tree.lines().filter_map(package).collect();
        packages.sort_unstable();
        packages.dedup();
        Ok(packages)
    }

    /// Returns the path of the package's manifest, and its entry for the dependency `name` if it has one.
    pub(crate) fn dependency(&self, chosen: &Chosen, name: &str) -> Result<(PathBuf, Option<Dependency>)> {
        let metadata = self.metadata().context("cargo cannot read the workspace")?;
        let package = metadata.workspace_packages().into_iter().find(|package| package.name == chosen.program.package);
        let package = package.with_context(|| format!("the workspace has no package `{}`", chosen.program.package))?;
        let is_example = chosen.program.kind == TargetKind::Example;
        let counts = |kind| kind == DependencyKind::Normal || (is_example && kind == DependencyKind::Development);
        let named = package.dependencies.iter().filter(|dependency| dependency.name == name && counts(dependency.kind));
        // Prefer an entry for all targets to one for some targets, and a normal dependency to a dev-dependency.
        let found = named.min_by_key(|found| (found.kind != DependencyKind::Normal, found.target.is_some())).cloned();
        Ok((package.manifest_path.clone().into(), found))
    }

    /// Returns the program that the options select.
    pub(crate) fn chosen(&self) -> Result<Chosen> {
        let metadata = match self.metadata() {
            Ok(metadata) => metadata,
            Err(_) if self.is_outside()? => bail!(
                "could not find `Cargo.toml` in this folder or in any parent folder; change to the folder of a \
                 program, pass --manifest-path, or create a program with `cargo wren new`"
            ),
            Err(cargo_metadata::Error::CargoMetadata { stderr }) => {
                let reason = stderr.trim();
                bail!("cargo cannot read the workspace: {}", reason.strip_prefix("error: ").unwrap_or(reason))
            }
            Err(error) => return Err(error).context("cargo cannot read the workspace"),
        };
        Ok(Chosen { program: self.choose(&metadata)? })
    }

    /// Returns whether there is no manifest: none was given, and there is none where cargo looks for it.
    fn is_outside(&self) -> Result<bool> {
        let here = std::env::current_dir().context("cannot find the current folder")?;
        Ok(self.manifest_path.is_none() && !here.ancestors().any(|folder| folder.join("Cargo.toml").exists()))
    }

    fn metadata(&self) -> cargo_metadata::Result<Metadata> {
        let mut metadata = MetadataCommand::new();
        metadata.no_deps();
        if let Some(path) = &self.manifest_path {
            metadata.manifest_path(path);
        }
        metadata.exec()
    }

    /// Returns the program that the options select. Without options, returns the one that cargo builds at `recorded`;
    /// `None` if that executable belongs to another workspace or is a test.
    pub(crate) fn chosen_or_recorded(&self, recorded: &Path) -> Result<Option<Chosen>> {
        if self.package.is_some() || self.bin.is_some() || self.example.is_some() {
            return self.chosen().map(Some);
        }
        // Outside a workspace there is nothing to build.
        let Ok(metadata) = self.metadata() else { return Ok(None) };
        let programs: Vec<_> = metadata.workspace_packages().into_iter().flat_map(programs_of).collect();
        let fitting: Vec<_> = programs.iter().filter(|program| program.is_built_at(recorded)).collect();
        match fitting[..] {
            [] => Ok(None),
            [one] => Ok(Some(Chosen { program: one.clone() })),
            ref several => {
                let list: String = several.iter().map(|program| format!("\n    {program}")).collect();
                bail!("several programs have the name of the one that ran the job; choose one:{list}")
            }
        }
    }

    fn choose(&self, metadata: &Metadata) -> Result<Program> {
        let packages = self.packages(metadata)?;
        let programs: Vec<_> = packages.iter().copied().flat_map(programs_of).collect();
        let fits = |program: &&Program| match (&self.bin, &self.example) {
            (Some(name), _) => program.kind == TargetKind::Bin && program.name == *name,
            (_, Some(name)) => program.kind == TargetKind::Example && program.name == *name,
            (None, None) => program.kind == TargetKind::Bin,
        };
        let list = |programs: &[&Program]| programs.iter().map(|p| format!("\n    {p}")).collect::<String>();
        match *programs.iter().filter(fits).collect::<Vec<_>>() {
            [one] => Ok(one.clone()),
            [] if programs.is_empty() => bail!("no program found; add a `src/main.rs` or an example"),
            [] => bail!(
                "no program matches the options; available programs:{}",
                list(&programs.iter().collect::<Vec<_>>())
            ),
            ref several => {
                let default = packages.iter().find_map(|package| package.default_run.as_ref());
                match several.iter().find(|program| Some(&program.name) == default) {
                    Some(program) => Ok((*program).clone()),
                    None => bail!("several programs match; choose one:{}", list(several)),
                }
            }
        }
    }

    fn packages<'m>(&self, metadata: &'m Metadata) -> Result<Vec<&'m Package>> {
        let members = metadata.workspace_packages();
        if let Some(name) = &self.package {
            let named: Vec<_> = members.iter().copied().filter(|package| package.name == *name).collect();
            if named.is_empty() {
                let names: Vec<_> = members.iter().map(|package| package.name.as_str()).collect();
                bail!("the workspace has no package `{name}`; available packages: {}", names.join(", "));
            }
            return Ok(named);
        }
        // As for cargo: the package of this folder. In the root of a virtual workspace, all of its packages count.
        let here = match &self.manifest_path {
            Some(manifest) => std::path::absolute(manifest)?.parent().map(Path::to_owned).unwrap_or_default(),
            None => std::env::current_dir()?,
        };
        let here = here.canonicalize().unwrap_or(here);
        let is_around = |package: &Package| {
            let folder = package.manifest_path.parent().and_then(|folder| folder.canonicalize().ok());
            folder.is_some_and(|folder| here.starts_with(folder))
        };
        let around = members.iter().filter(|package| is_around(package));
        let nearest = around.max_by_key(|package| package.manifest_path.as_str().len());
        Ok(nearest.map_or(members.clone(), |package| vec![*package]))
    }
}

fn programs_of(package: &Package) -> Vec<Program> {
    let kinds = [TargetKind::Bin, TargetKind::Example];
    let of_kind = |kind: &TargetKind| {
        let targets = package.targets.iter().filter(|target| target.kind.contains(kind));
        let program = |name: &str| Program {
            package: package.name.to_string(),
            id: package.id.repr.clone(),
            kind: kind.clone(),
            name: name.to_owned(),
        };
        targets.map(|target| program(&target.name)).collect::<Vec<_>>()
    };
    kinds.iter().flat_map(of_kind).collect()
}
