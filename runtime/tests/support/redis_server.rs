//! A private Redis server on a free port of the loopback interface.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// Returns the path of the server that `make stand-ins` installed, or else of the system's server.
fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stand-ins/bin/redis-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(installed)
        .chain(std::env::split_paths(&path).map(|folder| folder.join("redis-server")))
        .find(|program| program.exists());
    found.expect("redis-server is not installed: run `make stand-ins` once")
}

fn start(port: u16, folder: &Path, options: &[&str]) -> Child {
    let arguments: Vec<OsString> = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]
        .into_iter()
        .map(OsString::from)
        .chain([port.to_string().into(), "--dir".into(), folder.into()])
        .chain(options.iter().map(OsString::from))
        .collect();
    let mut server = Command::new(program());
    server.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = server.spawn().expect("redis-server starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let ended = server.try_wait().expect("its state is known");
        assert!(ended.is_none() && Instant::now() < deadline, "redis-server does not start: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

#[allow(dead_code, reason = "each user needs only some of it")]
impl RedisServer {
    /// Starts a server that keeps everything in memory.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).expect("a port is free");
        let folder = tempfile::tempdir().expect("a folder can be created");
        Self { process: start(port.port(), folder.path(), options), port: port.port(), folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Restarts the server on the same port. It has only the data that it had saved.
    pub(crate) fn start_again(&mut self, options: &[&str]) {
        self.process = start(self.port, self.folder.path(), options);
    }

    /// Sends the server a signal, such as `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal is sent");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
