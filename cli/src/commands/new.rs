//! `cargo wren new`: a project that compiles and runs at once.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::program::cargo;

const MAIN: &str = include_str!("../../templates/map/main.rs");

/// Create a project: a remote function, a map over many inputs, a test
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cargo wren new hello && cd hello && cargo run --release")]
pub(crate) struct Args {
    /// Folder of the project; it must not exist
    path: PathBuf,
    /// Name of its package; by default the folder's
    #[arg(long)]
    name: Option<String>,
    /// Folder of the wren crate to depend on; by default the one this command was built with, where
    /// it is still there, else the released version
    #[arg(long, value_name = "PATH")]
    wren: Option<PathBuf>,
}

pub(crate) fn new(args: &Args) -> Result<ExitCode> {
    let wren = dependency(args.wren.as_deref())?;
    // Cargo checks the name, begins a repository, and joins a workspace around it.
    let mut command = cargo();
    command.args(["new", "--quiet", "--bin"]).args(args.name.iter().flat_map(|name| ["--name", name]));
    let status = command.arg("--").arg(&args.path).status().context("cargo does not start")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let manifest = args.path.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).with_context(|| format!("{} is gone", manifest.display()))?;
    // `[dependencies]` is the last section that `cargo new` writes.
    text.push_str(&format!("serde = {{ version = \"1\", features = [\"derive\"] }}\nwren = {wren}\n"));
    fs::write(&manifest, text)?;
    fs::write(args.path.join("src/main.rs"), MAIN)?;
    let folder = args.path.display();
    writeln!(io::stdout(), "created {folder}; next:\n    cd {folder}\n    cargo run --release\n    cargo test")?;
    Ok(ExitCode::SUCCESS)
}

/// What `Cargo.toml` says of wren.
fn dependency(given: Option<&Path>) -> Result<String> {
    let built_with = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime");
    let folder = match given {
        Some(given) => given.to_owned(),
        None if built_with.join("Cargo.toml").is_file() => built_with,
        None => return Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))),
    };
    let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
    Ok(format!("{{ path = {:?} }}", folder.display().to_string()))
}
