//! The parts of a returned error that reach the driver: the texts of its causes, and its encoded value.

use std::fmt;

/// A cause of an error that a function returned. Only the text is kept, because the type stays in the worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    message: String,
    pub(super) source: Option<Box<Cause>>,
}

impl Cause {
    /// Builds the chain of causes from their texts, outermost first.
    pub(super) fn of(chain: Vec<String>) -> Option<Box<Self>> {
        chain.into_iter().rev().fold(None, |source, message| Some(Box::new(Self { message, source })))
    }
}

/// The encoded value of an error that a function returned; see [`Error::downcast`](super::Error::downcast).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorValue(pub(super) Vec<u8>);

impl fmt::Debug for ErrorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorValue({} bytes)", self.0.len())
    }
}
