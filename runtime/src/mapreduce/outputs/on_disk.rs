//! Outputs in a local folder: tasks write their files to a staged folder, which is then exchanged with the output
//! folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::data::is_part;
use crate::error::{Error, Result};
use crate::mapreduce::ReduceResult;
use crate::platform::is_id;
use crate::store::{StoreError, unblock};

/// A local folder. The staged folder is locked while the job runs, see [`sweep`].
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    folder: PathBuf,
    staged: PathBuf,
    lock: Arc<Mutex<Option<File>>>,
}

impl OnDisk {
    /// Prepares the outputs of a job in a folder.
    ///
    /// # Errors
    /// [`Error::Config`] for a folder that contains other files than outputs.
    pub(super) fn of(job: &str, folder: PathBuf) -> Result<Self> {
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
        Ok(Self { folder, staged, lock: Arc::new(Mutex::new(lock)) })
    }

    /// Returns the path of the folder that tasks write to.
    pub(super) fn target(&self) -> Result<String> {
        let target = self.staged.to_str().map(str::to_owned);
        target.ok_or_else(|| {
            let staged = self.staged.display();
            Error::Config(format!("the path of the folder {staged} is not UTF-8; use another folder"))
        })
    }

    /// Removes the files that tasks wrote.
    pub(super) fn discard(&self) {
        let _ = discard(&self.staged);
    }

    /// Creates the staged folder again.
    pub(super) async fn stage_again(&self) -> Result<()> {
        let Self { folder, staged, lock } = self.clone();
        let stage_again = move || {
            let new = stage(&staged).map_err(|e| failed(&folder, &e))?;
            *lock.lock().unwrap_or_else(PoisonError::into_inner) = new;
            Ok(())
        };
        unblock(stage_again).await?
    }

    /// Puts the files in place, and their new paths into `reduced`. Returns false if they are gone.
    pub(super) async fn commit<T>(&self, files: Vec<(String, u64)>, reduced: &mut [ReduceResult<T>]) -> Result<bool> {
        let (to, from) = (self.folder.clone(), self.staged.clone());
        if !unblock(move || commit_here(&to, &from, &files)).await?? {
            return Ok(false);
        }
        for (file, _) in reduced.iter_mut().filter_map(|reduced| reduced.file.as_mut()) {
            if let Some(name) = Path::new(file.as_str()).file_name() {
                *file = self.folder.join(name).display().to_string();
            }
        }
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
pub(super) const LOCK: &str = ".lock";

/// Minimum time since the last change of a folder that counts as left by a killed driver. A driver that has just
/// started may not have locked its folder yet.
pub(super) const LEFT: Duration = Duration::from_secs(60);

/// Creates the folder that tasks write to, and locks it if the file system supports locks.
pub(super) fn stage(staged: &Path) -> io::Result<Option<File>> {
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
pub(super) const OVER: &str = ".over";

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
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn failed(folder: &Path, error: &io::Error) -> Error {
    StoreError::of_disk(format!("file:{}", folder.display()), "write to", "", error).into()
}
