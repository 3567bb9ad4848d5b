//! `cargo wren clean`: removes files that jobs left on this disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use wren::history;
use wren::store::{FileStore, Store};

use super::{destroy, jobs};
use crate::screen::Screen;
use crate::{durations, json, report, table};

/// Minimum age of a file that may be removed. A younger one may belong to a running program.
const UNTOUCHED: Duration = Duration::from_secs(3600);

/// Like [`UNTOUCHED`], for a store that programs in other folders and on other machines may use: their jobs are not
/// known here.
const UNTOUCHED_ELSEWHERE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Remove files that jobs left on this disk
///
/// Shows the files in `.wren`, and in the store if it is a folder, and asks before it removes any. Without options, it
/// removes only unfinished data of programs that were killed. It removes nothing of a running job. It does not touch
/// objects in S3: `cargo wren destroy` removes a deployment with its objects.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren clean\n  cargo wren clean --logs --older-than 7\n  \
    cargo wren clean sweep --yes")]
pub(crate) struct Args {
    /// Remove everything that these jobs left, including their results (job ids or names)
    #[arg(conflicts_with_all = ["logs", "results", "all"])]
    jobs: Vec<String>,
    /// Also remove the histories, output and inputs of all finished jobs
    #[arg(long)]
    logs: bool,
    /// Also remove the results of named and started jobs; the next run computes them again
    #[arg(long)]
    results: bool,
    /// Remove all of these, and the large values that jobs share
    #[arg(long)]
    all: bool,
    /// Keep files that were written in this last period: a number of days, or a time such as 12h
    #[arg(long, value_name = "DAYS", value_parser = durations::parse_days)]
    older_than: Option<Duration>,
    /// Show what would be removed without removing anything
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Print one JSON object: the files that were found, which of them were chosen, and the number of bytes freed
    #[arg(long)]
    json: bool,
}

/// The kinds of data that jobs leave, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Partial files of values that a killed program was writing.
    HalfWritten,
    /// Data that sorts and MapReduce jobs pass between their stages.
    BetweenStages,
    Logs,
    Results,
    Shared,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::HalfWritten => "partly written values",
            Kind::BetweenStages => "data between stages of killed jobs",
            Kind::Logs => "histories, output and inputs of jobs",
            Kind::Results => "results of named and started jobs",
            Kind::Shared => "large values that jobs share",
        }
    }

    /// Returns the option that removes this kind; empty if it is removed by default.
    fn option(self) -> &'static str {
        match self {
            Kind::HalfWritten | Kind::BetweenStages => "",
            Kind::Logs => "--logs",
            Kind::Results => "--results",
            Kind::Shared => "--all",
        }
    }
}

/// A file or folder that can be removed as one.
#[derive(Debug)]
struct Leftover {
    kind: Kind,
    path: PathBuf,
    /// The job that it belongs to. For a stage of a named sort or MapReduce, the name of the whole, although each stage
    /// has a history of its own.
    job: Option<String>,
    /// The jobs that must not be running when it is removed.
    logs: Vec<String>,
    files: u64,
    bytes: u64,
    written: SystemTime,
}

#[derive(Debug, Default, Serialize)]
struct Sum {
    jobs: usize,
    files: u64,
    bytes: u64,
    chosen: bool,
}

pub(crate) fn clean(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let store = store()?;
    let now = SystemTime::now();
    let mut found = match &store {
        Some(store) => values(store, &directory, now)?,
        None => Vec::new(),
    };
    found.extend(logs(&directory, &found)?);
    let wanted = wanted(&args.jobs, &directory, &found)?;
    let age = args.older_than.unwrap_or_default();
    let is_chosen = |found: &Leftover| {
        let of_kind = match found.kind {
            _ if !args.jobs.is_empty() => found.job.as_ref().is_some_and(|job| wanted.contains(job)),
            Kind::HalfWritten | Kind::BetweenStages => true,
            Kind::Logs => args.logs || args.all,
            Kind::Results => args.results || args.all,
            Kind::Shared => args.all,
        };
        of_kind && now.duration_since(found.written).unwrap_or_default() >= age
    };
    let (chosen, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(is_chosen);
    let sums = [summed(&chosen, true), summed(&kept, false)];
    show(args, &directory, store.as_deref(), &sums)?;
    let mut freed = 0;
    if !chosen.is_empty() && !args.dry_run {
        if !args.yes && !destroy::agreed()? {
            eprintln!("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        for one in &chosen {
            freed += remove(one, &directory).with_context(|| format!("cannot remove {}", one.path.display()))?;
        }
        eprintln!("{} freed", report::bytes(freed));
    }
    if args.json {
        let found: Vec<_> = sums.iter().flatten().map(|(kind, sum)| Line { kind: *kind, sum }).collect();
        writeln!(io::stdout(), "{}", json::line(&serde_json::json!({ "found": found, "freed_bytes": freed }))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Line<'a> {
    kind: Kind,
    #[serde(flatten)]
    sum: &'a Sum,
}

/// Returns the folder of the store that programs here use; `None` if the store is not a folder.
fn store() -> Result<Option<PathBuf>> {
    let url = wren::Executor::builder().backend("inline").build()?.store().url();
    Ok(FileStore::folder_of(&url))
}

/// Returns the ids of the jobs named on the command line, and fails if one of them is running.
fn wanted(asked: &[String], directory: &Path, found: &[Leftover]) -> Result<BTreeSet<String>> {
    let known: BTreeSet<_> = found.iter().filter_map(|found| found.job.as_deref()).collect();
    let logged = jobs::all(directory)?;
    let mut wanted = BTreeSet::new();
    for name in asked {
        if known.contains(name.as_str()) {
            wanted.insert(name.clone());
        } else {
            wanted.insert(jobs::find(logged.clone(), name)?.id);
        }
    }
    let has_log = |job: &str, id: &str| {
        found.iter().any(|found| found.job.as_deref() == Some(job) && found.logs.iter().any(|log| log == id))
    };
    let is_wanted = |id: &str| wanted.iter().any(|job| id == job || is_stage_of(id, job) || has_log(job, id));
    match logged.iter().find(|job| job.state == history::JobState::Running && is_wanted(&job.id)) {
        Some(running) => bail!("job {0} is running; cancel it with `cargo wren cancel {0}`", running.id),
        None => Ok(wanted),
    }
}

/// Finds the folders of finished jobs in `.wren/jobs`. Those of stages belong to the sort or MapReduce in `values` that
/// has the stage.
fn logs(directory: &Path, values: &[Leftover]) -> Result<Vec<Leftover>> {
    let owner = |name: &String| {
        let of_stage = values.iter().find(|found| found.logs.contains(name));
        of_stage.and_then(|found| found.job.clone()).unwrap_or_else(|| name.clone())
    };
    let folders = entries(&directory.join("jobs"))?;
    Ok(folders
        .into_iter()
        .filter(|(_, path)| path.is_dir() && Held::log(path).is_some())
        .map(|(name, path)| Leftover::new(Kind::Logs, path, Some(owner(&name))).unless_runs([name]))
        .collect())
}

/// Finds leftover data in a store that is a folder, by the keys that wren uses:
///
/// - `blobs/<hash>`: large values that jobs share.
/// - `<job>/job`: only named and started jobs have it, and the stages `<job>-<stage>` of a named sort or MapReduce.
/// - `<job>/done/..` and `<job>/shuffle/..`: results, and data between stages.
fn values(store: &Path, directory: &Path, now: SystemTime) -> Result<Vec<Leftover>> {
    let is_running = is_running(directory)?;
    let url = FileStore::open(store)?.url();
    let own =
        directory.canonicalize().is_ok_and(|directory| store.canonicalize().is_ok_and(|s| s.starts_with(directory)));
    let untouched = if own { UNTOUCHED } else { UNTOUCHED_ELSEWHERE };
    let is_older = |found: &Leftover, least: Duration| now.duration_since(found.written).is_ok_and(|age| age > least);
    let is_left = |found: &Leftover| is_older(found, untouched);
    let all = entries(store)?;
    let named: BTreeSet<_> =
        all.iter().filter(|(_, path)| path.join("job").exists()).map(|(name, _)| name.as_str()).collect();
    // The stages of a sort or MapReduce and the data between them are only useful together.
    let stages_of = |name: &str| -> Vec<String> {
        named.iter().filter(|job| is_stage_of(job, name)).map(|stage| (*stage).to_owned()).collect()
    };
    let with_stages: Vec<_> =
        all.iter().filter(|(_, path)| path.join("shuffle").is_dir()).map(|(name, _)| name.as_str()).collect();
    let leader =
        |name: &str| with_stages.iter().copied().find(|leader| is_stage_of(name, leader)).unwrap_or(name).to_owned();
    let mut found = Vec::new();
    for (name, path) in &all {
        if name == ".tmp" {
            let half = entries(path)?.into_iter().map(|(_, path)| Leftover::new(Kind::HalfWritten, path, None));
            found.extend(half.filter(is_left));
        } else if name == "blobs" {
            // Any job may use these values.
            let shared = Leftover::new(Kind::Shared, path.clone(), None);
            found.extend(Some(shared).filter(|shared| !is_running && is_left(shared)));
        } else if named.contains(name.as_str()) || !stages_of(name).is_empty() {
            let leader = leader(name);
            let mut jobs = stages_of(&leader);
            jobs.push(leader.clone());
            // The names of the folders of their histories, which depend on the store.
            let logs = jobs.iter().filter_map(|job| {
                let folder = history::folder(directory, job, &url);
                folder.file_name().map(|name| name.to_string_lossy().into_owned())
            });
            let results = Leftover::new(Kind::Results, path.clone(), Some(leader)).unless_runs(logs);
            let has_log = results.logs(directory).next().is_some();
            let is_old = is_older(&results, UNTOUCHED_ELSEWHERE);
            // A job without a history here may be running in another folder or on another machine.
            found.extend(Some(results).filter(|results| results.held(directory).is_some() && (has_log || is_old)));
        } else if with_stages.contains(&name.as_str()) && !is_running {
            // No history names the owner of this data: the jobs of the stages have names of their own.
            let between = Leftover::new(Kind::BetweenStages, path.clone(), Some(name.clone()));
            found.extend(Some(between).filter(is_left));
        }
    }
    Ok(found)
}

/// Returns whether `job` can be a stage of the sort or MapReduce `name`, judging by the name.
fn is_stage_of(job: &str, name: &str) -> bool {
    job.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
}

/// Returns the names and paths of a folder's entries; empty if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    read.map(|entry| {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    })
    .collect()
}

impl Leftover {
    fn new(kind: Kind, path: PathBuf, job: Option<String>) -> Self {
        let (logs, written) = (Vec::new(), SystemTime::UNIX_EPOCH);
        let mut found = Self { kind, path: path.clone(), job, logs, files: 0, bytes: 0, written };
        found.add(&path);
        found
    }

    fn unless_runs(mut self, jobs: impl IntoIterator<Item = String>) -> Self {
        self.logs.extend(jobs);
        self
    }

    /// Returns the existing folders of its jobs.
    fn logs(&self, directory: &Path) -> impl Iterator<Item = PathBuf> {
        self.logs.iter().map(|job| directory.join("jobs").join(job)).filter(|log| log.exists())
    }

    /// Locks the histories of its jobs, so that none of them can start; `None` if one of them is running.
    fn held(&self, directory: &Path) -> Option<Vec<Held>> {
        self.logs(directory).map(|log| Held::log(&log)).collect()
    }

    /// Adds up the files at `path` without following links. Skips files that disappear in the meantime.
    fn add(&mut self, path: &Path) {
        let Ok(is) = fs::symlink_metadata(path) else { return };
        if is.is_dir() {
            let inside = fs::read_dir(path).into_iter().flatten().flatten();
            inside.for_each(|entry| self.add(&entry.path()));
        } else {
            self.files += 1;
            self.bytes += is.len();
            self.written = self.written.max(is.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
}

/// The locked history of a job that is not running. The driver of a running job holds this lock.
struct Held(#[expect(dead_code, reason = "held for its lock")] File);

impl Held {
    fn log(folder: &Path) -> Option<Self> {
        let path = folder.join(history::LOG);
        // Only a regular file can be a history. Opening anything else, such as a pipe, could block forever.
        let log =
            fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).and_then(|_| File::open(&path).ok())?;
        log.try_lock().ok()?;
        Some(Self(log))
    }
}

fn summed(found: &[Leftover], chosen: bool) -> BTreeMap<Kind, Sum> {
    let mut sums: BTreeMap<Kind, Sum> = BTreeMap::new();
    for one in found {
        let sum = sums.entry(one.kind).or_insert(Sum { chosen, ..Sum::default() });
        sum.jobs += usize::from(one.job.is_some());
        sum.files += one.files;
        sum.bytes += one.bytes;
    }
    sums
}

fn show(args: &Args, directory: &Path, store: Option<&Path>, [chosen, kept]: &[BTreeMap<Kind, Sum>; 2]) -> Result<()> {
    let mut err = Screen::stderr();
    let store = store.map_or_else(|| "a store that is not a folder".to_owned(), |store| store.display().to_string());
    writeln!(err, "in {} and {store}:", directory.display())?;
    let row = |kind: &Kind, sum: &Sum, action: String| {
        let jobs = if sum.jobs > 0 { sum.jobs.to_string() } else { String::new() };
        [kind.label().to_owned(), report::bytes(sum.bytes), action, jobs, sum.files.to_string()]
    };
    let to_remove = if args.dry_run { "would be removed" } else { "to be removed" };
    let chosen = chosen.iter().map(|(kind, sum)| row(kind, sum, to_remove.to_owned()));
    let why = |kind: &Kind| match kind.option() {
        option if args.jobs.is_empty() && !option.is_empty() && !args.all => format!("kept; remove with {option}"),
        _ => "kept".to_owned(),
    };
    let kept = kept.iter().map(|(kind, sum)| row(kind, sum, why(kind)));
    let rows: Vec<_> = chosen.chain(kept).collect();
    if rows.is_empty() {
        writeln!(err, "jobs left no files")?;
    } else {
        table::write(&mut err, ["WHAT", "SIZE", "", "JOBS", "FILES"], &rows)?;
    }
    Ok(())
}

/// Removes it, unless its job has started running in the meantime, and returns the number of bytes freed.
fn remove(found: &Leftover, directory: &Path) -> Result<u64> {
    let Some(_held) = found.held(directory) else { return Ok(0) };
    // The owners of these are unknown, so any running job may need them.
    if matches!(found.kind, Kind::Shared | Kind::BetweenStages) && is_running(directory)? {
        return Ok(0);
    }
    let removed = match found.path.is_dir() {
        true => fs::remove_dir_all(&found.path),
        false => fs::remove_file(&found.path),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(found.bytes),
    }
}

/// Returns whether any job with a history here is running.
fn is_running(directory: &Path) -> Result<bool> {
    Ok(jobs::all(directory)?.iter().any(|job| job.state == history::JobState::Running))
}
