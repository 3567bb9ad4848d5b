//! Sets the command's version: `0.1.0 (abc123def 2026-11-27)` in a checkout of wren, and `0.1.0` anywhere else.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let checkout = Checkout::find();
    let commit = checkout.as_ref().and_then(Checkout::commit).map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=VERSION_AND_COMMIT={}{commit}", env!("CARGO_PKG_VERSION"));
    for file in checkout.iter().flat_map(Checkout::files_that_change_with_the_commit) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
}

/// The root folder of wren's own repository.
struct Checkout(PathBuf);

impl Checkout {
    /// Finds the checkout that this package is in. A published package returns `None`: it may have been unpacked into
    /// an unrelated repository, whose commits have nothing to do with wren.
    fn find() -> Option<Self> {
        let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
        if package.join("Cargo.toml.orig").exists() {
            return None;
        }
        let checkout = Self(package.parent()?.canonicalize().ok()?);
        let root = checkout.git(&["rev-parse", "--show-toplevel"])?;
        (Path::new(&root).canonicalize().ok()? == checkout.0).then_some(checkout)
    }

    /// Returns the hash and the date of the current commit: `abc123def 2026-11-27`.
    fn commit(&self) -> Option<String> {
        let line = self.git(&["log", "-1", "--no-show-signature", "--abbrev=9", "--date=short", "--format=%h %cd"])?;
        let is_valid = !line.is_empty() && line.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '-');
        is_valid.then_some(line)
    }

    /// Returns the files that change with every commit. Only existing ones: cargo would run this script before every
    /// build if one of them were missing.
    fn files_that_change_with_the_commit(&self) -> Vec<PathBuf> {
        let branch = self.git(&["symbolic-ref", "--quiet", "HEAD"]);
        let names = ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref());
        let paths = names.filter_map(|name| Some(self.0.join(self.git(&["rev-parse", "--git-path", name])?)));
        paths.filter(|path| path.is_file()).collect()
    }

    /// Runs git and returns its output; `None` if git is not installed or fails.
    fn git(&self, arguments: &[&str]) -> Option<String> {
        let mut git = Command::new("git");
        // A git hook that builds this package would point these at its own repository.
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        let output = git.arg("-C").arg(&self.0).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }
}
