//! The record of a deployment, which `cargo wren deploy` writes to `.wren/deployment.json`.

mod sources;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::function::{RemoteFn, registry};
use crate::platform;

pub use sources::Source;

/// The format of the record. Records of other formats are not read.
pub const FORMAT: u32 = 2;

/// A deployed program: its place in AWS, and the sources that it was built from. It contains no secrets.
///
/// The record is stored beside the job logs, in `.wren/deployment.json`. A deployment to an endpoint other than
/// Amazon's, such as that of `cargo wren emulate`, is recorded in `.wren/deployment.emulated.json`, so the emulator
/// never hides the real deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The format of the record: [`FORMAT`].
    pub format: u32,
    /// The name of the deployment, which identifies all its resources: `a-z`, `0-9` and `-`.
    pub name: String,
    /// The deployed program, as options of cargo: `-p examples --example sweep`.
    pub program: String,
    /// The AWS region: `eu-central-1`.
    pub region: String,
    /// The AWS account, twelve digits.
    pub account: String,
    /// The endpoint of all services, if it is not Amazon's own.
    pub endpoint: Option<String>,
    /// URL of the store for values, arguments and results: `s3://bucket/name`.
    pub store: String,
    /// ARN of the role of the functions.
    pub role: String,
    /// The Lambda functions: one for each pair of memory and timeout.
    pub lambdas: Vec<LambdaFn>,
    /// The program that all of them run.
    pub code: Code,
    /// Days after which objects that jobs left in the store expire.
    pub keep_days: i32,
    /// Number of instances that the account may run at once, shared with all its other functions.
    pub concurrency: usize,
    /// The remote functions of the deployed program.
    pub functions: Vec<DeployedFn>,
    /// The files of the project that the program was built from.
    pub sources: Vec<Source>,
    /// Time of the deployment, in seconds since 1970.
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
    /// Seconds after which AWS ends an invocation.
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
    /// The [`RemoteFn::id`].
    pub name: String,
    /// The [`RemoteFn::signature`].
    pub signature: String,
    /// The [`RemoteFn::body_hash`].
    pub body_hash: u64,
    /// The [`RemoteFn::memory_mb`].
    pub memory_mb: Option<u32>,
    /// The [`RemoteFn::timeout`].
    pub timeout: Option<Duration>,
}

impl Deployment {
    /// Returns the path of the record in `directory`, which is the folder `.wren`. The endpoint selects one of the two
    /// files.
    pub fn path(directory: &Path, endpoint: Option<&str>) -> PathBuf {
        directory.join(if endpoint.is_some() { "deployment.emulated.json" } else { "deployment.json" })
    }

    /// Returns the endpoint that this process's environment sets for AWS, if it is not Amazon's own.
    pub fn endpoint_of_environment() -> Option<String> {
        let named = ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
        named.filter(|url| !url.is_empty())
    }

    /// Reads the record for this process's endpoint; returns `None` if there is none.
    ///
    /// A record for another endpoint, such as that of an emulator that has ended, is ignored.
    ///
    /// # Errors
    /// [`Error::Config`] if the record cannot be read, or was written by a version of wren with another format.
    pub fn load(directory: &Path) -> Result<Option<Self>> {
        let endpoint = Self::endpoint_of_environment();
        let path = Self::path(directory, endpoint.as_deref());
        let cannot = |e: &dyn std::fmt::Display| {
            Error::Config(format!("cannot read {}: {e}; run `cargo wren deploy`", path.display()))
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(&error)),
        };
        let deployment: Self = serde_json::from_slice(&text).map_err(|e| cannot(&e))?;
        if deployment.format != FORMAT {
            return Err(cannot(&format!(
                "it has format {}, and this version of wren reads format {FORMAT}",
                deployment.format
            )));
        }
        Ok(Some(deployment).filter(|d| d.endpoint == endpoint))
    }

    /// Writes the record, completely or not at all.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        // Like job logs, the record does not belong in git.
        platform::ignore_in_git(directory)?;
        let path = Self::path(directory, self.endpoint.as_deref());
        let partial = path.with_extension("json.partial");
        std::fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(partial, path)
    }

    /// Returns the names of this program's remote functions that differ from the deployed ones or were not deployed.
    ///
    /// # Errors
    /// Those of [`registry::all`].
    pub fn stale_functions(&self) -> Result<Vec<String>> {
        Ok(self.differing(&registry::all()?))
    }

    /// Returns a file of the project that was changed after the program was deployed.
    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "used only with the feature `aws`"))]
    pub(crate) fn changed_source(&self) -> Option<&Path> {
        self.sources.iter().find(|source| source.is_changed()).map(|source| &*source.path)
    }

    /// Returns whether the deployed program may be the one with these functions: it has one of them, or it has only
    /// wren's own.
    pub(crate) fn may_be_of(&self, own: &[&RemoteFn]) -> bool {
        let mut deployed = self.functions.iter().filter(|function| !registry::is_wrens(&function.name)).peekable();
        deployed.peek().is_none() || deployed.any(|deployed| own.iter().any(|own| own.id() == deployed.name))
    }

    fn differing(&self, own: &[&RemoteFn]) -> Vec<String> {
        let deployed: BTreeMap<_, _> = self.functions.iter().map(|f| (f.name.as_str(), f)).collect();
        let same = |f: &&RemoteFn| deployed.get(f.id()).is_some_and(|d| d.is(f));
        own.iter().filter(|f| !same(f)).map(|f| f.id().to_owned()).collect()
    }

    /// Returns the Lambda function that serves calls of a remote function with these limits: the smallest one with
    /// enough memory and time. `None` means the default.
    ///
    /// For wren's own functions, if no Lambda function has the default, `None` means the most that there is. The time
    /// matters before the memory, because these functions use the disk if memory is short.
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

/// Returns the memory in MB and the time in seconds that a Lambda function needs for calls with these limits.
///
/// A task may use its whole timeout; the time to fetch arguments and commit results is added, up to Lambda's own limit.
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
    /// Returns a record with three functions that were never deployed.
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
    fn records_round_trip_and_other_formats_fail() {
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
    fn calls_use_the_smallest_suitable_lambda() {
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
    fn wrens_functions_use_the_largest_lambda() {
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
    fn another_programs_deployment_is_recognized() {
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
        // Only the name counts: the function may have changed since.
        assert!(deployed(&["wren::sort::stages::scatter", "sweep::train"]).may_be_of(&[&own]));
        assert!(!deployed(&["wren::sort::stages::scatter", "pi::darts"]).may_be_of(&[&own]));
        // A program that only sorts.
        assert!(deployed(&["wren::sort::stages::scatter"]).may_be_of(&[&own]));
    }
}
