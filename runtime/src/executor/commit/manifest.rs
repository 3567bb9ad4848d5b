//! The identity of a job: its calls, in their order.
//!
//! One rule applies to [`named`](crate::Map::named) in all its forms. The same name with the same calls is the same
//! job: tasks that are done are not run again, and a failure is not a result. The same name with any other calls is an
//! error that names the call that differs. The manifest, `<job>/job`, has the number of calls and a hash of each. It is
//! put when all calls are known, if it is absent. Until then, and beyond [`MOST_HASHES`] calls, the hash that is stored
//! with each result is compared.

use serde::{Deserialize, Serialize};

use super::record::{CallHash, damaged};
use crate::codec::{self, envelope};
use crate::error::{Error, Result};
use crate::function::{Args, RemoteFn};
use crate::store::Requests;

/// Maximum number of hashes in a manifest.
const MOST_HASHES: u64 = 1 << 20;

/// Length of a call's hash in a manifest, in bytes: enough to find a mistake.
const SHORT: usize = 8;

/// Stands for the hash of a call whose arguments cannot be encoded. It matches any call: once the arguments can be
/// encoded, the call is run.
pub(crate) const NOT_ENCODED: CallHash = [0; 32];

/// Whether two short hashes may belong to the same call.
fn may_be_the_same(a: &[u8], b: &[u8]) -> bool {
    let not_encoded = &NOT_ENCODED[..SHORT];
    a == b || a == not_encoded || b == not_encoded
}

/// The stored description of a job as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    wren: String,
    pub(crate) tasks: u64,
    /// The function of the first call.
    pub(crate) function: String,
    /// The first bytes of the hash of each call.
    #[serde(with = "codec::bytes")]
    calls: Vec<u8>,
    /// Where the arguments are in the store; only for started jobs.
    pub(crate) arguments: Option<Arguments>,
}

/// Arguments in the store, in segments of consecutive tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arguments {
    /// Identifies the process that wrote them: two programs that start the same job at once do not overwrite each
    /// other's arguments.
    pub(crate) writer: String,
    pub(crate) segments: u64,
}

pub(crate) fn manifest_key(id: &str) -> String {
    format!("{id}/job")
}

impl Manifest {
    pub(crate) async fn find(requests: &Requests, id: &str) -> Result<Option<Self>> {
        let key = manifest_key(id);
        let Some(sealed) = requests.find(key.clone()).await? else { return Ok(None) };
        let opened = envelope::open(&sealed);
        Ok(Some(opened.map_err(|reason| damaged(&**requests.store(), &key, reason))?))
    }

    /// Puts the manifest of a job, unless an earlier run or another program has put one, which must have the same
    /// calls. Returns the manifest that is in the store afterwards.
    pub(crate) async fn register(self, requests: &Requests, id: &str) -> Result<Self> {
        let key = manifest_key(id);
        let sealed = envelope::seal(&self)?;
        if requests.put_if_absent(key.clone(), sealed.clone()).await? {
            return Ok(self);
        }
        let Some(other) = Self::find(requests, id).await? else {
            let reason = "it was removed while the job was starting".to_owned();
            return Err(damaged(&**requests.store(), &key, reason).into());
        };
        self.check(&other, id, &requests.store().url())?;
        if other.arguments.is_some() || self.arguments.is_none() {
            return Ok(other);
        }
        requests.put(key, sealed).await?;
        Ok(self)
    }

    /// Rejects the manifest of a different job.
    fn check(&self, other: &Self, id: &str, store: &str) -> Result<()> {
        let differs = self.calls.chunks(SHORT).zip(other.calls.chunks(SHORT)).position(|(a, b)| !may_be_the_same(a, b));
        match differs {
            Some(task) => Err(other_call(id, store, task as u64, &self.function)),
            None if self.tasks != other.tasks => Err(other_number(id, store, other.tasks, self.tasks)),
            None => Ok(()),
        }
    }

    fn hash(&self, task: u64) -> Option<&[u8]> {
        let start = usize::try_from(task).ok()?.checked_mul(SHORT)?;
        self.calls.get(start..start + SHORT)
    }
}

/// The calls of a job as they are made, which are compared with those of an earlier run.
#[derive(Debug)]
pub(crate) struct Identity {
    id: String,
    store: String,
    earlier: Option<Manifest>,
    function: String,
    tasks: u64,
    calls: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(id: &str, store: String, earlier: Option<Manifest>) -> Self {
        Self { id: id.to_owned(), store, earlier, function: String::new(), tasks: 0, calls: Vec::new() }
    }

    /// Adds the next call.
    ///
    /// # Errors
    /// [`Error::Job`] if the earlier run made a different call.
    pub(crate) fn add(&mut self, function: &RemoteFn, call: &CallHash) -> Result<()> {
        let task = self.tasks;
        if let Some(earlier) = &self.earlier {
            if task >= earlier.tasks {
                return Err(other_number(&self.id, &self.store, earlier.tasks, task + 1));
            }
            if earlier.hash(task).is_some_and(|hash| !may_be_the_same(hash, &call[..SHORT])) {
                return Err(other_call(&self.id, &self.store, task, function.name));
            }
        }
        if task == 0 {
            function.id().clone_into(&mut self.function);
        }
        if task < MOST_HASHES {
            self.calls.extend_from_slice(&call[..SHORT]);
        }
        self.tasks += 1;
        Ok(())
    }

    /// Checks that the earlier run made no more calls.
    ///
    /// # Errors
    /// [`Error::Job`] if it made more.
    pub(crate) fn end(&self) -> Result<()> {
        match &self.earlier {
            Some(earlier) if earlier.tasks != self.tasks => {
                Err(other_number(&self.id, &self.store, earlier.tasks, self.tasks))
            }
            _ => Ok(()),
        }
    }

    /// Returns the function of the first call.
    pub(crate) fn function(&self) -> &str {
        &self.function
    }

    pub(crate) fn earlier(&self) -> Option<&Manifest> {
        self.earlier.as_ref()
    }

    pub(crate) fn manifest(&self, arguments: Option<Arguments>) -> Manifest {
        Manifest {
            wren: env!("CARGO_PKG_VERSION").to_owned(),
            tasks: self.tasks,
            function: self.function.clone(),
            calls: self.calls.clone(),
            arguments,
        }
    }
}

pub(crate) fn call_hash(function: &RemoteFn, args: &Args) -> CallHash {
    let mut hasher = blake3::Hasher::new();
    for part in function.origin() {
        hasher.update(part.as_bytes());
    }
    hasher.update(&function.signature_hash().to_le_bytes());
    hasher.update(&function.body_hash.to_le_bytes());
    hasher.update(&args.bytes);
    for blob in &args.blobs {
        hasher.update(blob.hash().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Returns the advice for a name that is already in use.
fn fix(id: &str, store: &str) -> String {
    format!("give the job another name, or remove `{id}` from {store}")
}

pub(crate) fn other_call(id: &str, store: &str, task: u64, function: &str) -> Error {
    Error::Job(format!(
        "task {task} of job `{id}` was a different call when the job first ran: with other arguments, of another \
         function, or of an earlier version of `{function}`; {}",
        fix(id, store)
    ))
}

fn other_number(id: &str, store: &str, then: u64, now: u64) -> Error {
    let what = match now < then {
        true => format!("{now}, so task {now} is missing"),
        false => format!("more, so task {then} is new"),
    };
    Error::Job(format!("job `{id}` had {then} calls when it first ran, and now has {what}; {}", fix(id, store)))
}

pub(crate) fn other_kind(id: &str, store: &str, task: u64) -> Error {
    Error::Job(format!(
        "job `{id}` has a result of another kind for task {task}: one run requested values, the other one refs \
         (`.refs()`); {}",
        fix(id, store)
    ))
}

/// Checks a job's name, which is used as the name of a folder and as a part of keys.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || name == "blobs" || !name.chars().all(good) {
        return Err(Error::Config(format!(
            "`{name}` is not a valid job name; use up to 100 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`, \
             without `.` at the start, and not `blobs`"
        )));
    }
    Ok(())
}
