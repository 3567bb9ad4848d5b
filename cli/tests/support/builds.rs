//! Makes tests build into one target folder, so that nothing is compiled twice.

#![allow(dead_code, reason = "each test uses only some of it")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Features of `examples` for all deployed programs. Builds for Lambda take long; with the same features, they share
/// everything except the programs themselves.
pub(crate) const FEATURES: &str = "aws,data,rayon";

/// Returns the target folder of the workspace.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cargo-wren")).ancestors().nth(2).unwrap().to_owned()
}

/// Returns a command for cargo, or for a program that runs cargo, with the environment of a terminal.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("CARGO_TARGET_DIR", target()).env("CARGO_NET_OFFLINE", "true");
    // Cargo sets these for tests. If they differ, some build scripts run again, and everything that depends on those is
    // compiled again: now, and in the next build of the workspace.
    let of_this_test =
        |name: &str| name == "OUT_DIR" || ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars().filter(|(name, _)| of_this_test(name)) {
        command.env_remove(name);
    }
    command
}

/// Gives projects below `folder` the workspace's dev profile. Without it, their dependencies would be built again, also
/// for the level of optimization that `cargo wren new` writes.
pub(crate) fn share(folder: &Path) {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml")).unwrap();
    let (_, profile) = manifest.split_once("[profile.dev]").unwrap();
    let (profile, _) = profile.split_once("[profile.release").unwrap();
    // Cargo would warn about a package that a project does not have.
    let lines = profile.lines().filter(|line| !line.starts_with("examples."));
    let profile: String = lines.map(|line| format!("{line}\n")).collect();
    fs::create_dir_all(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), format!("[profile.dev]\nopt-level = 0{profile}")).unwrap();
}
