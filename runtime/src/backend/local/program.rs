//! Starts this program again as a worker, with the same arguments and environment, and sends the handshake.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::backend::local::shm::Region;
use crate::backend::local::worker::ENV;
use crate::platform::{self, Notifier};

/// The environment and the working directory of this process when the pool was created. If the program changes its own
/// later, all workers still get the same ones.
#[derive(Debug)]
pub(super) struct Surroundings {
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn now() -> Self {
        Self { variables: std::env::vars_os().collect(), directory: std::env::current_dir().ok() }
    }

    fn apply_to(&self, command: &mut Command) {
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        // If the directory was removed, the worker starts in the current directory of this process.
        if let Some(directory) = self.directory.as_ref().filter(|directory| directory.is_dir()) {
            command.current_dir(directory);
        }
    }
}

/// Starts the program as the worker `name`. `socket` is the worker's end of its socket.
pub(super) fn start(name: &str, socket: OwnedFd, surroundings: &Surroundings) -> io::Result<Child> {
    let mut command = Command::new(platform::own_program()?);
    let mut args = std::env::args_os();
    command.arg0(args.next().unwrap_or_else(|| "wren-worker".into())).args(args);
    surroundings.apply_to(&mut command);
    command.env(ENV, name).stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A process group of its own, so that Ctrl-C at the terminal signals only the driver, which then ends the
    // workers.
    command.process_group(0).spawn()
}

/// Sends the shared memory and the notifier to the new worker.
pub(super) fn send_handshake(socket: &OwnedFd, region: &Region, notifier: &Notifier) -> io::Result<()> {
    let (Some([page, ring]), Some(region)) = (notifier.fds(), region.fd()) else { return Ok(()) };
    platform::send(socket, b"wren worker 1", &[region, page, ring])
}

/// Whether the handshake failed because the worker had already ended.
pub(super) fn ended_before(handshake: &io::Result<()>) -> bool {
    let kind = handshake.as_ref().err().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset))
}
