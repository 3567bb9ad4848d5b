//! Runs the command as a user would, in a new folder for each test.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/builds.rs"]
mod builds;

mod clean;
mod finish;
mod histories;
mod machine;
mod messages;
mod running;
mod top;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn wren(folder: &Path, arguments: &[&str]) -> Output {
    wren_command(folder, arguments).output().unwrap()
}

fn wren_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = builds::command(env!("CARGO_BIN_EXE_cargo-wren"));
    command.arg("wren").args(arguments).current_dir(folder);
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// Creates a project from the template, with the locked versions of the workspace.
fn project(folder: &Path, name: &str) -> PathBuf {
    from_template(folder, "map", name)
}

fn from_template(folder: &Path, template: &str, name: &str) -> PathBuf {
    builds::share(folder);
    stdout(&wren(folder, &["new", "--template", template, name]));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::copy(workspace.join("Cargo.lock"), folder.join(name).join("Cargo.lock")).unwrap();
    folder.join(name)
}

fn cargo_test(project: &Path) -> Output {
    builds::command("cargo").arg("test").current_dir(project).output().unwrap()
}

#[test]
fn every_template_runs_and_is_tested() {
    let folder = tempfile::tempdir().unwrap();
    let mapreduce = ("mapreduce", "counts", " distinct words in src/main.rs\n");
    // Has the name of a package that wren's dependencies depend on.
    let params = ("params", "itoa", "y is about 3.0 x -2.0\n");
    for (template, name, last) in [mapreduce, params] {
        let project = from_template(folder.path(), template, name);
        let run = wren(&project, &["run", "--debug", "--quiet", "--workers", "2"]);
        assert!(stdout(&run).ends_with(last), "{}", stdout(&run));
        assert_eq!(stderr(&run), "");
        assert!(stdout(&cargo_test(&project)).contains("1 passed"));
    }
    let unknown = wren(folder.path(), &["new", "--template", "reduce", "other"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("possible values: map, mapreduce, params"), "{}", stderr(&unknown));
}

#[test]
fn joining_a_workspace_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = "[workspace]\nresolver = \"3\"\nmembers = []\n[workspace.lints.rust]\nmissing_docs = \"warn\"\n";
    fs::write(folder.path().join("Cargo.toml"), workspace).unwrap();
    let new = wren(folder.path(), &["new", "inner"]);
    assert!(stdout(&new).starts_with("created inner"));
    assert!(stderr(&new).contains("the project is now a member of the workspace in /"), "{}", stderr(&new));
    let manifest = fs::read_to_string(folder.path().join("inner/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("[dependencies]\nserde = {") && manifest.ends_with("[lints]\nworkspace = true\n"),
        "{manifest}"
    );
}

#[test]
fn a_new_project_runs_is_tested_is_listed_and_leaves_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "hello-wren");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[profile.dev]\nopt-level = 1\ndebug = \"line-tables-only\"\n"), "{manifest}");

    let run = wren(&project, &["run", "--debug", "--workers", "2"]);
    assert!(stdout(&run).ends_with("837799 takes most: 524 steps\n"), "{}", stdout(&run));
    assert!(stderr(&run).contains("done: 999999 tasks of hello_wren::collatz"), "{}", stderr(&run));

    assert!(stdout(&cargo_test(&project)).contains("2 passed"));

    let listing = json(&wren(&project, &["list", "--debug", "--json"]));
    let function = &listing["functions"][0];
    assert_eq!(function["name"], "hello_wren::collatz");
    assert_eq!(function["signature"], "fn collatz(start: u64) -> u64");
    let table = stdout(&wren(&project, &["list", "--debug"]));
    assert!(table.starts_with("FUNCTION") && table.contains("src/main.rs:3"), "{table}");

    // Tests leave no logs.
    let jobs = json(&wren(&project, &["jobs", "--json"]));
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    let job = &jobs[0];
    assert_eq!(job["backend"], "local");
    assert_eq!((&job["state"], &job["tasks"]), (&Value::from("done"), &Value::from(999_999)));
    assert_eq!((&job["done"], &job["workers"]), (&Value::from(999_999), &Value::from(2)));
    let table = stdout(&wren(&project, &["jobs"]));
    assert!(table.starts_with("JOB") && table.contains("999999/999999"), "{table}");
    let id = job["id"].as_str().unwrap();
    let shown = stdout(&wren(&project, &["jobs", id]));
    assert!(shown.contains("hello_wren::collatz") && shown.contains("2 workers (local)"), "{shown}");
}

#[test]
fn a_failed_job_shows_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "failing");
    let main = r#"
        #[wren::remote]
        fn even(n: u64) -> Result<u64, String> {
            if n % 2 == 0 { Ok(n) } else { Err(format!("{n} is odd\nand more")) }
        }

        #[wren::main]
        async fn main() -> std::process::ExitCode {
            let all = wren::map(even, 0..4).named("evens").try_all().await;
            std::process::ExitCode::from(all.map_or(1, |all| 40 + all.len() as u8))
        }
    "#;
    fs::write(project.join("src/main.rs"), main).unwrap();
    let run = wren(&project, &["run", "--debug", "--quiet"]);
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(44), ""));
    let shown = json(&wren(&project, &["jobs", "evens", "--json"]));
    assert_eq!((&shown["done"], &shown["failed"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(shown["failures"].as_array().unwrap().len(), 2);
    assert_eq!(shown["failures"][0]["class"], "returned");
    let table = stdout(&wren(&project, &["jobs", "evens"]));
    assert!(table.contains("1 is odd") && table.contains("returned"), "{table}");

    let none = wren(&project, &["jobs", "odds"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no job here is called `odds`"), "{}", stderr(&none));
}

#[test]
fn a_failed_task_is_shown_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "replayed");
    let main = r#"
        #[wren::remote(retries = 0)]
        fn check(n: u64) -> u64 {
            println!("checking {n}");
            if n == 3 {
                panic!("{n} is bad");
            }
            n
        }

        #[wren::main]
        async fn main() {
            let _ = wren::map(check, 0..6).named("checks").try_all().await;
        }
    "#;
    let source = project.join("src/main.rs");
    fs::write(&source, main).unwrap();
    stdout(&wren(&project, &["run", "--debug", "--quiet"]));

    let logs = stdout(&wren(&project, &["logs", "checks"]));
    assert_eq!(logs.lines().count(), 6, "{logs}");
    let logs = stdout(&wren(&project, &["logs", "checks", "3"]));
    assert!(logs.ends_with("Z [check 3] checking 3\n") && logs.lines().count() == 1, "{logs}");
    let line = json(&wren(&project, &["logs", "checks", "3", "--json"]));
    assert_eq!((&line["task"], &line["line"]), (&Value::from(3), &Value::from("checking 3")));
    assert_eq!((&line["stream"], &line["attempt"]), (&Value::from("stdout"), &Value::from(1)));
    assert_eq!(stdout(&wren(&project, &["logs", "checks", "3", "--since", "1h"])).lines().count(), 1);
    let shown = stdout(&wren(&project, &["jobs", "checks"]));
    assert!(shown.contains("`replayed::check` task 3 panicked at src/main.rs:6:"), "{shown}");
    assert!(shown.contains("cargo wren replay checks 3"), "{shown}");

    let replay = wren(&project, &["replay", "checks", "3"]);
    assert_eq!(replay.status.code(), Some(101), "{}", stderr(&replay));
    assert_eq!(String::from_utf8_lossy(&replay.stdout), "checking 3\n");
    let first = "wren: task 3 of job checks: replayed::check with 5 bytes of input";
    assert!(stderr(&replay).contains(first), "{}", stderr(&replay));
    assert!(stderr(&replay).contains("panicked at src/main.rs:6:"), "{}", stderr(&replay));
    let command = stdout(&wren(&project, &["replay", "checks", "3", "--print-command"]));
    let run = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(run.status.code(), Some(101), "{command}");

    let refused = |arguments: &[&str], message: &str| {
        let output = wren(&project, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    };
    refused(&["replay", "nothing", "3"], "no job here is called `nothing`");
    refused(&["replay", "checks", "6"], "job checks has no task 6: it has 6 tasks, numbered from 0");
    refused(&["logs", "checks", "6"], "job checks has no task 6: it has 6 tasks, numbered from 0");
    refused(&["replay", "checks", "3", "--debugger", "no-such-debugger"], "cannot start no-such-debugger");

    fs::write(&source, main.replace("n == 3", "n == 99")).unwrap();
    let fixed = wren(&project, &["replay", "checks", "3"]);
    assert_eq!(stdout(&fixed), "checking 3\n");
    assert!(stderr(&fixed).contains("`replayed::check` has changed since the job ran"), "{}", stderr(&fixed));
    assert!(stderr(&fixed).contains("replayed::check returned 3 in "), "{}", stderr(&fixed));
    let pool = wren(&project, &["replay", "checks", "3", "--local-pool"]);
    assert_eq!(stdout(&pool), "[check 3] checking 3\n");

    fs::write(&source, main.replace("check(n: u64)", "check(n: u32)").replace("-> u64", "-> u32")).unwrap();
    refused(
        &["replay", "checks", "3"],
        "the signature of `replayed::check` has changed since the job ran, from `fn check(n",
    );
    fs::write(&source, main.replace("check", "verify")).unwrap();
    refused(&["replay", "checks", "3"], "unknown remote function `replayed::check`");
    fs::write(&source, "fn main() { hello }").unwrap();
    assert_eq!(wren(&project, &["replay", "checks", "3"]).status.code(), Some(101));

    fs::write(&source, main.replace("checks", "threads")).unwrap();
    stdout(&wren(&project, &["run", "--debug", "--quiet", "--backend", "inline"]));
    refused(&["logs", "threads"], "ran on threads of its own program");
    assert_eq!(wren(&project, &["replay", "threads", "3"]).status.code(), Some(101));
}

#[test]
fn programs_that_cannot_list_themselves_get_advice() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "uninitialized");
    fs::write(project.join("src/main.rs"), "fn main() { println!(\"hello\"); }").unwrap();
    let listing = wren(&project, &["list", "--debug"]);
    assert_eq!(listing.status.code(), Some(1));
    assert!(stderr(&listing).contains("its `main` lacks `#[wren::main]`"), "{}", stderr(&listing));

    fs::write(project.join("src/main.rs"), "fn main() { hello }").unwrap();
    for command in ["list", "run"] {
        assert_eq!(wren(&project, &[command, "--debug"]).status.code(), Some(101), "{command}");
    }

    fs::create_dir(project.join("src/bin")).unwrap();
    fs::write(project.join("src/bin/second.rs"), "fn main() {}").unwrap();
    let several = wren(&project, &["list", "--debug"]);
    assert!(stderr(&several).contains("-p uninitialized --bin second"), "{}", stderr(&several));
    assert_eq!(several.status.code(), Some(1));
}

#[test]
fn projects_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "one");
    let again = wren(folder.path(), &["new", "one"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already exists"), "{}", stderr(&again));
    assert!(!stderr(&again).contains("cargo init"), "{}", stderr(&again));
    let nowhere = wren(folder.path(), &["new", "two", "--wren", "nowhere"]);
    assert!(stderr(&nowhere).contains("folder nowhere does not exist"), "{}", stderr(&nowhere));
    assert!(!folder.path().join("two").exists());
}

#[test]
fn a_folder_without_jobs_says_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(stdout(&wren(folder.path(), &["jobs"])).starts_with("no job ran here"));
    assert_eq!(json(&wren(folder.path(), &["jobs", "--json"])), Value::Array(Vec::new()));
}

#[test]
fn a_folder_without_a_program_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let outside = wren(folder.path(), &["list"]);
    assert_eq!(outside.status.code(), Some(1));
    assert!(
        stderr(&outside).starts_with("error: could not find `Cargo.toml` in this folder or in any parent folder; ")
    );
    fs::write(folder.path().join("Cargo.toml"), "[package]\nname = 3\n").unwrap();
    let malformed = wren(folder.path(), &["list"]);
    assert_eq!(malformed.status.code(), Some(1));
    let message = stderr(&malformed);
    assert!(
        message.starts_with("error: cargo cannot read the workspace: ") && message.contains("name = 3"),
        "{message}"
    );
    let absent = wren(folder.path(), &["list", "--manifest-path", "elsewhere/Cargo.toml"]);
    assert!(stderr(&absent).contains("`elsewhere/Cargo.toml` does not exist"), "{}", stderr(&absent));
}

#[test]
fn every_subcommand_helps_with_an_example() {
    let here = Path::new(".");
    let help = stdout(&wren(here, &["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 4, "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let help = stdout(&wren(here, &[command, "--help"]));
        assert!(help.contains("Example") && help.contains(&format!("cargo wren {command}")), "{help}");
    }
    assert_eq!(wren(here, &["fly"]).status.code(), Some(2));
    // Without cargo, by the program's own name.
    let by_name = Command::new(env!("CARGO_BIN_EXE_cargo-wren")).arg("--version").output().unwrap();
    assert!(stdout(&by_name).contains(env!("CARGO_PKG_VERSION")));
}
