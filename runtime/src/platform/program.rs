//! The program that runs: where it is, and whether it has begun threads.

use std::io;
use std::path::{Path, PathBuf};

use super::system;

/// The path to start this program by once more.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    // The file that runs, even if another was built in its place.
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { own_path() }
}

/// The path to show for this program, and to name it by.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    // The standard library reads `/proc` on Linux.
    std::env::current_exe().or_else(|error| system::started_by().ok_or(error))
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
