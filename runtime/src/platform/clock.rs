//! The clock that driver and workers share.

/// The clock that all processes of a machine share, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // By libc, and not by rustix, which reads the kernel's own library, and crashes under valgrind, which hides that.
    // SAFETY: it writes to `time` alone. It cannot fail: every system has this clock.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
    }
    // Counted from the machine's start: never negative, and good for five hundred years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
