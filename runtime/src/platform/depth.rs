//! The depth to which the calls of a thread are nested in calls of this process.

use std::cell::Cell;

use super::is_worker;

/// The depth, in a worker, of calls from threads that wren did not start: such a thread may belong to any call that the
/// worker runs.
pub(crate) const UNKNOWN_DEPTH: usize = usize::MAX;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Sets the depth of the calls that the current thread runs from now on.
pub(crate) fn set_depth(depth: usize) {
    DEPTH.set(depth);
}

/// Returns the depth of the calls that the current thread makes. On a thread that a remote function started, the depth
/// is unknown.
pub(crate) fn depth() -> usize {
    match DEPTH.get() {
        0 if is_worker() => UNKNOWN_DEPTH,
        depth => depth,
    }
}
