//! wren's feature `aws`, which a program needs to run on AWS. It is off by default, and the first deploy turns it on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use cargo_metadata::{Dependency, DependencyKind};
use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

use crate::program::{Chosen, Select};

/// wren's package.
pub(crate) const PACKAGE: &str = "wren-cloud";

const FEATURE: &str = "aws";

/// The state of the feature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// The program is already built with it.
    On,
    /// It has just been turned on in this manifest.
    TurnedOn(PathBuf),
    /// It is off, and a dry run must not change the manifest. This argument of `--features` enables it.
    Off(String),
}

/// Makes sure that the program is built with the feature: turns it on in the manifest of its package if it is off.
///
/// # Errors
///
/// Fails if the manifest cannot be edited; the error contains the line to write.
pub(crate) fn ensure(select: &Select, chosen: &Chosen, dry_run: bool) -> Result<Feature> {
    match is_on(select, chosen)? {
        Some(true) => return Ok(Feature::On),
        Some(false) => {}
        None => bail!(
            "the package `{}` does not depend on wren, so it has no remote functions; run `cargo add {PACKAGE}`",
            chosen.package()
        ),
    }
    let (manifest, dependency) = select.dependency(chosen, PACKAGE)?;
    let Some(dependency) = dependency else {
        bail!(
            "{} has no entry for {PACKAGE}, which is only a dependency of its dependencies; to enable the program to \
             run on AWS, run `cargo add {PACKAGE} --features {FEATURE}` there",
            manifest.display()
        );
    };
    let key = dependency.rename.clone().unwrap_or_else(|| dependency.name.to_string());
    if dry_run {
        return Ok(Feature::Off(format!("{key}/{FEATURE}")));
    }
    let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let edited = turned_on(&text, &key, &dependency);
    let edited = edited.with_context(|| by_hand(&manifest, &key))?;
    replace(&manifest, &edited.text).with_context(|| format!("{}: {}", by_hand(&manifest, &key), edited.line))?;
    if is_on(select, chosen)? != Some(true) {
        bail!("{}; deploy wrote it, but it has no effect", by_hand(&manifest, &key));
    }
    Ok(Feature::TurnedOn(manifest))
}

/// Returns whether the program is built with the feature; `None` if it does not depend on wren.
fn is_on(select: &Select, chosen: &Chosen) -> Result<Option<bool>> {
    let packages = select.packages_of(chosen)?;
    let mut wren = packages.iter().filter(|package| package.name == PACKAGE).peekable();
    Ok(wren.peek().is_some().then(|| wren.any(|wren| wren.features.iter().any(|feature| feature == FEATURE))))
}

/// Returns the message that asks the user to turn the feature on.
fn by_hand(manifest: &Path, key: &str) -> String {
    format!(
        "cannot turn on the feature `{FEATURE}` in {}; add `features = [\"{FEATURE}\"]` to `{key}` there",
        manifest.display()
    )
}

#[derive(Debug)]
struct Edited {
    text: String,
    /// The new entry of the dependency.
    line: String,
}

/// Returns the manifest with the feature turned on. Comments and the order of entries are kept.
fn turned_on(manifest: &str, key: &str, dependency: &Dependency) -> Result<Edited> {
    let mut document: DocumentMut = manifest.parse()?;
    let tables: &[&str] = match dependency.kind {
        DependencyKind::Development => &["dev-dependencies", "dev_dependencies"],
        _ => &["dependencies"],
    };
    let root: &mut dyn TableLike = match &dependency.target {
        None => document.as_table_mut(),
        Some(target) => {
            let targets = document.get_mut("target").and_then(Item::as_table_like_mut);
            let of_target = targets.and_then(|targets| targets.get_mut(&target.to_string()));
            of_target.and_then(Item::as_table_like_mut).with_context(|| format!("missing table `target.{target}`"))?
        }
    };
    let name = tables.iter().find(|name| root.contains_key(name)).with_context(|| format!("there is no {tables:?}"))?;
    let dependencies = root.get_mut(name).and_then(Item::as_table_like_mut);
    let item = dependencies.and_then(|dependencies| dependencies.get_mut(key));
    let item = item.with_context(|| format!("there is no `{key}` in `{name}`"))?;
    add_feature(item)?;
    let line = format!("{key} = {}", inline(item));
    Ok(Edited { text: document.to_string(), line })
}

fn add_feature(dependency: &mut Item) -> Result<()> {
    insert_feature(dependency)?;
    if let Item::Value(Value::InlineTable(table)) = dependency {
        // The space before the closing brace belonged to the value that used to be the last one.
        table.fmt();
    }
    Ok(())
}

fn insert_feature(dependency: &mut Item) -> Result<()> {
    // `wren-cloud = "1"`, possibly followed by a comment.
    if let Item::Value(Value::String(version)) = dependency {
        let decor = version.decor().clone();
        let mut table = InlineTable::new();
        table.insert("version", Value::from(version.value().as_str()));
        table.insert("features", Value::Array(Array::from_iter([FEATURE])));
        *table.decor_mut() = decor;
        *dependency = Item::Value(Value::InlineTable(table));
        return Ok(());
    }
    let table = dependency.as_table_like_mut().context("the entry is neither a version nor a table")?;
    let Some(features) = table.get_mut("features") else {
        table.insert("features", Item::Value(Value::Array(Array::from_iter([FEATURE]))));
        return Ok(());
    };
    let features = features.as_array_mut().context("its `features` is not a list")?;
    // If the other features are on lines of their own, so is the new one.
    let prefix = features.iter().last().and_then(|last| last.decor().prefix()).cloned();
    let mut feature = Value::from(FEATURE);
    if let Some(prefix) = prefix.filter(|prefix| prefix.as_str().is_some_and(|prefix| prefix.contains('\n'))) {
        feature.decor_mut().set_prefix(prefix);
        features.push_formatted(feature);
    } else {
        features.push(feature);
    }
    Ok(())
}

/// Formats an entry on one line, however it is written in the manifest.
fn inline(item: &Item) -> String {
    let mut value = item.clone().into_value().unwrap_or_else(|_| Value::from(""));
    value.decor_mut().clear();
    value.to_string().trim().to_owned()
}

/// Replaces a file atomically.
fn replace(path: &Path, text: &str) -> Result<()> {
    // Replace the target of a symbolic link, and not the link itself.
    let path = path.canonicalize()?;
    let permissions = fs::metadata(&path)?.permissions();
    if permissions.readonly() {
        return Err(anyhow!("the file is read-only"));
    }
    let folder = path.parent().context("the file has no parent folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(kind: &str, rename: Option<&str>, target: Option<&str>) -> Dependency {
        let json = serde_json::json!({
            "name": PACKAGE, "req": "*", "kind": kind, "rename": rename, "target": target, "optional": false,
            "uses_default_features": true, "features": [], "source": null, "registry": null,
        });
        serde_json::from_value(json).unwrap()
    }

    fn edited(manifest: &str, dependency: &Dependency) -> Edited {
        let key = dependency.rename.clone().unwrap_or_else(|| PACKAGE.to_owned());
        turned_on(manifest, &key, dependency).unwrap()
    }

    #[test]
    fn all_forms_of_dependencies_are_edited_and_comments_stay() {
        let normal = dependency("normal", None, None);
        let cases = [
            (
                "# a\n[dependencies]\nserde = \"1\"  # b\nwren-cloud = \"0.1\" # c\nrayon = \"1\"\n",
                "# a\n[dependencies]\nserde = \"1\"  # b\nwren-cloud = { version = \"0.1\", features = [\"aws\"] } # c\nrayon = \"1\"\n",
            ),
            (
                "[dependencies]\nwren-cloud = { path = \"../wren\", default-features = false } # c\n",
                "[dependencies]\nwren-cloud = { path = \"../wren\", default-features = false, features = [\"aws\"] } # c\n",
            ),
            (
                "[dependencies]\nwren-cloud = { version = \"0.1\", features = [\"kv\"] }\n",
                "[dependencies]\nwren-cloud = { version = \"0.1\", features = [\"kv\", \"aws\"] }\n",
            ),
            (
                "[dependencies.wren-cloud]\nversion = \"0.1\"\n\n[features]\nx = []\n",
                "[dependencies.wren-cloud]\nversion = \"0.1\"\nfeatures = [\"aws\"]\n\n[features]\nx = []\n",
            ),
            (
                "[dependencies]\nwren-cloud.workspace = true\nserde = \"1\"\n",
                "[dependencies]\nwren-cloud.workspace = true\nwren-cloud.features = [\"aws\"]\nserde = \"1\"\n",
            ),
            (
                "[dependencies.wren-cloud]\nversion = \"0.1\"\nfeatures = [\n    # For counters.\n    \"kv\",\n    \"zstd\",\n]\n",
                "[dependencies.wren-cloud]\nversion = \"0.1\"\nfeatures = [\n    # For counters.\n    \"kv\",\n    \"zstd\",\n    \"aws\",\n]\n",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(edited(before, &normal).text, after);
        }
    }

    #[test]
    fn renamed_and_target_specific_dependencies_are_found() {
        let renamed = dependency("normal", Some("cloud"), None);
        let text = edited("[dependencies]\ncloud = { package = \"wren-cloud\", version = \"0.1\" }\n", &renamed);
        assert_eq!(text.line, "cloud = { package = \"wren-cloud\", version = \"0.1\", features = [\"aws\"] }");
        let of_unix = dependency("normal", None, Some("cfg(unix)"));
        let text = edited("[target.'cfg(unix)'.dependencies]\nwren-cloud = \"0.1\"\n", &of_unix).text;
        assert!(text.ends_with("wren-cloud = { version = \"0.1\", features = [\"aws\"] }\n"), "{text}");
        let of_tests = dependency("dev", None, None);
        let text = edited("[dependencies]\n[dev-dependencies]\nwren-cloud = \"0.1\"\n", &of_tests).text;
        assert!(text.contains("features = [\"aws\"]"), "{text}");
    }

    #[test]
    fn absent_dependencies_fail() {
        let normal = dependency("normal", None, None);
        for manifest in ["", "[dependencies]\nserde = \"1\"\n", "[dependencies]\nwren-cloud = 7\n", "[dependencies\n"] {
            assert!(turned_on(manifest, PACKAGE, &normal).is_err(), "{manifest}");
        }
    }

    #[test]
    fn unwritable_files_stay_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Cargo.toml");
        fs::write(&path, "old").unwrap();
        replace(&path, "new").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(replace(&path, "newer").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
