//! The `redis:` store: objects on a Redis server.

use std::fmt;
use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

use redis::cmd;

use super::address::Address;
use super::bounds;
use super::scripts::{DELETE, GET_RANGE, PUT};
use super::server::{Handle, Operation, Repeat};
use crate::error::{Error, Result};
use crate::kv::{KvError, KvResult, MAX_VALUE};
use crate::store::{BoxFuture, Store, StoreError, StoreResult, StoreScheme, check_key};

inventory::submit! {
    StoreScheme { scheme: "redis", open: |rest| Ok(Arc::new(RedisStore::open(rest)?)) }
}

/// Prefix of all keys if the URL has no `prefix`, so that they differ from the keys of a [`Kv`](crate::kv::Kv) on the
/// same server.
const PREFIX: &str = "wren-store:";

/// A store on a Redis server, for small objects that are read soon, for example those of a shuffle. All objects are
/// kept in the memory of the server.
///
/// The URL, and the behavior after a failure of the server, are those of [`Redis`](super::Redis). For listing, all keys
/// are also in a sorted set beside the values; a script changes both in one step. Operations block the calling thread
/// for a round trip.
pub struct RedisStore {
    handle: Handle,
    prefix: String,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({})", self.handle.url())
    }
}

impl RedisStore {
    /// Opens the store. `rest` is the part of the URL after `redis:`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an invalid URL, and for one with a password, because the URL of a
    /// store is sent to workers.
    pub fn open(rest: &str) -> Result<Self> {
        let address = Address::parse(rest)?;
        if !address.url_is_complete {
            return Err(Error::Config(format!(
                "the URL of the store {} contains a password, but it is sent to workers; put the password into an \
                 environment variable of the program and of its workers, and `password_env=NAME` into the URL",
                address.url
            )));
        }
        let prefix = if address.prefix.is_empty() { PREFIX.to_owned() } else { address.prefix.clone() };
        Ok(Self { handle: Handle::new(address), prefix })
    }

    fn value_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns the key of the index. It differs from those of values, because no key of the store starts with a slash.
    fn index_key(&self) -> String {
        format!("{}/keys", self.prefix)
    }

    fn error(&self, operation: &str, key: &str, error: &KvError) -> StoreError {
        StoreError::io(self.handle.url().to_owned(), operation, key, error.to_string())
    }

    fn missing(&self, key: &str) -> StoreError {
        StoreError::NotFound { store: self.handle.url().to_owned(), key: key.to_owned() }
    }

    /// Stores a value, and returns whether it did. An existing value is kept unless `replace` is set.
    fn write(&self, key: &str, value: &[u8], replace: bool) -> StoreResult<bool> {
        check_key(key)?;
        if value.len() > MAX_VALUE {
            return Err(StoreError::io(
                self.handle.url().to_owned(),
                "write",
                key,
                format!(
                    "the value has {} bytes, and Redis stores at most 512 MB; use a store at `file:` or `s3:`",
                    value.len()
                ),
            ));
        }
        let repeat = if replace { Repeat::Safely } else { Repeat::Never };
        let operation = Operation { name: "write", key, repeat };
        let mut command = PUT.on_keys(&[&self.value_key(key), &self.index_key()]);
        command.arg(key).arg(value).arg(i64::from(replace));
        self.handle.run(&operation, &PUT, &command).map_err(|e| self.error("write", key, &e))
    }

    fn put_new(&self, key: &str, value: &[u8]) -> StoreResult<()> {
        if self.write(key, value, false)? {
            return Ok(());
        }
        Err(StoreError::AlreadyExists { store: self.handle.url().to_owned(), key: key.to_owned() })
    }

    fn read(&self, key: &str) -> StoreResult<Vec<u8>> {
        check_key(key)?;
        let operation = Operation { name: "read", key, repeat: Repeat::Safely };
        let value: KvResult<Option<Vec<u8>>> = self.handle.query(&operation, cmd("GET").arg(self.value_key(key)));
        value.map_err(|e| self.error("read", key, &e))?.ok_or_else(|| self.missing(key))
    }

    fn read_range(&self, key: &str, range: &Range<u64>) -> StoreResult<Vec<u8>> {
        check_key(key)?;
        let operation = Operation { name: "read", key, repeat: Repeat::Safely };
        let (first, last) = bounds(range);
        let command = GET_RANGE.on(&self.value_key(key)).arg(first).arg(last).take();
        let value: KvResult<Option<Vec<u8>>> = self.handle.run(&operation, &GET_RANGE, &command);
        value.map_err(|e| self.error("read", key, &e))?.ok_or_else(|| self.missing(key))
    }

    fn length(&self, key: &str) -> StoreResult<u64> {
        check_key(key)?;
        let operation = Operation { name: "read", key, repeat: Repeat::Safely };
        let name = self.value_key(key);
        let commands = [cmd("STRLEN").arg(&name).take(), cmd("EXISTS").arg(&name).take()];
        let ask = || -> KvResult<(u64, bool)> {
            let mut answers = self.handle.send_all(&operation, &commands)?.into_iter();
            let mut next = || self.handle.take(&operation, answers.next().unwrap_or(redis::Value::Nil));
            let len: u64 = next()?;
            Ok((len, next()? != 0))
        };
        match ask().map_err(|e| self.error("read", key, &e))? {
            (0, false) => Err(self.missing(key)),
            (len, _) => Ok(len),
        }
    }

    fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Vec<String>> {
        let operation = Operation { name: "list", key: prefix, repeat: Repeat::Safely };
        let from = match after {
            Some(after) if after >= prefix => format!("({after}"),
            _ => format!("[{prefix}"),
        };
        // The byte 255 never occurs in UTF-8, so all keys that start with the prefix sort before this bound.
        let to = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(self.index_key()).arg(from).arg(to).arg("LIMIT").arg(0).arg(limit);
        self.handle.query(&operation, &command).map_err(|e| self.error("list", prefix, &e))
    }

    fn remove(&self, key: &str) -> StoreResult<()> {
        check_key(key)?;
        let operation = Operation { name: "delete", key, repeat: Repeat::Safely };
        let command = DELETE.on_keys(&[&self.value_key(key), &self.index_key()]).arg(key).take();
        let done: KvResult<i64> = self.handle.run(&operation, &DELETE, &command);
        done.map(drop::<i64>).map_err(|e| self.error("delete", key, &e))
    }
}

impl Store for RedisStore {
    fn url(&self) -> String {
        self.handle.url().to_owned()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.write(key, value, true).map(|_| ())))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.put_new(key, value)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.read_range(key, &range)))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        Box::pin(ready(self.length(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        Box::pin(ready(self.names(prefix, after, limit)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.remove(key)))
    }
}
