//! `cargo wren new`: creates a project that compiles and runs right away.

mod name;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::program::cargo;

/// The initial program of a project.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Template {
    /// A remote function, mapped over many inputs
    Map,
    /// A MapReduce over files
    Mapreduce,
    /// A parameter server: several processes update the same numbers
    Params,
}

impl Template {
    /// Returns the source of `src/main.rs`.
    fn main(self) -> &'static str {
        match self {
            Template::Map => include_str!("../../templates/map/main.rs"),
            Template::Mapreduce => include_str!("../../templates/mapreduce/main.rs"),
            Template::Params => include_str!("../../templates/params/main.rs"),
        }
    }

    /// Returns the features of wren that the program needs in addition to the default ones.
    fn features(self) -> &'static [&'static str] {
        match self {
            Template::Map | Template::Mapreduce => &[],
            Template::Params => &["kv"],
        }
    }
}

/// Create a project that compiles and runs right away, with a test
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren new hello && cd hello && cargo run --release\n  \
                        cargo wren new --template mapreduce words")]
pub(crate) struct Args {
    /// Folder of the project; it must not exist yet
    path: PathBuf,
    /// Program to start with
    #[arg(short, long, value_enum, default_value_t = Template::Map)]
    template: Template,
    /// Name of the package; defaults to the name of the folder
    #[arg(long)]
    name: Option<String>,
    /// Folder of the wren crate to depend on; defaults to the one that this command was built from, if it still
    /// exists, or else to the released version
    #[arg(long, value_name = "PATH")]
    wren: Option<PathBuf>,
}

/// The end of `Cargo.toml` for a project outside a workspace. With full debug information, a program that includes
/// AWS's SDK has 307 MB (2026-11), and Lambda accepts 250 MB.
const PROFILE: &str = r#"
# Without optimization, arguments and results are encoded and decoded at a fraction of the speed, because that code is
# compiled with the program. Line tables are enough for backtraces; full debug information makes builds slow and programs
# too large for AWS Lambda.
[profile.dev]
opt-level = 1
debug = "line-tables-only"

[profile.dev.package."*"]
debug = false
"#;

pub(crate) fn new(args: &Args) -> Result<ExitCode> {
    // Checked before cargo runs, so that a rejected name leaves no files behind, and in wren's words.
    if args.path.exists() {
        bail!(
            "{} already exists; choose another folder, or add wren to a project with `cargo add wren-cloud` and `cargo \
             add serde --features derive` in its folder",
            args.path.display()
        );
    }
    let folder_name = || args.path.file_name().and_then(OsStr::to_str);
    if let Some(name) = args.name.as_deref().or_else(folder_name) {
        name::check(name, &args.path)?;
    }
    let source = source(args.wren.as_deref())?;
    if let Some(source) = &source {
        outside_of_checkout(&args.path, source)?;
    }
    let wren = dependency(source.as_deref(), args.template.features());
    // Cargo checks the name, creates a repository, and adds the project to a surrounding workspace.
    let mut command = cargo();
    command.args(["new", "--quiet", "--bin"]).args(args.name.iter().flat_map(|name| ["--name", name]));
    let status = command.arg("--").arg(&args.path).status().context("cannot start cargo")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let manifest = args.path.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    // In a workspace, cargo may have added sections after this one.
    let section = "[dependencies]\n";
    let end = text.find(section).map(|at| at + section.len());
    let end =
        end.with_context(|| format!("{} has no section [dependencies]; add it, with wren-cloud", manifest.display()))?;
    text.insert_str(end, &format!("serde = {{ version = \"1\", features = [\"derive\"] }}\nwren-cloud = {wren}\n"));
    let workspace = workspace_around(&args.path, &manifest);
    if workspace.is_none() {
        text.push_str(PROFILE);
    }
    fs::write(&manifest, text)?;
    fs::write(args.path.join("src/main.rs"), args.template.main())?;
    ignore_own_folder(&args.path)?;
    if let Some(root) = workspace {
        let root = root.display();
        eprintln!(
            "note: the project is now a member of the workspace in {root}, and the Cargo.toml of the workspace was \
             changed; for a separate project, undo that change and create the project in another folder"
        );
    }
    let folder = args.path.display();
    writeln!(io::stdout(), "created {folder}; next:\n    cd {folder}\n    cargo run --release\n    cargo test")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the root of the workspace that the project is now a member of, if there is one.
fn workspace_around(project: &Path, manifest: &Path) -> Option<PathBuf> {
    let metadata = MetadataCommand::new().no_deps().manifest_path(manifest).exec().ok()?;
    let root = PathBuf::from(metadata.workspace_root);
    (root.canonicalize().ok()? != project.canonicalize().ok()?).then_some(root)
}

/// Adds `.wren` to the project's `.gitignore`, next to cargo's `target`. Without a new repository, cargo writes no
/// `.gitignore`; `.wren` has one of its own then.
fn ignore_own_folder(project: &Path) -> Result<()> {
    let path = project.join(".gitignore");
    if !path.is_file() {
        return Ok(());
    }
    let append = || File::options().append(true).open(&path)?.write_all(b"/.wren\n");
    append().with_context(|| format!("cannot write {}; add the line `/.wren` to it", path.display()))
}

/// Returns the folder of the wren crate that the project depends on; `None` for the released version.
fn source(given: Option<&Path>) -> Result<Option<PathBuf>> {
    let built_with = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime");
    let folder = match given {
        Some(given) => given.to_owned(),
        None if built_with.join("Cargo.toml").is_file() => built_with,
        None => return Ok(None),
    };
    folder.canonicalize().map(Some).with_context(|| format!("folder {} does not exist", folder.display()))
}

/// Refuses a folder inside of the checkout of wren: cargo would add the project to wren's own workspace.
fn outside_of_checkout(project: &Path, source: &Path) -> Result<()> {
    let Some(checkout) = source.parent() else { return Ok(()) };
    let manifest = fs::read_to_string(checkout.join("Cargo.toml")).unwrap_or_default();
    // The source of wren may also be a member of another workspace, which projects may join.
    let is_wrens = manifest.contains(concat!("repository = \"", env!("CARGO_PKG_REPOSITORY"), "\""));
    let project = std::path::absolute(project).context("cannot read the working directory")?;
    let existing = project.ancestors().find_map(|folder| folder.canonicalize().ok());
    if is_wrens && existing.is_some_and(|folder| folder.starts_with(checkout)) {
        let beside = checkout.with_file_name(project.file_name().unwrap_or_default());
        bail!(
            "{} is a checkout of wren, and a project in it would become part of wren's own workspace; create it \
             elsewhere, for instance with `cargo wren new {}`",
            checkout.display(),
            beside.display()
        );
    }
    Ok(())
}

/// Returns the value of the dependency on wren in `Cargo.toml`.
fn dependency(source: Option<&Path>, features: &[&str]) -> String {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let source = match source {
        Some(folder) => format!("path = {:?}", folder.display().to_string()),
        None if features.is_empty() => return format!("{VERSION:?}"),
        None => format!("version = {VERSION:?}"),
    };
    let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
    format!("{{ {source}{features} }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_name_wrens_place_and_features() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(dependency(None, &[]), format!("\"{version}\""));
        assert_eq!(dependency(None, &["kv"]), format!("{{ version = \"{version}\", features = [\"kv\"] }}"));
        let folder = Path::new("/wren/runtime");
        assert_eq!(dependency(Some(folder), &[]), "{ path = \"/wren/runtime\" }");
        assert_eq!(dependency(Some(folder), &["kv"]), "{ path = \"/wren/runtime\", features = [\"kv\"] }");
    }
}
