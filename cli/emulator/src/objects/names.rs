//! Names of objects' files. `s3s-fs` keeps an object as a file below the bucket's folder, by its key, so that `a` could not
//! be beside `a/b`. On disk the names of folders end in `@`, and those of files do not.
//!
//! S3 takes any text of up to 1,024 bytes for a key. What no file can be called has a file by its hash in the bucket's
//! folder, and a note beside the buckets says what its key is.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Ends the name of a folder.
const FOLDER: char = '@';

/// Added to the name of a file that would end as a folder's, or in this; and to that of a hash.
const FILE: char = '~';

/// The longest path that is taken as it is. `s3s-fs` makes a name of the whole path and the bucket's, in base 64 and with
/// more around it, and a name has at most 255 bytes.
const LONGEST: usize = 72;

/// The path of a key's file, within the bucket's folder.
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

/// Whether a path is of a hash: no plain one ends in this alone.
fn is_hash(path: &str) -> bool {
    path.strip_suffix(FILE).is_some_and(|rest| !rest.ends_with([FOLDER, FILE]))
}

/// Notes a key that its path does not tell, before there is a file of it. Buckets lie in `root`.
pub(super) fn note(root: &Path, key: &str) -> io::Result<()> {
    let path = path_of(key);
    if is_hash(&path) { std::fs::write(root.join(format!(".key-{path}")), key) } else { Ok(()) }
}

/// The key of a file; an error where it was not noted.
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
    fn every_key_has_a_file_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let long = "p".repeat(400);
        let parts = ["a", "a@", "a~", "a@~", "a~@", "@", "~", "", "b.c", ".", "..", "é", &long];
        // Of an empty key there is no object.
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
            assert!(!paths.contains(folder.trim_end_matches("/x")), "no file is where a folder must be");
        }
    }
}
