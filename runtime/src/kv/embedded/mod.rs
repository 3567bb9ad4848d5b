//! The embedded storage: LMDB in a folder, shared by the processes of one machine.

mod options;
mod size;
mod transactions;
mod turns;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError};

use self::options::Options;
use self::turns::Turns;
use super::handle::parse_counter;
use super::numbers::add_to;
use super::{Addition, KeyValue, KvError, KvResult, KvScheme, check_key, check_value};
use crate::error::{Error, Result};
use crate::platform;
use crate::store::clip;

inventory::submit! {
    KvScheme { scheme: "embedded", open: |rest| Ok(Embedded::open(rest)?) }
}

/// Maximum number of threads, in all processes together, that read at once.
const READERS: u32 = 4096;

/// Key-value storage in a folder, which any number of processes on one machine can use at once.
///
/// Writers take turns, one process at a time. A change fails if another process keeps its turn for 10 seconds, as a
/// stopped process does. Readers never wait. A change is made completely or not at all, even if a process is killed.
///
/// By default, nothing is synced to disk: changes survive the end of any process, but not a power failure, after which
/// the folder may be unusable. With `?sync=true` after the folder, each change is on disk before the operation returns,
/// which is a thousand times slower. The folder must not be on a network file system.
///
/// LMDB was chosen by measurement, with values of 128 bytes on one thread. LMDB stored 136,000 values per second and
/// read 1,800,000. redb 4.6, which syncs every change once several processes share it, stored 205 and read 173,000.
/// SQLite 3.40 (WAL, synchronous off, through Python's module) stored 62,000 and read 143,000.
pub struct Embedded {
    env: Env,
    values: Database<Bytes, Bytes>,
    options: Options,
    turns: Turns,
    /// Device and inode of the data file, to detect that it was replaced.
    file: (u64, u64),
    /// The process that opened it, because the child of a fork must not use LMDB.
    process: u32,
    /// Locked for reading while the map is in use, and for writing while it is resized.
    map: RwLock<()>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded({})", self.options.folder.display())
    }
}

impl Embedded {
    /// Opens the storage in a folder, and creates the folder if it is missing. Options may follow after a `?`. The
    /// storage stays open until the process ends.
    ///
    /// # Errors
    /// [`Error::Config`] for an unusable folder, for an unknown option, or if this process already has the folder open
    /// with other options; also on AWS Lambda, where no other instance would see the folder.
    pub fn open(rest: &str) -> Result<Arc<Self>> {
        // A process must open an LMDB environment only once. It is never closed, because closing it while threads end
        // is another race.
        static OPEN: OnceLock<Mutex<HashMap<PathBuf, Arc<Embedded>>>> = OnceLock::new();
        let mut options = Options::parse(rest)?;
        if platform::in_lambda() {
            return Err(Error::Config(
                "`embedded:` is a folder on one machine, and functions on AWS Lambda do not share a folder; use \
                 `redis://host:port/db`"
                    .to_owned(),
            ));
        }
        let cannot = |e: &dyn fmt::Display| Error::Config(format!("cannot use `embedded:{rest}`: {e}"));
        prepare(&options.folder).map_err(|e| cannot(&e))?;
        options.folder = options.folder.canonicalize().map_err(|e| cannot(&e))?;
        let mut open = OPEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&options.folder) {
            if file_of(&options.folder).ok() != Some(known.file) {
                return Err(cannot(&"its files were removed while this process had them open; restart the process"));
            }
            if known.options != options {
                return Err(cannot(&"this process already has it open with other options"));
            }
            return Ok(known.clone());
        }
        let new = Arc::new(Self::open_new(options.clone()).map_err(|e| cannot(&e))?);
        open.insert(options.folder, new.clone());
        Ok(new)
    }

    fn open_new(options: Options) -> heed::Result<Self> {
        size::check(&options.folder)?;
        let mut open = EnvOpenOptions::new();
        open.map_size(options.map).max_readers(READERS);
        if !options.sync {
            // SAFETY: NO_SYNC is unsafe because a power failure may leave a file that LMDB mistakes for a valid
            // database. The documentation says so, and the default folder can be deleted.
            unsafe { open.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the files belong to LMDB, and only LMDB changes their contents; `OPEN` ensures that this process
        // opens them once.
        let env = unsafe { open.open(&options.folder)? };
        size::extend(&options.folder, env.info().map_size)?;
        // Readers that belong to killed processes would keep old values from being overwritten.
        env.clear_stale_readers()?;
        let values = loop {
            // The database without a name always exists.
            let found = env.read_txn().and_then(|reader| env.open_database(&reader, None));
            match found {
                Ok(values) => break values.ok_or(heed::Error::Mdb(MdbError::Invalid))?,
                // Another process has resized the map in the meantime.
                // SAFETY: no transaction is open yet.
                Err(heed::Error::Mdb(MdbError::MapResized)) => unsafe { env.resize(0)? },
                Err(error) => return Err(error),
            }
        };
        let file = file_of(&options.folder)?;
        let turns = Turns::open(&options.folder)?;
        Ok(Self { env, values, options, turns, file, process: std::process::id(), map: RwLock::new(()) })
    }
}

fn prepare(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    platform::ignore_in_git(folder)
}

fn file_of(folder: &Path) -> std::io::Result<(u64, u64)> {
    let file = std::fs::metadata(folder.join(size::FILE))?;
    Ok((file.dev(), file.ino()))
}

impl KeyValue for Embedded {
    fn url(&self) -> String {
        self.options.url()
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn get(&self, key: &str) -> KvResult<Option<Vec<u8>>> {
        check_key(key)?;
        self.read("get", key, |reader| Ok(self.values.get(reader, key.as_bytes())?.map(<[u8]>::to_vec)))
    }

    fn get_many(&self, keys: &[&str]) -> KvResult<Vec<Option<Vec<u8>>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.read("get", keys.first().unwrap_or(&""), |reader| {
            keys.iter().map(|key| Ok(self.values.get(reader, key.as_bytes())?.map(<[u8]>::to_vec))).collect()
        })
    }

    fn get_ranges(&self, ranges: &[(&str, Range<u64>)]) -> KvResult<Vec<Option<Vec<u8>>>> {
        ranges.iter().try_for_each(|(key, _)| check_key(key))?;
        self.read("get", ranges.first().map_or("", |(key, _)| key), |reader| {
            let get = |(key, range): &(&str, Range<u64>)| {
                let value = self.values.get(reader, key.as_bytes())?;
                Ok(value.map(|value| value[clip(range, value.len())].to_vec()))
            };
            ranges.iter().map(get).collect()
        })
    }

    fn set_many(&self, values: &[(&str, &[u8])]) -> KvResult<()> {
        values.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(key, value)))?;
        let room = values.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.write("set", values.first().map_or("", |(key, _)| key), room, |change| {
            for (key, value) in values {
                self.values.put(change, key.as_bytes(), value)?;
            }
            Ok(Ok(()))
        })
    }

    fn set_if_absent(&self, key: &str, value: &[u8]) -> KvResult<bool> {
        self.compare_and_set(key, None, Some(value))
    }

    fn compare_and_set(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> KvResult<bool> {
        check_key(key)?;
        check_value(key, new.unwrap_or_default())?;
        self.write("compare and set", key, new.map_or(0, <[u8]>::len), |change| {
            if self.values.get(change, key.as_bytes())? != expected {
                return Ok(Ok(false));
            }
            match new {
                Some(new) => self.values.put(change, key.as_bytes(), new)?,
                None => {
                    self.values.delete(change, key.as_bytes())?;
                }
            }
            Ok(Ok(true))
        })
    }

    fn delete(&self, key: &str) -> KvResult<()> {
        check_key(key)?;
        self.write("delete", key, 0, |change| {
            self.values.delete(change, key.as_bytes())?;
            Ok(Ok(()))
        })
    }

    fn increment(&self, key: &str, by: i64) -> KvResult<i64> {
        check_key(key)?;
        self.write("increment", key, 0, |change| {
            let old = self.values.get(change, key.as_bytes())?.map_or(Some(0), parse_counter);
            let Some(sum) = old.and_then(|old| old.checked_add(by)) else {
                return Ok(Err(KvError::NoCounter { key: key.to_owned() }));
            };
            self.values.put(change, key.as_bytes(), sum.to_string().as_bytes())?;
            Ok(Ok(sum))
        })
    }

    fn add(&self, additions: &[Addition<'_>]) -> KvResult<()> {
        additions.iter().try_for_each(|addition| check_key(addition.key))?;
        let room = additions.iter().map(|addition| addition.needs()).sum::<KvResult<u64>>()?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        self.write("add to", additions.first().map_or("", |addition| addition.key), room, |change| {
            for addition in additions {
                let value = self.values.get(change, addition.key.as_bytes())?;
                let len = value.map(|value| value.len() as u64);
                let needs = addition.needs().unwrap_or(u64::MAX);
                let Some(value) = value.filter(|value| value.len() as u64 >= needs) else {
                    return Ok(Err(addition.out_of_range(len)));
                };
                let mut value = value.to_vec();
                add_to(&mut value, addition);
                self.values.put(change, addition.key.as_bytes(), &value)?;
            }
            Ok(Ok(()))
        })
    }

    fn keys(&self, prefix: &str) -> KvResult<Vec<String>> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        self.read("list", prefix, |reader| {
            if prefix.is_empty() {
                return self.values.iter(reader)?.map(|entry| Ok(text(entry?.0))).collect();
            }
            self.values.prefix_iter(reader, prefix.as_bytes())?.map(|entry| Ok(text(entry?.0))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir, options: &str) -> Result<Arc<Embedded>> {
        Embedded::open(&format!("{}{options}", folder.path().display()))
    }

    #[test]
    fn it_conforms() {
        let folder = tempfile::tempdir().unwrap();
        crate::conformance::kv(open(&folder, "").unwrap());
    }

    #[test]
    fn it_conforms_with_sync() {
        let folder = tempfile::tempdir().unwrap();
        crate::conformance::kv(open(&folder, "?sync=true").unwrap());
    }

    #[test]
    fn the_map_grows_under_readers_and_writers() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(&folder, "?map_mb=1").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let kv = &kv;
                scope.spawn(move || {
                    for i in 0..100 {
                        let key = format!("{writer}/{i}");
                        kv.set(&key, &vec![writer; 100_000]).unwrap();
                        assert_eq!(kv.get(&key).unwrap().unwrap(), vec![writer; 100_000]);
                    }
                });
            }
        });
        kv.set("large", &vec![7; 100 << 20]).unwrap();
        assert_eq!(kv.keys("").unwrap().len(), 401);
        assert_eq!(kv.get("large").unwrap().map(|value| value.len()), Some(100 << 20));
    }

    #[test]
    fn a_truncated_file_is_an_error_and_no_crash() {
        // `Embedded::open` keeps a folder open until the process ends; `open_new` does not.
        let made = |folder: &Path| {
            let mut options = Options::parse(folder.to_str().unwrap()).unwrap();
            options.map = 1 << 20;
            let kv = Embedded::open_new(options).unwrap();
            (0..40u8).for_each(|i| kv.set(&format!("{i}"), &[i; 40_000]).unwrap());
            (0..40u8).for_each(|i| kv.delete(&format!("{i}")).unwrap());
            kv.set("a", &[1; 10]).unwrap();
            kv.env.prepare_for_closing().wait();
        };
        let open = |folder: &Path| Embedded::open_new(Options::parse(folder.to_str().unwrap()).unwrap());
        let whole = tempfile::tempdir().unwrap();
        made(whole.path());
        let bytes = std::fs::read(whole.path().join(size::FILE)).unwrap();
        for len in [0, 1, 100, 4096, 4097, 8191, 8192, 50_000, bytes.len() - 1, bytes.len()] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(size::FILE), &bytes[..len]).unwrap();
            let kept = open(folder.path()).map(|kv| kv.get("a").unwrap()).map_err(|e| e.to_string());
            match len {
                0 => assert_eq!(kept, Ok(None)),
                len if len == bytes.len() => assert_eq!(kept, Ok(Some(vec![1; 10]))),
                len => assert!(kept.as_ref().is_err_and(|e| e.contains("was truncated")), "{len}: {kept:?}"),
            }
        }
    }

    #[test]
    fn a_folder_is_opened_once_with_one_set_of_options() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(&folder, "").unwrap();
        assert!(Arc::ptr_eq(&kv, &open(&folder, "/.").unwrap()));
        let message = open(&folder, "?sync=true").unwrap_err().to_string();
        assert!(message.ends_with("this process already has it open with other options"), "{message}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        let message = open(&folder, "").unwrap_err().to_string();
        assert!(message.contains("its files were removed"), "{message}");
    }

    #[test]
    fn urls_have_options_and_say_which() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(&folder, "?sync=true&map_mb=3").unwrap();
        assert!(kv.url().starts_with("embedded:/") && kv.url().ends_with("?sync=true&map_mb=3"), "{}", kv.url());
        for bad in ["", "?sync=true", "/x?sync", "/x?map_mb=0", "/x?a=b"] {
            assert!(matches!(Embedded::open(bad), Err(Error::Config(_))), "{bad}");
        }
    }
}
