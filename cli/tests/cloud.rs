//! Deploys programs to the emulator and runs them there, as a user would.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/builds.rs"]
mod builds;
mod support;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::{emulate, run_inner};

const FAULTS: [&str; 8] = ["--throttle", "0.05", "--lose", "0.01", "--duplicate", "0.05", "--seed", "7"];

/// Runs an ignored test below inside an emulator with these options, in folders of its own.
fn inside(options: &[&str], test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    let mut command = emulate(&[options, &["--keep", objects.to_str().unwrap()]].concat());
    command.arg(std::env::current_exe().unwrap());
    command.env("WREN_DIR", folder.path().join("wren")).env("INNER_OBJECTS", objects);
    run_inner(command, test);
}

#[test]
fn a_program_is_deployed_run_changed_and_destroyed() {
    inside(&[], "inner_life_of_a_deployment");
}

#[test]
fn a_new_project_is_deployed_and_run_by_two_commands() {
    // Every event is delivered twice, and this machine's clock is wrong.
    inside(&["--duplicate", "1", "--clock", "3600"], "inner_new_project");
}

#[test]
fn ten_thousand_tasks_are_each_done_once_under_faults() {
    inside(&FAULTS, "inner_ten_thousand_tasks");
}

#[test]
fn data_in_s3_is_counted_sorted_and_walked_under_faults() {
    inside(&FAULTS, "inner_data_in_s3");
}

#[test]
fn a_cancelled_job_stops_its_workers() {
    inside(&["--concurrency", "2"], "inner_cancelled_job");
}

fn deploy(program: [&str; 2]) {
    succeeded(wren(&[&["deploy", "-p", "examples", "--features", builds::FEATURES], &program[..]].concat()));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn wren(arguments: &[&str]) -> Output {
    let mut command = builds::command(env!("CARGO_BIN_EXE_cargo-wren"));
    command.arg("wren").args(arguments).current_dir(root()).output().unwrap()
}

/// Returns a command that runs a built program of the workspace as a driver.
fn program(path: &str) -> Command {
    let mut command = Command::new(builds::target().join(path));
    command.current_dir(root());
    command
}

fn succeeded(output: Output) -> (String, String) {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    (stdout, stderr)
}

fn record() -> PathBuf {
    Path::new(&std::env::var_os("WREN_DIR").unwrap()).join("deployment.emulated.json")
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
#[ignore = "run by a test above, inside the emulator"]
fn inner_life_of_a_deployment() {
    let mut printed = String::new();
    let mut note = |(stdout, stderr): (String, String)| {
        printed += &stdout;
        printed += &stderr;
        (stdout, stderr)
    };
    let sweep = ["-p", "examples", "--example", "sweep", "--features", builds::FEATURES];
    let (_, steps) = note(succeeded(wren(&[&["deploy"], &sweep[..]].concat())));
    assert!(steps.contains("created") && steps.contains("deploying to the emulator"), "{steps}");
    let (_, steps) = note(succeeded(wren(&[&["deploy"], &sweep[..]].concat())));
    assert!(!steps.contains("created") && !steps.contains("updated"), "{steps}");
    assert!(!steps.contains("Compiling"), "nothing of an unchanged program is built again: {steps}");
    let deployed: Value = serde_json::from_slice(&fs::read(record()).unwrap()).unwrap();
    assert!(deployed["code"]["bytes"].as_u64().unwrap() < 6_250_000, "{deployed:#}");

    let (stdout, stderr) = note(succeeded(program("wren-deploy/examples/sweep").output().unwrap()));
    assert!(stderr.contains("running on an emulator of AWS") && stderr.contains("USD"), "{stderr}");
    let (here, stderr) =
        note(succeeded(program("wren-deploy/examples/sweep").env("WREN_BACKEND", "local").output().unwrap()));
    assert!(!stderr.contains("emulator") && stdout.lines().last() == here.lines().last(), "{stdout}{here}");
    let jobs: Value = serde_json::from_str(&note(succeeded(wren(&["jobs", "--json"]))).0).unwrap();
    let job = jobs.as_array().unwrap().iter().find(|job| job["backend"] == "lambda").unwrap();
    let (lines, _) = note(succeeded(wren(&["logs", job["id"].as_str().unwrap()])));
    assert!(lines.contains("wren job="), "{lines}");
    note(succeeded(wren(&["doctor"])));

    // No output, log, record or object contains the secret.
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();
    assert!(secret.len() >= 20 && !printed.contains(&secret), "printed");
    let folders = [std::env::var_os("WREN_DIR").unwrap(), std::env::var_os("INNER_OBJECTS").unwrap()];
    let kept: Vec<_> = folders.iter().flat_map(|folder| files(Path::new(folder))).collect();
    assert!(kept.len() > 5, "{kept:?}");
    for path in kept {
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the secret is in {}", path.display());
    }

    // Pretends that the function has changed since.
    let text = fs::read_to_string(record()).unwrap();
    let hash = deployed["functions"][0]["body_hash"].to_string();
    fs::write(record(), text.replace(&hash, "7")).unwrap();
    let stale = program("wren-deploy/examples/sweep").output().unwrap();
    let message = String::from_utf8_lossy(&stale.stderr).into_owned();
    let name = deployed["functions"][0]["name"].as_str().unwrap();
    assert!(!stale.status.success() && message.contains(name) && message.contains("cargo wren deploy"), "{message}");

    // It is deployed to the same place again, and runs there.
    let (stdout, stderr) = succeeded(wren(&[&["run"], &sweep[..]].concat()));
    assert!(stderr.contains("running on an emulator of AWS"), "{stderr}");
    assert_eq!(stdout.lines().last(), here.lines().last());
    assert!(fs::read_to_string(record()).unwrap().contains(&hash));

    succeeded(wren(&["destroy", "--yes"]));
    assert!(!record().exists());
    let left = files(Path::new(&folders[1]));
    let left: Vec<_> = left.iter().filter(|path| path.to_string_lossy().contains("examples-sweep")).collect();
    assert!(left.is_empty(), "{left:?}");
    let (_, stderr) = succeeded(program("wren-deploy/examples/sweep").output().unwrap());
    assert!(!stderr.contains("emulator"), "{stderr}");
}

#[test]
#[ignore = "run by a test above, inside the emulator"]
fn inner_new_project() {
    let folder = tempfile::tempdir().unwrap();
    builds::share(folder.path());
    let command = Path::new(env!("CARGO_BIN_EXE_cargo-wren"));
    let path = std::env::join_paths(
        [command.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let shell = |folder: &Path, script: &str| {
        let mut shell = builds::command("sh");
        shell.args(["-c", script]).current_dir(folder).env("PATH", &path).env_remove("WREN_DIR").output().unwrap()
    };
    succeeded(shell(folder.path(), "cargo wren new hello"));
    let project = folder.path().join("hello");
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let manifest = || fs::read_to_string(project.join("Cargo.toml")).unwrap();
    let before = manifest();

    // A dry run reports the change and does not make it.
    let (_, steps) = succeeded(shell(&project, "cargo wren deploy --dry-run"));
    assert!(steps.contains("feature    `aws` of wren-cloud would be turned on in Cargo.toml"), "{steps}");
    assert_eq!(manifest(), before);

    let (stdout, stderr) = succeeded(shell(&project, "cargo wren deploy && cargo run"));
    assert!(stdout.ends_with("837799 takes most: 524 steps\n"), "{stdout}");
    assert!(stderr.contains("feature    `aws` of wren-cloud turned on in /"), "{stderr}");
    assert!(stderr.contains("running on an emulator of AWS"), "{stderr}");
    assert!(stderr.contains("this machine's clock is off by about 60 minutes"), "{stderr}");
    let line = before.lines().find(|line| line.starts_with("wren-cloud = ")).unwrap();
    let with_aws = line.replace(" }", ", features = [\"aws\"] }");
    assert_ne!(line, with_aws);
    assert_eq!(manifest(), before.replace(line, &with_aws));

    // The second deploy has nothing to turn on.
    let (_, steps) = succeeded(shell(&project, "cargo wren deploy"));
    assert!(!steps.contains("turned on") && !steps.contains("Compiling"), "{steps}");

    // Without the feature, it runs locally only if the backend is set.
    fs::write(project.join("Cargo.toml"), before).unwrap();
    let refused = shell(&project, "cargo run --quiet");
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && message.contains("built without the feature `aws`"), "{message}");
    assert!(
        message.contains("enable it with `cargo wren deploy`") && message.contains("WREN_BACKEND=local"),
        "{message}"
    );
    let (stdout, _) = succeeded(shell(&project, "WREN_BACKEND=local cargo run --quiet"));
    assert!(stdout.ends_with("837799 takes most: 524 steps\n"), "{stdout}");
    let refused = shell(&project, "WREN_BACKEND=lambda cargo run --quiet");
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && message.contains("the backend `lambda` needs the feature `aws`"), "{message}");

    // Calls that run too long, cost too much or run twice.
    fs::write(project.join("src/main.rs"), include_str!("support/stops.rs")).unwrap();
    let notes = folder.path().join("notes");
    fs::create_dir(&notes).unwrap();
    let run = format!("cargo wren deploy && cargo run --quiet -- {}", notes.display());
    let (stdout, _) = succeeded(shell(&project, &run));
    assert_eq!(stdout.lines().last(), Some("all checks passed"), "{stdout}");
    succeeded(shell(&project, "cargo wren destroy --yes"));
}

#[test]
#[ignore = "run by a test above, inside the emulator"]
fn inner_ten_thousand_tasks() {
    deploy(["--bin", "wren-bench"]);
    let tasks = 10_000;
    for backend in ["lambda", "lambda:event"] {
        let mut driver = program("wren-deploy/wren-bench");
        driver.envs([("WREN_BENCH", "cloud"), ("WREN_BACKEND", backend)]).arg(tasks.to_string());
        // The program asserts that every result is right.
        let (stdout, stderr) = succeeded(driver.output().unwrap());
        eprintln!("{backend}: {stdout}{stderr}");
        assert!(stdout.starts_with(&format!("{tasks} tasks in ")), "{stdout}");
        let jobs: Value = serde_json::from_str(&succeeded(wren(&["jobs", "--json"])).0).unwrap();
        let job = &jobs[0];
        assert_eq!((&job["done"], &job["failed"]), (&Value::from(tasks), &Value::from(0)), "each once: {jobs:#}");
        assert!(job["retried"].as_u64().unwrap() > 0, "there were faults: {jobs:#}");
    }
}

/// Returns the links of pages, in five objects. The pages form connected groups of up to nine.
fn links() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut files = vec![String::new(); 5];
    for group in 0..300 {
        let pages = random.usize(2..10);
        for page in 1..pages {
            let other = random.usize(..page);
            let (from, to) = if random.bool() { (page, other) } else { (other, page) };
            *random.choice(&mut files).unwrap() += &format!("g{group}p{from} g{group}p{to}\n");
        }
    }
    files
}

#[test]
#[ignore = "run by a test above, inside the emulator"]
fn inner_data_in_s3() {
    deploy(["--example", "links"]);
    let deployed: Value = serde_json::from_slice(&fs::read(record()).unwrap()).unwrap();
    let lambdas: Vec<_> = deployed["lambdas"].as_array().unwrap().iter().map(|lambda| &lambda["memory_mb"]).collect();
    assert_eq!(lambdas, [512], "wren's own functions need no Lambda function of their own: {deployed:#}");
    let url = deployed["store"].as_str().unwrap();
    let store = wren::store::open(url).unwrap();
    let files = links();
    for (number, file) in files.iter().enumerate() {
        wren::block_on(store.put(&format!("links/{number}"), file.as_bytes())).unwrap();
    }
    let run = |arguments: [&str; 2]| program("wren-deploy/examples/links").args(arguments).output().unwrap();

    // Paths that workers cannot access are refused before anything runs.
    let [found, links] = ["found", "links"].map(|folder| format!("{url}/{folder}"));
    for wrong in [[&found, "examples/data/links.txt"], ["target/found", &links], ["file:target/found", &links]] {
        let refused = run(wrong);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && message.contains("workers on other machines"), "{wrong:?}: {message}");
        assert!(message.contains("s3://bucket") && !message.contains("job done"), "{wrong:?}: {message}");
    }

    let (stdout, stderr) = succeeded(run([&found, &links]));
    assert!(stderr.contains("running on an emulator of AWS"), "{stderr}");
    let mut lines: Vec<_> = files.iter().flat_map(|file| file.lines()).collect();
    lines.sort_unstable();
    let mut counts = BTreeMap::<_, u64>::new();
    let mut groups = BTreeMap::<_, BTreeSet<_>>::new();
    for line in &lines {
        let (from, to) = line.split_once(' ').unwrap();
        *counts.entry(to).or_default() += 1;
        groups.entry(line.split('p').next().unwrap()).or_default().extend([from, to]);
    }
    let read = |folder: &str| -> Vec<String> {
        let keys = wren::block_on(store.list(&format!("found/{folder}/"), None, 1_000)).unwrap();
        let texts = keys.iter().map(|key| String::from_utf8(wren::block_on(store.get(key)).unwrap()).unwrap());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    assert_eq!(read("sorted"), lines);
    let mut counted = read("counts");
    counted.sort_unstable();
    let mut expected: Vec<_> = counts.iter().map(|(page, n)| format!("{page}\t{n}")).collect();
    expected.sort_unstable();
    assert_eq!(counted, expected);
    let pages: usize = groups.values().map(BTreeSet::len).sum();
    let found = format!("{} links to {} of {pages} pages, in {} groups", lines.len(), counts.len(), groups.len());
    assert_eq!(stdout.lines().last(), Some(&*found));
    let mut sizes: Vec<_> = groups.values().map(|group| (Reverse(group.len()), *group.first().unwrap())).collect();
    sizes.sort_unstable();
    let largest: Vec<_> = sizes.iter().take(10).map(|(Reverse(size), page)| format!("{size:>8} {page}")).collect();
    assert!(stdout.lines().take(10).eq(largest), "{stdout}");
}

#[test]
#[ignore = "run by a test above, inside the emulator"]
fn inner_cancelled_job() {
    deploy(["--example", "pi"]);
    let round_trip = || wren(&["doctor"]).status.success();
    assert!(round_trip());
    // Both instances are busy for longer than the test waits.
    let mut driver = program("wren-deploy/examples/pi");
    let mut driver = driver.args(["2", "100000000000"]).stderr(Stdio::null()).spawn().unwrap();
    let busy = Instant::now();
    while round_trip() {
        assert!(busy.elapsed() < Duration::from_secs(60), "the job does not start");
    }
    interrupt(&driver);
    driver.wait().unwrap();
    let cancelled = Instant::now();
    while !round_trip() {
        assert!(cancelled.elapsed() < Duration::from_secs(60), "the workers are still busy");
    }
}

fn interrupt(driver: &Child) {
    let kill = Command::new("kill").args(["-INT", &driver.id().to_string()]).status().unwrap();
    assert!(kill.success());
}
