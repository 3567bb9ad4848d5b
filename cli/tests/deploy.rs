//! Deploys, inspects and destroys with moto in place of AWS. boto3 reads the resulting state.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/builds.rs"]
mod builds;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Moto, python};

/// No file and no output may contain it.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A folder with a program and its registry. Its deployments go to its own moto.
struct Project {
    folder: tempfile::TempDir,
    moto: Moto,
    region: &'static str,
}

impl Project {
    fn new(region: &'static str) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap(), moto: Moto::start(), region };
        fs::write(project.path("Cargo.lock"), "").unwrap();
        project.program("0");
        project.registry(&[("sweep::one", None, None), ("sweep::two", Some(512), Some(60))]);
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles a program that Lambda could start. A different text makes a different program.
    fn program(&self, text: &str) {
        let source = self.path("sweep.rs");
        fs::write(&source, format!("fn main() {{ println!(\"{text}\") }}")).unwrap();
        let mut rustc = Command::new("rustc");
        // Static, so that it does not depend on the glibc of this machine.
        rustc
            .args(["-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"])
            .arg(self.path("sweep"))
            .arg(&source);
        assert!(rustc.current_dir(self.folder.path()).status().unwrap().success());
    }

    fn registry(&self, functions: &[(&str, Option<u32>, Option<u64>)]) {
        let function = |(name, memory_mb, timeout): &(&str, Option<u32>, Option<u64>)| {
            json!({
                "name": name, "signature": "fn f(x: u64) -> u64", "file": "src/main.rs", "line": 1, "column": 1,
                "memory_mb": memory_mb, "timeout": timeout.map(|secs| json!({ "secs": secs, "nanos": 0 })),
                "retries": null, "body_hash": u64::MAX,
            })
        };
        let functions: Vec<_> = functions.iter().map(function).collect();
        fs::write(self.path("registry.json"), json!({ "wren": "0.1.0", "functions": functions }).to_string()).unwrap();
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).envs(self.moto.variables());
        command.env("AWS_REGION", self.region).env("AWS_DEFAULT_REGION", self.region);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command
    }

    fn wren(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_cargo-wren"));
        let output = command.arg("wren").args(arguments).output().unwrap();
        for text in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(text).contains(SECRET));
        }
        output
    }

    fn deploy(&self, arguments: &[&str]) -> Output {
        let fixed = ["deploy", "--binary", "sweep", "--registry", "registry.json", "--no-verify"];
        self.wren(&[&fixed, arguments].concat())
    }

    /// Deploys, asserts that it succeeds, and returns the JSON output.
    fn deployed(&self, arguments: &[&str]) -> Value {
        json_of(&self.deploy(&[&["--json"], arguments].concat()))
    }

    /// Returns everything in the account.
    fn state(&self) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/state.py");
        json_of(&self.command(python().join("bin/python")).arg(script).output().unwrap())
    }

    fn boto(&self, script: &str) {
        let script = format!("import boto3\n{script}");
        let output = self.command(python().join("bin/python")).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn record(&self) -> Option<Value> {
        let text = fs::read_to_string(self.path(".wren/deployment.emulated.json")).ok()?;
        assert!(!text.contains(SECRET));
        Some(serde_json::from_str(&text).unwrap())
    }
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns the changes of a deploy's steps: `create`, `keep`, and so on.
fn changes(deployed: &Value) -> Vec<&str> {
    let steps = deployed["steps"].as_array().unwrap();
    steps.iter().map(|step| step["change"].as_str().unwrap()).collect()
}

const EMPTY: &str = r#"{"buckets":{},"functions":{},"groups":{},"roles":{}}"#;

#[test]
fn deploy_makes_all_once_and_destroy_leaves_nothing() {
    let project = Project::new("eu-central-1");
    let bucket = "wren-123456789012-eu-central-1";

    let deployed = project.deployed(&["--keep-days", "7"]);
    assert!(changes(&deployed).iter().all(|change| *change == "create"), "{deployed}");
    let state = project.state();
    let found = &state["buckets"][bucket];
    assert_eq!(found["location"], "eu-central-1");
    let blocks = found["access"].as_object().unwrap();
    assert!(blocks.len() == 4 && blocks.values().all(|blocked| *blocked == true), "{blocks:?}");
    assert_eq!(found["tags"], json!([{ "Key": "wren", "Value": "all" }]));
    let encryption = &found["encryption"]["Rules"][0]["ApplyServerSideEncryptionByDefault"];
    assert_eq!(encryption["SSEAlgorithm"], "AES256");
    let rule = &found["rules"][0];
    assert_eq!((&rule["ID"], &rule["Filter"]["Prefix"]), (&json!("wren-sweep"), &json!("sweep/")));
    assert_eq!((&rule["Expiration"]["Days"], &rule["Status"]), (&json!(7), &json!("Enabled")));
    assert_eq!(rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 1);

    let role = &state["roles"]["wren-sweep-eu-central-1"];
    assert_eq!(role["policies"].as_object().unwrap().len(), 1);
    assert_eq!(role["attached"], json!([]));
    assert_eq!(role["policies"]["wren"], deployed["policy"]);
    assert_eq!(role["trust"]["Statement"][0]["Principal"]["Service"], "lambda.amazonaws.com");

    let functions = state["functions"].as_object().unwrap();
    let names: Vec<_> = functions.keys().map(String::as_str).collect();
    assert_eq!(names, ["wren-sweep-1769mb-900s", "wren-sweep-512mb-70s"]);
    for (name, function) in functions {
        let found = &function["found"];
        assert_eq!((&found["Runtime"], &found["Handler"]), (&json!("provided.al2023"), &json!("bootstrap")));
        assert_eq!(found["Architectures"], json!(["x86_64"]));
        let variables = json!({ "WREN_STORE": format!("s3://{bucket}/sweep") });
        assert_eq!(found["Environment"]["Variables"], variables);
        assert_eq!(found["Role"], "arn:aws:iam::123456789012:role/wren-sweep-eu-central-1");
        assert_eq!((&function["tags"], &function["retries"]), (&json!({ "wren": "sweep" }), &json!(0)));
        assert_eq!(state["groups"][format!("/aws/lambda/{name}")], 14);
    }
    assert_eq!(functions["wren-sweep-512mb-70s"]["found"]["MemorySize"], 512);
    assert_eq!(functions["wren-sweep-512mb-70s"]["found"]["Timeout"], 70);

    let record = project.record().unwrap();
    assert_eq!(record, deployed["deployment"]);
    assert_eq!(record["store"], format!("s3://{bucket}/sweep"));
    assert_eq!(record["functions"][0]["body_hash"], u64::MAX);
    assert_eq!(json!([record["code"]["key"]]), found["keys"]);
    assert_eq!(fs::read_to_string(project.path(".wren/.gitignore")).unwrap(), "*\n");

    // The second deploy finds everything up to date and changes nothing: even the revisions are the same.
    let again = project.deployed(&["--keep-days", "7"]);
    assert!(changes(&again).iter().all(|change| *change == "keep"), "{again}");
    assert_eq!(project.state(), state);

    // Resources of another deployment are not destroyed.
    let other = project.deployed(&["--name", "other"]);
    assert!(changes(&other).contains(&"update"), "{other}");
    let refused = project.wren(&["destroy", "--name", "sweep"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("pass --yes"), "{}", stderr(&refused));
    let removed = json_of(&project.wren(&["destroy", "--name", "sweep", "--yes", "--json"]));
    assert_eq!((&removed["removed"]["objects"], &removed["removed"]["bucket"]), (&json!(1), &Value::Null));
    let left = project.state();
    assert_eq!(left["functions"].as_object().unwrap().len(), 2);
    assert_eq!(left["buckets"][bucket]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(left["buckets"][bucket]["rules"][0]["ID"], "wren-other");
    assert_eq!(left["roles"].as_object().unwrap().keys().collect::<Vec<_>>(), ["wren-other-eu-central-1"]);
    assert!(project.record().is_some());

    let destroyed = project.wren(&["destroy", "--yes"]);
    assert!(stderr(&destroyed).contains("bucket wren-123456789012-eu-central-1, which holds nothing else"));
    assert_eq!(project.state().to_string(), EMPTY);
    assert_eq!(project.record(), None);
    let nothing = project.wren(&["destroy", "--yes"]);
    assert!(stderr(&nothing).contains("nothing is deployed from here"), "{}", stderr(&nothing));
    let nothing = project.wren(&["destroy", "--yes", "--name", "sweep"]);
    assert!(nothing.status.success() && stderr(&nothing).contains("nothing to remove for sweep"));
}

#[test]
fn a_deploy_corrects_differences() {
    let project = Project::new("us-east-1");
    project.deployed(&[]);
    let before = project.state();

    // The program and the limits of remote functions have changed.
    project.program("1");
    project.registry(&[("sweep::one", None, None), ("sweep::two", Some(1024), Some(60))]);
    let deployed = project.deployed(&[]);
    let steps = deployed["steps"].to_string();
    for expected in [
        r#"{"change":"update","detail":"program","name":"wren-sweep-1769mb-900s","part":"function"}"#,
        r#""name":"wren-sweep-1024mb-70s","part":"function""#,
        r#"{"change":"delete","detail":"no longer needed","name":"wren-sweep-512mb-70s","part":"function"}"#,
    ] {
        assert!(steps.contains(expected), "{expected} in {steps}");
    }
    let state = project.state();
    let code = |state: &Value| state["functions"]["wren-sweep-1769mb-900s"]["found"]["CodeSha256"].clone();
    assert_ne!(code(&state), code(&before));
    assert_eq!(state["functions"].as_object().unwrap().len(), 2);

    // Resources were changed by hand, and the lifecycle has a rule that is not wren's.
    project.boto(
        "import json
s3, iam, lam = (boto3.client(n) for n in ('s3', 'iam', 'lambda'))
bucket = 'wren-123456789012-us-east-1'
iam.put_role_policy(RoleName='wren-sweep-us-east-1', PolicyName='wren', PolicyDocument=json.dumps(
    {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}]}))
lam.update_function_configuration(FunctionName='wren-sweep-1769mb-900s', MemorySize=128, Environment={'Variables': {}})
lam.put_function_event_invoke_config(FunctionName='wren-sweep-1769mb-900s', MaximumRetryAttempts=2)
s3.delete_public_access_block(Bucket=bucket)
s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={'Rules': [
    {'ID': 'mine', 'Status': 'Enabled', 'Filter': {'Prefix': 'mine/'}, 'Expiration': {'Days': 3}}]})",
    );
    let planned = project.deployed(&["--dry-run"]);
    assert!(changes(&planned).contains(&"update"), "{planned}");
    assert_ne!(project.state()["roles"], state["roles"], "a dry run changes nothing");
    let repaired = project.deployed(&[]);
    assert_eq!(planned["steps"], repaired["steps"]);
    let after = project.state();
    assert_eq!(after["roles"], state["roles"]);
    let bucket = &after["buckets"]["wren-123456789012-us-east-1"];
    let ids: Vec<_> = bucket["rules"].as_array().unwrap().iter().map(|rule| rule["ID"].as_str().unwrap()).collect();
    assert_eq!(ids, ["mine", "wren-sweep"]);
    assert_eq!(bucket["access"]["BlockPublicPolicy"], true);
    let function = &after["functions"]["wren-sweep-1769mb-900s"];
    assert_eq!((&function["found"]["MemorySize"], &function["retries"]), (&json!(1769), &json!(0)));

    // Objects that are not wren's stay, and the bucket with them.
    project.boto("boto3.client('s3').put_object(Bucket='wren-123456789012-us-east-1', Key='mine/1', Body=b'1')");
    json_of(&project.wren(&["destroy", "--yes", "--json"]));
    let left = project.state();
    assert_eq!(left["buckets"]["wren-123456789012-us-east-1"]["keys"], json!(["mine/1"]));
    assert_eq!(left["buckets"]["wren-123456789012-us-east-1"]["rules"][0]["ID"], "mine");
    assert_eq!((&left["functions"], &left["roles"], &left["groups"]), (&json!({}), &json!({}), &json!({})));
}

#[test]
fn a_dry_run_changes_nothing_with_and_without_credentials() {
    let project = Project::new("us-east-1");
    let planned = project.deploy(&["--dry-run"]);
    assert!(planned.status.success(), "{}", stderr(&planned));
    let text = stderr(&planned);
    for expected in [
        "deploying to the emulator at http://127.0.0.1",
        "bucket     wren-123456789012-us-east-1 would be created",
        "function   wren-sweep-512mb-70s would be created",
        "nothing was changed",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let policy: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(policy["Statement"][0]["Resource"], "arn:aws:s3:::wren-123456789012-us-east-1/sweep/*");
    assert_eq!(project.state().to_string(), EMPTY);
    assert!(!project.path(".wren").exists());

    let arguments = ["wren", "deploy", "--binary", "sweep", "--registry", "registry.json", "--dry-run", "--json"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(arguments).current_dir(project.folder.path()).env_clear();
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    for none in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(none, "/dev/null");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let planned = json_of(&command.output().unwrap());
    assert!(changes(&planned).iter().all(|change| *change == "unknown"), "{planned}");
    let refused = command.args(["--name", "x"]).env("AWS_REGION", "us-east-1").output().unwrap();
    assert!(stderr(&refused).contains("AWS_ACCESS_KEY_ID"), "{}", stderr(&refused));
    assert!(!project.path(".wren").exists());
}

#[test]
fn unstartable_programs_are_refused_before_any_change() {
    let project = Project::new("us-east-1");
    fs::write(project.path("sweep"), "#!/bin/sh\n").unwrap();
    let refused = project.deploy(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is not an ELF file"), "{}", stderr(&refused));
    project.program("0");
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "x86_64" };
    let refused = project.deploy(&["--target", other]);
    assert!(stderr(&refused).contains("pass another `--target`"), "{}", stderr(&refused));
    project.registry(&[]);
    let refused = project.deploy(&[]);
    assert!(stderr(&refused).contains("no remote function"), "{}", stderr(&refused));
    let refused = project.deploy(&["--name", "Not_A_Name"]);
    assert!(stderr(&refused).contains("is not a valid name for a deployment"), "{}", stderr(&refused));
    assert_eq!(project.state().to_string(), EMPTY);
}

#[test]
fn a_stopped_deploy_reports_it_and_can_continue() {
    let project = Project::new("us-east-1");
    project.boto(
        "boto3.client('iam').create_role(RoleName='mine', AssumeRolePolicyDocument='{}')
boto3.client('lambda').create_function(FunctionName='wren-sweep-512mb-70s', Runtime='provided.al2023',
    Role='arn:aws:iam::123456789012:role/mine', Handler='h', Code={'ZipFile': b''})",
    );
    let stopped = project.deploy(&[]);
    assert_eq!(stopped.status.code(), Some(1));
    let text = stderr(&stopped);
    for expected in [
        "error: the function wren-sweep-512mb-70s exists, but deploy did not create it",
        "changed so far: bucket wren-123456789012-us-east-1, program sweep/code/",
        "run `cargo wren deploy` again to continue",
        "`cargo wren destroy --name sweep` to remove it",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(project.record().is_none());
    // Resources that do not belong to the deployment are not removed.
    let destroyed = project.wren(&["destroy", "--name", "sweep", "--yes"]);
    assert!(destroyed.status.success(), "{}", stderr(&destroyed));
    let left = project.state();
    assert_eq!(left["functions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["wren-sweep-512mb-70s"]);
    assert_eq!(left["roles"].as_object().unwrap().keys().collect::<Vec<_>>(), ["mine"]);
    assert_eq!((&left["buckets"], &left["groups"]), (&json!({}), &json!({})));

    project.deploy(&[]);
    project.boto("boto3.client('lambda').delete_function(FunctionName='wren-sweep-512mb-70s')");
    let deployed = project.deployed(&[]);
    assert_eq!(changes(&deployed)[..3], ["keep", "keep", "keep"], "{deployed}");
    assert!(project.record().is_some());
}

#[test]
fn doctor_reports_problems() {
    let project = Project::new("us-east-1");
    let state = |name: &str, checks: &Value| {
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
        check.map(|check| check["state"].as_str().unwrap().to_owned())
    };
    let none = json_of(&project.wren(&["doctor", "--json"]));
    assert_eq!(state("deployment", &none).as_deref(), Some("warn"), "{none}");
    assert_eq!(state("credentials", &none).as_deref(), Some("ok"), "{none}");

    project.deployed(&[]);
    let output = project.wren(&["doctor", "--json"]);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["build", "region", "credentials", "deployment", "bucket", "role", "function"] {
        assert_eq!(state(name, &checks).as_deref(), Some("ok"), "{name}: {checks}");
    }
    // moto does not run programs.
    assert_eq!((state("round trip", &checks).as_deref(), output.status.code()), (Some("fail"), Some(1)));

    let mut elsewhere = project.command(env!("CARGO_BIN_EXE_cargo-wren"));
    let text = elsewhere.args(["wren", "doctor"]).env("AWS_REGION", "eu-west-1").output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("FAIL  deployment") && text.contains("set AWS_REGION=us-east-1"), "{text}");

    project.boto("boto3.client('lambda').delete_function(FunctionName='wren-sweep-512mb-70s')");
    project.boto("boto3.client('s3').delete_public_access_block(Bucket='wren-123456789012-us-east-1')");
    let text = String::from_utf8(project.wren(&["doctor"]).stdout).unwrap();
    assert!(text.contains("FAIL  function     wren-sweep-512mb-70s does not exist"), "{text}");
    assert!(text.contains("FAIL  bucket       wren-123456789012-us-east-1 does not block public access"), "{text}");
    assert!(text.contains("run `cargo wren deploy`"), "{text}");
}

#[test]
fn logs_are_found_by_job_and_by_text() {
    let project = Project::new("us-east-1");
    project.deployed(&[]);
    project.boto(
        "import time
logs = boto3.client('logs')
group, stream = '/aws/lambda/wren-sweep-512mb-70s', '2026/01/01/[$LATEST]0123456789abcdef'
logs.create_log_stream(logGroupName=group, logStreamName=stream)
now = int(time.time() * 1000) - 60000
lines = ['START RequestId: 1', 'wren job=8f0wh5kq2t7z tasks=0..2 attempt=1', '[sweep::two 0] zero',
         '[sweep::two 1] one', 'END RequestId: 1', 'wren job=ff tasks=0..2 attempt=1', '[sweep::two 0] of another job']
logs.put_log_events(logGroupName=group, logStreamName=stream,
                    logEvents=[{'timestamp': now + i, 'message': line} for i, line in enumerate(lines)])",
    );
    let lines = |arguments: &[&str]| -> Vec<String> {
        let output = project.wren(&[&["logs", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].as_str().unwrap().to_owned())
            .collect()
    };
    let job = "8f0wh5kq2t7z";
    assert_eq!(lines(&[job]).len(), 3);
    assert_eq!(lines(&["8f0wh"]).len(), 3);
    assert_eq!(lines(&[job, "1"])[1..], ["[sweep::two 1] one"]);
    assert_eq!(lines(&["another job"]), ["[sweep::two 0] of another job"]);
    let none = project.wren(&["logs", "nowhere"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("use --since to look further back"), "{}", stderr(&none));
}

/// Runs all steps for a program of this workspace: builds it, reads it, lists its functions, packs it.
#[test]
fn a_program_of_the_workspace_is_built_and_planned() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = builds::command(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(["wren", "deploy", "-p", "examples", "--example", "pi", "--features", builds::FEATURES]);
    command.args(["--dry-run", "--json", "--manifest-path"]).arg(workspace.join("Cargo.toml"));
    command.current_dir(folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("AWS_") && name != "AWS_EC2_METADATA_DISABLED")
    {
        command.env_remove(name);
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = command.output().unwrap();
    if stderr(&output).contains("the program needs glibc") {
        // This is the case on a machine with a newer glibc and without zig.
        assert!(stderr(&output).contains("cargo-zigbuild"), "{}", stderr(&output));
        return;
    }
    let planned = json_of(&output);
    let steps = planned["steps"].to_string();
    assert!(steps.contains("wren-examples-pi-1769mb-900s"), "{steps}");
    assert!(planned["package"]["zip_bytes"].as_u64().unwrap() > 100_000, "{planned}");
}

#[test]
fn a_plan_is_arithmetic() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(["wren", "plan", "--tasks", "2000", "--duration", "2s", "--memory", "1024", "--json"]);
    let plan = json_of(&command.current_dir(folder.path()).output().unwrap());
    assert_eq!((&plan["gb_seconds"], &plan["wall_s"]), (&json!(4_000.0), &json!(4.0)));
    assert_eq!(plan["limited_by"], "concurrency");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wren"));
    command.args(["wren", "plan", "--tasks", "1", "--duration", "1000"]);
    let refused = command.current_dir(folder.path()).output().unwrap();
    assert!(stderr(&refused).contains("split it"), "{}", stderr(&refused));
}
