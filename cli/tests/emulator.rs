//! Tests the emulator with independent clients: boto3 and the AWS CLI.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{emulate, python};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn script(name: &str) -> String {
    format!("{}/tests/emulator/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a Python script with an emulator that has these options.
fn run_python(options: &[&str], name: &str) {
    let mut command = emulate(options);
    command.arg(python().join("bin/python")).arg("-B").arg(script(name));
    succeed(command, name);
}

fn succeed(mut command: Command, name: &str) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} fails ({}):\n{text}", output.status);
}

#[test]
fn functions_roles_and_settings() {
    run_python(&["--concurrency", "120"], "control.py");
}

#[test]
fn invocations_limits_and_logs() {
    run_python(&["--concurrency", "120"], "invoke.py");
}

#[test]
fn many_calls_within_the_limit_of_the_account() {
    run_python(&["--concurrency", "20"], "many.py");
}

#[test]
fn faults_on_purpose() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = emulate(&["--throttle", "0.2", "--duplicate", "0.2", "--lose", "0.2", "--seed", "5"]);
    command.arg(python().join("bin/python")).arg("-B").arg(script("faults.py"));
    command.env("FAULTS_FOLDER", folder.path());
    succeed(command, "faults.py");
}

#[test]
fn the_aws_cli() {
    let python = python().canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let zip = folder.path().join("f.zip");
    write_bootstrap(&zip, &python.join("bin/python"));
    let path = format!("{}:{}", python.join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = emulate(&[]);
    command.arg("bash").arg(script("aws_cli.sh")).env("PATH", path).env("BOOTSTRAP_ZIP", zip);
    succeed(command, "aws_cli.sh");
}

fn write_bootstrap(zip: &Path, python: &Path) {
    let mut writer = ZipWriter::new(std::fs::File::create(zip).unwrap());
    writer.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    let source = std::fs::read_to_string(script("bootstrap.py")).unwrap();
    write!(writer, "#!{} -SE\n{source}", python.display()).unwrap();
    writer.finish().unwrap();
}

/// A worker that is built on the `lambda_runtime` crate, like wren's own workers.
#[test]
fn the_lambda_runtime_crate() {
    let mut command = emulate(&[]);
    command.arg(python().join("bin/python")).arg("-B").arg(script("runtime.py"));
    command.env("WORKER", std::env::current_exe().unwrap());
    succeed(command, "runtime.py");
}

#[test]
#[ignore = "run by the test above, as a function"]
fn worker() {
    use lambda_runtime::{Error, LambdaEvent, service_fn};
    use serde_json::Value;

    async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
        let LambdaEvent { payload, context } = event;
        match payload["do"].as_str() {
            Some("fail") => Err("as requested".into()),
            Some("abort") => std::process::abort(),
            _ => Ok(
                serde_json::json!({"id": context.request_id, "memory": context.env_config.memory, "payload": payload}),
            ),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(lambda_runtime::run(service_fn(handle))).unwrap();
}

/// No processes or folders are left, even if the command fails while a call runs.
#[test]
fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = emulate(&[]);
    command.arg(python().join("bin/python")).arg("-B").arg(script("abandon.py"));
    let output = command.env("TMPDIR", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let pids = String::from_utf8(output.stdout).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    let alive = || pids.split_whitespace().any(|pid| Path::new("/proc").join(pid).exists());
    let ended = Instant::now();
    while alive() {
        assert!(ended.elapsed() < Duration::from_secs(60), "some of {pids} are still alive");
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}
