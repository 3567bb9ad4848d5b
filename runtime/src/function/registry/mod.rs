//! The link-time registry: every `#[wren::remote]` function of the program, by name.

mod names;

use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Failure, Result};
use crate::function::Backoff;
use crate::function::Invoke;
use names::Names;

/// All remote functions that were linked into this program, in no particular order.
#[linkme::distributed_slice]
pub static REMOTE_FNS: [RemoteFn];

/// One remote function, as `#[wren::remote]` recorded it.
#[derive(Debug, Serialize)]
pub struct RemoteFn {
    /// `module_path!()::ident`. Two functions in the bodies of others may share it, and so may one of `lib.rs` and one
    /// of `main.rs`; [`id`](Self::id) tells them apart.
    #[serde(skip)]
    pub name: &'static str,
    /// The signature on one line: `fn f(seed: u64, model: &Model) -> Outcome`.
    pub signature: &'static str,
    /// Source file, as `file!()` gives it.
    pub file: &'static str,
    /// Line of the function's name, from 1.
    pub line: u32,
    /// Column of the function's name, from 1.
    pub column: u32,
    /// `memory = ..` of the annotation, in MB.
    pub memory_mb: Option<u32>,
    /// `timeout = ..` of the annotation.
    pub timeout: Option<Duration>,
    /// `retries = ..` of the annotation: how often an `Err` or a panic is run again.
    pub retries: Option<u32>,
    /// `backoff = ..` of the annotation: the pauses before that.
    pub backoff: Option<Backoff>,
    /// `at_most_once` of the annotation: it is never run again, whatever became of it.
    pub at_most_once: bool,
    /// FNV-1a over the tokens of signature and body: another body, another hash.
    pub body_hash: u64,
    /// FNV-1a over the tokens of parameters and result.
    #[serde(skip)]
    types_hash: u64,
    #[serde(skip)]
    source: Source,
    /// Decodes arguments, runs the function, encodes the result.
    #[serde(skip)]
    #[doc(hidden)]
    pub entry: fn(&mut Invoke<'_>) -> Result<(), Failure>,
}

/// Where a remote function stands, as generated code says it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// As `file!()` gives it.
    pub file: &'static str,
    /// Line and column of the function's name; line and column where the macro is called that it comes from.
    pub place: [u32; 4],
    /// The name behind the module's path.
    pub name: &'static str,
    /// The name of a type that stands beside it.
    pub beside: fn() -> &'static str,
}

/// Whether a remote function of this name is one of wren's own, such as the stages of a sort. Nobody
/// annotates these: they run with what a deployment has.
pub fn is_wrens(name: &str) -> bool {
    name.starts_with("wren::")
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[doc(hidden)]
#[allow(missing_docs)]
impl RemoteFn {
    /// A function without options; `hashes` are those of its types and of its tokens.
    pub const fn new(
        name: &'static str,
        signature: &'static str,
        source: Source,
        hashes: [u64; 2],
        entry: fn(&mut Invoke<'_>) -> Result<(), Failure>,
    ) -> Self {
        let (Source { file, place: [line, column, ..], .. }, [types_hash, body_hash]) = (source, hashes);
        Self {
            name,
            signature,
            file,
            line,
            column,
            memory_mb: None,
            timeout: None,
            retries: None,
            backoff: None,
            at_most_once: false,
            body_hash,
            types_hash,
            source,
            entry,
        }
    }

    /// The hashes of parameters that this target has, of those that depend on it.
    pub const fn conditional(mut self, parameters: &[u64]) -> Self {
        let mut at = 0;
        while at < parameters.len() {
            self.types_hash = fnv(self.types_hash, &parameters[at].to_le_bytes());
            at += 1;
        }
        self
    }

    pub const fn memory(mut self, mb: u32) -> Self {
        self.memory_mb = Some(mb);
        self
    }

    pub const fn timeout_micros(mut self, micros: u64) -> Self {
        self.timeout = Some(Duration::from_micros(micros));
        self
    }

    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    pub const fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }
}

impl RemoteFn {
    /// One that does nothing: for tests, and for tasks that are only simulated.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) const fn dummy(name: &'static str) -> Self {
        let source = Source { file: "", place: [0; 4], name, beside: || "" };
        Self::new(name, "fn()", source, [0; 2], |_| Ok(()))
    }

    /// The name by which it is found, here and in another process or build of the program: its own, or where others
    /// share that, the shortest that no other function has.
    ///
    /// `my_crate::f`; in the bodies of two functions `my_crate::sum::f` and `my_crate::product::f`; in two files
    /// `my_crate::f@src/main.rs`; in one body `my_crate::f@src/main.rs:7:8`.
    pub fn id(&self) -> &'static str {
        Names::get().id(self)
    }

    /// FNV-1a over name and types: what driver and worker must agree on. How the source is formatted does not change it.
    pub fn signature_hash(&self) -> u64 {
        fnv(fnv(FNV_START, self.name.as_bytes()), &self.types_hash.to_le_bytes())
    }

    /// What tells it from all other functions, also from those that a later build of the program may have beside it.
    pub(crate) fn origin(&self) -> [String; 3] {
        [self.name.to_owned(), names::path_of(self), self.file.to_owned()]
    }

    /// `src/lib.rs:4:8`.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Every remote function of this program, sorted by [`RemoteFn::id`].
///
/// # Errors
/// [`Error::DuplicateFunction`] where two cannot be told apart.
pub fn all() -> Result<Vec<&'static RemoteFn>> {
    let mut all: Vec<_> = REMOTE_FNS.iter().collect();
    all.sort_by_cached_key(|function| function.id());
    match all.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
        Some(pair) => Err(Names::ambiguous(pair[0].id(), pair)),
        None => Ok(all),
    }
}

/// The remote function of that name, or of that [`id`](RemoteFn::id).
///
/// # Errors
/// [`Error::UnknownFunction`], which lists all names there are and the known cause;
/// [`Error::DuplicateFunction`] where several have it, which says where they are and by what they are found.
pub fn find(name: &str) -> Result<&'static RemoteFn> {
    Names::get().find(name)?.ok_or_else(|| {
        let mut registered: Vec<_> = REMOTE_FNS.iter().map(|function| function.id().to_owned()).collect();
        registered.sort_unstable();
        Error::UnknownFunction { name: name.to_owned(), registered }
    })
}

#[derive(Serialize)]
struct Listing {
    wren: &'static str,
    functions: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    /// By which it is found.
    name: &'static str,
    #[serde(flatten)]
    function: &'static RemoteFn,
}

/// The registry as JSON: `{"wren": "<version>", "functions": [..]}`.
///
/// # Errors
/// As [`all`].
pub(crate) fn listing() -> Result<serde_json::Result<String>> {
    let functions = all()?.into_iter().map(|function| Listed { name: function.id(), function }).collect();
    Ok(serde_json::to_string(&Listing { wren: env!("CARGO_PKG_VERSION"), functions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_all_and_tells_the_known_cause() {
        let message = find("nowhere::f").unwrap_err().to_string();
        assert!(message.contains("`nowhere::f`") && message.contains("use that_crate as _;"), "{message}");
    }

    #[test]
    fn signature_hash_tells_signatures_apart() {
        let function = || RemoteFn::dummy("a::f");
        let mut other = function();
        other.types_hash = 7;
        assert_ne!(function().signature_hash(), other.signature_hash());
        let (one, two) = (function().conditional(&[1]), function().conditional(&[2]));
        assert_ne!(one.signature_hash(), two.signature_hash());
        assert_ne!(RemoteFn::dummy("a::g").signature_hash(), function().signature_hash());
    }
}
