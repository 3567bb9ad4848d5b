//! Errors of object storage.

use std::io;

use serde::{Deserialize, Serialize};

/// The result of a store's operation.
pub type StoreResult<T> = std::result::Result<T, StoreError>;

/// An error of a store's operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no value under the key.
    ///
    /// The value has expired or was removed, or it was written to another store than the one that `WREN_STORE` names.
    /// Write it again.
    #[error(
        "store {store} has no value under `{key}`; it has expired, was removed, or is in another store (see WREN_STORE)"
    )]
    NotFound {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
    },
    /// The store already has a value under the key.
    ///
    /// Use another key. Inside wren this is not an error: it is how the first outcome of a task wins.
    #[error("store {store} already has a value under `{key}`; use another key")]
    AlreadyExists {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
    },
    /// The key is empty or too long, contains a zero byte, or has a component that is empty, too long or starts with a
    /// dot.
    ///
    /// Use a key of at most 1,024 bytes: components of 1 to 255 bytes, separated by `/`, none of which starts with a
    /// dot.
    #[error("invalid store key `{key}`: {reason}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with the key.
        reason: String,
    },
    /// The stored data is not the data that was written: it is truncated or damaged.
    ///
    /// Remove the object, or the whole store, and run the program that wrote it again.
    #[error(
        "the data under `{key}` in store {store} is damaged: {reason}; remove it and run the program that wrote it again"
    )]
    Damaged {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
        /// What is wrong with the data.
        reason: String,
    },
    /// The store has no space left for a value.
    ///
    /// Free space on the disk, for instance with `cargo wren clean`, or use another store (`WREN_STORE`). Then run the
    /// program again: a `named` job continues where it stopped. wren does not try again by itself.
    #[error(
        "store {store} has no space for `{key}`: {reason}; free some, for instance with `cargo wren clean`, or set WREN_STORE to another store"
    )]
    Full {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
        /// The system's error message.
        reason: String,
    },
    /// The storage failed.
    ///
    /// If the cause is missing space, permissions or connection, fix it and run the program again: a `named` job
    /// continues where it stopped.
    #[error("cannot {operation} `{key}` in store {store}: {reason}")]
    Io {
        /// The store's URL.
        store: String,
        /// The operation.
        operation: String,
        /// The key or prefix.
        key: String,
        /// The storage's error message.
        reason: String,
    },
}

impl StoreError {
    /// An operation on a key that failed for this reason.
    pub(crate) fn io(store: String, operation: &str, key: &str, reason: impl Into<String>) -> Self {
        Self::Io { store, operation: operation.to_owned(), key: key.to_owned(), reason: reason.into() }
    }

    /// Converts an error of a local disk.
    pub(crate) fn of_disk(store: String, operation: &str, key: &str, error: &io::Error) -> Self {
        let (key, reason) = (key.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { store, key, reason },
            _ => Self::Io { store, operation: operation.to_owned(), key, reason },
        }
    }
}
