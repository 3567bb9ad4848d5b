//! Gives files their names atomically. If a file is where a key needs a folder, the file moves into that folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::platform;

/// The file that is locked while a value is turned into a folder.
const FOLDERS: &str = "folders";

/// Maximum number of parts of a key, which has at most 1,024 bytes.
const MAX_LEVELS: usize = 512;

/// The name of a value inside the folder of its key, if other keys are below that key.
pub(super) const VALUE: &str = ".value";

/// The way in which a file gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Replace the file that has the name.
    Replace,
    /// Fail if something has the name.
    IfAbsent,
}

impl Naming {
    /// Gives a file its name, and creates the folder of the name if it does not exist.
    pub(super) fn give(self, from: &Path, to: &Path) -> io::Result<()> {
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
        // If the answer of a file server is lost, the request is sent again, and the second answer is an error.
        match self {
            Naming::IfAbsent if given.is_ok() || is_one_file(from, to) => {
                // The value is stored, even if its temporary name cannot be removed.
                let _ = fs::remove_file(from);
                Ok(())
            }
            _ => given,
        }
    }
}

/// Returns whether this is the error of a file operation that was applied to a folder.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    // Removing a folder gives EPERM by POSIX and EISDIR on Linux; replacing one may give ENOTEMPTY.
    use ErrorKind::{DirectoryNotEmpty, IsADirectory, PermissionDenied};
    matches!(error.kind(), IsADirectory | PermissionDenied | DirectoryNotEmpty)
}

/// Creates a folder, and turns values in its way into folders. `beside` is a folder for temporary names.
fn make_folder(folder: &Path, beside: &Path) -> io::Result<()> {
    // Each level may have a value in the way, and other processes create folders too.
    for _ in 0..MAX_LEVELS {
        match fs::create_dir_all(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::AlreadyExists) => {}
            other => return other,
        }
        // One process at a time: if two turned the same value into a folder, the contents of the first would be lost.
        let turns = File::options().create(true).truncate(false).write(true).open(beside.join(FOLDERS))?;
        turns.lock()?;
        let in_the_way = folder.ancestors().find(|path| path.is_file());
        let Some(value) = in_the_way else { continue };
        let new = beside.join(format!("{:016x}", platform::random()));
        fs::create_dir(&new)?;
        let moved = move_within(value, &new);
        // Clean up: it is an empty folder by now, or the file that it was exchanged with.
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

/// Puts a folder in the place of a value, with the value inside. A file system that cannot exchange two names, such as
/// NFS, does not support keys below the key of a value.
fn move_within(value: &Path, folder: &Path) -> io::Result<()> {
    fs::hard_link(value, folder.join(VALUE))?;
    platform::exchange(value, folder)?;
    // Another process may have replaced the value since it was linked.
    if folder.is_file() && !is_one_file(&value.join(VALUE), folder) {
        fs::rename(folder, value.join(VALUE))?;
    }
    Ok(())
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
