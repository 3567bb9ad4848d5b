//! What `cargo wren deploy` put into the cloud, as `.wren/deployment.json` records it.

mod sources;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::function::{RemoteFn, registry};

pub use sources::Source;

/// The form of the record; another is not read.
pub const FORMAT: u32 = 2;

/// A deployed program: where it is, and what it was built from. It holds no secrets.
///
/// One is recorded beside job logs, in `.wren/deployment.json`; one that was made with an endpoint
/// other than Amazon's, such as `cargo wren emulate`'s, in `.wren/deployment.emulated.json`, so that
/// playing with the emulator never hides what is deployed for real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// [`FORMAT`].
    pub format: u32,
    /// Names everything that belongs to it: `a-z`, `0-9` and `-`.
    pub name: String,
    /// What was deployed, as options of cargo: `-p examples --example sweep`.
    pub program: String,
    /// The AWS region: `eu-central-1`.
    pub region: String,
    /// The AWS account, twelve digits.
    pub account: String,
    /// The endpoint of all services, where it is not Amazon's own.
    pub endpoint: Option<String>,
    /// Where values, arguments and results are kept: `s3://bucket/name`.
    pub store: String,
    /// ARN of the role that the functions run as.
    pub role: String,
    /// Lambda functions: one for each pair of memory and timeout.
    pub lambdas: Vec<LambdaFn>,
    /// What runs in all of them.
    pub code: Code,
    /// Days after which what jobs left in the store expires.
    pub keep_days: i32,
    /// Instances that the account may run at once, shared with all its other functions.
    pub concurrency: usize,
    /// The remote functions of the deployed program.
    pub functions: Vec<DeployedFn>,
    /// The files of the project that it was built from.
    pub sources: Vec<Source>,
    /// When it was deployed, in seconds since 1970.
    pub deployed_unix_s: u64,
}

/// One function of AWS Lambda.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaFn {
    /// Its name in AWS Lambda.
    pub name: String,
    /// Memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// After how many seconds AWS ends an invocation.
    pub timeout_s: u32,
}

/// The uploaded program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// SHA-256 of the zip file, in hexadecimal.
    pub sha256: String,
    /// Its key in the bucket.
    pub key: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// `x86_64` or `arm64`.
    pub architecture: String,
}

/// A remote function as it was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployedFn {
    /// As [`RemoteFn::id`] gives it.
    pub name: String,
    /// As in [`RemoteFn::signature`].
    pub signature: String,
    /// As in [`RemoteFn::body_hash`].
    pub body_hash: u64,
    /// As in [`RemoteFn::memory_mb`].
    pub memory_mb: Option<u32>,
    /// As in [`RemoteFn::timeout`].
    pub timeout: Option<Duration>,
}

impl Deployment {
    /// Where the record is kept: `directory` is the folder `.wren`. Which of the two files it is
    /// depends on the endpoint.
    pub fn path(directory: &Path, endpoint: Option<&str>) -> PathBuf {
        directory.join(if endpoint.is_some() { "deployment.emulated.json" } else { "deployment.json" })
    }

    /// The endpoint that this process's environment gives for AWS, if it is not Amazon's own.
    pub fn endpoint_of_environment() -> Option<String> {
        let named = ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
        named.filter(|url| !url.is_empty())
    }

    /// Reads the record that is for this process's endpoint; `None` where there is none.
    ///
    /// The record of an emulator that has ended is none.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be read, or is of another version of wren.
    pub fn load(directory: &Path) -> Result<Option<Self>> {
        let endpoint = Self::endpoint_of_environment();
        let path = Self::path(directory, endpoint.as_deref());
        let cannot = |e: &dyn std::fmt::Display| {
            Error::Config(format!("{} cannot be used: {e}; run `cargo wren deploy`", path.display()))
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(&error)),
        };
        let deployment: Self = serde_json::from_slice(&text).map_err(|e| cannot(&e))?;
        if deployment.format != FORMAT {
            return Err(cannot(&format!("it has format {}, and this wren knows {FORMAT}", deployment.format)));
        }
        Ok(Some(deployment).filter(|d| d.endpoint == endpoint))
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// Of the file system.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        // As for job logs: the folder ignores itself in git.
        let ignore = directory.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(ignore, "*\n")?;
        }
        let path = Self::path(directory, self.endpoint.as_deref());
        let partial = path.with_extension("json.partial");
        std::fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(partial, path)
    }

    /// The remote functions of this program that were deployed otherwise or not at all, by name.
    ///
    /// # Errors
    /// As [`registry::all`].
    pub fn stale_functions(&self) -> Result<Vec<String>> {
        Ok(self.differing(&registry::all()?))
    }

    /// A file of the project that is no longer as it was when the program was deployed.
    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "asked where it runs"))]
    pub(crate) fn changed_source(&self) -> Option<&Path> {
        self.sources.iter().find(|source| source.is_changed()).map(|source| &*source.path)
    }

    /// Whether the deployed program may be the one with these functions: it has one of them, or none but wren's.
    pub(crate) fn may_be_of(&self, own: &[&RemoteFn]) -> bool {
        let mut deployed = self.functions.iter().filter(|function| !registry::is_wrens(&function.name)).peekable();
        deployed.peek().is_none() || deployed.any(|deployed| own.iter().any(|own| own.id() == deployed.name))
    }

    fn differing(&self, own: &[&RemoteFn]) -> Vec<String> {
        let deployed: BTreeMap<_, _> = self.functions.iter().map(|f| (f.name.as_str(), f)).collect();
        let same = |f: &&RemoteFn| deployed.get(f.id()).is_some_and(|d| d.is(f));
        own.iter().filter(|f| !same(f)).map(|f| f.id().to_owned()).collect()
    }

    /// The Lambda function that serves calls of a remote function with these limits: the smallest that
    /// has the memory and the time, where what is not stated is the default.
    ///
    /// For wren's own functions, what is not stated is the default or else the most that there is: the
    /// time before the memory, for they go to disk where memory is short.
    pub fn lambda_for(&self, name: &str, memory_mb: Option<u32>, timeout: Option<Duration>) -> Option<&LambdaFn> {
        let (wanted_mb, wanted_s) = lambda_size(memory_mb, timeout);
        let serves = |l: &&LambdaFn| l.memory_mb >= wanted_mb && l.timeout_s >= wanted_s;
        let smallest = self.lambdas.iter().filter(serves).min_by_key(|l| (l.memory_mb, l.timeout_s));
        if smallest.is_some() || !registry::is_wrens(name) {
            return smallest;
        }
        let serves = |l: &&LambdaFn| {
            (memory_mb.is_none() || l.memory_mb >= wanted_mb) && (timeout.is_none() || l.timeout_s >= wanted_s)
        };
        let most = |l: &&LambdaFn| {
            let time = if timeout.is_none() { l.timeout_s } else { 0 };
            let memory = if memory_mb.is_none() { l.memory_mb } else { u32::MAX - l.memory_mb };
            (time, memory)
        };
        self.lambdas.iter().filter(serves).max_by_key(most)
    }
}

impl DeployedFn {
    fn is(&self, own: &RemoteFn) -> bool {
        self.signature == own.signature
            && self.body_hash == own.body_hash
            && self.memory_mb == own.memory_mb
            && self.timeout == own.timeout
    }
}

/// Memory in MB and time in seconds that a Lambda function must have for calls with these limits.
///
/// A task may take its whole timeout; fetching arguments and committing results come on top, as far
/// as Lambda's own limit allows.
pub fn lambda_size(memory_mb: Option<u32>, timeout: Option<Duration>) -> (u32, u32) {
    use crate::aws::limits;
    let memory_mb = memory_mb.unwrap_or(limits::DEFAULT_MEMORY_MB);
    let timeout_s = timeout.map_or(limits::MAX_TIMEOUT_S, |timeout| {
        u32::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).saturating_add(limits::OVERHEAD_S)
    });
    (memory_mb.clamp(limits::MIN_MEMORY_MB, limits::MAX_MEMORY_MB), timeout_s.min(limits::MAX_TIMEOUT_S))
}

#[cfg(test)]
impl Deployment {
    /// Three functions that were never deployed.
    pub(crate) fn dummy() -> Self {
        let lambda = |memory_mb, timeout_s| LambdaFn { name: format!("{memory_mb}-{timeout_s}"), memory_mb, timeout_s };
        Deployment {
            format: FORMAT,
            name: "sweep".into(),
            program: "-p sweep --bin sweep".into(),
            region: "us-east-1".into(),
            account: "123456789012".into(),
            endpoint: None,
            store: "s3://bucket/sweep".into(),
            role: "arn:aws:iam::123456789012:role/wren-sweep".into(),
            lambdas: vec![lambda(512, 70), lambda(1769, 900), lambda(2048, 70)],
            code: Code { sha256: "00".into(), key: "code/00.zip".into(), bytes: 1, architecture: "x86_64".into() },
            keep_days: 30,
            concurrency: 1000,
            functions: Vec::new(),
            sources: Vec::new(),
            deployed_unix_s: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_another_format_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join(".wren");
        assert_eq!(Deployment::load(&directory).unwrap(), None);
        let mut one = Deployment::dummy();
        one.save(&directory).unwrap();
        assert_eq!(Deployment::load(&directory).unwrap(), Some(one.clone()));
        one.format = 7;
        one.save(&directory).unwrap();
        let message = Deployment::load(&directory).unwrap_err().to_string();
        assert!(message.contains("format 7") && message.contains("cargo wren deploy"), "{message}");
    }

    #[test]
    fn calls_go_to_the_smallest_lambda_that_serves_them() {
        let deployment = Deployment::dummy();
        let name = |mb, s: Option<u64>| {
            deployment.lambda_for("sweep::simulate", mb, s.map(Duration::from_secs)).map(|l| l.name.as_str())
        };
        assert_eq!(name(Some(512), Some(60)), Some("512-70"));
        assert_eq!(name(Some(600), Some(60)), Some("1769-900"));
        assert_eq!(name(None, None), Some("1769-900"));
        assert_eq!(name(Some(2048), Some(60)), Some("2048-70"));
        assert_eq!(name(Some(2048), Some(600)), None);
    }

    #[test]
    fn wrens_own_functions_take_the_most_that_there_is() {
        let mut deployment = Deployment::dummy();
        let name = |deployment: &Deployment, mb, s: Option<u64>| {
            let found = deployment.lambda_for("wren::sort::stages::scatter", mb, s.map(Duration::from_secs));
            found.map(|l| l.name.clone()).unwrap_or_default()
        };
        assert_eq!(name(&deployment, None, None), "1769-900");
        assert_eq!(name(&deployment, Some(2048), None), "2048-70");
        assert_eq!(name(&deployment, Some(4096), None), "");
        deployment.lambdas.remove(1);
        assert_eq!(name(&deployment, None, None), "2048-70");
        assert_eq!(name(&deployment, Some(512), None), "512-70");
        assert_eq!(name(&deployment, None, Some(600)), "");
        deployment.lambdas.push(LambdaFn { name: "128-310".into(), memory_mb: 128, timeout_s: 310 });
        assert_eq!(name(&deployment, None, None), "128-310");
        assert_eq!(name(&deployment, Some(512), None), "512-70");
    }

    #[test]
    fn another_programs_deployment_is_told_apart() {
        let function = |name: &str| DeployedFn {
            name: name.to_owned(),
            signature: String::new(),
            body_hash: 0,
            memory_mb: None,
            timeout: None,
        };
        let own = RemoteFn::dummy("sweep::train");
        let deployed = |names: &[&str]| Deployment {
            functions: names.iter().map(|name| function(name)).collect(),
            ..Deployment::dummy()
        };
        // It counts that a function has the name, though it was changed since.
        assert!(deployed(&["wren::sort::stages::scatter", "sweep::train"]).may_be_of(&[&own]));
        assert!(!deployed(&["wren::sort::stages::scatter", "pi::darts"]).may_be_of(&[&own]));
        // A program that only sorts.
        assert!(deployed(&["wren::sort::stages::scatter"]).may_be_of(&[&own]));
    }
}
