//! Commands on a machine on which AWS was never set up.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{json, stderr, stdout, wren_command};

fn without_aws(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = wren_command(folder, arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    for none in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(none, "/dev/null");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap()
}

#[test]
fn doctor_checks_this_machine_first_and_needs_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let checks = json(&without_aws(folder.path(), &["doctor", "--json"]));
    let checks = checks.as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["workers", "store", "limits"], "{checks:?}");
    assert!(checks[..2].iter().all(|check| check["state"] == "ok"), "{checks:?}");
    assert!(checks[0]["text"].as_str().unwrap().starts_with("a worker process started, and answered"), "{checks:?}");
    let last = checks.last().unwrap();
    assert_eq!((&last["name"], &last["state"]), (&Value::from("region"), &Value::from("off")));
    assert!(last["text"].as_str().unwrap().starts_with("no AWS credentials found; log in with"), "{last}");
    assert!(!folder.path().join(".wren").exists(), "nothing was changed");
    let text = stdout(&without_aws(folder.path(), &["doctor"]));
    assert!(text.starts_with("ok    workers ") && text.contains("\noff   region "), "{text}");
    assert!(
        text.ends_with("\noff: needed only for `cargo wren deploy`, and nothing is deployed from here\n"),
        "{text}"
    );
}

#[test]
fn a_damaged_setup_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let mut doctor = wren_command(folder.path(), &["doctor"]);
    let output = doctor.env("WREN_STORE", "file:file/store").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAIL  store        cannot write to ") && text.contains("; set WREN_STORE"), "{text}");
    let unknown = wren_command(folder.path(), &["jobs"]).env("WREN_WORKER", "4").output().unwrap();
    assert!(stderr(&unknown).starts_with("error: unknown environment variable WREN_WORKER; expected"));
}

#[test]
fn missing_credentials_are_reported_first() {
    let folder = tempfile::tempdir().unwrap();
    // The program does not exist, and there is no region.
    let refused = without_aws(folder.path(), &["deploy", "--binary", "program"]);
    let message = stderr(&refused);
    assert!(message.starts_with("error: no AWS credentials found; log in with `aws sso login`"), "{message}");
    let planned = without_aws(folder.path(), &["deploy", "--binary", "program", "--dry-run"]);
    let message = stderr(&planned);
    assert!(message.starts_with("account    unknown: no AWS credentials found; "), "before the build: {message}");
}
