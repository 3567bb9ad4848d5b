//! The packages can be published: what cargo packs of them builds elsewhere, and what they say is true.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/profile.rs"]
mod profile;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_metadata::semver::Version;
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

/// In the order in which they are published: each needs those before it.
const PUBLISHED: [&str; 3] = ["wren-macros", "wren-cloud", "cargo-wren"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

fn metadata() -> Metadata {
    let mut metadata = MetadataCommand::new();
    metadata.current_dir(root()).features(CargoOpt::AllFeatures).other_options(["--locked".to_owned()]);
    metadata.exec().unwrap()
}

#[test]
fn every_package_has_what_a_registry_shows() {
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
        // crates.io takes five keywords at most, of twenty letters at most.
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
fn the_rust_version_is_the_highest_that_a_locked_package_asks_for() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let stated: Vec<_> = members.iter().map(|member| member.rust_version.clone().unwrap()).collect();
    assert!(stated.iter().all(|version| *version == stated[0]), "{stated:?}");
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let asked = metadata.packages.iter().filter(|package| !is_member(&package.name));
    let asked: Vec<_> = asked.filter_map(|p| Some((p.rust_version.clone()?, p.name.to_string()))).collect();
    let (highest, package): &(Version, String) = asked.iter().max().unwrap();
    assert_eq!(highest, &stated[0], "`rust-version` in Cargo.toml is not what {package} asks for");
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", profile::target());
    cargo.env("CARGO_NET_OFFLINE", "true").output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Packs the packages and unpacks them into a folder, where cargo takes them in place of those of the registry.
fn unpacked(folder: &Path) {
    let packing = folder.join("packing");
    let mut pack =
        vec!["package", "--no-verify", "--allow-dirty", "--locked", "--target-dir", packing.to_str().unwrap()];
    pack.extend(PUBLISHED.iter().flat_map(|name| ["--package", name]));
    succeeded(&cargo(&root(), &pack));
    profile::share(folder);
    let settings = folder.join(".cargo/config.toml");
    let mut patches = fs::read_to_string(&settings).unwrap() + "\n[patch.crates-io]\n";
    for name in PUBLISHED {
        let packed = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let file = packing.join("package").join(format!("{packed}.crate"));
        let untar = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(folder).status().unwrap();
        assert!(untar.success());
        patches += &format!("{name} = {{ path = {:?} }}\n", folder.join(packed));
    }
    fs::write(settings, patches).unwrap();
}

#[test]
fn packed_crates_build_and_make_a_project_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    unpacked(&folder);
    let command = folder.join(format!("cargo-wren-{}", env!("CARGO_PKG_VERSION")));
    let lock = || fs::read(root().join("Cargo.lock")).unwrap();
    // The versions that are compiled already.
    fs::write(command.join("Cargo.lock"), lock()).unwrap();
    // Builds in the workspace's target folder, for what is compiled there. Tests that follow get this program until cargo builds again.
    let target = folder.join("target");
    succeeded(&cargo(
        &command,
        &["install", "--path", ".", "--debug", "--root", target.to_str().unwrap(), "--no-track"],
    ));
    let wren = target.join("bin/cargo-wren");

    let run = |folder: &Path, arguments: &[&str]| {
        let mut wren = Command::new(&wren);
        wren.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", profile::target());
        wren.env("CARGO_NET_OFFLINE", "true").output().unwrap()
    };
    succeeded(&run(&folder, &["wren", "new", "hello"]));
    let project = folder.join("hello");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains(concat!("wren-cloud = \"", env!("CARGO_PKG_VERSION"), "\"\n")), "{manifest}");
    fs::write(project.join("Cargo.lock"), lock()).unwrap();
    let output = run(&project, &["wren", "run", "--debug", "--quiet"]);
    assert!(succeeded(&output).ends_with("is from 837799: 524 steps\n"), "{output:?}");
}
