//! Servers that replace AWS, and this test program as their client.

#![allow(dead_code, reason = "each test uses only some of it")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the Python environment that `make stand-ins` installed.
pub(crate) fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stand-ins");
    assert!(folder.join("done").exists(), "the stand-ins are not installed: run `make stand-ins` once");
    folder
}

pub(crate) fn emulate(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(["wren", "emulate"]).args(options).arg("--");
    command
}

/// Runs one ignored test of this program and asserts that it passes. `command` must end with this program, by itself or
/// as the argument of an emulator.
pub(crate) fn run_inner(mut command: Command, test: &str) {
    let output = command.args([test, "--exact", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{test} fails:\n{text}");
}

pub(crate) struct Moto {
    server: Child,
    pub(crate) url: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Command::new(python().join("bin/python"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/moto_server.py");
        server.arg(script).arg(port.to_string()).env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true");
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { server, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    pub(crate) fn variables(&self) -> [(&'static str, &str); 6] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_CONFIG_FILE", "/dev/null"),
        ]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
