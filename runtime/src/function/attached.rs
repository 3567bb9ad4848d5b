//! Values that the arguments of a call refer to, and that only this process has. They are sent together with the call.

use std::cell::RefCell;
use std::sync::Arc;

use super::Blob;

thread_local! {
    static ATTACHED: RefCell<Vec<Arc<Blob>>> = const { RefCell::new(Vec::new()) };
}

/// Attaches a value to the call that this thread is encoding.
pub(crate) fn attach(blob: Arc<Blob>) {
    let _ = ATTACHED.try_with(|attached| attached.borrow_mut().push(blob));
}

/// Whether the value with that hash is already attached. On a thread that is about to end, this returns `true`, because
/// such a thread cannot attach values.
pub(crate) fn is_attached(hash: &[u8; 32]) -> bool {
    let is_it =
        |attached: &RefCell<Vec<Arc<Blob>>>| attached.borrow().iter().any(|blob| blob.hash().as_bytes() == hash);
    ATTACHED.try_with(is_it).unwrap_or(true)
}

/// Removes the values that were attached by an encoding outside of a call.
#[inline]
pub(crate) fn forget() {
    let _ = ATTACHED.try_with(|attached| attached.borrow_mut().clear());
}

/// Removes and returns the values that were attached since the last call of this function.
#[inline]
pub(crate) fn take() -> Vec<Arc<Blob>> {
    ATTACHED.try_with(RefCell::take).unwrap_or_default()
}
