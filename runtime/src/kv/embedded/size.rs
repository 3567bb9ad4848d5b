//! The required length of the data file. LMDB maps the file, and a process that touches a part of the map beyond the
//! end of the file is killed by SIGBUS. A truncated file is therefore detected by its length alone, before it is
//! mapped.
//!
//! LMDB itself allows a file that ends before its last page, if that page is free. To make the length a reliable sign,
//! the file is extended to the size of the map, which the file records. Unwritten parts take no disk space.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const FILE: &str = "data.mdb";

/// How long another process may take between writing the first page and extending the file to its full length.
const PATIENCE: Duration = Duration::from_secs(1);

/// Offsets in the first two pages of LMDB (`MDB_meta` after the page header, `mdb.c` of lmdb 0.9).
const MAGIC: (usize, u32) = (16, 0xBEEF_C0DE);
const MAP_SIZE: usize = 32;
const PAGE_SIZE: usize = 40;
const LAST_PAGE: usize = 136;
const META: usize = 152;

/// Checks that the file, if there is one, has at least the length that it records.
///
/// # Errors
/// If the file is too short or cannot be read; the message explains which.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        let file = match File::open(folder.join(FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let len = file.metadata()?.len();
        let Some(wanted) = wanted(&file, len)?.filter(|wanted| *wanted > len) else { return Ok(()) };
        if start.elapsed() > PATIENCE {
            let (file, folder) = (FILE, folder.display());
            return Err(io::Error::other(format!(
                "its file {file} was truncated: it has {len} of {wanted} bytes; delete {folder}, together with the \
                 values stored in it"
            )));
        }
        // Another process may be creating the file right now.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the length that the file records, or `None` if it records none, as a new file. Files that are not LMDB's are
/// left to LMDB to report.
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
    // A file with only these two pages holds no values: its creator ended before it extended the file.
    Ok((of_larger(LAST_PAGE) > 1).then(|| of_larger(MAP_SIZE)))
}

/// Extends the file to the size of the map, if it is shorter.
pub(super) fn extend(folder: &Path, map: usize) -> io::Result<()> {
    let file = File::options().write(true).open(folder.join(FILE))?;
    let map = map as u64;
    if file.metadata()?.len() < map { file.set_len(map) } else { Ok(()) }
}
