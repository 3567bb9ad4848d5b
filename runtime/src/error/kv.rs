//! What can go wrong with key-value storage.

use serde::{Deserialize, Serialize};

/// What an operation on key-value storage gives.
pub type KvResult<T> = std::result::Result<T, KvError>;

/// Why an operation on key-value storage failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KvError {
    /// The key is empty, too long, or has a zero byte.
    ///
    /// Take a key of 1 to 500 bytes, none of them zero.
    #[error("`{key}` is no key: {reason}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The value is larger than 512 MB.
    ///
    /// ResultPolicy it in the store by `wren::put`, and its `Ref` under the key.
    #[error("the value for `{key}` has {len} bytes, and at most 536870912 can be; keep it in the store by `wren::put`")]
    TooLarge {
        /// The key.
        key: String,
        /// Its length, in bytes.
        len: u64,
    },
    /// The value to be incremented is no whole number, or the sum has no place in 64 bits.
    ///
    /// Increment only what `increment` made or what is a whole number; begin anew with another key.
    #[error("`{key}` cannot be incremented: its value is no whole number, or the sum is not within 64 bits")]
    NoCounter {
        /// The key.
        key: String,
    },
    /// The value has not the numbers that were to be changed.
    ///
    /// Change only numbers that are there: set the value with all of them first.
    #[error("the numbers under `{key}` cannot be changed: {reason}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Which are missing.
        reason: String,
    },
    /// There was no connection, and none could be made; or a question got no answer. Nothing was changed.
    ///
    /// See that the server runs and that `WREN_KV` names it, and do it again.
    #[error("{kv} cannot be reached: {reason}; nothing was changed")]
    Unreachable {
        /// The storage's URL.
        kv: String,
        /// The system's words.
        reason: String,
    },
    /// A change was sent, and no answer came: whether it was made, now or later, is not known. It is
    /// not sent again, since it would not be the same to make it twice.
    ///
    /// Read the value to see whether the change was made. Where that cannot be told, begin anew from what
    /// is certain.
    #[error("{kv} gave no answer to {operation} of `{key}`: {reason}; the change may have been made, or not")]
    Uncertain {
        /// The storage's URL.
        kv: String,
        /// The operation.
        operation: String,
        /// The key, the first of many.
        key: String,
        /// The system's words.
        reason: String,
    },
    /// The server is not the one that the handle was opened on: what it had not saved is lost.
    ///
    /// Begin anew; or, if the server saves every change, add `restarts=allowed` to its URL.
    #[error(
        "{kv} was restarted since this handle was opened, and may have lost what was stored; begin anew, or add `restarts=allowed` to its URL if it saves every change"
    )]
    Restarted {
        /// The storage's URL.
        kv: String,
    },
    /// The storage refused the operation.
    ///
    /// The reason is in the storage's words: too little memory or space, or rights that are missing.
    #[error("{kv} failed to {operation} `{key}`: {reason}")]
    Failed {
        /// The storage's URL.
        kv: String,
        /// The operation.
        operation: String,
        /// The key or prefix, the first of many.
        key: String,
        /// The storage's words.
        reason: String,
    },
}
