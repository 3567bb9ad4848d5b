//! How long the file of values has to be. LMDB maps it, and a process that touches a part of a map that is not in the
//! file is killed by SIGBUS: a file that was cut short is told from its length alone, before it is mapped.
//!
//! LMDB itself lets the file be shorter than its last page, where that page is free. So that length tells, the file is as
//! long as the map, whose size it says; what was not written takes no room on the disk.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const FILE: &str = "data.mdb";

/// How long another process may take from the first page until the file has its length.
const PATIENCE: Duration = Duration::from_secs(1);

/// Places in LMDB's two first pages (`MDB_meta` behind the page's header, lmdb 0.9's `mdb.c`).
const MAGIC: (usize, u32) = (16, 0xBEEF_C0DE);
const MAP_SIZE: usize = 32;
const PAGE_SIZE: usize = 40;
const LAST_PAGE: usize = 136;
const META: usize = 152;

/// Checks the file, if there is one: whether it is as long as it says.
///
/// # Errors
/// In words, where it is not, or cannot be read.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        let file = match File::open(folder.join(FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let len = file.metadata()?.len();
        let Some(wanted) = wanted(&file, len)?.filter(|wanted| *wanted > len) else { return Ok(()) };
        if begun.elapsed() > PATIENCE {
            let (file, folder) = (FILE, folder.display());
            return Err(io::Error::other(format!(
                "its file {file} was cut short: it has {len} bytes, and says {wanted}; delete {folder}, and what it \
                 holds with it"
            )));
        }
        // Another process may be about to make it.
        thread::sleep(Duration::from_millis(20));
    }
}

/// How long the file says that it is; none where it says nothing, as a new one. What is no file of LMDB's, LMDB says.
fn wanted(file: &File, len: u64) -> io::Result<Option<u64>> {
    let mut first = [0; META];
    if len < META as u64 {
        return Ok((len > 0).then_some(META as u64));
    }
    file.read_exact_at(&mut first, 0)?;
    let number = |page: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|i| page[at + i]));
    let short = |page: &[u8], at: usize| u32::from_le_bytes(std::array::from_fn(|i| page[at + i]));
    let page_size = u64::from(short(&first, PAGE_SIZE));
    if short(&first, MAGIC.0) != MAGIC.1 || !(512..=1 << 16).contains(&page_size) {
        return Ok(None);
    }
    if len < 2 * page_size {
        return Ok(Some(2 * page_size));
    }
    let mut second = [0; META];
    file.read_exact_at(&mut second, page_size)?;
    let of_larger = |at| number(&first, at).max(number(&second, at));
    // One that was just made holds nothing: who made it was ended before it had its length.
    Ok((of_larger(LAST_PAGE) > 1).then(|| of_larger(MAP_SIZE)))
}

/// Gives the file the length of the map, if it is shorter.
pub(super) fn extend(folder: &Path, map: usize) -> io::Result<()> {
    let file = File::options().write(true).open(folder.join(FILE))?;
    let map = map as u64;
    if file.metadata()?.len() < map { file.set_len(map) } else { Ok(()) }
}
