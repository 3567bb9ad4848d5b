//! The folder of a job's outputs, which contains exactly the files that the job wrote.
//!
//! Tasks write their files to a staged folder beside it. When all files are there, the two folders change places. Where
//! that is not possible, in a store or where nothing can be written beside the folder, the earlier files are removed
//! one by one. In a store, a mark shows until then that the outputs are incomplete.
//!
//! An attempt that lost to another, or that belongs to a failed job, may still write after the job has ended.
//! Therefore, only the driver creates the staged folder. It first renames the folder, so that no task finds it any
//! more, and then uses or removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::output::{Reduced, is_local};
use crate::data::{INCOMPLETE, is_part};
use crate::error::{Error, Result};
use crate::platform::is_id;
use crate::store::{self, Requests, Store, StoreError, StoreResult, find, find_size, unblock};

/// Returns the content of a job's mark.
fn mark_of(job: &str) -> String {
    format!("job {job}\n")
}

/// Returns the content of the mark in a store, if there is one.
fn mark_in(store: &dyn Store) -> StoreResult<Option<String>> {
    Ok(find(store, INCOMPLETE)?.map(|mark| String::from_utf8_lossy(&mark).into_owned()))
}

/// Checks that the mark in a store is that of the job, before an output is written there. If it is not, another job is
/// writing there, or has put its outputs there since.
///
/// # Errors
/// [`Error::Job`] if the mark is not that of the job, and [`Error::Store`] if the store fails.
pub(super) fn check_mark(store: &dyn Store, job: &str) -> Result<()> {
    let mark = mark_in(store)?;
    if mark.as_ref().is_some_and(|mark| *mark == mark_of(job)) {
        return Ok(());
    }
    Err(replaced(&store.url(), job, mark.as_deref()))
}

/// Returns the error of a job whose outputs another job has replaced. `mark` is the current content of the mark.
fn replaced(url: &str, job: &str, mark: Option<&str>) -> Error {
    let other = mark.map_or_else(|| "another job has written".to_owned(), |mark| format!("{} is writing", mark.trim()));
    Error::Job(format!(
        "{other} its outputs to {url} at the same time as job `{job}`; give each job its own folder, and run it again"
    ))
}

/// The destination of a job's outputs.
#[derive(Debug, Clone)]
pub(crate) struct Outputs {
    place: Place,
    /// The folder that tasks write to.
    target: String,
}

#[derive(Debug, Clone)]
enum Place {
    Store(InStore),
    /// A local folder. The staged folder is locked while the job runs, see [`sweep`].
    Local {
        folder: PathBuf,
        staged: PathBuf,
        lock: Arc<Mutex<Option<File>>>,
    },
}

/// A folder in a store.
#[derive(Debug, Clone)]
struct InStore {
    store: Arc<dyn Store>,
    job: String,
    /// Whether the job is named, so that other programs may run it too.
    is_named: bool,
}

impl Outputs {
    /// Prepares the outputs of a job in a folder, which is an absolute path or a store's URL.
    ///
    /// # Errors
    /// [`Error::Config`] for a local folder that contains other files than outputs.
    pub(crate) async fn of(job: &str, is_named: bool, folder: &str) -> Result<Self> {
        let job = job.to_owned();
        if !is_local(folder) {
            let place = InStore { store: store::open(folder)?, job, is_named };
            place.put_mark().await?;
            return Ok(Self { place: Place::Store(place), target: folder.to_owned() });
        }
        let folder = PathBuf::from(folder);
        unblock(move || Self::of_local(&job, folder)).await?
    }

    fn of_local(job: &str, folder: PathBuf) -> Result<Self> {
        // Replace the folder that a link leads to, not the link.
        let folder = folder.canonicalize().unwrap_or(folder);
        for name in names(&folder).map_err(|e| failed(&folder, &e))? {
            if !is_part(&name) && !name.starts_with('.') {
                return Err(Error::Config(format!(
                    "the outputs replace the content of {}, but `{name}` in it is not an output; use an empty or new \
                     folder",
                    folder.display()
                )));
            }
        }
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = folder.with_file_name(format!(".{name}.{job}"));
        let within = folder.join(format!(".{job}"));
        sweep(&beside, &format!(".{name}."));
        sweep(&within, ".");
        let made = folder.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| stage(&beside));
        let (staged, lock) = match made {
            Ok(lock) => (beside, lock),
            Err(_) => stage(&within).map(|lock| (within, lock)).map_err(|e| failed(&folder, &e))?,
        };
        let target = staged.to_str().map(str::to_owned);
        let target = target.ok_or_else(|| {
            Error::Config(format!("the path of the folder {} is not UTF-8; use another folder", staged.display()))
        })?;
        let lock = Arc::new(Mutex::new(lock));
        Ok(Self { place: Place::Local { folder, staged, lock }, target })
    }

    /// Returns the folder that tasks write to.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Removes the local files that tasks wrote for a job that was cancelled or has failed.
    pub(crate) fn discard(&self) {
        if let Place::Local { staged, .. } = &self.place {
            let _ = discard(staged);
        }
    }

    /// Creates the folder that tasks write to again, because they run again after [`Outputs::commit`] returned false.
    pub(crate) async fn stage_again(&self) -> Result<()> {
        match &self.place {
            Place::Store(place) => place.put_mark().await,
            Place::Local { folder, staged, lock } => {
                let (folder, staged, lock) = (folder.clone(), staged.clone(), lock.clone());
                let stage_again = move || {
                    let new = stage(&staged).map_err(|e| failed(&folder, &e))?;
                    *lock.lock().unwrap_or_else(PoisonError::into_inner) = new;
                    Ok(())
                };
                unblock(stage_again).await?
            }
        }
    }

    /// Puts the files of a job in place, without any other outputs. Returns false if they are gone: a named job may
    /// have written them long ago.
    pub(crate) async fn commit<T>(&self, reduced: &mut [Reduced<T>]) -> Result<bool> {
        let files: Vec<(String, u64)> = reduced.iter().filter_map(|reduced| reduced.file.clone()).collect();
        match &self.place {
            Place::Store(place) => place.commit(files).await,
            Place::Local { folder, staged, .. } => {
                let (to, from) = (folder.clone(), staged.clone());
                if !unblock(move || commit_here(&to, &from, &files)).await?? {
                    return Ok(false);
                }
                for (file, _) in reduced.iter_mut().filter_map(|reduced| reduced.file.as_mut()) {
                    if let Some(name) = Path::new(file.as_str()).file_name() {
                        *file = folder.join(name).display().to_string();
                    }
                }
                Ok(true)
            }
        }
    }
}

impl InStore {
    async fn put_mark(&self) -> Result<()> {
        let mark = mark_of(&self.job).into_bytes();
        Requests::new(self.store.clone()).put(INCOMPLETE.to_owned(), mark).await
    }

    async fn commit(&self, files: Vec<(String, u64)>) -> Result<bool> {
        let requests = Requests::new(self.store.clone());
        // If the mark is missing, another program has finished this job, or another job has put its outputs here.
        let mark = requests.make(|store| mark_in(store)).await?;
        if mark.as_ref().map_or(!self.is_named, |mark| *mark != mark_of(&self.job)) {
            return Err(replaced(&self.store.url(), &self.job, mark.as_deref()));
        }
        let key = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
        let wanted: Vec<(String, u64)> = files.iter().map(|(file, bytes)| (key(file), *bytes)).collect();
        let are_whole = requests.for_each(wanted.clone(), |store, (key, bytes)| {
            let size = find_size(store, &key)?;
            Ok(size == Some(bytes))
        });
        if are_whole.await?.contains(&false) {
            return Ok(false);
        }
        let mut old = requests.list("part-".to_owned()).await?;
        old.retain(|key| is_part(key) && !wanted.iter().any(|(wanted, _)| wanted == key));
        requests.remove(old).await?;
        // Remove the mark last: until then, there may be parts of an earlier job.
        requests.remove(vec![INCOMPLETE.to_owned()]).await?;
        Ok(true)
    }
}

fn commit_here(folder: &Path, staged: &Path, files: &[(String, u64)]) -> Result<bool> {
    let names_of: Vec<(String, u64)> = files
        .iter()
        .map(|(file, bytes)| {
            let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_default(), *bytes)
        })
        .collect();
    let are_in = |folder: &Path| {
        let is_in = |(name, bytes): &(String, u64)| fs::metadata(folder.join(name)).is_ok_and(|m| m.len() == *bytes);
        names_of.iter().all(is_in)
    };
    let is_wanted = |name: &str| names_of.iter().any(|(wanted, _)| wanted == name);
    let put = || {
        if are_in(staged) && staged.is_dir() {
            let whole = withdraw(staged)?;
            // Files of attempts that lost, or of an earlier run with more files.
            for name in names(&whole)?.into_iter().filter(|name| !is_wanted(name)) {
                remove(&whole.join(name))?;
            }
            if whole.parent() == Some(folder) {
                move_in(folder, &whole)?
            } else {
                change_places(folder, &whole)?
            }
            return Ok(true);
        }
        let _ = discard(staged);
        if !are_in(folder) {
            return Ok(false);
        }
        for name in names(folder)?.into_iter().filter(|name| is_part(name) && !is_wanted(name)) {
            remove(&folder.join(name))?;
        }
        Ok(true)
    };
    put().map_err(|e| failed(folder, &e))
}

/// The file in a staged folder that its driver locks.
const LOCK: &str = ".lock";

/// Minimum time since the last change of a folder that counts as left by a killed driver. A driver that has just
/// started may not have locked its folder yet.
const LEFT: Duration = Duration::from_secs(60);

/// Creates the folder that tasks write to, and locks it if the file system supports locks.
fn stage(staged: &Path) -> io::Result<Option<File>> {
    // Left by a run that was killed while it put its outputs in place, or afterwards.
    let _ = fs::remove_dir_all(withdrawn(staged));
    fs::create_dir_all(staged)?;
    let lock = File::options().write(true).create(true).truncate(false).open(staged.join(LOCK))?;
    Ok(lock.try_lock().is_ok().then_some(lock))
}

/// Removes folders that killed drivers left: those beside `staged` whose names consist of `prefix`, the id of a job
/// without a name and perhaps [`OVER`], and that no process has locked. Folders of named jobs are kept, because those
/// jobs resume with them.
fn sweep(staged: &Path, prefix: &str) {
    let Some(folder) = staged.parent() else { return };
    for name in names(folder).unwrap_or_default() {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let is_of_a_job = is_id(rest.strip_suffix(OVER).unwrap_or(rest));
        let path = folder.join(&name);
        if is_of_a_job && path != staged && is_left(&path) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn is_left(staged: &Path) -> bool {
    let changed = fs::symlink_metadata(staged).and_then(|data| data.modified());
    if !changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT)) {
        return false;
    }
    match File::options().write(true).open(staged.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        // Its driver was killed while it put the outputs in place.
        Err(_) => staged.to_string_lossy().ends_with(OVER),
    }
}

/// Suffix of a staged folder that tasks no longer write to.
const OVER: &str = ".over";

/// Returns the name of such a folder.
fn withdrawn(staged: &Path) -> PathBuf {
    with_suffix(staged, OVER)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Renames the staged folder, so that tasks that are still running cannot write to it.
fn withdraw(staged: &Path) -> io::Result<PathBuf> {
    let withdrawn = withdrawn(staged);
    fs::rename(staged, &withdrawn)?;
    Ok(withdrawn)
}

fn discard(staged: &Path) -> io::Result<()> {
    fs::remove_dir_all(withdraw(staged)?)
}

/// Puts the folder `whole` in the place of `folder`, at once if the file system supports it.
fn change_places(folder: &Path, whole: &Path) -> io::Result<()> {
    if !folder.exists() {
        return fs::rename(whole, folder);
    }
    let mut old = whole.to_owned();
    if crate::platform::exchange(whole, folder).is_err() {
        // The file system cannot exchange folders. For a moment, there is no folder.
        old = with_suffix(whole, ".old");
        match fs::rename(folder, &old) {
            Ok(()) => fs::rename(whole, folder)?,
            // A folder at which another file system is mounted cannot be renamed either.
            Err(_) => return move_in(folder, whole),
        }
    }
    // Hidden files belong to the user, and stay.
    for name in names(&old)?.into_iter().filter(|name| name.starts_with('.') && !folder.join(name).exists()) {
        fs::rename(old.join(&name), folder.join(&name))?;
    }
    fs::remove_dir_all(old)
}

/// Replaces the files one by one. Meanwhile, files may be missing, but files of two jobs are never mixed.
fn move_in(folder: &Path, whole: &Path) -> io::Result<()> {
    for name in names(folder)?.into_iter().filter(|name| is_part(name)) {
        remove(&folder.join(name))?;
    }
    for name in names(whole)? {
        let (from, to) = (whole.join(&name), folder.join(&name));
        if fs::rename(&from, &to).is_err() {
            fs::copy(&from, &to)?;
        }
    }
    fs::remove_dir_all(whole)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Returns the names in a folder; none if it does not exist.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn failed(folder: &Path, error: &io::Error) -> Error {
    StoreError::of_disk(format!("file:{}", folder.display()), "write to", "", error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapreduce::{FileSink, Shuffle};
    use crate::store::wait;

    fn reduced(files: &[(PathBuf, u64)]) -> Vec<Reduced<()>> {
        let one = |(path, bytes): &(PathBuf, u64)| Reduced {
            collected: Vec::new(),
            records: 1,
            file: Some((path.display().to_string(), *bytes)),
        };
        files.iter().map(one).collect()
    }

    /// Writes files as tasks do, and commits them.
    fn write(folder: &Path, job: &str, parts: usize) -> Result<bool> {
        wait(async {
            let outputs = Outputs::of(job, false, folder.to_str().unwrap()).await?;
            let files: Vec<_> =
                (0..parts).map(|part| Path::new(outputs.target()).join(format!("part-{part:05}"))).collect();
            files.iter().for_each(|file| fs::write(file, job).unwrap());
            fs::write(Path::new(outputs.target()).join(".left"), "half").unwrap();
            let mut reduced = reduced(&files.into_iter().map(|file| (file, job.len() as u64)).collect::<Vec<_>>());
            let committed = outputs.commit(&mut reduced).await?;
            assert!(reduced.iter().all(|r| r.file.as_ref().unwrap().0.starts_with(folder.to_str().unwrap())));
            Ok(committed)
        })
    }

    #[test]
    fn a_folder_holds_what_the_last_job_wrote() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap().join("deep/out");
        for (job, parts) in [("first", 4), ("second", 2), ("third", 0), ("fourth", 1)] {
            assert!(write(&folder, job, parts).unwrap());
            assert_eq!(names(&folder).unwrap().len(), parts, "{job}");
            let texts = names(&folder).unwrap().into_iter().map(|name| fs::read_to_string(folder.join(name)).unwrap());
            assert!(texts.into_iter().all(|text| text == job));
        }
        assert_eq!(names(&root.path().join("deep")).unwrap(), ["out"], "nothing is left beside it");
        fs::write(folder.join(".gitignore"), "*").unwrap();
        assert!(write(&folder, "fifth", 1).unwrap());
        assert!(folder.join(".gitignore").exists(), "hidden files stay");
        fs::write(folder.join("README"), "mine").unwrap();
        let refused = write(&folder, "sixth", 1).unwrap_err().to_string();
        assert!(refused.contains("`README` in it is not an output"), "{refused}");
    }

    #[test]
    fn a_task_that_still_writes_when_the_job_is_over_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap().join("out");
        for committed in [false, true, true] {
            let outputs = wait(Outputs::of("job", false, folder.to_str().unwrap())).unwrap();
            let target = PathBuf::from(outputs.target());
            fs::write(target.join("part-00000"), "a").unwrap();
            let late = std::thread::spawn({
                let target = target.clone();
                // A new name each time, like the unfinished file of an attempt.
                move || (0..).take_while(|n| fs::write(target.join(format!(".{n}")), "half").is_ok()).count()
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            if committed {
                let file = (target.join("part-00000"), 1);
                assert!(wait(outputs.commit(&mut reduced(&[file]))).unwrap());
            } else {
                outputs.discard();
            }
            assert!(late.join().unwrap() > 0);
            let (beside, within) = (names(root.path()).unwrap(), names(&folder).unwrap());
            assert_eq!((beside.len(), within.len()), (usize::from(committed), usize::from(committed)), "{beside:?}");
        }
    }

    #[test]
    fn a_folder_in_a_store_is_marked_until_all_is_there() {
        let url = "memory:outputs-test";
        wait(async {
            let store = Requests::new(store::open(url).unwrap());
            let executor = crate::Executor::builder().backend("inline").build().unwrap();
            let outputs = Outputs::of("first", false, url).await.unwrap();
            for part in ["part-00000", "part-00001"] {
                store.put(part.to_owned(), b"a\n".to_vec()).await.unwrap();
            }
            let found = |pattern: &str| {
                let input = crate::Input::glob(pattern).unwrap().on(&executor);
                async move { input.splits().await.map(|splits| splits.len()) }
            };
            for pattern in [url.to_owned(), format!("{url}/*"), format!("{url}/part-00001")] {
                let error = found(&pattern).await.unwrap_err().to_string();
                assert!(error.contains("job first") && error.contains("_incomplete"), "{error}");
            }
            let files = [(PathBuf::from(format!("{url}/part-00000")), 2)];
            assert!(!outputs.commit(&mut reduced(&[(files[0].0.clone(), 3)])).await.unwrap());
            assert!(outputs.commit(&mut reduced(&files)).await.unwrap());
            assert_eq!(store.list(String::new()).await.unwrap(), ["part-00000"]);
            assert_eq!(found(&format!("{url}/*")).await.unwrap(), 1);
        });
    }

    #[test]
    fn two_jobs_in_one_folder_of_a_store_are_not_mixed() {
        let root = tempfile::tempdir().unwrap();
        let url = format!("file:{}/out", root.path().display());
        let executor = crate::Executor::builder().backend("inline").build().unwrap();
        let splits = |pattern: String| wait(crate::Input::glob(&pattern).unwrap().on(&executor).splits());
        let write = |outputs: &Outputs, job: &str| -> Result<(PathBuf, u64)> {
            let (store, prefix) = ("memory:".to_owned(), format!("{job}/shuffle/"));
            let shuffle = Shuffle { store, prefix, compress: false, memory_mb: 64 };
            let mut sink = FileSink::create(outputs.target(), "part-00000", &shuffle)?;
            io::Write::write_all(&mut sink, b"line\n").unwrap();
            sink.finish().map(|(file, bytes)| (file.into(), bytes))
        };
        let commit = |outputs: &Outputs, file: &(PathBuf, u64)| {
            wait(outputs.commit(&mut reduced(std::slice::from_ref(file)))).map_err(|e| e.to_string())
        };
        let slow = wait(Outputs::of("slow", false, &url)).unwrap();
        let of_slow = write(&slow, "slow").unwrap();
        // The values of a `file:` store are also found as files.
        for pattern in [url.clone(), format!("{url}/*"), url.replace("file:", ""), format!("{url}/part-00000")] {
            let error = splits(pattern).unwrap_err().to_string();
            assert!(error.contains("job slow is still writing them"), "{error}");
        }
        let quick = wait(Outputs::of("quick", false, &url)).unwrap();
        let of_quick = write(&quick, "quick").unwrap();
        let refused = write(&slow, "slow").unwrap_err().to_string();
        assert!(refused.contains("job quick is writing its outputs to file:"), "{refused}");
        assert!(commit(&slow, &of_slow).unwrap_err().contains("job quick"));
        assert_eq!(commit(&quick, &of_quick), Ok(true));
        let refused = write(&slow, "slow").unwrap_err().to_string();
        assert!(refused.contains("another job has written its outputs"), "{refused}");
        assert!(commit(&slow, &of_slow).is_err());
        assert_eq!(splits(url).unwrap().len(), 1);
        let left: Vec<_> = names(&root.path().join("out/.tmp")).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_drivers_left_that_were_killed_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap().join("out");
        let dead = crate::platform::new_id();
        let paths = [dead.clone(), format!("{}{OVER}", crate::platform::new_id()), "named".to_owned()];
        let paths = paths.map(|job| root.path().join(format!(".out.{job}")));
        paths.iter().for_each(|path| drop(stage(path).unwrap()));
        fs::remove_file(paths[1].join(LOCK)).unwrap();
        let is_there = || paths.each_ref().map(|path| path.exists());
        assert!(write(&folder, "first", 1).unwrap());
        assert_eq!(is_there(), [true; 3], "their drivers may be about to lock them");
        let long_ago = std::time::SystemTime::now() - 2 * LEFT;
        paths.iter().for_each(|path| File::open(path).unwrap().set_modified(long_ago).unwrap());
        let lock = File::options().write(true).open(paths[0].join(LOCK)).unwrap();
        lock.lock().unwrap();
        assert!(write(&folder, "second", 1).unwrap());
        assert_eq!(is_there(), [true, false, true], "one is locked, and a named job resumes with its own");
        drop(lock);
        assert!(write(&folder, "third", 1).unwrap());
        assert_eq!(is_there(), [false, false, true]);
    }

    #[test]
    fn files_that_are_gone_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap().join("out");
        let commit = |len| {
            wait(async {
                let outputs = Outputs::of("job", false, folder.to_str().unwrap()).await.unwrap();
                outputs.commit(&mut reduced(&[(Path::new(outputs.target()).join("part-00000"), len)])).await.unwrap()
            })
        };
        assert!(write(&folder, "job", 1).unwrap());
        assert!(commit(3), "an earlier run put it there");
        assert!(!commit(4), "it is another file");
        fs::remove_dir_all(&folder).unwrap();
        assert!(!commit(3));
    }
}
