//! Finds the local files that a pattern matches.
//!
//! The same rules apply to folders and patterns. A link to a file is read as that file, under the link's name. A folder
//! is read once, however many names and links lead to it, so that a cycle of links ends. A broken link, or anything
//! that is not a file (a pipe, a device), is an error if its name matches.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pattern::{Part, Pattern, Token, is_hidden};

/// The path of a problem, and its description.
pub(super) type Problem = (PathBuf, String);

/// The state and the results of a search.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) files: Vec<(PathBuf, Metadata)>,
    /// Whether the pattern matched folders, which are not results.
    pub(super) folders: bool,
    /// Folders that were read: device, inode, and the index of the pattern's part.
    known: HashSet<(u64, u64, usize)>,
    /// Folders to search, each with the index of the pattern's part.
    todo: Vec<(PathBuf, usize)>,
    /// Links to folders. They are searched last, because a folder is read under its own name if it has one.
    links: BTreeSet<(PathBuf, usize)>,
}

/// Finds the files that match a pattern.
pub(super) fn matches(pattern: &Pattern) -> Result<Walk, Problem> {
    let mut parts = pattern.parts.clone();
    let root = if parts.len() > 1 && parts[0] == Part::Name(Vec::new()) { "/" } else { "" };
    // The system ignores empty names.
    parts.retain(|part| *part != Part::Name(Vec::new()));
    if parts.last() == Some(&Part::Folders) {
        parts.push(Part::Wild(vec![Token::Many]));
    }
    search(Path::new(root), &parts)
}

/// Finds the files below a folder.
pub(super) fn below(folder: &Path) -> Result<Walk, Problem> {
    search(folder, &[Part::Folders, Part::Wild(vec![Token::Many])])
}

fn search(root: &Path, parts: &[Part]) -> Result<Walk, Problem> {
    let mut walk = Walk { todo: vec![(root.to_owned(), 0)], ..Walk::default() };
    while let Some((folder, at)) = walk.todo.pop().or_else(|| walk.links.pop_first()) {
        walk.enter(&folder, parts, at)?;
    }
    Ok(walk)
}

impl Walk {
    /// Searches a folder for entries that match the parts from `at` on.
    fn enter(&mut self, folder: &Path, parts: &[Part], at: usize) -> Result<(), Problem> {
        let Some(part) = parts.get(at) else { return Ok(()) };
        // An empty path is the working directory. Its name is not part of the files' paths.
        let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let wrong = |e: io::Error| (place.to_owned(), format!("cannot read the folder: {e}"));
        match fs::metadata(place) {
            Ok(data) if data.is_dir() => {
                if !self.known.insert((data.dev(), data.ino(), at)) {
                    return Ok(());
                }
            }
            Ok(_) => return Ok(()),
            Err(e) if is_gone(&e) => return Ok(()),
            Err(e) => return Err(wrong(e)),
        }
        let is_last = at + 1 == parts.len();
        if let Part::Name(name) = part {
            let path = folder.join(std::ffi::OsStr::from_bytes(name));
            if is_last {
                return self.take(path);
            }
            self.todo.push((path, at + 1));
            return Ok(());
        }
        if *part == Part::Folders {
            // `**` also matches no folder at all.
            self.todo.push((folder.to_owned(), at + 1));
        }
        for entry in fs::read_dir(place).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name();
            let next = match part {
                Part::Folders if is_hidden(name.as_bytes()) => continue,
                Part::Folders => at,
                part if !part.matches(name.as_bytes()) => continue,
                _ => at + 1,
            };
            let path = folder.join(&name);
            let kind = entry.file_type().map_err(|e| (path.clone(), format!("cannot read its metadata: {e}")))?;
            if is_last {
                self.take(path)?;
            } else if kind.is_dir() {
                self.todo.push((path, next));
            } else if kind.is_symlink() {
                self.links.insert((path, next));
            }
        }
        Ok(())
    }

    /// Takes a path that matches the whole pattern.
    fn take(&mut self, path: PathBuf) -> Result<(), Problem> {
        match look(&path) {
            Ok(data) if data.is_dir() => self.folders = true,
            Ok(data) => self.files.push((path, data)),
            // The file was just removed, or its name is literal in the pattern.
            Err(LookError::Gone) => {}
            Err(LookError::Wrong(reason)) => return Err((path, reason)),
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        // A link that leads back to itself.
        || error.raw_os_error() == Some(libc::ELOOP)
}

/// The reason why a path cannot be read.
#[derive(Debug)]
pub(super) enum LookError {
    /// No file or folder has this name.
    Gone,
    /// It cannot be read, for this reason.
    Wrong(String),
}

/// Returns the metadata of a file or folder, following links.
pub(super) fn look(path: &Path) -> Result<Metadata, LookError> {
    let wrong = |reason: String| Err(LookError::Wrong(reason));
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) => {
            return match fs::read_link(path) {
                Ok(target) if error.kind() == ErrorKind::NotFound => {
                    let target = target.display();
                    wrong(format!("it is a link to `{target}`, which does not exist; fix or remove the link"))
                }
                Err(_) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    Err(LookError::Gone)
                }
                _ => wrong(format!("cannot read its metadata: {error}")),
            };
        }
    };
    let kind = data.file_type();
    let special = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        let null = fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == data.rdev());
        if null && kind.is_char_device() {
            return Ok(data);
        }
        "a device"
    } else if kind.is_file() && data.len() == 0 && has_content(path) {
        let reason = "it reports a length of 0 but has content, like files in `/proc`; its length is unknown until it \
                      is read: copy it to a regular file first";
        return wrong(reason.to_owned());
    } else {
        return Ok(data);
    };
    wrong(format!(
        "it is {special}, not a file: several workers cannot read it, and it cannot be read twice; write its content \
         to a file first, or leave it out"
    ))
}

/// Whether a file that reports a length of 0 has content.
fn has_content(path: &Path) -> bool {
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let Ok(mut file) = open else { return false };
    match file.read(&mut [0]) {
        Ok(got) => got > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Returns the path by which another process finds a file. `/dev/stdin` and `/proc/self` are different files there.
pub(super) fn path_for_workers(path: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(path).map_err(|e| format!("cannot make the path absolute: {e}"))?;
    if !absolute.starts_with("/dev") && !absolute.starts_with("/proc") {
        return Ok(absolute);
    }
    let of = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let real = fs::canonicalize(&absolute).ok();
    real.filter(|real| of(real).is_some() && of(real) == of(&absolute)).ok_or_else(|| {
        "it is open only in this program, and has no name by which workers could open it; write it to a file first"
            .to_owned()
    })
}
