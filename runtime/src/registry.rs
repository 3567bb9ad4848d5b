//! The link-time registry: every `#[wren::remote]` function of the program, by name.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;

use crate::backoff::Backoff;
use crate::error::{Error, Failure, Result};
use crate::worker::Invoke;

/// All remote functions that were linked into this program, in no particular order.
#[linkme::distributed_slice]
pub static REMOTE_FNS: [RemoteFn];

/// One remote function, as `#[wren::remote]` recorded it.
#[derive(Debug, Serialize)]
pub struct RemoteFn {
    /// `module_path!()::ident`, unique in the program.
    pub name: &'static str,
    /// The signature as written: `fn f(seed: u64, model: &Model) -> Outcome`.
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
    /// Decodes arguments, runs the function, encodes the result.
    #[serde(skip)]
    #[doc(hidden)]
    pub entry: fn(&mut Invoke<'_>) -> Result<(), Failure>,
}

/// Whether a remote function of this name is one of wren's own, such as the stages of a sort. Nobody
/// annotates these: they run with what a deployment has.
pub fn is_wrens(name: &str) -> bool {
    name.starts_with("wren::")
}

impl RemoteFn {
    /// One that does nothing: for tests, and for tasks that are only simulated.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) const fn dummy(name: &'static str) -> Self {
        Self {
            name,
            signature: "fn()",
            file: "",
            line: 0,
            column: 0,
            memory_mb: None,
            timeout: None,
            retries: None,
            backoff: None,
            at_most_once: false,
            body_hash: 0,
            entry: |_| Ok(()),
        }
    }

    /// FNV-1a over name and signature: what driver and worker must agree on.
    pub fn signature_hash(&self) -> u64 {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let start = self.name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
        self.signature.as_bytes().iter().fold(start, fnv)
    }
}

type ByName = HashMap<&'static str, &'static RemoteFn>;

fn by_name() -> &'static Result<ByName> {
    static BY_NAME: OnceLock<Result<ByName>> = OnceLock::new();
    BY_NAME.get_or_init(|| index(&REMOTE_FNS))
}

fn index(functions: &'static [RemoteFn]) -> Result<ByName> {
    let mut by_name = ByName::with_capacity(functions.len());
    for function in functions {
        if let Some(other) = by_name.insert(function.name, function) {
            let mut places = [other, function].map(|f| (f.file, f.line));
            places.sort_unstable();
            let [first, second] = places.map(|(file, line)| format!("{file}:{line}"));
            return Err(Error::DuplicateFunction { name: function.name.to_owned(), first, second });
        }
    }
    Ok(by_name)
}

/// Every remote function of this program, sorted by name.
///
/// # Errors
/// [`Error::DuplicateFunction`] where two have one name.
pub fn all() -> Result<Vec<&'static RemoteFn>> {
    let mut all: Vec<_> = by_name().as_ref().map_err(Clone::clone)?.values().copied().collect();
    all.sort_unstable_by_key(|f| f.name);
    Ok(all)
}

/// The remote function of that name.
///
/// # Errors
/// [`Error::UnknownFunction`], which lists all names there are and the known cause;
/// [`Error::DuplicateFunction`] where two have one name.
pub fn find(name: &str) -> Result<&'static RemoteFn> {
    let by_name = by_name().as_ref().map_err(Clone::clone)?;
    by_name.get(name).copied().ok_or_else(|| {
        let mut registered: Vec<_> = by_name.keys().map(|name| (*name).to_owned()).collect();
        registered.sort_unstable();
        Error::UnknownFunction { name: name.to_owned(), registered }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn function(name: &'static str, line: u32) -> RemoteFn {
        RemoteFn { signature: "fn f()", file: "src/lib.rs", line, column: 1, ..RemoteFn::dummy(name) }
    }

    #[test]
    fn one_name_twice_names_both_places() {
        static TWICE: [RemoteFn; 3] = [function("a::f", 30), function("a::g", 5), function("a::f", 4)];
        let error = index(&TWICE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "two remote functions are named `a::f`: one at src/lib.rs:4, one at src/lib.rs:30; rename one of them"
        );
    }

    #[test]
    fn an_unknown_name_lists_all_and_tells_the_known_cause() {
        let message = find("nowhere::f").unwrap_err().to_string();
        assert!(message.contains("`nowhere::f`") && message.contains("use that_crate as _;"), "{message}");
    }

    #[test]
    fn signature_hash_tells_signatures_apart() {
        let mut other = function("a::f", 1);
        other.signature = "fn f(x: u8)";
        assert_ne!(function("a::f", 1).signature_hash(), other.signature_hash());
    }
}
