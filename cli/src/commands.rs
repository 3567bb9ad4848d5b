//! One file per subcommand.

pub(crate) mod emulate;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod new;
pub(crate) mod run;
