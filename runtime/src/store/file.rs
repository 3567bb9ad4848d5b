//! The `file:` store: a folder, a file for each key.

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

inventory::submit! {
    StoreScheme { scheme: "file", open: |rest| Ok(Arc::new(FileStore::open(platform::path_of_text(rest))?)) }
}

/// Where values are written before they get their names. No key begins with a dot.
const TEMPORARY: &str = ".tmp";

/// Locked by who makes a folder of a value.
const FOLDERS: &str = "folders";

/// Parts of a key: it has at most 1,024 bytes.
const MOST_LEVELS: usize = 512;

/// The value of a key that is also the folder of others, within that folder.
const VALUE: &str = ".value";

/// A store in a folder, which several processes may use at once.
///
/// A value is written to a temporary file of a random name, which is then renamed (`put`) or linked
/// (`put_if_absent`) to its own: both are atomic, also between machines that share the folder by NFS. On
/// such a file system each value is synced before it gets its name, since an error of the server comes
/// only then. On a disk of this machine nothing is synced: values survive the end of any process, and not
/// that of the machine's power. Operations block the calling thread for as long as the disk takes.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    /// Whether it lies on another machine.
    is_remote: OnceLock<bool>,
}

impl FileStore {
    /// The store in a folder, which is made when the first value is put.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty path.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        if root.as_os_str().is_empty() {
            return Err(Error::Config("the store `file:` needs a path: `file:.wren/store`".to_owned()));
        }
        // Where the working directory was removed, only who uses the store learns of it.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Ok(Self { root, is_remote: OnceLock::new() })
    }

    /// The folder of a store with this URL, or `None` where it is the URL of another kind of store. A path that is not
    /// UTF-8 is coded in the URL.
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

    /// A file without a name in the store yet, which only this process knows.
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
        let ignore = self.root.join(".gitignore");
        if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
    }

    /// Makes sure that what was written is there: a file system of another machine says only now that it
    /// has no room, and shows to others what was written when it is told to.
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
                // On a disk that is full, what is left would keep it so.
                let _ = fs::remove_file(&temporary);
            }
            named
        };
        write().map_err(|e| self.write_error(key, &e))
    }

    /// Gives a file its name in the store; copies it first where it lies on another file system.
    fn take_file(&self, key: &str, file: &Path) -> StoreResult<()> {
        let path = self.path(key)?;
        if !file.is_file() {
            return Err(self.unreadable(key, file, &ErrorKind::NotFound.into()));
        }
        let copy = || {
            // A name that nobody else takes is never there already.
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

    /// Nothing that a value needs being there is no missing value.
    fn write_error(&self, key: &str, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::NotFound => self.failed("write", key, error),
            _ => self.error("write", key, error),
        }
    }

    /// Does something with the file of a key: that of its name, or where that is a folder the one within.
    fn with_file<T>(&self, key: &str, doing: &str, act: impl Fn(&Path) -> io::Result<T>) -> StoreResult<T> {
        let path = self.path(key)?;
        let acted = match act(&path) {
            Err(error) if is_no_file(&error) && path.is_dir() => act(&path.join(VALUE)),
            // What is below a value is not there.
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
        self.with_file(key, "look at", |path| {
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
            if name.starts_with('.') {
                continue;
            }
            let key = format!("{at}{name}");
            if entry.file_type()?.is_dir() {
                // It sorts as its keys do, with the slash, and the value of its own name without.
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

/// How a file gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// In place of what has it.
    Replace,
    /// Unless something has it.
    IfAbsent,
}

impl Naming {
    /// Gives a file its name, and makes the folder of that where it is not there.
    fn give(self, from: &Path, to: &Path) -> io::Result<()> {
        let give = |to: &Path| match self {
            Naming::Replace => fs::rename(from, to),
            Naming::IfAbsent => fs::hard_link(from, to),
        };
        let mut to = to.to_owned();
        let mut given = give(&to);
        if given.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
            && let Some(folder) = to.parent()
        {
            make_folder(folder, from.parent().unwrap_or(folder))?;
            given = give(&to);
        }
        if given.as_ref().is_err_and(|e| is_no_file(e) || e.kind() == ErrorKind::AlreadyExists) && to.is_dir() {
            to.push(VALUE);
            given = give(&to);
        }
        let to = &to;
        // A server of files whose answer was lost is asked again, and then says that it was done before.
        match self {
            Naming::IfAbsent if given.is_ok() || is_one_file(from, to) => {
                // The value is there, whatever becomes of its other name.
                let _ = fs::remove_file(from);
                Ok(())
            }
            _ => given,
        }
    }
}

/// Whether it is the error of what was meant for a file and met a folder.
fn is_no_file(error: &io::Error) -> bool {
    // POSIX has EPERM for the removal of a folder, Linux EISDIR; a folder that is replaced may be told to have entries.
    use ErrorKind::{DirectoryNotEmpty, IsADirectory, PermissionDenied};
    matches!(error.kind(), IsADirectory | PermissionDenied | DirectoryNotEmpty)
}

/// Makes a folder, and folders of values that are in its way, by way of a place beside the store's names.
fn make_folder(folder: &Path, beside: &Path) -> io::Result<()> {
    // Each level may have a value in the way, and other processes make folders, too.
    for _ in 0..MOST_LEVELS {
        match fs::create_dir_all(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::AlreadyExists) => {}
            other => return other,
        }
        // One at a time: two folders that are made of one value would lose what is in the first.
        let turns = File::options().create(true).truncate(false).write(true).open(beside.join(FOLDERS))?;
        turns.lock()?;
        let in_the_way = folder.ancestors().find(|path| path.is_file());
        let Some(value) = in_the_way else { continue };
        let new = beside.join(format!("{:016x}", platform::random()));
        fs::create_dir(&new)?;
        let moved = move_within(value, &new);
        // Empty by now, or the file that it changed places with.
        let _ = fs::remove_file(&new);
        let _ = fs::remove_file(new.join(VALUE));
        let _ = fs::remove_dir(&new);
        match moved {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::create_dir_all(folder)
}

/// Puts a folder in the place of a value, with the value within. A file system that cannot let two names change places,
/// such as NFS, has no keys below that of a value.
fn move_within(value: &Path, folder: &Path) -> io::Result<()> {
    fs::hard_link(value, folder.join(VALUE))?;
    platform::exchange(value, folder)?;
    // Somebody may have replaced the value since it was linked.
    if folder.is_file() && !is_one_file(&value.join(VALUE), folder) {
        fs::rename(folder, value.join(VALUE))?;
    }
    Ok(())
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// What changes when a file is replaced or written to.
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
        // Where it cannot be made, what is written there fails with the reason.
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
    fn of_racing_writers_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        conformance::race(Arc::new(FileStore::open(folder.path()).unwrap()), 1_000);
    }

    #[test]
    fn its_url_opens_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        wait(store.put("a/b", b"1")).unwrap();
        assert_eq!(wait(open(&store.url()).unwrap().get("a/b")).unwrap(), b"1");
    }

    #[test]
    fn a_folder_that_is_not_utf_8_has_a_url_of_its_own() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9 %41"));
        let store = FileStore::open(&inside).unwrap();
        wait(store.put("a/b", b"1")).unwrap();
        assert_eq!(wait(open(&store.url()).unwrap().get("a/b")).unwrap(), b"1");
        assert!(inside.join("a/b").is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no folder of a name that looks alike");
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
