//! The running program: its path, and whether it has started threads.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::system;

/// Returns the path by which this program can be started again.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    // This is the file that runs, even if a new build has replaced it.
    let running = Path::new("/proc/self/exe");
    match running.metadata() {
        // The file that runs is valgrind or another program that executes this one. Where it can, such a program makes
        // `own_path` return the path of this program.
        Ok(running) if own_path().is_ok_and(|path| is_another(&path, &running)) => own_path(),
        Ok(_) => Ok(running.to_owned()),
        Err(_) => own_path(),
    }
}

fn is_another(path: &Path, file: &Metadata) -> bool {
    path.metadata().is_ok_and(|of_path| (of_path.dev(), of_path.ino()) != (file.dev(), file.ino()))
}

/// Returns the path of this program, for messages and for its name.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    // On Linux, the standard library needs `/proc`.
    std::env::current_exe().or_else(|error| system::started_by().ok_or(error))
}

/// Returns the build of this program, as a hash of its file; `None` if the file cannot be read.
pub(crate) fn build() -> Option<u64> {
    static BUILD: OnceLock<Option<u64>> = OnceLock::new();
    *BUILD.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(own_program().ok()?).ok()?).ok()?;
        hasher.finalize().as_bytes().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    })
}

/// Gives this process a name for `ps`, of up to 15 bytes, if the system allows it.
pub(crate) fn name_process(name: &str) {
    // This is the name of the first thread, which is also the name of the process.
    let _ = std::fs::write("/proc/self/comm", name);
}

/// Whether this process has only one thread. `false` may also mean that the system does not report it.
pub(crate) fn has_one_thread() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"]))
}

/// Whether this program was built by `cargo test` or `cargo bench`, as far as its path shows: cargo runs the programs
/// of tests from the folder `deps`, and all others from the folder above it. Programs of documentation tests have the
/// same name everywhere.
pub(crate) fn is_test() -> bool {
    own_path().is_ok_and(|path| is_path_of_test(&path))
}

fn is_path_of_test(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == "deps") || path.file_name().is_some_and(|name| name == "rust_out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_programs_by_their_path() {
        assert!(is_test());
        assert!(is_path_of_test(Path::new("/tmp/rustdoctestAbc/rust_out")));
        for program in ["/p/target/debug/sweep", "/p/target/debug/examples/sweep", "/usr/local/bin/deps", "/x"] {
            assert!(!is_path_of_test(Path::new(program)), "{program}");
        }
    }

    #[test]
    fn the_start_path_is_this_program() {
        let Some(path) = system::started_by() else { return };
        assert_eq!(path.canonicalize().unwrap(), own_path().unwrap().canonicalize().unwrap());
    }
}
