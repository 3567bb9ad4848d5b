//! Settings. The first of these sources that has a setting wins: builder, `WREN_*` environment variables,
//! `.wren/deployment.json`, `Wren.toml`, defaults.

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::aws::deployment::Deployment;
use crate::error::{Error, Result};
use crate::platform;

/// The settings of an executor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// `None` lets the start of the program choose `local` or `inline`.
    pub(crate) backend: Option<String>,
    /// `None` lets the backend choose.
    pub(crate) store: Option<String>,
    /// `None` lets the place where calls run decide.
    pub(crate) kv: Option<String>,
    pub(crate) workers: usize,
    /// Limit on the calls of one job that run at once, unless the job sets its own.
    pub(crate) at_once: Option<NonZeroUsize>,
    /// The folder for job logs.
    pub(crate) directory: PathBuf,
    /// Whether jobs are logged. Tests and workers do not log, unless a folder was set.
    pub(crate) logs: bool,
    pub(crate) quiet: bool,
    /// Number of jobs whose logs are kept.
    pub(crate) history: u64,
    /// Limit on the kept inputs of each job, in bytes.
    pub(crate) keep_inputs: u64,
    /// Time after which an idle worker is ended; `None` keeps it.
    pub(crate) idle_timeout: Option<Duration>,
    /// Number of calls after which a worker is replaced.
    pub(crate) max_calls: Option<NonZeroU64>,
    /// How to handle a job that another build of the program started.
    pub(crate) other_build: OtherBuild,
    /// Whether the backend is `lambda` only because there is a deployment.
    pub(crate) deployed: bool,
}

/// How to handle results or deployed code of another build of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtherBuild {
    /// Continue with a warning.
    #[default]
    Warn,
    /// Continue without a warning.
    Accept,
    /// Return an error.
    Error,
}

impl OtherBuild {
    /// Reports results or code that may be older (`what`), and how to accept them (`to_go_on`, an infinitive): as a
    /// warning, as an error, or not at all.
    ///
    /// # Errors
    /// The text of the error, for [`OtherBuild::Error`].
    pub(crate) fn tell(self, what: &str, to_go_on: &str) -> std::result::Result<(), String> {
        match self {
            Self::Accept => {}
            Self::Error => return Err(format!("{what}; {to_go_on}, set WREN_OTHER_BUILD=accept")),
            Self::Warn => crate::terminal::note(&format!(
                "{what}; {to_go_on} without this warning, set WREN_OTHER_BUILD=accept; to make this an error, set \
                 WREN_OTHER_BUILD=error"
            )),
        }
        Ok(())
    }
}

/// `Wren.toml`. All keys are optional.
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

/// Default of `idle_timeout`, in seconds. It is the same as loky's.
const IDLE_TIMEOUT: u64 = 300;

/// Default of `keep_inputs`, in MB.
const KEEP_INPUTS: u64 = 16;

/// Default of `history`, in jobs.
const HISTORY: u64 = 1_000;

/// How many of the [`VARIABLES`] are settings. They come first.
const SETTINGS: usize = 11;

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
    // The variables below are read elsewhere.
    "WREN_LIST",
    "WREN_WORKER",
    "WREN_BENCH",
    "WREN_REPLAY",
    "WREN_REPLAY_POOL",
];

impl Config {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// [`Error::Config`] for a `WREN_*` variable or a key of `Wren.toml` that is unknown or has an invalid value.
    pub(crate) fn load() -> Result<Self> {
        // Variables of other programs are skipped: they need not be UTF-8.
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
            // The name of a folder need not be UTF-8.
            let value = match value.into_string() {
                Ok(value) => value,
                Err(folder) if name == "WREN_DIR" => {
                    config.set_directory(folder.into());
                    continue;
                }
                // These are read elsewhere.
                Err(_) if VARIABLES[SETTINGS..].contains(&name.as_str()) => continue,
                Err(value) => {
                    let value = value.to_string_lossy();
                    return Err(Error::Config(format!(
                        "{name} is `{value}`, which is not UTF-8; set it to valid UTF-8 text"
                    )));
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
                // wren's own value has three parts. Any other value was meant for WREN_WORKERS.
                "WREN_WORKER" if !value.contains('.') => return Err(unknown(&name)),
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
    /// Selects the deployment as the backend of a deployed program, unless the environment sets a backend.
    ///
    /// # Errors
    /// [`Error::Config`] if the program is deployed but was built without the feature `aws`: it must not silently run
    /// on this machine instead.
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
                "this program is deployed to AWS ({}), but was built without the feature `aws`, which it needs to run \
                 there; enable it with `cargo wren deploy` or `cargo add wren-cloud --features aws`, or set \
                 WREN_BACKEND=local to run on this machine",
                path.display()
            )));
        }
        Ok(())
    }

    /// Returns the store's URL: the configured one, or the default of the backend.
    ///
    /// # Errors
    /// [`Error::Config`] if the record of a deployment cannot be read.
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
        Ok(default_store(&self.directory))
    }

    /// # Errors
    /// [`Error::Config`] if `workers` is 0.
    pub(crate) fn set_workers(&mut self, workers: usize) -> Result<()> {
        if workers == 0 {
            return Err(Error::Config("`workers` is 0; set it to at least 1".to_owned()));
        }
        self.workers = workers;
        Ok(())
    }

    pub(crate) fn set_directory(&mut self, directory: PathBuf) {
        self.directory = directory;
        self.logs = true;
    }
}

/// Returns the URL of the store that is used with this folder for logs, unless another one is set.
pub(crate) fn default_store(directory: &Path) -> String {
    let folder = directory.join("store");
    // Without a working folder, there is no other path than this one.
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    format!("file:{}", platform::text_of_path(&folder))
}

/// Returns whether a backend's URL selects AWS Lambda: `lambda`, or `lambda:event`.
///
/// ```
/// assert!(wren::backend::is_lambda("lambda:event") && !wren::backend::is_lambda("local"));
/// ```
pub fn is_lambda(url: &str) -> bool {
    url == "lambda" || url.starts_with("lambda:")
}

/// Returns whether the backend of this URL runs calls in this process: `inline`, or `sim:`.
pub(crate) fn is_inline(url: &str) -> bool {
    url == "inline" || url == "sim" || url.starts_with("sim:")
}

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn number(name: &str, value: &str) -> Result<usize> {
    value.parse().map_err(|_| Error::Config(format!("{name} is `{value}`, which is not a whole number")))
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
        _ => Err(Error::Config(format!("WREN_OTHER_BUILD is `{value}`; expected `warn`, `accept` or `error`"))),
    }
}

fn unknown(name: &str) -> Error {
    let known = VARIABLES[..SETTINGS].join(", ");
    Error::Config(format!("unknown environment variable {name}; expected one of {known}; unset it or fix its name"))
}

/// Finds the nearest `Wren.toml` in `here` or a folder above it, and returns it with its folder. Without one, returns
/// the folder of the nearest `Cargo.lock`, which is the root of a project, or else `here`.
fn find_file(here: &Path) -> Result<(File, PathBuf)> {
    let nearest = |name: &str| here.ancestors().find(|folder| folder.join(name).is_file());
    let Some(root) = nearest("Wren.toml") else {
        return Ok((File::default(), nearest("Cargo.lock").unwrap_or(here).to_owned()));
    };
    let path = root.join("Wren.toml");
    let cannot = |e: &dyn std::fmt::Display| Error::Config(format!("cannot read {}: {e}", path.display()));
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
    fn environment_overrides_file_and_file_overrides_defaults() {
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
    fn messages_name_the_setting_and_its_values() {
        let mut messages = String::new();
        let mut add = |title: &str, variables: &[(&str, &str)], file: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            file.into_iter().for_each(|text| std::fs::write(folder.path().join("Wren.toml"), text).unwrap());
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
            let error = Config::from(variables, folder.path()).unwrap_err().to_string();
            let error = error.replace(&*folder.path().to_string_lossy(), "<folder>");
            messages.push_str(&format!("{title}\n    {}\n\n", error.trim_end().replace('\n', "\n    ")));
        };
        for (name, value) in [
            ("WREN_WORKERS", "many"),
            ("WREN_WORKERS", "0"),
            ("WREN_HISTORY", "no"),
            ("WREN_OTHER_BUILD", "ignore"),
            ("WREN_IDLE_TIMEOUT", "5m"),
            ("WREN_MAX_CALLS", "-1"),
            ("WREN_KEEP_INPUTS", "x"),
        ] {
            add(&format!("{name}={value}"), &[(name, value)], None);
        }
        for line in ["worker = 4", "workers = \"4\"", "workers = 4 5", "kv = 7"] {
            add(&format!("Wren.toml: {line}"), &[], Some(line));
        }
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("config", messages);
        });
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
        assert!(config("WREN_OTHER_BUILD").unwrap_err().to_string().contains("WREN_OTHER_BUILD is `/caf\u{fffd}`"));
        assert_eq!(config("WREN_REPLAY").unwrap().directory, here.join(".wren"));
    }

    #[test]
    fn unknown_names_are_errors_listing_known_ones() {
        let message = config(&[("WREN_WORKER_COUNT", "7")], None).unwrap_err().to_string();
        assert!(message.contains("WREN_WORKER_COUNT") && message.contains("WREN_WORKERS"), "{message}");
        assert!(message.contains("WREN_OTHER_BUILD; unset"), "all variables are listed: {message}");
        let message = config(&[("WREN_WORKER", "4")], None).unwrap_err().to_string();
        assert!(message.contains("variable WREN_WORKER;") && message.contains("WREN_WORKERS"), "{message}");
        config(&[("WREN_WORKER", "4.0f1e.77")], None).unwrap();
        let message = config(&[], Some("worker = 7")).unwrap_err().to_string();
        assert!(message.contains("Wren.toml") && message.contains("worker"), "{message}");
        assert!(config(&[("WREN_WORKERS", "many")], None).is_err());
        assert!(config(&[("WREN_WORKERS", "0")], None).is_err());
    }
}
