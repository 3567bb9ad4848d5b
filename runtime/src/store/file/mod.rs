//! The `file:` store: a folder with a file for each key.

mod naming;

use std::fs::{self, File};
use std::future::ready;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{BoxFuture, Stat, Store, StoreError, StoreResult, StoreScheme, check_key, clip};
use crate::error::{Error, Result};
use crate::platform;
use naming::{Naming, VALUE, is_no_file};

inventory::submit! {
    StoreScheme { scheme: "file", open: |rest| Ok(Arc::new(FileStore::open(platform::path_of_text(rest))?)) }
}

/// The folder for values before they get their names. No key starts with a dot.
const TEMPORARY: &str = ".tmp";

/// A store in a folder, which several processes may use at once.
///
/// A value is written to a temporary file with a random name, which is then renamed (`put`) or linked
/// (`put_if_absent`) to its final name. Both are atomic, even between machines that share the folder by NFS. On such a
/// file system, each value is synced before it gets its name, because the server reports its errors only then. On a
/// disk of this machine nothing is synced: values survive the end of any process, but not a power failure. Operations
/// block the calling thread while the disk works.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    /// Whether the folder is on another machine.
    is_remote: OnceLock<bool>,
}

impl FileStore {
    /// Opens the store in a folder. The folder is created when the first value is put.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty path.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        if root.as_os_str().is_empty() {
            return Err(Error::Config(
                "the store URL `file:` has no path; add one, as in `file:.wren/store`".to_owned(),
            ));
        }
        // If the working directory was removed, the first operation on the store fails, not `open`.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Ok(Self { root, is_remote: OnceLock::new() })
    }

    /// Returns the folder of the store with this URL, or `None` if it is the URL of another kind of store. A path that
    /// is not UTF-8 is encoded in the URL.
    ///
    /// ```
    /// let folder = wren::store::FileStore::folder_of("file:/srv/wren");
    /// assert_eq!(folder.as_deref(), Some("/srv/wren".as_ref()));
    /// assert_eq!(wren::store::FileStore::folder_of("memory:"), None);
    /// ```
    pub fn folder_of(url: &str) -> Option<PathBuf> {
        url.strip_prefix("file:").map(platform::path_of_text)
    }

    fn error(&self, operation: &str, key: &str, error: &io::Error) -> StoreError {
        let (store, key) = (self.url(), key.to_owned());
        match error.kind() {
            ErrorKind::NotFound => StoreError::NotFound { store, key },
            ErrorKind::AlreadyExists => StoreError::AlreadyExists { store, key },
            _ => self.failed(operation, &key, error),
        }
    }

    fn failed(&self, operation: &str, key: &str, error: &io::Error) -> StoreError {
        StoreError::of_disk(self.url(), operation, key, error)
    }

    fn path(&self, key: &str) -> StoreResult<PathBuf> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    /// Creates a file that has no name in the store yet and is known only to this process.
    fn create_temporary(&self) -> io::Result<(PathBuf, File)> {
        let create = || {
            let path = self.root.join(TEMPORARY).join(format!("{:016x}", platform::random()));
            File::create_new(&path).map(|file| (path, file))
        };
        match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_root()?;
                create()
            }
            other => other,
        }
    }

    fn make_root(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join(TEMPORARY))?;
        platform::ignore_in_git(&self.root)
    }

    /// Syncs a file on another machine. Its file system may report only now that it is full, and other machines may not
    /// see the data before.
    fn settle(&self, file: &File) -> io::Result<()> {
        let is_remote = self.is_remote.get_or_init(|| platform::is_remote(file));
        if *is_remote { file.sync_all() } else { Ok(()) }
    }

    fn store(&self, key: &str, value: &[u8], naming: Naming) -> StoreResult<()> {
        let path = self.path(key)?;
        let (temporary, mut file) = self.create_temporary().map_err(|e| self.failed("write", key, &e))?;
        let mut write = || {
            let written = file.write_all(value).and_then(|()| self.settle(&file));
            let named = written.and_then(|()| naming.give(&temporary, &path));
            if named.is_err() {
                // Otherwise the rest of the file would keep a full disk full.
                let _ = fs::remove_file(&temporary);
            }
            named
        };
        write().map_err(|e| self.write_error(key, &e))
    }

    /// Gives a file its name in the store. Copies it first if it is on another file system.
    fn take_file(&self, key: &str, file: &Path) -> StoreResult<()> {
        let path = self.path(key)?;
        if !file.is_file() {
            return Err(self.unreadable(key, file, &ErrorKind::NotFound.into()));
        }
        let copy = || {
            // The temporary name is random, so it does not exist yet.
            let (temporary, mut to) = self.create_temporary()?;
            let copied = File::open(file).and_then(|mut from| io::copy(&mut from, &mut to));
            let named = copied.and_then(|_| self.settle(&to)).and_then(|()| Naming::Replace.give(&temporary, &path));
            if named.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            named
        };
        let take = || {
            self.settle(&File::open(file)?)?;
            match Naming::Replace.give(file, &path) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => copy(),
                other => other,
            }
        };
        take().map_err(|e| self.write_error(key, &e))
    }

    /// Converts an error of a write. `NotFound` then means a missing folder or file, not a missing value.
    fn write_error(&self, key: &str, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::NotFound => self.failed("write", key, error),
            _ => self.error("write", key, error),
        }
    }

    /// Calls `act` with the file of a key: the file of its name or, if that is a folder, the [`VALUE`] inside.
    fn with_file<T>(&self, key: &str, doing: &str, act: impl Fn(&Path) -> io::Result<T>) -> StoreResult<T> {
        let path = self.path(key)?;
        let acted = match act(&path) {
            Err(error) if is_no_file(&error) && path.is_dir() => act(&path.join(VALUE)),
            // A key below the file of a value does not exist.
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(ErrorKind::NotFound.into()),
            other => other,
        };
        acted.map_err(|e| self.error(doing, key, &e))
    }

    fn read(&self, key: &str) -> StoreResult<Vec<u8>> {
        self.with_file(key, "read", |path| fs::read(path))
    }

    fn read_range(&self, key: &str, range: &Range<u64>) -> StoreResult<Vec<u8>> {
        self.with_file(key, "read", |path| {
            let mut file = File::open(path)?;
            let data = file.metadata()?;
            if data.is_dir() {
                return Err(ErrorKind::IsADirectory.into());
            }
            let range = clip(range, usize::try_from(data.len()).unwrap_or(usize::MAX));
            file.seek(SeekFrom::Start(range.start as u64))?;
            let mut bytes = Vec::with_capacity(range.len());
            file.take(range.len() as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    fn metadata(&self, key: &str) -> StoreResult<fs::Metadata> {
        self.with_file(key, "read the size of", |path| {
            let data = fs::metadata(path)?;
            if data.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(data) }
        })
    }

    fn remove(&self, key: &str) -> StoreResult<()> {
        match self.with_file(key, "delete", |path| fs::remove_file(path)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Vec<String>> {
        let mut keys = Vec::new();
        // Only the folder that the prefix names is read: there may be thousands of others beside it.
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
            if name.starts_with('.') {
                continue;
            }
            let key = format!("{at}{name}");
            if entry.file_type()?.is_dir() {
                // A folder sorts like its keys, with a slash; the value of the same name sorts without.
                found.push(format!("{key}/"));
                if !entry.path().join(VALUE).is_file() {
                    continue;
                }
            }
            found.push(key);
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

/// Returns a version that changes when the file is replaced or written to.
pub(crate) fn version_of(data: &fs::Metadata) -> String {
    format!("{}-{}.{:09}", data.ino(), data.mtime(), data.mtime_nsec())
}

impl Store for FileStore {
    fn url(&self) -> String {
        format!("file:{}", platform::text_of_path(&self.root))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.store(key, value, Naming::Replace)))
    }

    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.take_file(key, path)))
    }

    fn scratch(&self) -> PathBuf {
        // If the folder cannot be created, later writes to it fail with the reason.
        let _ = self.make_root();
        self.root.join(TEMPORARY)
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.store(key, value, Naming::IfAbsent)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read_range(key, &range)))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        Box::pin(ready(self.metadata(key).map(|data| data.len())))
    }

    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        let stat = |data: fs::Metadata| Stat { len: data.len(), version: version_of(&data) };
        Box::pin(ready(self.metadata(key).map(stat)))
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
    use super::super::{open, wait};
    use super::*;
    use crate::conformance;

    #[test]
    fn it_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance::store(Arc::new(FileStore::open(folder.path().join("store")).unwrap()));
    }

    #[test]
    fn one_racing_writer_wins() {
        let folder = tempfile::tempdir().unwrap();
        conformance::race(Arc::new(FileStore::open(folder.path()).unwrap()), 1_000);
    }

    #[test]
    fn a_url_opens_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        wait(store.put("a/b", b"1")).unwrap();
        assert_eq!(wait(open(&store.url()).unwrap().get("a/b")).unwrap(), b"1");
    }

    #[test]
    fn non_utf_8_folders_have_their_own_urls() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9 %41"));
        let store = FileStore::open(&inside).unwrap();
        wait(store.put("a/b", b"1")).unwrap();
        assert_eq!(wait(open(&store.url()).unwrap().get("a/b")).unwrap(), b"1");
        assert!(inside.join("a/b").is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "there is no second folder with a similar name");
    }

    #[test]
    fn temporary_leftovers_are_no_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        wait(store.put("a", b"1")).unwrap();
        fs::write(folder.path().join(".tmp/4711-3"), b"half a val").unwrap();
        assert_eq!(wait(store.list("", None, 10)).unwrap(), ["a"]);
    }
}
