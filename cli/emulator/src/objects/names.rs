//! File names of objects. `s3s-fs` stores an object in a file below the bucket's folder, at the path of its key, so
//! `a` and `a/b` could not both exist. Here, names of folders end in `@` on disk, and names of files do not.
//!
//! S3 accepts any text of up to 1,024 bytes as a key. If a key cannot be a path, the object's file is in the bucket's
//! folder and named after the hash of the key. A file next to the buckets then contains the key.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Suffix of the names of folders.
const FOLDER: char = '@';

/// Suffix that is added to a hash, and to the name of a file that would end in [`FOLDER`] or in this.
const FILE: char = '~';

/// Longest path that is used unchanged, in bytes. `s3s-fs` makes a file name from the names of the bucket and the whole
/// path, in base64 and with additions, and a file name has at most 255 bytes.
const LONGEST: usize = 72;

/// Returns the path of a key's file, relative to the bucket's folder.
pub(super) fn path_of(key: &str) -> String {
    let path = plain_path(key);
    let is_name = |name: &str| !matches!(name, "." | "..");
    if path.len() <= LONGEST && !key.ends_with('/') && key.split('/').all(is_name) && !key.contains('\0') {
        return path;
    }
    let hash = Sha256::digest(key.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).chain([FILE.to_string()]).collect()
}

fn plain_path(key: &str) -> String {
    let (folders, file) = key.rsplit_once('/').map_or((None, key), |(folders, file)| (Some(folders), file));
    let mut path = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        path.push_str(folder);
        path.push(FOLDER);
        path.push('/');
    }
    path.push_str(file);
    if file.ends_with([FOLDER, FILE]) {
        path.push(FILE);
    }
    path
}

/// Whether a path comes from a hash. At the end of a plain path, [`FILE`] follows [`FOLDER`] or another [`FILE`].
fn is_hash(path: &str) -> bool {
    path.strip_suffix(FILE).is_some_and(|rest| !rest.ends_with([FOLDER, FILE]))
}

/// Stores a key that cannot be derived from its path. Must be called before the object's file is written. `root` holds
/// the buckets.
pub(super) fn note(root: &Path, key: &str) -> io::Result<()> {
    let path = path_of(key);
    if is_hash(&path) { std::fs::write(root.join(format!(".key-{path}")), key) } else { Ok(()) }
}

/// Returns the key of a file, or an error if the file is named after a hash and the key was not stored.
pub(super) fn key_of(root: &Path, path: &str) -> io::Result<String> {
    if is_hash(path) {
        return std::fs::read_to_string(root.join(format!(".key-{path}")));
    }
    let (folders, file) = path.rsplit_once('/').map_or((None, path), |(folders, file)| (Some(folders), file));
    let mut key = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        key.push_str(folder.strip_suffix(FOLDER).unwrap_or(folder));
        key.push('/');
    }
    key.push_str(file.strip_suffix(FILE).unwrap_or(file));
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_own_file() {
        let root = tempfile::tempdir().unwrap();
        let long = "p".repeat(400);
        let parts = ["a", "a@", "a~", "a@~", "a~@", "@", "~", "", "b.c", ".", "..", "é", &long];
        // An object cannot have an empty key.
        let mut keys: Vec<String> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| (*part).to_owned()).collect();
        keys.extend(parts.iter().flat_map(|folder| parts.map(|file| format!("{folder}/{file}"))));
        keys.extend(parts.iter().flat_map(|folder| parts.map(|file| format!("{folder}/x/{file}"))));
        let paths: std::collections::BTreeSet<String> = keys.iter().map(|key| path_of(key)).collect();
        assert_eq!(paths.len(), keys.len(), "no two keys share a file");
        for key in &keys {
            note(root.path(), key).unwrap();
            let path = path_of(key);
            assert!(path.len() <= LONGEST && !path.split('/').any(|name| matches!(name, "" | "." | "..")), "{path}");
            assert_eq!(key_of(root.path(), &path).unwrap(), *key);
            let folder = path_of(&format!("{key}/x"));
            assert!(!paths.contains(folder.trim_end_matches("/x")), "no file has the path of a folder");
        }
    }
}
