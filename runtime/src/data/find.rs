//! Which files and objects a path or a pattern names, in order.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use glob::{MatchOptions, Pattern};

use super::source::Source;
use crate::error::{Error, Result};
use crate::mapreduce::{INCOMPLETE, is_part};
use crate::store::{self, StoreError};

/// How many keys are listed at once.
const PAGE: usize = 10_000;

/// How many values are asked for their length at once.
const SIZES: usize = 64;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What a program asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// As it was written.
    text: String,
    /// Whether `*`, `?` and `[` stand for others.
    wild: bool,
}

/// A file or an object that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) len: u64,
    /// As in [`Stat`](store::Stat).
    pub(super) version: String,
}

impl Wanted {
    pub(super) fn path(path: &Path) -> Result<Self> {
        Ok(Self { text: text_of(path)?, wild: false })
    }

    pub(super) fn pattern(path: &Path) -> Result<Self> {
        let text = text_of(path)?;
        let wild = text.contains(['*', '?', '[']);
        let wanted = Self { text, wild };
        Pattern::new(&wanted.text).map_err(|e| wanted.error(&format!("it is no pattern: {e}")))?;
        Ok(wanted)
    }

    fn error(&self, reason: &str) -> Error {
        Error::Input { path: self.text.clone(), reason: reason.to_owned() }
    }

    /// All that is meant, sorted by name.
    pub(super) async fn find(&self) -> Result<Vec<Found>> {
        let this = self.clone();
        store::unblock(move || this.find_here()).await?
    }

    fn find_here(&self) -> Result<Vec<Found>> {
        let (scheme, rest) = self.text.split_once(':').unwrap_or(("", ""));
        if scheme == "file" {
            return self.files(rest.strip_prefix("//").unwrap_or(rest));
        }
        // What has a scheme and is known to none is for `store::open` to refuse.
        if store::is_known(scheme) || rest.starts_with("//") {
            self.values(scheme, rest)
        } else {
            self.files(&self.text)
        }
    }

    fn files(&self, path: &str) -> Result<Vec<Found>> {
        let cannot = |path: &Path, e: &dyn std::fmt::Display| Error::Input {
            path: path.display().to_string(),
            reason: format!("it cannot be looked at: {e}"),
        };
        let mut found = Vec::new();
        if !self.wild {
            let path = Path::new(path);
            match fs::metadata(path) {
                Ok(data) if data.is_dir() => walk(path, &mut found).map_err(|e| cannot(path, &e))?,
                Ok(_) => found.push(path.to_owned()),
                Err(e) => return Err(cannot(path, &e)),
            }
            if found.is_empty() {
                return Err(self.error("the folder has no file; names that begin with `.` or `_` do not count"));
            }
        } else {
            let paths = glob::glob_with(path, OPTIONS).map_err(|e| self.error(&format!("it is no pattern: {e}")))?;
            let mut folders = 0;
            for path in paths {
                let path = path.map_err(|e| cannot(e.path(), &e.error()))?;
                if self.skips(&path.to_string_lossy()) {
                    continue;
                }
                if path.is_dir() { folders += 1 } else { found.push(path) }
            }
            if found.is_empty() {
                return Err(self.nothing(folders > 0));
            }
        }
        let mut files = Vec::new();
        for path in found {
            let data = fs::metadata(&path).map_err(|e| cannot(&path, &e))?;
            // Workers may stand in another folder.
            let path = std::path::absolute(&path).map_err(|e| cannot(&path, &e))?;
            files.push(Found {
                source: Source::file(text_of(&path)?),
                len: data.len(),
                version: store::version_of(&data),
            });
        }
        files.sort_by(|a, b| a.source.path().cmp(b.source.path()));
        Ok(files)
    }

    fn nothing(&self, folders: bool) -> Error {
        self.error(if folders {
            "it matches folders and no file; add `/*` for the files in them, or `/**/*` for those below too"
        } else {
            "nothing matches it; `*` does not match `/`, and names that begin with `.` or `_` are skipped"
        })
    }

    /// Whether a wildcard stands for a name that begins with a dot or an underscore.
    fn skips(&self, path: &str) -> bool {
        path.split('/').filter(|name| is_hidden(name)).any(|name| {
            let asks = |part: &str| {
                part == name || (part.contains(['*', '?', '[']) && part.as_bytes()[0] == name.as_bytes()[0])
            };
            !self.text.split(['/', ':']).any(asks)
        })
    }

    fn values(&self, scheme: &str, rest: &str) -> Result<Vec<Found>> {
        let slashes = if rest.starts_with("//") { 2 } else { 0 };
        let end = rest[slashes..].find('/').map_or(rest.len(), |slash| slashes + slash);
        let store = store::open(&format!("{scheme}:{}", &rest[..end]))?;
        let wanted = rest[end..].trim_start_matches('/');
        let mut keys = Vec::new();
        if self.wild {
            let pattern = Pattern::new(wanted).map_err(|e| self.error(&format!("it is no pattern: {e}")))?;
            let prefix = &wanted[..wanted.find(['*', '?', '[']).unwrap_or(wanted.len())];
            keys = list(&*store, prefix)?;
            keys.retain(|key| pattern.matches_with(key, OPTIONS) && !self.skips(key));
        } else {
            // Of the keys that begin with another, that one is the first.
            let first = store::wait(store.list(wanted, None, 1))?;
            if first.first().is_some_and(|key| key == wanted && !key.ends_with('/')) {
                self.check_complete(&*store, &first)?;
                let store::Stat { len, version } = store::wait(store.stat(wanted))?;
                return Ok(vec![Found { source: Source::value(&store.url(), wanted), len, version }]);
            }
            let folder = wanted.trim_end_matches('/');
            let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            keys.extend(list(&*store, &folder)?);
            keys.retain(|key| !key[folder.len()..].split('/').any(is_hidden));
        }
        // Some programs make a folder by an empty object.
        keys.retain(|key| !key.ends_with('/'));
        if keys.is_empty() {
            return Err(if self.wild { self.nothing(false) } else { self.error("nothing is there, nor below it") });
        }
        self.check_complete(&*store, &keys)?;
        keys.sort_unstable();
        let mut values = Vec::new();
        for keys in keys.chunks(SIZES) {
            let stats = store::wait(store::all_of(keys.iter().map(|key| store.stat(key))));
            for (key, stat) in keys.iter().zip(stats) {
                let store::Stat { len, version } = stat?;
                values.push(Found { source: Source::value(&store.url(), key), len, version });
            }
        }
        Ok(values)
    }

    /// Refuses outputs of a job that has not ended well.
    fn check_complete(&self, store: &dyn store::Store, keys: &[String]) -> Result<()> {
        let parts = keys.iter().map(|key| key.rsplit_once('/').unwrap_or(("", key)));
        let folders: BTreeSet<&str> = parts.filter(|(_, name)| is_part(name)).map(|(folder, _)| folder).collect();
        for folder in folders {
            let mark = if folder.is_empty() { INCOMPLETE.to_owned() } else { format!("{folder}/{INCOMPLETE}") };
            match store::wait(store.get(&mark)) {
                Ok(job) => {
                    let job = String::from_utf8_lossy(&job);
                    return Err(self.error(&format!(
                        "the outputs there are not complete: {} writes them, or has failed; run it again, or remove \
                         `{mark}` to take what is there",
                        job.trim()
                    )));
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn list(store: &dyn store::Store, prefix: &str) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = store::wait(store.list(prefix, keys.last().map(String::as_str), PAGE))?;
        let last = page.len() < PAGE;
        keys.extend(page);
        if last {
            return Ok(keys);
        }
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_']) && name != "." && name != ".."
}

/// Adds the files below a folder.
fn walk(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_hidden(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // A link to a folder is not followed: it may lead back.
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), found)?;
        } else if entry.path().is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<String> {
    let not_text = || Error::Input { path: path.display().to_string(), reason: "its name is not UTF-8".to_owned() };
    match path.to_str() {
        Some("") => Err(Error::Input { path: String::new(), reason: "a path or a pattern is needed".to_owned() }),
        Some(text) => Ok(text.to_owned()),
        None => Err(not_text()),
    }
}
