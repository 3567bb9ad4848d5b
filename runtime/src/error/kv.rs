//! Errors of key-value storage.

use serde::{Deserialize, Serialize};

/// The result of an operation on key-value storage.
pub type KvResult<T> = std::result::Result<T, KvError>;

/// An error of an operation on key-value storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KvError {
    /// The key is empty, too long, or contains a zero byte.
    ///
    /// Use a key of 1 to 500 bytes, none of them zero.
    #[error("invalid key `{key}` for key-value storage: {reason}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with the key.
        reason: String,
    },
    /// The value is larger than 512 MB.
    ///
    /// Store it with `wren::put`, and store its `Ref` under the key.
    #[error(
        "the value for `{key}` has {len} bytes, and the limit is 536870912; store the value with `wren::put`, and its `Ref` under the key"
    )]
    TooLarge {
        /// The key.
        key: String,
        /// The length of the value, in bytes.
        len: u64,
    },
    /// The value is not a whole number, or the sum does not fit in 64 bits.
    ///
    /// Use a counter only on a value that `increment` created or that is a whole number. Otherwise, start a new counter
    /// under another key.
    #[error(
        "cannot use `{key}` as a counter: its value is not a whole number, or the sum does not fit in 64 bits; use another key"
    )]
    NoCounter {
        /// The key.
        key: String,
    },
    /// The value does not contain the requested numbers, or the number of indices or values does not match.
    ///
    /// Access only numbers that exist: first set the value with all of its numbers.
    #[error("cannot access the numbers under `{key}`: {reason}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Which numbers are missing, or which counts do not match.
        reason: String,
    },
    /// The server cannot be reached, or it did not answer in time.
    ///
    /// Check that the server is running and that `WREN_KV` is correct, then repeat the operation. Repeating it is safe:
    /// a change that must not be made twice was not sent, and a `set` or `delete` has the same effect the second time.
    #[error(
        "cannot reach {kv}: {reason}; check that the server is running and that its URL is correct, then repeat the operation"
    )]
    Unreachable {
        /// The storage's URL.
        kv: String,
        /// The error of the connection.
        reason: String,
    },
    /// A change was sent, and no answer arrived. It is unknown whether the change was made or will still be made.
    /// It is not sent again, because making it twice would have a different effect.
    ///
    /// Read the value to see whether the change was made. If the value does not show it, start over from a known state.
    #[error(
        "no answer from {kv} to `{operation}` of `{key}`: {reason}; the change may or may not have been made; read the value to find out"
    )]
    Uncertain {
        /// The storage's URL.
        kv: String,
        /// The operation.
        operation: String,
        /// The key; the first one if there are several.
        key: String,
        /// The error of the connection.
        reason: String,
    },
    /// The server was restarted after the handle was opened. Data that it had not saved is lost.
    ///
    /// Start over with a new handle. If the server saves every change, add `restarts=allowed` to its URL instead.
    #[error(
        "{kv} was restarted after this handle was opened, and may have lost data; start over with a new handle, or add `restarts=allowed` to its URL if it saves every change"
    )]
    Restarted {
        /// The storage's URL.
        kv: String,
    },
    /// The storage refused the operation.
    ///
    /// The message contains the storage's reason, such as too little memory or space, or missing permissions.
    #[error("cannot {operation} `{key}` in {kv}: {reason}")]
    Failed {
        /// The storage's URL.
        kv: String,
        /// The operation.
        operation: String,
        /// The key or prefix; the first one if there are several.
        key: String,
        /// The storage's error message.
        reason: String,
    },
}
