//! The differences between Linux, macOS, and Linux without `/proc`. The rest of the crate uses this module and refers
//! to no particular system.

mod clock;
mod depth;
mod descriptors;
mod ending;
mod exit;
mod files;
mod fork;
mod id;
mod memory;
mod notifier;
mod path_text;
mod process_identity;
mod processes;
mod program;
mod random;
mod role;
mod runtime;
mod shared;
mod sleep_flag;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "other.rs")]
mod system;
mod word;

pub(crate) use clock::monotonic;
pub(crate) use depth::{UNKNOWN_DEPTH, depth, set_depth};
pub(crate) use descriptors::{
    Guarded, allow_descriptors, pipe, receive, send, shared_file, socket_pair, try_send, wait_for_hangup, wake_socket,
    write_whole,
};
pub(crate) use ending::at_exit;
pub(crate) use exit::{finish_before_exit, finish_tasks};
pub(crate) use files::{ignore_in_git, open_file};
pub(crate) use fork::is_forked;
pub(crate) use id::{is_id, new_id};
pub(crate) use memory::{ProcessMemory, machine_memory_mb, unenforced_limit};
pub(crate) use notifier::Notifier;
pub(crate) use path_text::{as_text, path_of_text, text_of_path};
pub(crate) use process_identity::ProcessIdentity;
pub(crate) use processes::{end_children, has_children, has_ended, kill_marked};
pub(crate) use program::{build, has_one_thread, is_test, name_process, own_path, own_program};
pub(crate) use random::random;
#[cfg_attr(not(feature = "aws"), allow(unused_imports, reason = "for workers on AWS"))]
pub(crate) use role::RUNTIME_API;
pub(crate) use role::{in_lambda, is_initialized, is_worker, mark_initialized, mark_worker};
pub(crate) use runtime::new_runtime;
pub(crate) use shared::SharedBytes;
pub(crate) use sleep_flag::SleepFlag;
pub(crate) use system::{
    adopt_orphans, end_of_process, end_with_parent, exchange, is_remote, is_socket_of, prefer_large_pages, this_thread,
    turns_of_thread,
};
#[cfg(feature = "data")]
pub(crate) use system::{name_file, unnamed_file};
pub(crate) use word::Word;
