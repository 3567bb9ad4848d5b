//! The `file:` store: a folder, a file for each key.

use std::fs::{self, File};
use std::future::ready;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BoxFuture, Store, StoreError, StoreResult, StoreScheme, check_key, clip};
use crate::error::{Error, Result};

inventory::submit! {
    StoreScheme { scheme: "file", open: |rest| Ok(Arc::new(FileStore::open(rest)?)) }
}

/// Where values are written before they get their names. No key begins with a dot.
const TEMPORARY: &str = ".tmp";

/// A store in a folder, which several processes may use at once.
///
/// A value is written to a temporary file, which is then renamed (`put`) or linked (`put_if_absent`)
/// to its name: both are atomic. Nothing is synced to disk: values survive the end of any process,
/// not that of the machine's power. Operations block the calling thread for as long as the disk
/// takes.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
}

impl FileStore {
    /// The store in a folder, which is made when the first value is put.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty path, or a relative one where there is no working directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        if root.as_os_str().is_empty() {
            return Err(Error::Config("the store `file:` needs a path: `file:.wren/store`".to_owned()));
        }
        let root = std::path::absolute(root)
            .map_err(|e| Error::Config(format!("the store's path {} cannot be: {e}", root.display())))?;
        Ok(Self { root })
    }

    fn error(&self, operation: &str, key: &str, error: &io::Error) -> StoreError {
        let (store, key) = (self.url(), key.to_owned());
        match error.kind() {
            ErrorKind::NotFound => StoreError::NotFound { store, key },
            ErrorKind::AlreadyExists => StoreError::AlreadyExists { store, key },
            _ => StoreError::Io { store, operation: operation.to_owned(), key, reason: error.to_string() },
        }
    }

    fn path(&self, key: &str) -> StoreResult<PathBuf> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    /// Writes a value to a file without a name of its own yet.
    fn write_temporary(&self, value: &[u8]) -> io::Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(TEMPORARY).join(format!("{}-{number}", std::process::id()));
        match fs::write(&path, value) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_root()?;
                fs::write(&path, value)?;
            }
            other => other?,
        }
        Ok(path)
    }

    fn make_root(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join(TEMPORARY))?;
        let ignore = self.root.join(".gitignore");
        if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
    }

    fn store(&self, key: &str, value: &[u8], give_name: fn(&Path, &Path) -> io::Result<()>) -> StoreResult<()> {
        let path = self.path(key)?;
        let wrap = |e: io::Error| self.error("write", key, &e);
        let temporary = self.write_temporary(value).map_err(|e| StoreError::Io {
            store: self.url(),
            operation: "write".to_owned(),
            key: key.to_owned(),
            reason: e.to_string(),
        })?;
        let mut named = give_name(&temporary, &path);
        if named.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(wrap)?;
            }
            named = give_name(&temporary, &path);
        }
        if named.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        named.map_err(wrap)
    }

    /// Gives a file its name in the store; copies it first where it lies on another file system.
    fn take_file(&self, key: &str, file: &Path) -> StoreResult<()> {
        let path = self.path(key)?;
        let wrap = |e: io::Error| self.error("write", key, &e);
        if !file.is_file() {
            return Err(self.unreadable(key, file, &ErrorKind::NotFound.into()));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(wrap)?;
        }
        match fs::rename(file, &path) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                self.make_root().map_err(wrap)?;
                let near = self.root.join(TEMPORARY).join(format!("file-{:016x}", fastrand::u64(..)));
                let copied = fs::copy(file, &near).and_then(|_| fs::rename(&near, &path));
                if copied.is_err() {
                    let _ = fs::remove_file(&near);
                }
                copied.map_err(wrap)
            }
            other => other.map_err(wrap),
        }
    }

    fn read(&self, key: &str) -> StoreResult<Vec<u8>> {
        fs::read(self.path(key)?).map_err(|e| self.error("read", key, &e))
    }

    fn read_range(&self, key: &str, range: &Range<u64>) -> StoreResult<Vec<u8>> {
        let path = self.path(key)?;
        let read = || {
            let mut file = File::open(path)?;
            let range = clip(range, usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX));
            file.seek(SeekFrom::Start(range.start as u64))?;
            let mut bytes = Vec::with_capacity(range.len());
            file.take(range.len() as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|e: io::Error| self.error("read", key, &e))
    }

    fn length(&self, key: &str) -> StoreResult<u64> {
        let data = fs::metadata(self.path(key)?).map_err(|e| self.error("look at", key, &e))?;
        if data.is_file() {
            Ok(data.len())
        } else {
            Err(StoreError::NotFound { store: self.url(), key: key.to_owned() })
        }
    }

    fn remove(&self, key: &str) -> StoreResult<()> {
        match fs::remove_file(self.path(key)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.error("delete", key, &error)),
            _ => Ok(()),
        }
    }

    fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Vec<String>> {
        let mut keys = Vec::new();
        // Only the folder that the prefix names is looked at: there may be thousands beside it.
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        if folder.split('/').any(|part| part == "." || part == "..") || folder.starts_with(['/', '.']) {
            return Ok(keys);
        }
        self.collect(&self.root.join(folder), folder, prefix, after.unwrap_or(""), limit, &mut keys)
            .map_err(|e| self.error("list", prefix, &e))?;
        Ok(keys)
    }

    /// Adds the keys below `folder`, whose own key is `at`, in order, up to `limit`.
    fn collect(
        &self,
        folder: &Path,
        at: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        keys: &mut Vec<String>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if at.is_empty() && name.starts_with('.') {
                continue;
            }
            // A folder sorts as its keys do: with the slash.
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            found.push(format!("{at}{name}{slash}"));
        }
        found.sort_unstable();
        for key in found {
            if keys.len() >= limit {
                break;
            }
            if key.ends_with('/') {
                let may_match = key.starts_with(prefix) || prefix.starts_with(&key);
                if may_match && (key.as_str() > after || after.starts_with(&key)) {
                    self.collect(&self.root.join(&key), &key, prefix, after, limit, keys)?;
                }
            } else if key.starts_with(prefix) && key.as_str() > after {
                keys.push(key);
            }
        }
        Ok(())
    }
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

impl Store for FileStore {
    fn url(&self) -> String {
        format!("file:{}", self.root.display())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.store(key, value, |from, to| fs::rename(from, to))))
    }

    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.take_file(key, path)))
    }

    fn scratch(&self) -> PathBuf {
        // Where it cannot be made, what is written there fails with the reason.
        let _ = self.make_root();
        self.root.join(TEMPORARY)
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.store(key, value, link)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read_range(key, &range)))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        Box::pin(ready(self.length(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        Box::pin(ready(self.keys(prefix, after, limit)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.remove(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{conformance, open, race, wait};
    use super::*;

    #[test]
    fn it_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance(Arc::new(FileStore::open(folder.path().join("store")).unwrap()));
    }

    #[test]
    fn of_racing_writers_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        race(Arc::new(FileStore::open(folder.path()).unwrap()), 1_000);
    }

    #[test]
    fn its_url_opens_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        wait(store.put("a/b", b"1")).unwrap();
        assert_eq!(wait(open(&store.url()).unwrap().get("a/b")).unwrap(), b"1");
    }

    #[test]
    fn what_a_dead_process_left_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        wait(store.put("a", b"1")).unwrap();
        fs::write(folder.path().join(".tmp/4711-3"), b"half a val").unwrap();
        assert_eq!(wait(store.list("", None, 10)).unwrap(), ["a"]);
    }
}
