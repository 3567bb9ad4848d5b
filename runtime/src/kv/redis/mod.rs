//! Key-value storage on a Redis server.

mod address;
mod scripts;
mod server;
mod store;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use redis::{RedisError, ServerErrorKind, Value, cmd};

use super::{Addition, KeyValue, KvError, KvResult, KvScheme, Numbers, Place, check_key, check_value};
use crate::error::Result;
use address::Address;
use scripts::{ADD, COMPARE_AND_SET, GET_RANGE};
use server::{Handle, Operation, Repeat};

pub use store::RedisStore;

inventory::submit! {
    KvScheme { scheme: "redis", open: |rest| Ok(Arc::new(Redis::open(rest)?)) }
}

/// Maximum number of bytes of values sent before replies are read.
const BATCH_BYTES: usize = 8 << 20;

/// Maximum number of commands sent before replies are read.
const BATCH: usize = 4096;

/// Key-value storage on a Redis server (6.2 or later, or Valkey), shared by everything that reaches it.
///
/// `redis://[user[:password]@]host[:port][/db][?option&..]`, or `redis:` for the server on this machine.
/// Options:
///
/// | option | meaning |
/// | --- | --- |
/// | `prefix=<text>` | prefix of every key on the server; none by default |
/// | `timeout=<seconds>` | how long to wait for a reply, and how long to try to connect; 5 by default |
/// | `password_env=<name>` | the password is in this environment variable, here and in workers; URLs that are sent do not contain it |
/// | `restarts=allowed` | continue after a restart of the server: for servers that save every change |
///
/// # When the server fails
/// Reads, `set` and `delete` are sent again on a new connection until `timeout` has passed, because doing them twice
/// has the same effect as doing them once. Increments, comparisons, claims (`set_if_absent`) and additions are sent
/// once; if no reply comes, the error is [`KvError::Uncertain`]. The alternative would be tokens by which the server
/// recognizes changes that it has already made. They cost two more writes for each change, and are lost with the
/// server, as the values are.
///
/// A restarted server has lost everything that it had not saved, so a counter on it would continue from an old number,
/// or from nothing. A handle, its clones and its copies in workers are therefore bound to one server process (its
/// `run_id`), and fail with [`KvError::Restarted`] after a restart. A server that evicts keys (`maxmemory-policy`)
/// loses them silently: use `noeviction`.
///
/// Connections are kept open, and shared by all handles of the process. They are not encrypted: TLS is not built in.
pub struct Redis {
    handle: Handle,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.handle.url())
    }
}

/// Returns the first and the last byte of a range, as `GETRANGE` expects them: it includes the last byte. For an empty
/// range, they are 1 and 0.
fn bounds(range: &Range<u64>) -> (i64, i64) {
    let whole = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    if range.is_empty() { (1, 0) } else { (whole(range.start), whole(range.end - 1)) }
}

impl Redis {
    /// Opens the storage. `rest` is the part of the URL after `redis:`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an invalid URL.
    pub fn open(rest: &str) -> Result<Self> {
        Ok(Self { handle: Handle::new(Address::parse(rest)?) })
    }

    fn key<'a>(&self, key: &'a str) -> Cow<'a, str> {
        match self.handle.address.prefix.as_str() {
            "" => Cow::Borrowed(key),
            prefix => Cow::Owned(format!("{prefix}{key}")),
        }
    }

    fn operation<'a>(name: &'static str, key: &'a str, repeat: Repeat) -> Operation<'a> {
        Operation { name, key, repeat }
    }

    fn get_ranges_batch(&self, ranges: &[(&str, Range<u64>)]) -> KvResult<Vec<Option<Vec<u8>>>> {
        let operation = Self::operation("get", ranges.first().map_or("", |(key, _)| key), Repeat::Safely);
        let commands: Vec<_> = ranges
            .iter()
            .map(|(key, range)| {
                let (first, last) = bounds(range);
                cmd("GETRANGE").arg(&*self.key(key)).arg(first).arg(last).take()
            })
            .collect();
        let mut values = Vec::with_capacity(ranges.len());
        for (value, (key, range)) in self.handle.send_all(&operation, &commands)?.into_iter().zip(ranges) {
            let value: Vec<u8> = self.handle.take(&operation, value)?;
            if !value.is_empty() {
                values.push(Some(value));
                continue;
            }
            // The key is missing, or the range is empty. Only a script can check both in one step.
            let (first, last) = bounds(range);
            let command = GET_RANGE.on(&self.key(key)).arg(first).arg(last).take();
            values.push(self.handle.run(&operation, &GET_RANGE, &command)?);
        }
        Ok(values)
    }

    fn add_batch(&self, additions: &[Addition<'_>]) -> KvResult<()> {
        let operation = Self::operation("add to", additions.first().map_or("", |addition| addition.key), Repeat::Never);
        let mut commands = Vec::with_capacity(additions.len());
        for addition in additions {
            let kind = if matches!(addition.delta, Numbers::F32(_)) { "f" } else { "d" };
            let mut command = ADD.on(&self.key(addition.key));
            command.arg(kind).arg(addition.needs()?).arg(addition.delta.to_bytes());
            match addition.place {
                Place::From(start) => command.arg(start.saturating_mul(addition.delta.size() as u64)),
                Place::At(indices) => {
                    let indices: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
                    command.arg("at").arg(indices)
                }
            };
            commands.push(command);
        }
        let mut outcome = Ok(());
        for (value, addition) in self.handle.send_scripts(&operation, &ADD, &commands)?.into_iter().zip(additions) {
            let done: i64 = self.handle.take(&operation, value)?;
            let len = match done {
                DONE => continue,
                MISSING => None,
                len => u64::try_from(len).ok(),
            };
            outcome = outcome.and_then(|()| Err(addition.out_of_range(len)));
        }
        outcome
    }
}

/// Reply of the script [`ADD`] after it added.
const DONE: i64 = -2;

/// Reply of the script [`ADD`] if the key has no value.
const MISSING: i64 = -1;

/// Splits a list into parts of at most [`BATCH`] items and [`BATCH_BYTES`] bytes. A larger item is a part of its own.
fn batches<'a, T>(items: &'a [T], size: impl Fn(&T) -> usize + 'a) -> impl Iterator<Item = &'a [T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(BATCH).take_while(|item| {
            bytes += size(item);
            bytes <= BATCH_BYTES
        });
        let count = fits.count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

impl KeyValue for Redis {
    fn url(&self) -> String {
        self.handle.url().to_owned()
    }

    fn url_is_complete(&self) -> bool {
        self.handle.address.url_is_complete
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn server_id(&self) -> KvResult<Option<String>> {
        self.handle.server_id()
    }

    fn bind_to_server(&self, server_id: &str) {
        self.handle.bind_to_server(server_id);
    }

    fn get(&self, key: &str) -> KvResult<Option<Vec<u8>>> {
        check_key(key)?;
        self.handle.query(&Self::operation("get", key, Repeat::Safely), cmd("GET").arg(&*self.key(key)))
    }

    fn get_many(&self, keys: &[&str]) -> KvResult<Vec<Option<Vec<u8>>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut values = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut command = cmd("MGET");
            for key in batch {
                command.arg(&*self.key(key));
            }
            let got: Vec<Option<Vec<u8>>> =
                self.handle.query(&Self::operation("get", batch[0], Repeat::Safely), &command)?;
            values.extend(got);
        }
        Ok(values)
    }

    fn get_ranges(&self, ranges: &[(&str, Range<u64>)]) -> KvResult<Vec<Option<Vec<u8>>>> {
        ranges.iter().try_for_each(|(key, _)| check_key(key))?;
        let mut values = Vec::with_capacity(ranges.len());
        for batch in ranges.chunks(BATCH) {
            values.extend(self.get_ranges_batch(batch)?);
        }
        Ok(values)
    }

    fn set(&self, key: &str, value: &[u8]) -> KvResult<()> {
        check_key(key)?;
        check_value(key, value)?;
        self.handle.query(&Self::operation("set", key, Repeat::Safely), cmd("SET").arg(&*self.key(key)).arg(value))
    }

    fn set_many(&self, values: &[(&str, &[u8])]) -> KvResult<()> {
        values.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(key, value)))?;
        for batch in batches(values, |(key, value)| key.len() + value.len()) {
            let mut command = cmd("MSET");
            for (key, value) in batch {
                command.arg(&*self.key(key)).arg(*value);
            }
            self.handle.query::<()>(&Self::operation("set", batch[0].0, Repeat::Safely), &command)?;
        }
        Ok(())
    }

    fn set_if_absent(&self, key: &str, value: &[u8]) -> KvResult<bool> {
        check_key(key)?;
        check_value(key, value)?;
        let operation = Self::operation("set if absent", key, Repeat::Never);
        self.handle.query(&operation, cmd("SETNX").arg(&*self.key(key)).arg(value))
    }

    fn compare_and_set(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> KvResult<bool> {
        check_key(key)?;
        check_value(key, new.unwrap_or_default())?;
        let operation = Self::operation("compare and set", key, Repeat::Never);
        let mut command = COMPARE_AND_SET.on(&self.key(key));
        for value in [expected, new] {
            command.arg(i64::from(value.is_some())).arg(value.unwrap_or_default());
        }
        self.handle.run(&operation, &COMPARE_AND_SET, &command)
    }

    fn delete(&self, key: &str) -> KvResult<()> {
        check_key(key)?;
        let deleted: KvResult<i64> =
            self.handle.query(&Self::operation("delete", key, Repeat::Safely), cmd("DEL").arg(&*self.key(key)));
        deleted.map(drop::<i64>)
    }

    fn increment(&self, key: &str, by: i64) -> KvResult<i64> {
        check_key(key)?;
        let operation = Self::operation("increment", key, Repeat::Never);
        let value = self.handle.send(&operation, cmd("INCRBY").arg(&*self.key(key)).arg(by))?;
        if let Value::ServerError(error) = &value
            && error.kind() == Some(ServerErrorKind::ResponseError)
        {
            return Err(KvError::NoCounter { key: key.to_owned() });
        }
        self.handle.take(&operation, value)
    }

    fn add(&self, additions: &[Addition<'_>]) -> KvResult<()> {
        additions.iter().try_for_each(|addition| check_key(addition.key).and_then(|()| addition.needs().map(drop)))?;
        let mut outcome = Ok(());
        for batch in batches(additions, |addition| addition.delta.len() * (addition.delta.size() + 4)) {
            match self.add_batch(batch) {
                Err(error @ KvError::OutOfRange { .. }) => outcome = outcome.and(Err(error)),
                other => other?,
            }
        }
        outcome
    }

    fn keys(&self, prefix: &str) -> KvResult<Vec<String>> {
        let operation = Self::operation("list", prefix, Repeat::Safely);
        let mut pattern = String::new();
        for c in self.key(prefix).chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        let own = self.handle.address.prefix.len();
        let (mut keys, mut cursor) = (Vec::new(), 0u64);
        loop {
            let command = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000).take();
            let (next, found): (u64, Vec<Vec<u8>>) = self.handle.query(&operation, &command)?;
            keys.extend(found.iter().map(|key| String::from_utf8_lossy(&key[own..]).into_owned()));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // `SCAN` returns every key that exists throughout the scan, some of them more than once.
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

/// Returns the message of the server or of the client, on one line.
fn describe_error(error: &RedisError) -> String {
    error.to_string().replace(['\r', '\n'], " ")
}
