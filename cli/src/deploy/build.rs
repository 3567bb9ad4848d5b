//! Builds programs for Amazon Linux 2023: the ways in which this machine can do it, and cargo's command line for each.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Arch;
use super::elf::{self, GLIBC};
use crate::program::cargo;

/// The properties of this machine that decide how it builds for Lambda.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// The target triple of the machine, such as `x86_64-unknown-linux-gnu`.
    pub(crate) triple: String,
    /// Targets whose standard library is installed.
    pub(crate) targets: Vec<String>,
    /// Whether `cargo zigbuild` is installed.
    pub(crate) zigbuild: bool,
}

/// A way to build a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildMethod {
    /// With cargo only, for this machine.
    Plain,
    /// With `cargo zigbuild`, for the glibc of Amazon Linux 2023.
    Zig(Arch),
    /// With musl instead of glibc, by cargo or by `cargo zigbuild`.
    Musl { arch: Arch, zig: bool },
}

impl Host {
    /// Determines the properties of this machine from rustc and PATH.
    pub(crate) fn here() -> Result<Self> {
        let version = rustc(&["-vV"])?;
        let triple = version.lines().find_map(|line| line.strip_prefix("host: "));
        let triple = triple.context("rustc does not print its host triple; check `rustc -vV`")?.to_owned();
        let libraries = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib");
        let entries = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
        let installed = entries.filter(|entry| entry.path().join("lib").is_dir());
        let targets = installed.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        Ok(Self { triple, targets, zigbuild: is_on_path("cargo-zigbuild") })
    }

    /// Returns whether Linux programs for that architecture run here.
    pub(crate) fn runs(&self, arch: Arch) -> bool {
        self.triple.starts_with(&format!("{}-", arch.cpu())) && self.triple.contains("-linux-")
    }

    fn has(&self, target: &str) -> bool {
        self.targets.iter().any(|installed| installed == target)
    }

    /// Returns all ways to build, the best one first. The others are for programs that would need too new a glibc when
    /// they are built in the first way.
    pub(crate) fn ways(&self, arch: Arch) -> Vec<BuildMethod> {
        let musl = musl(arch);
        let plain = self.runs(arch).then_some(BuildMethod::Plain);
        let zig = (self.zigbuild && self.has(arch.triple())).then_some(BuildMethod::Zig(arch));
        let musl = self.has(&musl).then_some(BuildMethod::Musl { arch, zig: self.zigbuild });
        [plain, zig, musl].into_iter().flatten().collect()
    }

    /// Returns the error message if there is no way to build, with the fix.
    pub(crate) fn no_method(&self, arch: Arch) -> String {
        let triple = arch.triple();
        let other = Arch::ALL.into_iter().find(|other| *other != arch && !self.ways(*other).is_empty());
        let other = other.map_or_else(String::new, |other| format!(", or deploy with `--target {other}`"));
        let add = if self.has(triple) { String::new() } else { format!(" and `rustup target add {triple}`") };
        format!(
            "this machine ({}) cannot build for Linux on {arch}; install `cargo-zigbuild` and zig (`pip install \
             cargo-zigbuild ziglang`){add}{other}",
            self.triple
        )
    }
}

fn musl(arch: Arch) -> String {
    format!("{}-unknown-linux-musl", arch.cpu())
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(arguments).output().context("cannot start rustc; install Rust")?;
    String::from_utf8(output.stdout).context("the output of rustc is not UTF-8")
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    std::env::split_paths(&path).chain(home).any(|folder| folder.join(program).is_file())
}

impl BuildMethod {
    /// Returns cargo's subcommand and its arguments.
    pub(crate) fn arguments(self) -> Vec<String> {
        let arguments: Vec<String> = match self {
            BuildMethod::Plain => vec!["build".into()],
            BuildMethod::Zig(arch) => vec!["zigbuild".into(), "--target".into(), format!("{}.{GLIBC}", arch.triple())],
            BuildMethod::Musl { arch, zig } => {
                let subcommand = if zig { "zigbuild" } else { "build" };
                vec![subcommand.into(), "--target".into(), musl(arch)]
            }
        };
        arguments
    }

    /// Describes the way, for messages.
    pub(crate) fn describe(self) -> String {
        let untested = |arch| if arch == Arch::Arm64 { " (arm64 is untested)" } else { "" };
        match self {
            BuildMethod::Plain => "with cargo".to_owned(),
            BuildMethod::Zig(arch) => format!("with cargo zigbuild for glibc {GLIBC}{}", untested(arch)),
            BuildMethod::Musl { arch, zig: true } => format!("with cargo zigbuild for musl{}", untested(arch)),
            BuildMethod::Musl { arch, zig: false } => format!("with cargo for musl{}", untested(arch)),
        }
    }
}

/// A program that will start on Amazon Linux 2023.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a program and checks that it will start on Amazon Linux 2023.
pub(crate) fn read(path: &Path, arch: Arch) -> Result<Built> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    elf::check(&bytes, arch).with_context(|| format!("cannot deploy {}", path.display()))?;
    Ok(Built { path: path.to_owned(), bytes })
}

/// Builds a program, trying each way in turn until the result will start on Amazon Linux 2023.
///
/// `build` runs cargo, and `note` prints a line when a different way is tried.
pub(crate) fn build(
    host: &Host,
    arch: Arch,
    mut build: impl FnMut(BuildMethod) -> Result<PathBuf>,
    mut note: impl FnMut(&str),
) -> Result<Built> {
    let ways = host.ways(arch);
    if ways.is_empty() {
        bail!(host.no_method(arch));
    }
    let mut refused = None;
    for way in ways {
        if refused.is_some() {
            note(&format!("the program would not start with glibc {GLIBC}; building it again {}", way.describe()));
        } else if way != BuildMethod::Plain {
            note(&format!("building {}", way.describe()));
        }
        match read(&build(way)?, arch) {
            Err(error) if error.downcast_ref::<elf::Refusal>().is_some_and(|r| r.may_be_fixed_by_another_build()) => {
                refused = Some(error);
            }
            built => return built,
        }
    }
    refused.map_or_else(|| bail!(host.no_method(arch)), Err)
}

/// Returns the place of compiler flags that optimize for the processor of this machine: the name of a variable, or the
/// path of a cargo configuration file.
pub(crate) fn native_flags() -> Option<String> {
    // Cargo uses the first variable that is set, and the configuration files only if neither is set.
    let variables = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"];
    if let Some((name, flags)) = variables.iter().find_map(|name| Some((name, std::env::var(name).ok()?))) {
        return is_native(&flags).then(|| (*name).to_owned());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let folders = here.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    let mut files = folders.flat_map(|folder| [folder.join("config.toml"), folder.join("config")]);
    let native = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| is_native(&text));
    files.find(native).map(|path| path.display().to_string())
}

/// Returns whether flags or a configuration file select the native processor, outside comments.
fn is_native(text: &str) -> bool {
    text.lines().any(|line| line.split('#').next().is_some_and(|line| line.contains("target-cpu=native")))
}

/// Returns a `cargo` command with the way's subcommand and arguments.
pub(crate) fn command(way: BuildMethod) -> Command {
    let mut command = cargo();
    command.args(way.arguments());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(triple: &str, targets: &[&str], zigbuild: bool) -> Host {
        let targets = [triple].iter().chain(targets).map(|target| (*target).to_owned()).collect();
        Host { triple: triple.to_owned(), targets, zigbuild }
    }

    /// Returns the command lines that a host has for a target, the best one first.
    fn lines(host: &Host, arch: Arch) -> Vec<String> {
        host.ways(arch).into_iter().map(|way| way.arguments().join(" ")).collect()
    }

    const LINUX: &str = "x86_64-unknown-linux-gnu";
    const ARM_LINUX: &str = "aarch64-unknown-linux-gnu";
    const MAC: &str = "aarch64-apple-darwin";
    const ALPINE: &str = "x86_64-unknown-linux-musl";
    const ZIG_X86: &str = "zigbuild --target x86_64-unknown-linux-gnu.2.34";
    const ZIG_ARM: &str = "zigbuild --target aarch64-unknown-linux-gnu.2.34";

    #[test]
    fn every_host_has_its_command_lines() {
        use Arch::{Arm64, X86_64};
        let none: [&str; 0] = [];
        let bare = host(LINUX, &[], false);
        assert_eq!(lines(&bare, X86_64), ["build"]);
        assert_eq!(lines(&bare, Arm64), none);
        let zig = host(LINUX, &[ARM_LINUX], true);
        assert_eq!(lines(&zig, X86_64), ["build", ZIG_X86]);
        assert_eq!(lines(&zig, Arm64), [ZIG_ARM]);
        let musl = host(LINUX, &[ALPINE, "aarch64-unknown-linux-musl"], false);
        assert_eq!(lines(&musl, X86_64), ["build", "build --target x86_64-unknown-linux-musl"]);
        assert_eq!(lines(&musl, Arm64), ["build --target aarch64-unknown-linux-musl"]);
        let arm = host(ARM_LINUX, &[LINUX], true);
        assert_eq!(lines(&arm, Arm64), ["build", ZIG_ARM]);
        assert_eq!(lines(&arm, X86_64), [ZIG_X86]);
        let mac = host(MAC, &[LINUX, ALPINE], true);
        assert_eq!(lines(&mac, X86_64), [ZIG_X86, "zigbuild --target x86_64-unknown-linux-musl"]);
        assert_eq!(lines(&mac, Arm64), none);
        assert_eq!(lines(&host(MAC, &[LINUX], false), X86_64), none);
        assert_eq!(lines(&host(ALPINE, &[], false), X86_64), ["build", "build --target x86_64-unknown-linux-musl"]);
    }

    #[test]
    fn hosts_that_cannot_build_name_a_fix() {
        let bare = host(LINUX, &[], false).no_method(Arch::Arm64);
        assert!(bare.contains("cargo-zigbuild") && bare.contains("rustup target add aarch64"), "{bare}");
        assert!(bare.ends_with("or deploy with `--target x86_64`"), "{bare}");
        let mac = host(MAC, &[], false).no_method(Arch::X86_64);
        assert!(mac.contains(MAC) && !mac.contains("--target x86_64`"), "{mac}");
    }

    #[test]
    fn arm_is_reported_as_untested() {
        for way in [BuildMethod::Zig(Arch::Arm64), BuildMethod::Musl { arch: Arch::Arm64, zig: true }] {
            assert!(way.describe().ends_with("(arm64 is untested)"), "{}", way.describe());
        }
        assert_eq!(BuildMethod::Zig(Arch::X86_64).describe(), "with cargo zigbuild for glibc 2.34");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn programs_needing_a_new_glibc_are_rebuilt() {
        use super::elf::tests::{HERE, own, with_new_glibc};
        if elf::check(&own(), HERE).is_err() {
            // This machine's own glibc is too new.
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| folder.path().join(name));
        std::fs::write(&new, with_new_glibc(own())).unwrap();
        std::fs::write(&old, own()).unwrap();
        let program = |way| Ok(if way == BuildMethod::Plain { new.clone() } else { old.clone() });
        let mut notes = Vec::new();
        let zig = host(HERE.triple(), &[], true);
        let built = build(&zig, HERE, program, |note| notes.push(note.to_owned())).unwrap();
        assert_eq!(built.path, old);
        let expected = "the program would not start with glibc 2.34; building it again with cargo zigbuild";
        assert!(notes.len() == 1 && notes[0].starts_with(expected), "{notes:?}");
        // Without another way to build, the first refusal is the result.
        let refused = build(&host(HERE.triple(), &[], false), HERE, program, |_| {}).unwrap_err();
        assert!(format!("{refused:#}").contains("pip install cargo-zigbuild ziglang"), "{refused:#}");
    }

    #[test]
    fn machine_specific_flags_are_noticed() {
        assert!(is_native("[build]\nrustflags = [\"-C\", \"target-cpu=native\"]"));
        assert!(is_native("-Ctarget-cpu=native"));
        assert!(!is_native("# rustflags = [\"-Ctarget-cpu=native\"]\n[build]\njobs = 2"));
    }

    #[test]
    fn this_host_is_known() {
        let host = Host::here().unwrap();
        assert!(host.has(&host.triple), "{host:?}");
    }
}
