//! Settings, in one order: builder, `WREN_*` environment, `.wren/deployment.json`, `Wren.toml`, defaults.

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::aws::deployment::Deployment;
use crate::error::{Error, Result};
use crate::platform;

/// What an executor is made from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// `None` lets the program's start decide between `local` and `inline`.
    pub(crate) backend: Option<String>,
    /// `None` leaves it to the backend.
    pub(crate) store: Option<String>,
    /// `None` leaves it to where calls run.
    pub(crate) kv: Option<String>,
    pub(crate) workers: usize,
    /// How many invocations of one job are in flight at once, where nobody says otherwise.
    pub(crate) at_once: Option<NonZeroUsize>,
    /// Where job logs go.
    pub(crate) directory: PathBuf,
    /// Whether jobs are logged: not those of tests and of workers, unless a folder was named.
    pub(crate) logs: bool,
    pub(crate) quiet: bool,
    /// Logs of how many jobs are kept.
    pub(crate) history: u64,
    /// How many bytes of each job's inputs are kept.
    pub(crate) keep_inputs: u64,
    /// How long a worker may be idle until it is ended; `None` keeps it.
    pub(crate) idle_timeout: Option<Duration>,
    /// How many calls a worker runs until another takes its place.
    pub(crate) max_calls: Option<NonZeroU64>,
    /// What becomes of a job that another build of the program began.
    pub(crate) other_build: OtherBuild,
    /// Whether the backend is `lambda` for no other reason than that there is a deployment.
    pub(crate) deployed: bool,
}

/// What becomes of a named job that another build of the program began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtherBuild {
    /// It goes on with a warning.
    #[default]
    Warn,
    /// It goes on.
    Accept,
    /// It is an error.
    Error,
}

impl OtherBuild {
    /// Tells what may be of older code, and how to go on with that: as a line, as an error's text, or not at all.
    ///
    /// # Errors
    /// The text, where it is to be an error.
    pub(crate) fn tell(self, what: &str, to_go_on: &str) -> std::result::Result<(), String> {
        match self {
            Self::Accept => {}
            Self::Error => return Err(format!("{what}; {to_go_on}, set WREN_OTHER_BUILD=accept")),
            Self::Warn => crate::terminal::note(&format!(
                "{what}; {to_go_on} in silence, set WREN_OTHER_BUILD=accept, and to make this an error, \
                 WREN_OTHER_BUILD=error"
            )),
        }
        Ok(())
    }
}

/// `Wren.toml`, all keys optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backend: Option<String>,
    store: Option<String>,
    kv: Option<String>,
    workers: Option<usize>,
    quiet: Option<bool>,
    /// In jobs.
    history: Option<u64>,
    /// In MB.
    keep_inputs: Option<u64>,
    /// In seconds.
    idle_timeout: Option<u64>,
    max_calls: Option<u64>,
    other_build: Option<OtherBuild>,
}

/// How long a worker may be idle, in seconds, where nobody says otherwise: as long as loky's.
const IDLE_TIMEOUT: u64 = 300;

/// How much of each job's inputs is kept, in MB, where nobody says otherwise.
const KEEP_INPUTS: u64 = 16;

/// Logs of how many jobs are kept where nobody says otherwise.
const HISTORY: u64 = 1_000;

const VARIABLES: [&str; 16] = [
    "WREN_HISTORY",
    "WREN_BACKEND",
    "WREN_STORE",
    "WREN_KV",
    "WREN_WORKERS",
    "WREN_DIR",
    "WREN_QUIET",
    "WREN_KEEP_INPUTS",
    "WREN_IDLE_TIMEOUT",
    "WREN_MAX_CALLS",
    "WREN_OTHER_BUILD",
    // Read elsewhere.
    "WREN_LIST",
    "WREN_WORKER",
    "WREN_BENCH",
    "WREN_REPLAY",
    "WREN_REPLAY_POOL",
];

impl Config {
    /// The settings of this process.
    ///
    /// # Errors
    /// [`Error::Config`] for a `WREN_*` variable or a key of `Wren.toml` that is not known or has a
    /// value that cannot be.
    pub(crate) fn load() -> Result<Self> {
        // Other variables may be anything, and not text.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with("WREN_"))?;
            Some((name, value))
        });
        let here = std::env::current_dir().unwrap_or_default();
        Self::from(variables, &here)
    }

    fn from(variables: impl Iterator<Item = (String, OsString)>, here: &Path) -> Result<Self> {
        let (file, root) = find_file(here)?;
        let mut config = Self {
            backend: None,
            store: None,
            kv: None,
            at_once: None,
            workers: file.workers.unwrap_or_else(processors),
            directory: root.join(".wren"),
            logs: platform::is_initialized(),
            quiet: file.quiet.unwrap_or(false),
            history: file.history.unwrap_or(HISTORY),
            keep_inputs: megabytes(file.keep_inputs.unwrap_or(KEEP_INPUTS)),
            idle_timeout: idle_timeout(file.idle_timeout.unwrap_or(IDLE_TIMEOUT)),
            max_calls: NonZeroU64::new(file.max_calls.unwrap_or(0)),
            other_build: file.other_build.unwrap_or_default(),
            deployed: false,
        };
        for (name, value) in variables {
            // A folder may have any name.
            let value = match value.into_string() {
                Ok(value) => value,
                Err(folder) if name == "WREN_DIR" => {
                    config.set_directory(folder.into());
                    continue;
                }
                // Read elsewhere.
                Err(_) if VARIABLES[10..].contains(&name.as_str()) => continue,
                Err(value) => {
                    let value = value.to_string_lossy();
                    return Err(Error::Config(format!("{name} is `{value}`, which is not UTF-8; set it to text")));
                }
            };
            match name.as_str() {
                "WREN_BACKEND" => config.backend = Some(value),
                "WREN_STORE" => config.store = Some(value).filter(|url| !url.is_empty()),
                "WREN_KV" => config.kv = Some(value).filter(|url| !url.is_empty()),
                "WREN_WORKERS" => config.workers = number(&name, &value)?,
                "WREN_DIR" => config.set_directory(value.into()),
                "WREN_QUIET" => config.quiet = !matches!(value.as_str(), "" | "0" | "false"),
                "WREN_HISTORY" => config.history = number(&name, &value)? as u64,
                "WREN_KEEP_INPUTS" => config.keep_inputs = megabytes(number(&name, &value)? as u64),
                "WREN_IDLE_TIMEOUT" => config.idle_timeout = idle_timeout(number(&name, &value)? as u64),
                "WREN_MAX_CALLS" => config.max_calls = NonZeroU64::new(number(&name, &value)? as u64),
                "WREN_OTHER_BUILD" => config.other_build = other_build(&value)?,
                known if VARIABLES.contains(&known) => {}
                _ => return Err(unknown(&name)),
            }
        }
        config.set_workers(config.workers)?;
        config.use_deployment()?;
        config.backend = config.backend.or(file.backend);
        config.kv = config.kv.or(file.kv);
        if !config.deployed {
            config.store = config.store.or(file.store);
        }
        Ok(config)
    }
}

impl Config {
    /// A program that was deployed runs there, unless its environment says where. One that is built without what
    /// that takes does not run here instead without a word.
    fn use_deployment(&mut self) -> Result<()> {
        if self.backend.is_some() || !platform::is_initialized() {
            return Ok(());
        }
        let Some(record) = Deployment::load(&self.directory)? else { return Ok(()) };
        if cfg!(feature = "aws") {
            self.backend = Some("lambda".to_owned());
            self.deployed = true;
        } else if record.may_be_of(&crate::function::registry::all()?) {
            let path = Deployment::path(&self.directory, record.endpoint.as_deref());
            return Err(Error::Config(format!(
                "this program is deployed to AWS ({}), and was now built without the feature `aws`, which running \
                 there takes: `cargo wren deploy` turns it on in Cargo.toml, as does `cargo add wren-cloud --features \
                 aws`; to run here, set WREN_BACKEND=local",
                path.display()
            )));
        }
        Ok(())
    }

    /// The store's URL: what was set, or what goes with the backend.
    ///
    /// # Errors
    /// [`Error::Config`] where the record of a deployment cannot be read.
    pub(crate) fn store_url(&self) -> Result<String> {
        if let Some(url) = &self.store {
            return Ok(url.clone());
        }
        #[cfg(feature = "aws")]
        if self.backend.as_deref().is_some_and(is_lambda)
            && let Some(deployment) = Deployment::load(&self.directory)?
        {
            return Ok(deployment.store);
        }
        Ok(format!("file:{}", platform::text_of_path(&self.directory.join("store"))))
    }

    /// # Errors
    /// [`Error::Config`] for none.
    pub(crate) fn set_workers(&mut self, workers: usize) -> Result<()> {
        if workers == 0 {
            return Err(Error::Config("workers is 0; at least one is needed".to_owned()));
        }
        self.workers = workers;
        Ok(())
    }

    pub(crate) fn set_directory(&mut self, directory: PathBuf) {
        self.directory = directory;
        self.logs = true;
    }
}

/// Whether a backend's URL means AWS Lambda: `lambda`, or `lambda:event`.
///
/// ```
/// assert!(wren::backend::is_lambda("lambda:event") && !wren::backend::is_lambda("local"));
/// ```
pub fn is_lambda(url: &str) -> bool {
    url == "lambda" || url.starts_with("lambda:")
}

/// Whether calls of the backend of this URL run in this process: `inline`, or `sim:`.
pub(crate) fn is_inline(url: &str) -> bool {
    url == "inline" || url == "sim" || url.starts_with("sim:")
}

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn number(name: &str, value: &str) -> Result<usize> {
    value.parse().map_err(|_| Error::Config(format!("{name} is `{value}`; a whole number is needed")))
}

fn megabytes(mb: u64) -> u64 {
    mb.saturating_mul(1 << 20)
}

fn idle_timeout(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn other_build(value: &str) -> Result<OtherBuild> {
    match value {
        "warn" => Ok(OtherBuild::Warn),
        "accept" => Ok(OtherBuild::Accept),
        "error" => Ok(OtherBuild::Error),
        _ => Err(Error::Config(format!("WREN_OTHER_BUILD is `{value}`; it can be `warn`, `accept` or `error`"))),
    }
}

fn unknown(name: &str) -> Error {
    let known = VARIABLES[..11].join(", ");
    Error::Config(format!(
        "{name} is set, and no setting has that name; known are {known}; unset it or correct its name"
    ))
}

/// The nearest `Wren.toml` upwards, and its folder; without one, the folder of the nearest
/// `Cargo.lock`, which is the root of a project, or else `here`.
fn find_file(here: &Path) -> Result<(File, PathBuf)> {
    let nearest = |name: &str| here.ancestors().find(|folder| folder.join(name).is_file());
    let Some(root) = nearest("Wren.toml") else {
        return Ok((File::default(), nearest("Cargo.lock").unwrap_or(here).to_owned()));
    };
    let path = root.join("Wren.toml");
    let cannot = |e: &dyn std::fmt::Display| Error::Config(format!("{} cannot be used: {e}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|e| cannot(&e))?;
    Ok((toml::from_str(&text).map_err(|e| cannot(&e))?, root.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)], file: Option<&str>) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::write(folder.path().join("Wren.toml"), text).unwrap();
        }
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).into()));
        Config::from(variables, folder.path())
    }

    #[test]
    fn environment_comes_before_the_file_and_the_file_before_defaults() {
        let file = Some("workers = 3\nbackend = \"inline\"");
        let both = config(&[("WREN_WORKERS", "7")], file).unwrap();
        assert_eq!((both.workers, both.backend.as_deref()), (7, Some("inline")));
        let none = config(&[], None).unwrap();
        assert_eq!((none.workers, none.backend.as_deref()), (processors(), None));
        assert_eq!(none.kv, None);
        assert_eq!(none.keep_inputs, 16 << 20);
        assert_eq!(config(&[("WREN_KEEP_INPUTS", "0")], Some("keep_inputs = 3")).unwrap().keep_inputs, 0);
        assert_eq!(config(&[], Some("keep_inputs = 3")).unwrap().keep_inputs, 3 << 20);
        let kv = |variables: &[_]| config(variables, Some("kv = \"redis://file\"")).unwrap().kv;
        assert_eq!(kv(&[]).as_deref(), Some("redis://file"));
        assert_eq!(kv(&[("WREN_KV", "embedded:x")]).as_deref(), Some("embedded:x"));
        assert_eq!((none.idle_timeout, none.max_calls), (Some(Duration::from_secs(300)), None));
        let pool = config(&[("WREN_MAX_CALLS", "7")], Some("idle_timeout = 0\nmax_calls = 3")).unwrap();
        assert_eq!((pool.idle_timeout, pool.max_calls), (None, NonZeroU64::new(7)));
        let other_build = |variables: &[_]| config(variables, Some("other_build = \"error\"")).unwrap().other_build;
        assert_eq!((none.other_build, other_build(&[])), (OtherBuild::Warn, OtherBuild::Error));
        assert_eq!(other_build(&[("WREN_OTHER_BUILD", "accept")]), OtherBuild::Accept);
        assert!(config(&[("WREN_OTHER_BUILD", "ignore")], None).is_err());
        let store = none.store_url().unwrap();
        assert!(store.starts_with("file:/") && store.ends_with(".wren/store"), "{store}");
    }

    #[test]
    fn logs_go_to_the_root_of_the_project() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let directory = || Config::from(std::iter::empty(), &inner).unwrap().directory;
        assert_eq!(directory(), inner.join(".wren"));
        std::fs::write(root.path().join("Cargo.lock"), "").unwrap();
        assert_eq!(directory(), root.path().join(".wren"));
        std::fs::write(root.path().join("a/Wren.toml"), "").unwrap();
        assert_eq!(directory(), root.path().join("a/.wren"));
    }

    #[test]
    fn names_and_values_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;

        let odd = || OsString::from_vec(b"/caf\xe9".to_vec());
        let root = tempfile::tempdir().unwrap();
        let here = root.path().join(OsString::from_vec(b"d\xff".to_vec()));
        std::fs::create_dir(&here).unwrap();
        let config = |name: &str| Config::from([(name.to_owned(), odd())].into_iter(), &here);
        assert_eq!(config("WREN_DIR").unwrap().directory, PathBuf::from(odd()));
        assert_eq!(config("WREN_DIR").unwrap().store_url().unwrap(), "file:%/caf%e9/store");
        let message = config("WREN_BACKEND").unwrap_err().to_string();
        assert!(message.contains("WREN_BACKEND is `/caf\u{fffd}`, which is not UTF-8"), "{message}");
        assert_eq!(config("WREN_REPLAY").unwrap().directory, here.join(".wren"));
    }

    #[test]
    fn unknown_names_are_errors_that_say_which_are_known() {
        let message = config(&[("WREN_WORKER_COUNT", "7")], None).unwrap_err().to_string();
        assert!(message.contains("WREN_WORKER_COUNT") && message.contains("WREN_WORKERS"), "{message}");
        assert!(message.contains("WREN_OTHER_BUILD; unset"), "all that can be set: {message}");
        let message = config(&[], Some("worker = 7")).unwrap_err().to_string();
        assert!(message.contains("Wren.toml") && message.contains("worker"), "{message}");
        assert!(config(&[("WREN_WORKERS", "many")], None).is_err());
        assert!(config(&[("WREN_WORKERS", "0")], None).is_err());
    }
}
