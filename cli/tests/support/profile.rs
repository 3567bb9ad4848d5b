//! One target folder for all that tests build.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's own.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cargo-wren")).ancestors().nth(2).unwrap().to_owned()
}

/// Gives projects below `folder` the workspace's dev profile, without which all that they depend on would be built
/// again for them.
pub(crate) fn share(folder: &Path) {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml")).unwrap();
    let (_, profile) = manifest.split_once("[profile.dev]").unwrap();
    let (profile, _) = profile.split_once("# What waits for").unwrap();
    // A package that a project has not would be warned of.
    let lines = profile.lines().filter(|line| !line.starts_with("examples."));
    let profile: String = lines.map(|line| format!("{line}\n")).collect();
    fs::create_dir_all(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), format!("[profile.dev]{profile}")).unwrap();
}
