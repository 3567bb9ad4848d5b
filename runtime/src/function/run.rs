//! Runs one call: arguments in, result out.

use std::collections::HashMap;
use std::sync::Arc;

use super::excerpt::Excerpt;
use super::{ArgsDecoder, Blob, CallClock, Encoded, Output, RemoteFn, captures_panics};
use crate::error::Failure;

/// Runs one call. `args` and `blobs` are the fields of [`Args`](super::Args). The result is written to `out`, which
/// must be empty. `clock` gets the times of decoding and encoding.
#[inline]
pub(crate) fn run(
    function: &RemoteFn,
    args: &[u8],
    blobs: &[Arc<Blob>],
    out: &mut Encoded,
    clock: &mut CallClock,
) -> Result<(), Failure> {
    clock.start(args, blobs);
    let mut invoke = Invoke { args, blobs, out, clock, shown: None };
    captures_panics(|| (function.entry)(&mut invoke))
}

/// Runs one call like [`run`], but does not catch a panic. `shown` gets the result as text.
pub(crate) fn run_uncaught(
    function: &RemoteFn,
    args: &[u8],
    blobs: &[Arc<Blob>],
    out: &mut Encoded,
    shown: &mut Excerpt,
) -> Result<(), Failure> {
    (function.entry)(&mut Invoke { args, blobs, out, clock: &CallClock::default(), shown: Some(shown) })
}

/// One call, as generated code sees it.
#[doc(hidden)]
pub struct Invoke<'a> {
    args: &'a [u8],
    blobs: &'a [Arc<Blob>],
    out: &'a mut Encoded,
    clock: &'a CallClock,
    shown: Option<&'a mut Excerpt>,
}

impl std::fmt::Debug for Invoke<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invoke({} bytes)", self.args.len())
    }
}

impl<'a> Invoke<'a> {
    /// Returns the decoder of the arguments and the output for the result.
    #[inline]
    pub fn split(&mut self) -> (ArgsDecoder<'a>, Output<'_>) {
        let decoder = ArgsDecoder { rest: self.args, blobs: self.blobs, clock: self.clock };
        (decoder, Output { encoded: self.out, clock: self.clock, shown: self.shown.as_deref_mut() })
    }
}

/// The blobs that the tasks of one batch refer to, by task.
pub(crate) type BlobsByTask = HashMap<u64, Vec<Arc<Blob>>>;
