//! What tests build goes to one target folder, so that nothing is compiled twice.

#![allow(dead_code, reason = "every test uses its part")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Features of `examples` that every program which is deployed has. Builds for Lambda take long: so they share all but
/// the programs themselves.
pub(crate) const FEATURES: &str = "aws,data,rayon";

/// The workspace's own.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cargo-wren")).ancestors().nth(2).unwrap().to_owned()
}

/// A program that runs cargo, or is cargo, as from a terminal.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("CARGO_TARGET_DIR", target()).env("CARGO_NET_OFFLINE", "true");
    // Cargo sets these for tests. There are build scripts that run again where they differ, after which all that
    // depends on them is compiled again: now, and when the workspace is built next.
    let of_this_test =
        |name: &str| name == "OUT_DIR" || ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars().filter(|(name, _)| of_this_test(name)) {
        command.env_remove(name);
    }
    command
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
