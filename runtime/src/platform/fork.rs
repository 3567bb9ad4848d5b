//! A process that `fork` made shares memory and descriptors with its parent, and has none of its threads.

use std::sync::OnceLock;

use super::system::ForkMark;

/// Whether another process called wren first, of which this is a fork. If none did, this one does now.
#[inline]
pub(crate) fn is_forked() -> bool {
    static MARK: OnceLock<ForkMark> = OnceLock::new();
    MARK.get_or_init(ForkMark::new).is_forked()
}

/// The mark of systems that clear nothing on `fork`: who made it.
#[derive(Debug)]
pub(super) struct Maker(u32);

impl Maker {
    pub(super) fn new() -> Self {
        Self(std::process::id())
    }

    pub(super) fn is_forked(&self) -> bool {
        self.0 != std::process::id()
    }
}
