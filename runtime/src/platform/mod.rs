//! What differs between Linux, macOS, and Linux without `/proc`. The rest of the crate asks here and names no
//! system.

mod descriptors;
mod fork;
mod memory;
mod program;
mod random;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "other.rs")]
mod system;

pub(crate) use descriptors::{HANGUP, nudge, pipe, receive, send, shared_file, socket_pair, wait_for_hangup};
pub(crate) use fork::is_forked;
pub(crate) use memory::{ProcessMemory, say_if_unenforced};
pub(crate) use program::{has_one_thread, own_path, own_program};
pub(crate) use random::random;
pub(crate) use system::is_remote;
