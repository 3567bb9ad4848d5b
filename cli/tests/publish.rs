//! Checks that the packages can be published: the packed crates build elsewhere, and their metadata is correct.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/builds.rs"]
mod builds;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_metadata::semver::Version;
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

/// The packages, in the order in which they are published: each needs those before it.
const PUBLISHED: [&str; 4] = ["wren-macros", "wren-cloud", "wren-emulator", "cargo-wren"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

fn metadata() -> Metadata {
    let mut metadata = MetadataCommand::new();
    metadata.current_dir(root()).features(CargoOpt::AllFeatures).other_options(["--locked".to_owned()]);
    metadata.exec().unwrap()
}

#[test]
fn every_package_has_registry_metadata() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let published = package.publish.as_ref().is_none_or(|registries| !registries.is_empty());
        assert_eq!(published, PUBLISHED.contains(&package.name.as_str()), "{}", package.name);
        if !published {
            continue;
        }
        let name = &package.name;
        assert!(package.description.as_ref().is_some_and(|text| text.len() > 20), "{name}");
        assert_eq!(package.license.as_deref(), Some("MIT OR Apache-2.0"), "{name}");
        assert!(
            package.repository.is_some() && package.homepage.is_some() && package.documentation.is_some(),
            "{name}"
        );
        // crates.io accepts at most five keywords, of at most twenty letters.
        assert!((1..=5).contains(&package.keywords.len()), "{name}");
        assert!(package.keywords.iter().all(|keyword| keyword.len() <= 20), "{name}");
        assert!((1..=5).contains(&package.categories.len()), "{name}");
        let folder = package.manifest_path.parent().unwrap();
        assert!(folder.join(package.readme.as_ref().unwrap()).is_file(), "{name}");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(licence).is_file(), "{name} has no {licence}");
        }
    }
}

#[test]
fn the_rust_version_is_the_highest_required_one() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let stated: Vec<_> = members.iter().map(|member| member.rust_version.clone().unwrap()).collect();
    assert!(stated.iter().all(|version| *version == stated[0]), "{stated:?}");
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let asked = metadata.packages.iter().filter(|package| !is_member(&package.name));
    let asked: Vec<_> = asked.filter_map(|p| Some((p.rust_version.clone()?, p.name.to_string()))).collect();
    let (highest, package): &(Version, String) = asked.iter().max().unwrap();
    assert_eq!(highest, &stated[0], "`rust-version` in Cargo.toml is not the version that {package} requires");
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy of the workspace in which the packed crates replace the packages. Because the members are the same, all
/// dependencies have the same features and are compiled already.
struct Packed {
    folder: tempfile::TempDir,
}

impl Packed {
    fn new() -> Self {
        let packed = Self { folder: tempfile::tempdir().unwrap() };
        let folder = packed.workspace();
        fs::create_dir(&folder).unwrap();
        let target = folder.join("target");
        let mut pack =
            vec!["package", "--no-verify", "--allow-dirty", "--locked", "--target-dir", target.to_str().unwrap()];
        pack.extend(PUBLISHED.iter().flat_map(|name| ["--package", name]));
        succeeded(&builds::command("cargo").args(pack).current_dir(root()).output().unwrap());
        let mut manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap().to_owned();
        manifest = manifest.replace(
            &members,
            &format!("members = {:?}", [&PUBLISHED.map(versioned)[..], &["examples".to_owned()]].concat()),
        );
        for (name, source) in PUBLISHED.iter().zip(["macros", "runtime", "cli/emulator", "cli"]) {
            let file = target.join("package").join(format!("{}.crate", versioned(name)));
            let untar = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&folder).status().unwrap();
            assert!(untar.success());
            manifest = manifest.replace(&format!("path = {source:?}"), &format!("path = {:?}", versioned(name)));
        }
        fs::write(folder.join("Cargo.toml"), manifest + &packed.patches()).unwrap();
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        symlink(root().join("examples"), folder.join("examples")).unwrap();
        packed
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("workspace")
    }

    /// Returns the settings that make cargo take the packages from here instead of the registry.
    fn patches(&self) -> String {
        let patch = |name: &&str| format!("{name} = {{ path = {:?} }}\n", self.workspace().join(versioned(name)));
        "\n[patch.crates-io]\n".to_owned() + &PUBLISHED.iter().map(patch).collect::<String>()
    }

    /// Returns a new folder for projects that depend on the packages.
    fn elsewhere(&self) -> PathBuf {
        let folder = self.folder.path().join("elsewhere");
        builds::share(&folder);
        let settings = folder.join(".cargo/config.toml");
        let shared = fs::read_to_string(&settings).unwrap();
        fs::write(settings, shared + &self.patches()).unwrap();
        folder
    }
}

fn versioned(name: &str) -> String {
    format!("{name}-{}", env!("CARGO_PKG_VERSION"))
}

#[test]
fn packed_crates_build_and_make_a_working_project() {
    let packed = Packed::new();
    // Intermediate files go to the folder of the workspace. The command itself goes elsewhere, so that it does not
    // replace the one that other tests run.
    let mut build = builds::command("cargo");
    build.args(["build", "--workspace", "--features", "examples/full", "--bin", "cargo-wren"]);
    build.env("CARGO_BUILD_BUILD_DIR", builds::target()).env("CARGO_TARGET_DIR", packed.workspace().join("target"));
    succeeded(&build.current_dir(packed.workspace()).output().unwrap());
    let wren = packed.workspace().join("target/debug/cargo-wren");

    let elsewhere = packed.elsewhere();
    let run = |folder: &Path, arguments: &[&str]| {
        builds::command(&wren).args(arguments).current_dir(folder).output().unwrap()
    };
    succeeded(&run(&elsewhere, &["wren", "new", "hello"]));
    let project = elsewhere.join("hello");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains(concat!("wren-cloud = \"", env!("CARGO_PKG_VERSION"), "\"\n")), "{manifest}");
    // Locks the versions that are compiled already.
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let output = run(&project, &["wren", "run", "--debug", "--quiet"]);
    assert!(succeeded(&output).ends_with("837799 takes most: 524 steps\n"), "{output:?}");
}
