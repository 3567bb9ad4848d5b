//! Tests `cargo wren plan` with given durations, and with those of earlier jobs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn plan(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(["wren", "plan"]).args(arguments).current_dir(folder).env_remove("WREN_DIR").output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes the log of a job whose tasks took these milliseconds.
fn job(folder: &Path, id: &str, function: &str, backend: &str, started_unix_ms: u64, millis: &[u64]) {
    let header = format!(
        r#"{{"event":"job","id":"{id}","name":null,"function":"{function}","tasks":{},"backend":"{backend}","workers":2,"memory_mb":512,"started_unix_ms":{started_unix_ms},"pid":1,"wren":"0"}}"#,
        millis.len()
    );
    let done = millis.iter().enumerate().map(|(task, ms)| {
        format!(
            r#"{{"event":"done","t":100.0,"first":{task},"count":1,"new":1,"attempt":1,"queued":0.0,"invoked":0.0,"started":0.0,"compute_us":{},"bytes_out":1,"peak_mb":1}}"#,
            ms * 1_000
        )
    });
    let lines: Vec<_> = std::iter::once(header).chain(done).collect();
    let folder = folder.join(".wren/jobs").join(id);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("events.jsonl"), lines.join("\n") + "\n").unwrap();
}

#[test]
fn predictions_have_intervals_and_are_repeatable() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--tasks", "200", "--duration", "1m", "--seed", "7", "--json"];
    let planned = json(&plan(folder.path(), &arguments));
    let wall = &planned["predicted"]["wall_s"];
    let [low, middle, high] = ["low", "middle", "high"].map(|part| wall[part].as_f64().unwrap());
    assert!(60.0 < low && low <= middle && middle <= high && high < 120.0, "{wall}");
    assert!(planned["predicted"]["usd"]["middle"].as_f64().unwrap() > planned["compute_usd"].as_f64().unwrap());
    assert_eq!(planned["predicted"]["runs"], 20);
    assert_eq!(planned, json(&plan(folder.path(), &arguments)));

    let slow = json(&plan(
        folder.path(),
        &["--tasks", "200", "--duration", "1m", "--concurrency", "100", "--runs", "3", "--json"],
    ));
    assert!(slow["predicted"]["wall_s"]["middle"].as_f64().unwrap() > 120.0);
    assert_eq!(slow["predicted"]["without"][0]["limit"], "concurrency");
    let then = json(&plan(
        folder.path(),
        &["--tasks", "200", "--duration", "1m", "--model", "pywren2017", "--runs", "3", "--json"],
    ));
    assert!(then["predicted"]["wall_s"]["middle"].as_f64().unwrap() > middle + 14.0);
}

#[test]
fn durations_come_from_the_functions_earlier_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(stderr(&plan(folder, &[])).contains("run a program first, or pass the duration of a task"));
    job(folder, "aaa", "demo::train", "local", 1_000, &[2_000, 4_000]);
    job(folder, "bbb", "demo::train", "local", 2_000, &[6_000, 8_000, 10_000]);
    job(folder, "ccc", "demo::other", "local", 1_500, &[50]);

    // The function is that of the latest job, with the durations of all its jobs and the number of tasks of the latest.
    let planned = json(&plan(folder, &["--json"]));
    let measured = &planned["measured"];
    assert_eq!((&measured["function"], &measured["count"]), (&Value::from("demo::train"), &Value::from(5)));
    assert_eq!(
        (&planned["tasks"], &planned["duration_s"], &planned["memory_mb"]),
        (&3.into(), &6.0.into(), &512.into())
    );
    assert_eq!(measured["jobs"], serde_json::json!(["bbb", "aaa"]));
    // By the name of the function, and by a prefix of a job's ID.
    for of in ["demo::other", "cc"] {
        assert_eq!(json(&plan(folder, &[of, "--json"]))["measured"]["function"], "demo::other");
    }
    let text = plan(folder, &["demo::train", "--tasks", "100"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("5 tasks of demo::train in 2 jobs (local), mean 6.000 s, maximum 10.000 s"), "{text}");
    assert!(text.contains("may be slower"), "{text}");
    assert!(text.contains("error       5th to 95th percentile of 20 simulated runs"), "{text}");

    // By the last part of the function's name, if it is the only one.
    assert_eq!(json(&plan(folder, &["other", "--json"]))["measured"]["function"], "demo::other");
    job(folder, "eee", "more::other", "local", 1_100, &[50]);
    let message = stderr(&plan(folder, &["other"]));
    assert!(
        message.contains("several functions are called `other`; choose one: demo::other, more::other"),
        "{message}"
    );
    let message = stderr(&plan(folder, &["othr"]));
    assert!(message.contains("no job here ran a function that is called `othr`"), "{message}");

    // Jobs on Lambda, if any, are the only ones that count.
    job(folder, "ddd", "demo::train", "lambda", 500, &[9_000, 9_000]);
    let measured = &json(&plan(folder, &["demo::train", "--json"]))["measured"];
    assert_eq!((&measured["count"], &measured["mean_s"]), (&2.into(), &9.0.into()));
}

#[test]
fn misuse_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let message = stderr(&plan(folder.path(), &["--tasks", "10", "--duration", "3x"]));
    assert!(message.contains("unknown unit `x`; expected `ms`, `s`, `m`, `h` or `d`"), "{message}");
    let planned = json(&plan(folder.path(), &["--tasks", "10", "--duration", "3", "--memory", "1g", "--json"]));
    assert_eq!(planned["memory_mb"], 1_024);
    let message = stderr(&plan(folder.path(), &["--tasks", "10", "--duration", "3", "--memory", "64"]));
    assert!(message.contains("expected 128 to 10240 MB in whole MB, such as 2048, or `2GB`"), "{message}");
    let message = stderr(&plan(folder.path(), &["--duration", "3"]));
    assert!(message.contains("pass it with --tasks"), "{message}");
    assert_eq!(plan(folder.path(), &["some::function", "--duration", "3"]).status.code(), Some(2));
}
