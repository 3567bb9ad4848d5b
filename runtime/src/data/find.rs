//! Finds the files and objects that a path or a pattern names, in order.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::pattern::{Pattern, alternatives, is_hidden, is_wild};
use super::source::Source;
use super::walk::{self, LookError};
use crate::data::{INCOMPLETE, is_part};
use crate::error::{Error, Result};
use crate::store::{self, Stat, StoreError};

/// Number of keys listed at once.
const PAGE: usize = 10_000;

/// A path or pattern given by the program.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// The path or pattern as the program wrote it.
    path: PathBuf,
    /// The patterns that it expands to, and whether each contains wildcards. Empty for a path.
    patterns: Vec<(Vec<u8>, bool)>,
}

/// The matches, or the reason why there are none.
type Matches = Result<std::result::Result<Vec<Match>, String>>;

/// A file or an object that was found.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) source: Source,
    pub(super) len: u64,
    /// As in [`Stat`].
    pub(super) version: String,
}

impl Search {
    pub(super) fn path(path: &Path) -> Result<Self> {
        let wanted = Self { path: path.to_owned(), patterns: Vec::new() };
        wanted.check_some()?;
        Ok(wanted)
    }

    pub(super) fn pattern(path: &Path) -> Result<Self> {
        let mut wanted = Self::path(path)?;
        let invalid = |reason: String| wanted.error(&format!("invalid pattern: {reason}"));
        let patterns = alternatives(path.as_os_str().as_bytes()).map_err(invalid)?;
        for pattern in &patterns {
            Pattern::new(pattern).map_err(invalid)?;
        }
        wanted.patterns = patterns.into_iter().map(|one| wanted.expand_home(one)).collect::<Result<_>>()?;
        Ok(wanted)
    }

    fn check_some(&self) -> Result<()> {
        if self.path.as_os_str().is_empty() {
            Err(self.error("the path is empty; name a file, a folder or a pattern"))
        } else {
            Ok(())
        }
    }

    fn error(&self, reason: &str) -> Error {
        Error::Input { path: self.path.display().to_string(), reason: reason.to_owned() }
    }

    /// Replaces a leading `~` with the home folder.
    fn expand_home(&self, pattern: Vec<u8>) -> Result<(Vec<u8>, bool)> {
        let wild = is_wild(&pattern);
        if pattern != b"~" && !pattern.starts_with(b"~/") {
            return Ok((pattern, wild));
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.ok_or_else(|| self.error("cannot expand `~`: HOME is not set; set it to your home folder"))?;
        let mut path = Vec::new();
        for byte in home.into_vec() {
            match is_wild(&[byte]) {
                // The folder's name is literal.
                true if wild => path.extend([b'[', byte, b']']),
                _ => path.push(byte),
            }
        }
        path.extend_from_slice(&pattern[1..]);
        Ok((path, wild))
    }

    /// Finds all matches, sorted by name.
    pub(super) async fn find(&self) -> Result<Vec<Match>> {
        let this = self.clone();
        store::unblock(move || this.find_here()).await?
    }

    fn find_here(&self) -> Result<Vec<Match>> {
        if self.patterns.is_empty() {
            return self.find_one(self.path.as_os_str().as_bytes(), false)?.map_err(|reason| self.error(&reason));
        }
        let mut all = Vec::new();
        let mut nothing = None;
        for (pattern, wild) in &self.patterns {
            // Some of several patterns may match nothing.
            match self.find_one(pattern, *wild)? {
                Ok(found) => all.extend(found),
                Err(reason) => nothing = nothing.or(Some(reason)),
            }
        }
        if let (true, Some(reason)) = (all.is_empty(), nothing) {
            return Err(self.error(&reason));
        }
        Ok(sorted(all))
    }

    fn find_one(&self, wanted: &[u8], wild: bool) -> Matches {
        if let Ok(text) = std::str::from_utf8(wanted) {
            let (scheme, rest) = text.split_once(':').unwrap_or(("", ""));
            // `store::open` rejects unknown schemes.
            if scheme != "file" && (store::is_known(scheme) || rest.starts_with("//")) {
                return self.values(scheme, rest, wild);
            }
        }
        match wanted.strip_prefix(b"file:") {
            Some(path) => self.files(path.strip_prefix(b"//").unwrap_or(path), wild),
            None => self.files(wanted, wild),
        }
    }

    fn files(&self, wanted: &[u8], wild: bool) -> Matches {
        let path = Path::new(OsStr::from_bytes(wanted));
        let at = |(path, reason): walk::Problem| Error::Input { path: path.display().to_string(), reason };
        let found = if wild {
            let pattern = Pattern::new(wanted).map_err(|e| self.error(&e))?;
            let walk = walk::matches(&pattern).map_err(at)?;
            if walk.files.is_empty() {
                return Ok(Err(nothing(walk.folders, path.exists())));
            }
            walk.files
        } else {
            match walk::look(path) {
                Ok(data) if data.is_dir() => {
                    let files = walk::below(path).map_err(at)?.files;
                    if files.is_empty() {
                        let reason = "the folder has no files; names that begin with `.` or `_` are skipped";
                        return Ok(Err(reason.to_owned()));
                    }
                    files
                }
                Ok(data) => vec![(path.to_owned(), data)],
                Err(LookError::Gone) => return Ok(Err(self.not_there(wanted))),
                Err(LookError::Wrong(reason)) => return Err(at((path.to_owned(), reason))),
            }
        };
        let parts = found.iter().filter(|(path, _)| path.file_name().and_then(OsStr::to_str).is_some_and(is_part));
        let folders: BTreeSet<&Path> = parts.filter_map(|(path, _)| path.parent()).collect();
        // The folder may belong to a `file:` store, which marks incomplete outputs.
        for mark in folders.into_iter().map(|folder| folder.join(INCOMPLETE)) {
            match std::fs::read(&mark) {
                Ok(job) => return Err(self.incomplete(&job, &mark.display().to_string())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(at((mark, error.to_string()))),
            }
        }
        let found = found.into_iter().map(|(path, data)| file(&path, &data).map_err(|reason| at((path, reason))));
        found.collect::<Result<_>>().map(sorted).map(Ok)
    }

    fn not_there(&self, wanted: &[u8]) -> String {
        if wanted.starts_with(b"/") && self.path.starts_with("~") {
            return format!("`{}` does not exist", String::from_utf8_lossy(wanted));
        }
        let hint = if wanted.starts_with(b"~") && self.patterns.is_empty() {
            "; `Input::paths` does not expand `~`; use `Input::glob`"
        } else if wanted.starts_with(b"~") {
            "; only `~/` is expanded, not the home folder of another user"
        } else if wanted.contains(&b'$') {
            "; `$` is not expanded; write the variable's value instead"
        } else {
            ""
        };
        format!("no such file or folder{hint}")
    }

    fn values(&self, scheme: &str, rest: &str, wild: bool) -> Matches {
        let slashes = if rest.starts_with("//") { 2 } else { 0 };
        let end = rest[slashes..].find('/').map_or(rest.len(), |slash| slashes + slash);
        let store = store::open(&format!("{scheme}:{}", &rest[..end]))?;
        // Keys written by other programs may begin with a slash, or contain several in a row.
        let wanted = rest[end..].strip_prefix('/').unwrap_or_default();
        let mut found = if wild {
            let pattern = Pattern::new(wanted.as_bytes()).map_err(|e| self.error(&e))?;
            let prefix = &wanted[..wanted.find(['*', '?', '[']).unwrap_or(wanted.len())];
            let mut found = list(&*store, prefix)?;
            found.retain(|(key, _)| pattern.matches(key.as_bytes()));
            found
        } else {
            // Of the keys that begin with `wanted`, `wanted` itself is the first.
            let first = store::wait(store.list_stats(wanted, None, 1))?;
            if first.first().is_some_and(|(key, stat)| key == wanted && !is_folder(key, stat)) {
                first
            } else {
                let folder =
                    if wanted.is_empty() || wanted.ends_with('/') { wanted.to_owned() } else { format!("{wanted}/") };
                let mut found = list(&*store, &folder)?;
                found.retain(|(key, _)| !key[folder.len()..].split('/').any(|name| is_hidden(name.as_bytes())));
                found
            }
        };
        found.retain(|(key, stat)| !is_folder(key, stat));
        if found.is_empty() {
            return Ok(Err(if wild { nothing(false, false) } else { "no such object, and none below it".to_owned() }));
        }
        self.check_complete(&*store, &found)?;
        let url = store.url();
        let value =
            |(key, Stat { len, version }): (String, Stat)| Match { source: Source::value(&url, &key), len, version };
        Ok(Ok(sorted(found.into_iter().map(value).collect())))
    }

    /// Returns the error for outputs that are marked as incomplete.
    fn incomplete(&self, job: &[u8], mark: &str) -> Error {
        let job = String::from_utf8_lossy(job);
        self.error(&format!(
            "the outputs there are incomplete: {} is still writing them or has failed; run it again, or remove \
             `{mark}` to read the existing ones",
            job.trim()
        ))
    }

    /// Rejects outputs of a job that is still running or has failed.
    fn check_complete(&self, store: &dyn store::Store, found: &[(String, Stat)]) -> Result<()> {
        let parts = found.iter().map(|(key, _)| key.rsplit_once('/').unwrap_or(("", key)));
        let folders: BTreeSet<&str> = parts.filter(|(_, name)| is_part(name)).map(|(folder, _)| folder).collect();
        for folder in folders {
            let mark = if folder.is_empty() { INCOMPLETE.to_owned() } else { format!("{folder}/{INCOMPLETE}") };
            match store::wait(store.get(&mark)) {
                Ok(job) => return Err(self.incomplete(&job, &mark)),
                Err(StoreError::NotFound { .. } | StoreError::BadKey { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Sorts matches by the bytes of their names and removes duplicates.
fn sorted(mut found: Vec<Match>) -> Vec<Match> {
    found.sort_by(|a, b| a.source.bytes().cmp(b.source.bytes()));
    found.dedup_by(|a, b| a.source == b.source);
    found
}

/// Returns the reason why a pattern matches no files.
fn nothing(folders: bool, is_name: bool) -> String {
    let reason = if folders {
        "the pattern matches only folders; add `/*` for the files in them, or `/**/*` to include subfolders"
    } else if is_name {
        "nothing matches the pattern, but a file or folder has exactly this name; `Input::paths` takes `*`, `?` and \
         `[` literally, and in a pattern `[[]` stands for `[`"
    } else {
        "nothing matches the pattern; `*` does not match `/`, and names that begin with `.` or `_` are skipped"
    };
    reason.to_owned()
}

/// Returns the match for a file, under the name by which workers find it.
fn file(path: &Path, data: &Metadata) -> std::result::Result<Match, String> {
    let path = walk::path_for_workers(path)?;
    Ok(Match { source: Source::file(path), len: data.len(), version: store::version_of(data) })
}

/// Whether an object represents a folder: some programs create a folder as an empty object.
fn is_folder(key: &str, stat: &Stat) -> bool {
    key.ends_with('/') && stat.len == 0
}

fn list(store: &dyn store::Store, prefix: &str) -> Result<Vec<(String, Stat)>> {
    let mut found: Vec<(String, Stat)> = Vec::new();
    loop {
        let page = store::wait(store.list_stats(prefix, found.last().map(|(key, _)| key.as_str()), PAGE))?;
        let last = page.len() < PAGE;
        found.extend(page);
        if last {
            return Ok(found);
        }
    }
}
