//! The program that runs: where it is, and whether it has begun threads.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::system;

/// The path to start this program by once more.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    // The file that runs, even if another was built in its place.
    let running = Path::new("/proc/self/exe");
    match running.metadata() {
        // What runs is valgrind or another program that runs this one, and answers for it where it can.
        Ok(running) if own_path().is_ok_and(|path| is_another(&path, &running)) => own_path(),
        Ok(_) => Ok(running.to_owned()),
        Err(_) => own_path(),
    }
}

fn is_another(path: &Path, file: &Metadata) -> bool {
    path.metadata().is_ok_and(|of_path| (of_path.dev(), of_path.ino()) != (file.dev(), file.ino()))
}

/// The path to show for this program, and to name it by.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    // The standard library reads `/proc` on Linux.
    std::env::current_exe().or_else(|error| system::started_by().ok_or(error))
}

/// The build of this program, as a hash of its file; `None` where that cannot be read.
pub(crate) fn build() -> Option<u64> {
    static BUILD: OnceLock<Option<u64>> = OnceLock::new();
    *BUILD.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(own_program().ok()?).ok()?).ok()?;
        hasher.finalize().as_bytes().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    })
}

/// Gives this process a name for `ps`, of up to 15 bytes, where the system lets it.
pub(crate) fn name_process(name: &str) {
    // That of the first thread is the process's.
    let _ = std::fs::write("/proc/self/comm", name);
}

/// Whether this process has one thread, as far as the system tells: `false` may mean that it does not.
pub(crate) fn has_one_thread() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_that_it_was_started_by_is_this_program() {
        let Some(path) = system::started_by() else { return };
        assert_eq!(path.canonicalize().unwrap(), own_path().unwrap().canonicalize().unwrap());
    }
}
