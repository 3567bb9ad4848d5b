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
    /// `module_path!()::ident`. Two functions in the bodies of other functions may have the same name, and so may one
    /// in `lib.rs` and one in `main.rs`; [`id`](Self::id) distinguishes them.
    #[serde(skip)]
    pub name: &'static str,
    /// The signature on one line: `fn f(seed: u64, model: &Model) -> Outcome`.
    pub signature: &'static str,
    /// Source file, as `file!()` returns it.
    pub file: &'static str,
    /// Line of the function's name, from 1.
    pub line: u32,
    /// Column of the function's name, from 1.
    pub column: u32,
    /// `memory = ..` of the annotation, in MB.
    pub memory_mb: Option<u32>,
    /// `timeout = ..` of the annotation.
    pub timeout: Option<Duration>,
    /// `retries = ..` of the annotation: the number of times that the function is run again after an `Err` or a panic.
    pub retries: Option<u32>,
    /// `backoff = ..` of the annotation: the pauses before it is run again.
    pub backoff: Option<Backoff>,
    /// Whether the annotation has `at_most_once`: the function is never run again, whatever happened to its first
    /// attempt.
    pub at_most_once: bool,
    /// FNV-1a over the tokens of signature and body: it changes when the body changes.
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

/// The location of a remote function, as generated code records it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Source file, as `file!()` returns it.
    pub file: &'static str,
    /// Line and column of the function's name; line and column of the call of the macro from which the function comes.
    pub place: [u32; 4],
    /// The name without the path of the module.
    pub name: &'static str,
    /// Returns the name of a type that is defined next to the function.
    pub beside: fn() -> &'static str,
}

/// Whether a remote function with this name belongs to wren itself, such as the stages of a sort. These functions have
/// no limits in an annotation: they run with the limits that a deployment has.
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
    /// Creates the record of a function without options; `hashes` are the hashes of its types and of its tokens.
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

    /// Adds the hashes of the parameters that exist only on some targets, and that exist on this one.
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

    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
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
    /// Returns a function that does nothing, for tests and for simulated tasks.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) const fn dummy(name: &'static str) -> Self {
        let source = Source { file: "", place: [0; 4], name, beside: || "" };
        Self::new(name, "fn()", source, [0; 2], |_| Ok(()))
    }

    /// Returns the name by which the function is found, in this process and in another process or build of the program.
    /// It is the function's own name or, if other functions have that name too, the shortest name that no other
    /// function has.
    ///
    /// An example is `my_crate::f`. If several functions have that name, it is `my_crate::sum::f` and
    /// `my_crate::product::f` in the bodies of two functions, `my_crate::f@src/main.rs` in two files, and
    /// `my_crate::f@src/main.rs:7:8` in one body.
    pub fn id(&self) -> &'static str {
        Names::get().id(self)
    }

    /// Returns the FNV-1a hash over name and types, on which driver and worker must agree. The format of the source
    /// does not change it.
    pub fn signature_hash(&self) -> u64 {
        fnv(fnv(FNV_START, self.name.as_bytes()), &self.types_hash.to_le_bytes())
    }

    /// Returns the parts that distinguish the function from all other functions, including those that a later build of
    /// the program may add.
    pub(crate) fn origin(&self) -> [String; 3] {
        [self.name.to_owned(), names::path_of(self), self.file.to_owned()]
    }

    /// Returns the location, such as `src/lib.rs:4:8`.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Returns every remote function of this program, sorted by [`RemoteFn::id`].
///
/// # Errors
/// [`Error::DuplicateFunction`] if two functions cannot be distinguished.
pub fn all() -> Result<Vec<&'static RemoteFn>> {
    let mut all: Vec<_> = REMOTE_FNS.iter().collect();
    all.sort_by_cached_key(|function| function.id());
    match all.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
        Some(pair) => Err(Names::ambiguous(pair[0].id(), pair)),
        None => Ok(all),
    }
}

/// Returns the remote function with that name or that [`id`](RemoteFn::id).
///
/// # Errors
/// [`Error::UnknownFunction`] if there is none; the error lists all names and the known cause.
/// [`Error::DuplicateFunction`] if several functions have that name; the error lists their locations and the form of a
/// name that finds one of them.
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
    /// The [`id`](RemoteFn::id) by which the function is found.
    name: &'static str,
    #[serde(flatten)]
    function: &'static RemoteFn,
}

/// Returns the registry as JSON: `{"wren": "<version>", "functions": [..]}`.
///
/// # Errors
/// The same as for [`all`].
pub(crate) fn listing() -> Result<serde_json::Result<String>> {
    let functions = all()?.into_iter().map(|function| Listed { name: function.id(), function }).collect();
    Ok(serde_json::to_string(&Listing { wren: env!("CARGO_PKG_VERSION"), functions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_list_all_and_the_known_cause() {
        let message = find("nowhere::f").unwrap_err().to_string();
        assert!(message.contains("`nowhere::f`") && message.contains("use that_crate as _;"), "{message}");
    }

    #[test]
    fn signature_hashes_are_distinct() {
        let function = || RemoteFn::dummy("a::f");
        let mut other = function();
        other.types_hash = 7;
        assert_ne!(function().signature_hash(), other.signature_hash());
        let (one, two) = (function().conditional(&[1]), function().conditional(&[2]));
        assert_ne!(one.signature_hash(), two.signature_hash());
        assert_ne!(RemoteFn::dummy("a::g").signature_hash(), function().signature_hash());
    }
}
