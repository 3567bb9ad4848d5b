//! Failures of object storage.

use std::io;

use serde::{Deserialize, Serialize};

/// What a store's operation gives.
pub type StoreResult<T> = std::result::Result<T, StoreError>;

/// Why a store's operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is stored under the key.
    ///
    /// What was there has expired or was removed, or the store is another than it was written to
    /// (`WREN_STORE`). Write it again.
    #[error("store {store} has nothing under `{key}`")]
    NotFound {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
    },
    /// Something is stored under the key already.
    ///
    /// Take another key. Within wren it is how the first outcome of a task wins, and no error.
    #[error("store {store} has something under `{key}` already")]
    AlreadyExists {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
    },
    /// The key is empty, absolute, too long, or has a component `.`, `..` or empty.
    ///
    /// Take a key of components with `/` between, none of them empty, `.` or `..`.
    #[error("`{key}` is no key: {reason}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is stored is not what was written: truncated or damaged.
    ///
    /// Remove the object, or the whole store, and run again what wrote it.
    #[error("store {store} has damaged data under `{key}`: {reason}")]
    Damaged {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no room for a value.
    ///
    /// Make room on the disk, for instance by `cargo wren clean`, or name another store (`WREN_STORE`), and run
    /// again: a `named` job goes on where it was. It is not tried again by itself.
    #[error("store {store} has no room for `{key}`: {reason}")]
    Full {
        /// The store's URL.
        store: String,
        /// The key.
        key: String,
        /// The system's words.
        reason: String,
    },
    /// The storage itself failed.
    ///
    /// Where it is for lack of space, rights or connection, mend that, and run again: a `named` job goes
    /// on where it was.
    #[error("store {store} failed to {operation} `{key}`: {reason}")]
    Io {
        /// The store's URL.
        store: String,
        /// The operation.
        operation: String,
        /// The key or prefix.
        key: String,
        /// The storage's words.
        reason: String,
    },
}

impl StoreError {
    /// What a disk of this machine failed by.
    pub(crate) fn of_disk(store: String, operation: &str, key: &str, error: &io::Error) -> Self {
        let (key, reason) = (key.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { store, key, reason },
            _ => Self::Io { store, operation: operation.to_owned(), key, reason },
        }
    }
}
