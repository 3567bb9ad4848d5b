//! The files of this machine that a pattern matches.
//!
//! One rule holds for folders and patterns: a link to a file is read as that file under the link's name; a folder is
//! read once, however many names and links lead to it, so that a link back ends the search; a link to nothing, and what
//! is no file (a pipe, a device), is an error where its name matches.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pattern::{Part, Pattern, Token, is_hidden};

/// What went wrong, and where.
pub(super) type Wrong = (PathBuf, String);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) files: Vec<(PathBuf, Metadata)>,
    /// Whether folders matched, which a pattern does not stand for.
    pub(super) folders: bool,
    /// Folders that were read: device, file number, and from which part of the pattern on.
    known: HashSet<(u64, u64, usize)>,
    /// Folders to look in, and for which part of the pattern.
    todo: Vec<(PathBuf, usize)>,
    /// Links to folders, which wait: a folder is read by its own name where it has one.
    links: BTreeSet<(PathBuf, usize)>,
}

/// The files that match a pattern.
pub(super) fn matches(pattern: &Pattern) -> Result<Walk, Wrong> {
    let mut parts = pattern.parts.clone();
    let root = if parts.len() > 1 && parts[0] == Part::Name(Vec::new()) { "/" } else { "" };
    // The system does not mind empty names.
    parts.retain(|part| *part != Part::Name(Vec::new()));
    if parts.last() == Some(&Part::Folders) {
        parts.push(Part::Wild(vec![Token::Many]));
    }
    search(Path::new(root), &parts)
}

/// The files below a folder.
pub(super) fn below(folder: &Path) -> Result<Walk, Wrong> {
    search(folder, &[Part::Folders, Part::Wild(vec![Token::Many])])
}

fn search(root: &Path, parts: &[Part]) -> Result<Walk, Wrong> {
    let mut walk = Walk { todo: vec![(root.to_owned(), 0)], ..Walk::default() };
    while let Some((folder, at)) = walk.todo.pop().or_else(|| walk.links.pop_first()) {
        walk.enter(&folder, parts, at)?;
    }
    Ok(walk)
}

impl Walk {
    /// Looks in a folder for what the parts from `at` on match.
    fn enter(&mut self, folder: &Path, parts: &[Part], at: usize) -> Result<(), Wrong> {
        let Some(part) = parts.get(at) else { return Ok(()) };
        // An empty path is the working directory, whose name files do not get.
        let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let wrong = |e: io::Error| (place.to_owned(), format!("the folder cannot be read: {e}"));
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
            // No folder is a number of folders, too.
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
            let kind = entry.file_type().map_err(|e| (path.clone(), format!("it cannot be looked at: {e}")))?;
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

    /// Takes what matches all of the pattern.
    fn take(&mut self, path: PathBuf) -> Result<(), Wrong> {
        match look(&path) {
            Ok(data) if data.is_dir() => self.folders = true,
            Ok(data) => self.files.push((path, data)),
            // It was there a moment ago, or is a name of the pattern itself.
            Err(Unseen::Gone) => {}
            Err(Unseen::Wrong(reason)) => return Err((path, reason)),
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        // A link that leads round to itself.
        || error.raw_os_error() == Some(libc::ELOOP)
}

/// Why something is not read.
#[derive(Debug)]
pub(super) enum Unseen {
    /// Nothing has this name.
    Gone,
    /// It cannot be read, for this reason.
    Wrong(String),
}

/// Looks at a file or folder, behind links.
pub(super) fn look(path: &Path) -> Result<Metadata, Unseen> {
    let wrong = |reason: String| Err(Unseen::Wrong(reason));
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) => {
            return match fs::read_link(path) {
                Ok(target) if error.kind() == ErrorKind::NotFound => {
                    let target = target.display();
                    wrong(format!("it is a link to `{target}`, which is not there; remove the link or mend it"))
                }
                Err(_) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(Unseen::Gone),
                _ => wrong(format!("it cannot be looked at: {error}")),
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
        let reason = "it says that it is empty and yet has content, as files of `/proc` do; its length is not known before \
                      it is read: copy it to a file first";
        return wrong(reason.to_owned());
    } else {
        return Ok(data);
    };
    wrong(format!(
        "it is {special}, and no file: it cannot be read by several workers, nor twice; write what comes from it to a file \
         first, or leave it out"
    ))
}

/// Whether a file that says to be empty is not.
fn has_content(path: &Path) -> bool {
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let Ok(mut file) = open else { return false };
    match file.read(&mut [0]) {
        Ok(got) => got > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// The path by which another process finds a file. `/dev/stdin` and `/proc/self` are others there.
pub(super) fn seen_from_elsewhere(path: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(path).map_err(|e| format!("it cannot be looked at: {e}"))?;
    if !absolute.starts_with("/dev") && !absolute.starts_with("/proc") {
        return Ok(absolute);
    }
    let of = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let real = fs::canonicalize(&absolute).ok();
    real.filter(|real| of(real).is_some() && of(real) == of(&absolute)).ok_or_else(|| {
        "only this program has it open, and it has no name by which workers could open it; write it to a file first"
            .to_owned()
    })
}
