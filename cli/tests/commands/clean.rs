//! Tests `cargo wren clean` and the files that jobs leave.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json as value};

use super::{json, project, stderr, stdout, wren};

/// Creates a file as if a program had left it this many hours ago.
fn left(folder: &Path, name: &str, bytes: usize, hours: u64) {
    let path = folder.join(".wren").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![0; bytes]).unwrap();
    let written = SystemTime::now() - Duration::from_secs(3600 * hours);
    File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
}

/// Returns a folder with files of every kind.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Wren.toml"), "").unwrap();
    let files = [
        ("store/.tmp/0123456789abcdef", 1_000, 2),
        ("store/.tmp/fedcba9876543210", 1_000, 0),
        ("store/killed/shuffle/map/0", 2_000, 2),
        ("store/killed/shuffle/map/1", 2_000, 30),
        ("store/new/shuffle/map/0", 4_000, 0),
        // A named sort may continue with it.
        ("store/sorted/shuffle/map/0", 8_000, 300),
        ("store/sorted-map/job", 10, 300),
        ("store/elsewhere/job", 40, 2),
        ("store/sweep/job", 20, 300),
        ("store/sweep/done/000000000000", 30, 300),
        ("store/blobs/0123", 100_000, 300),
        ("jobs/sweep/events.jsonl", 500, 300),
        ("jobs/recent/events.jsonl", 600, 1),
        ("deployment.json", 700, 300),
    ];
    files.iter().for_each(|(name, bytes, hours)| left(folder.path(), name, *bytes, *hours));
    folder
}

fn clean(folder: &Path, arguments: &[&str]) -> Value {
    json(&wren(folder, &[&["clean", "--json", "--yes"], arguments].concat()))
}

fn found(of: &Value, kind: &str, chosen: bool) -> Option<[u64; 2]> {
    let all = of["found"].as_array().unwrap();
    let one = all.iter().find(|one| one["kind"] == kind && one["chosen"] == chosen)?;
    Some([one["files"].as_u64().unwrap(), one["bytes"].as_u64().unwrap()])
}

#[test]
fn leftovers_are_removed_and_wanted_data_stays() {
    let folder = folder();
    let there = |name: &str| folder.path().join(".wren").join(name).exists();
    let shown = wren(folder.path(), &["clean", "--dry-run"]);
    assert!(stderr(&shown).contains("would be removed") && stderr(&shown).contains("--results"), "{}", stderr(&shown));
    let refused = wren(folder.path(), &["clean"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).ends_with("cannot ask for confirmation: standard input is not a terminal; pass --yes\n"));
    assert!(there("store/killed/shuffle/map/0"));

    let cleaned = clean(folder.path(), &[]);
    assert_eq!(found(&cleaned, "half_written", true), Some([1, 1_000]));
    assert_eq!(found(&cleaned, "between_stages", true), Some([2, 4_000]));
    assert_eq!(found(&cleaned, "results", false), Some([4, 8_060]));
    assert_eq!(found(&cleaned, "shared", false), Some([1, 100_000]));
    assert_eq!(found(&cleaned, "logs", false), Some([2, 1_100]));
    assert_eq!(cleaned["freed_bytes"], 5_000);
    assert!(!there("store/killed") && !there("store/.tmp/0123456789abcdef"));
    for stays in ["store/.tmp/fedcba9876543210", "store/new/shuffle/map/0", "store/sorted/shuffle/map/0", "jobs/sweep"]
    {
        assert!(there(stays), "{stays}");
    }
    assert_eq!(
        clean(folder.path(), &[]),
        value!({ "found": cleaned["found"].as_array().unwrap().iter()
        .filter(|one| one["chosen"] == false).collect::<Vec<_>>(), "freed_bytes": 0 })
    );

    clean(folder.path(), &["--logs", "--older-than", "7"]);
    assert!(!there("jobs/sweep") && there("jobs/recent") && there("store/sweep/job"));
    clean(folder.path(), &["--all"]);
    // A job without a log here may run in another folder.
    assert!(there("store/elsewhere/job"));
    let gone = ["store/sweep", "store/sorted", "store/sorted-map", "store/blobs/0123", "jobs/recent"];
    assert!(gone.iter().all(|gone| !there(gone)) && there("deployment.json"));
}

#[test]
fn running_jobs_keep_all_their_data() {
    let folder = folder();
    let log = folder.path().join(".wren/jobs/sweep/events.jsonl");
    let about = value!({
        "event": "job", "id": "sweep", "name": "sweep", "function": "f", "tasks": 3, "backend": "local", "workers": 2,
        "started_unix_ms": 1, "pid": 1, "wren": "0",
    });
    fs::write(&log, format!("{about}\n")).unwrap();
    let running = File::open(&log).unwrap();
    running.lock().unwrap();
    let cleaned = clean(folder.path(), &["--all"]);
    // The job that owns the data between stages is unknown.
    assert_eq!((found(&cleaned, "between_stages", true), found(&cleaned, "logs", true)), (None, Some([1, 600])));
    assert!(log.exists() && folder.path().join(".wren/store/sweep/done/000000000000").exists());
    assert!(folder.path().join(".wren/store/blobs/0123").exists(), "the running job may use any of them");
    let refused = wren(folder.path(), &["clean", "sweep", "--yes"]);
    assert!(
        stderr(&refused).ends_with("job sweep is running; cancel it with `cargo wren cancel sweep`\n"),
        "{}",
        stderr(&refused)
    );
    drop(running);
    assert_eq!(clean(folder.path(), &["sweep"])["freed_bytes"], 50 + log_size(&about));
    assert!(!log.exists() && !folder.path().join(".wren/store/sweep").exists());
    let unknown = wren(folder.path(), &["clean", "sweep", "--yes"]);
    assert!(stderr(&unknown).starts_with("error: no job here is called `sweep`"), "{}", stderr(&unknown));
}

/// The data between stages is useful only with the results of the stages, and vice versa.
#[test]
fn a_named_sort_is_removed_as_a_whole_unless_a_stage_runs() {
    let folder = folder();
    let there = |name: &str| folder.path().join(".wren").join(name).exists();
    left(folder.path(), "jobs/sorted-map/events.jsonl", 5, 1);
    let about = value!({
        "event": "job", "id": "sorted-map", "name": "sorted-map", "function": "f", "tasks": 3, "backend": "local",
        "workers": 2, "started_unix_ms": 1, "pid": 1, "wren": "0",
    });
    let log = folder.path().join(".wren/jobs/sorted-map/events.jsonl");
    fs::write(&log, format!("{about}\n")).unwrap();
    let running = File::open(&log).unwrap();
    running.lock().unwrap();
    let refused = wren(folder.path(), &["clean", "sorted", "--yes"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    clean(folder.path(), &["--results"]);
    assert!(there("store/sorted/shuffle/map/0") && there("store/sorted-map/job") && !there("store/sweep"));
    drop(running);
    clean(folder.path(), &["sorted"]);
    assert!(!there("store/sorted") && !there("store/sorted-map") && !there("jobs/sorted-map"));
}

fn log_size(about: &Value) -> u64 {
    about.to_string().len() as u64 + 1
}

/// Checks that programs leave files in the layout that these tests assume.
#[test]
fn a_named_job_is_found_and_removed_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "cleaned");
    let program = r#"
        #[wren::remote]
        fn double(x: u64) -> u64 { 2 * x }

        #[wren::main]
        async fn main() -> wren::Result<()> {
            let model = wren::put(&vec![0u8; 100_000]).await?;
            println!("{:?} {}", wren::map(double, 0..3).named("sweep").await?, model.key().len());
            Ok(())
        }
    "#;
    fs::write(project.join("src/main.rs"), program).unwrap();
    let run = || stdout(&wren(&project, &["run", "--debug", "--quiet"]));
    let first = run();
    assert!(first.starts_with("[0, 2, 4]"), "{first}");
    let cleaned = clean(&project, &["sweep"]);
    let chosen = |kind| found(&cleaned, kind, true).map_or(0, |[files, _]| files);
    assert!(chosen("results") >= 2 && chosen("logs") >= 1, "{cleaned}");
    assert_eq!(found(&cleaned, "shared", true), None, "{cleaned}");
    assert_eq!(run(), first);
}
