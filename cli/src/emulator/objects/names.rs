//! Names of objects' files. `s3s-fs` keeps an object as a file below the bucket's folder, by its key, so that `a` could not
//! be beside `a/b`. On disk the names of folders end in `@`, and those of files do not.

/// Ends the name of a folder.
const FOLDER: char = '@';

/// Added to the name of a file that would end as a folder's, or in this.
const FILE: char = '~';

/// The path of a key's file, within the bucket's folder.
pub(super) fn path_of(key: &str) -> String {
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

/// The key of a file.
pub(super) fn key_of(path: &str) -> String {
    let (folders, file) = path.rsplit_once('/').map_or((None, path), |(folders, file)| (Some(folders), file));
    let mut key = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        key.push_str(folder.strip_suffix(FOLDER).unwrap_or(folder));
        key.push('/');
    }
    key.push_str(file.strip_suffix(FILE).unwrap_or(file));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_file_of_its_own() {
        let parts = ["a", "a@", "a~", "a@~", "a~@", "@", "~", "", "b.c"];
        let mut keys: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        keys.extend(parts.iter().flat_map(|folder| parts.map(|file| format!("{folder}/{file}"))));
        keys.extend(parts.iter().flat_map(|folder| parts.map(|file| format!("{folder}/x/{file}"))));
        let paths: std::collections::BTreeSet<String> = keys.iter().map(|key| path_of(key)).collect();
        assert_eq!(paths.len(), keys.len(), "no two keys share a file");
        for key in &keys {
            assert_eq!(key_of(&path_of(key)), *key);
            let folder = path_of(&format!("{key}/x"));
            assert!(!paths.contains(folder.trim_end_matches("/x")), "no file is where a folder must be");
        }
    }
}
