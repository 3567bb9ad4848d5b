//! The clock that driver and workers share.

/// Returns the time of the clock that all processes of a machine share, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // This uses libc and not rustix, because rustix reads the kernel's own library (vDSO). Valgrind hides that library,
    // so rustix crashes under it.
    //
    // SAFETY: the call writes only to `time`. It cannot fail, because every system has this clock.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
    }
    // The time is counted from the start of the machine: it is never negative, and it fits in a `u64` for five
    // hundred years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
