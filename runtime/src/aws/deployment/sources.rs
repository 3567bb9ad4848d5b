//! The files that a deployed program was built from. They are recorded because the hash of a remote function covers
//! only its own body, not the functions that it calls.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A file of the project, as it was when the program was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The first half of the file's BLAKE3 hash, in hexadecimal.
    pub hash: String,
}

impl Source {
    fn of(path: PathBuf) -> Option<Self> {
        let hash = hash(&path)?;
        Some(Self { path, hash })
    }

    /// Returns the sources of a program that cargo built: the files listed in the `.d` file beside it, which are the
    /// project's own, and the nearest `Cargo.lock`. The list is empty if there is no `.d` file.
    pub fn of_program(program: &Path) -> Vec<Self> {
        let text = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
        let mut paths = paths(&text);
        let folders = paths.first().and_then(|first| first.parent()).into_iter().flat_map(Path::ancestors);
        paths.extend(folders.map(|folder| folder.join("Cargo.lock")).find(|lock| lock.is_file()));
        paths.into_iter().filter_map(Self::of).collect()
    }

    /// Returns whether the content of the file changed. A file that this machine does not have counts as unchanged.
    pub(crate) fn is_changed(&self) -> bool {
        hash(&self.path).is_some_and(|hash| hash != self.hash)
    }
}

fn hash(path: &Path) -> Option<String> {
    Some(blake3::hash(&fs::read(path).ok()?).to_hex()[..32].to_owned())
}

/// Returns the files after the colon of a makefile rule. Spaces in their names are escaped with a backslash.
fn paths(rule: &str) -> Vec<PathBuf> {
    let files = rule.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    let spaced = files.replace("\\ ", "\0");
    spaced.split_whitespace().map(|file| PathBuf::from(file.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_sources_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a project");
        fs::create_dir_all(root.join("src")).unwrap();
        let [main, helper, lock] = ["src/main.rs", "src/helper.rs", "Cargo.lock"].map(|name| root.join(name));
        for (path, text) in [(&main, "fn main() {}"), (&helper, "fn rate() -> u8 { 1 }"), (&lock, "")] {
            fs::write(path, text).unwrap();
        }
        let escaped = |path: &Path| path.display().to_string().replace(' ', "\\ ");
        let program = root.join("hello");
        fs::write(root.join("hello.d"), format!("{}: {} {}\n", escaped(&program), escaped(&main), escaped(&helper)))
            .unwrap();
        let sources = Source::of_program(&program);
        assert_eq!(sources.iter().map(|source| &source.path).collect::<Vec<_>>(), [&main, &helper, &lock]);
        assert!(!sources.iter().any(Source::is_changed));
        fs::write(&helper, "fn rate() -> u8 { 2 }").unwrap();
        assert_eq!(sources.iter().map(Source::is_changed).collect::<Vec<_>>(), [false, true, false]);
        fs::remove_file(&helper).unwrap();
        assert!(!sources.iter().any(Source::is_changed));
        assert!(Source::of_program(&root.join("none")).is_empty());
    }
}
