//! The role of this process: driver, worker, or neither.

use std::sync::atomic::{AtomicBool, Ordering};

/// The environment variable with the address of the runtime API of AWS Lambda. It is set in an instance and in the
/// processes that the instance starts.
pub(crate) const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

static INITIALIZED: AtomicBool = AtomicBool::new(false);
static WORKER: AtomicBool = AtomicBool::new(false);

/// Records that the program called [`init`](crate::init).
pub(crate) fn mark_initialized() {
    INITIALIZED.store(true, Ordering::Release);
}

/// Records that this process is a worker.
pub(crate) fn mark_worker() {
    WORKER.store(true, Ordering::Release);
}

/// Whether this process is a worker.
pub(crate) fn is_worker() -> bool {
    WORKER.load(Ordering::Acquire)
}

/// Whether this process called [`init`](crate::init) and is not a worker.
pub(crate) fn is_initialized() -> bool {
    INITIALIZED.load(Ordering::Acquire)
}

/// Whether this process runs in an instance of AWS Lambda. Processes elsewhere cannot see the instance's disk, and the
/// instance is frozen when it has answered.
pub(crate) fn in_lambda() -> bool {
    std::env::var_os(RUNTIME_API).is_some()
}
