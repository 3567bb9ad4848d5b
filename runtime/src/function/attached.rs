//! Values that the arguments being encoded name, and that only this process has: they go along with the call.

use std::cell::RefCell;
use std::sync::Arc;

use super::Blob;

thread_local! {
    static ATTACHED: RefCell<Vec<Arc<Blob>>> = const { RefCell::new(Vec::new()) };
}

/// Attaches a value to the call that this thread encodes.
pub(crate) fn attach(blob: Arc<Blob>) {
    let _ = ATTACHED.try_with(|attached| attached.borrow_mut().push(blob));
}

/// Whether the value of that hash is attached already. A thread that is about to end attaches nothing, and so says yes.
pub(crate) fn is_attached(hash: &[u8; 32]) -> bool {
    let is_it =
        |attached: &RefCell<Vec<Arc<Blob>>>| attached.borrow().iter().any(|blob| blob.hash().as_bytes() == hash);
    ATTACHED.try_with(is_it).unwrap_or(true)
}

/// Removes what was attached by an encoding outside of a call.
#[inline]
pub(crate) fn forget() {
    let _ = ATTACHED.try_with(|attached| attached.borrow_mut().clear());
}

/// The values that were attached since the last call of this function.
#[inline]
pub(crate) fn take() -> Vec<Arc<Blob>> {
    ATTACHED.try_with(RefCell::take).unwrap_or_default()
}
