//! Detects forks. A process that `fork` created shares memory and descriptors with its parent, but has none of the
//! parent's threads.

use std::sync::OnceLock;

use super::system::ForkMark;

/// Whether this process is a fork of the process that called this function first. The first call records the calling
/// process.
#[inline]
pub(crate) fn is_forked() -> bool {
    static MARK: OnceLock<ForkMark> = OnceLock::new();
    MARK.get_or_init(ForkMark::new).is_forked()
}

/// The fork mark on systems that cannot clear memory on `fork`: the id of the process that created the mark.
#[derive(Debug)]
pub(super) struct CreatorPid(u32);

impl CreatorPid {
    pub(super) fn new() -> Self {
        Self(std::process::id())
    }

    pub(super) fn is_forked(&self) -> bool {
        self.0 != std::process::id()
    }
}
