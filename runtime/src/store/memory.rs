//! The `memory:` store: a map in this process.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::{BoxFuture, Stat, Store, StoreError, StoreResult, StoreScheme, check_key, clip};

inventory::submit! {
    StoreScheme { scheme: "memory", open: |rest| Ok(MemoryStore::named(rest)) }
}

/// A store in the memory of this process. Worker processes cannot access it; values that their arguments refer to by
/// `Ref` are sent along.
#[derive(Debug)]
pub struct MemoryStore {
    name: String,
    values: Mutex<BTreeMap<String, Arc<[u8]>>>,
}

impl MemoryStore {
    /// Returns the store of this name in this process. It is created on first use and dropped with its last user. An
    /// empty name creates a new, separate store.
    pub fn named(name: &str) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        static STORES: OnceLock<Mutex<HashMap<String, Weak<MemoryStore>>>> = OnceLock::new();
        let name = match name {
            "" => format!("unnamed-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            name => name.to_owned(),
        };
        let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(&name).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(Self { name: name.clone(), values: Mutex::default() });
        stores.insert(name, Arc::downgrade(&store));
        store
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, key: &str) -> StoreResult<Arc<[u8]>> {
        check_key(key)?;
        let missing = || StoreError::NotFound { store: self.url(), key: key.to_owned() };
        self.values().get(key).cloned().ok_or_else(missing)
    }

    fn set(&self, key: &str, value: &[u8], replace: bool) -> StoreResult<()> {
        check_key(key)?;
        let mut values = self.values();
        if !replace && values.contains_key(key) {
            return Err(StoreError::AlreadyExists { store: self.url(), key: key.to_owned() });
        }
        values.insert(key.to_owned(), value.into());
        Ok(())
    }
}

impl Store for MemoryStore {
    fn url(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.set(key, value, true)))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(self.set(key, value, false)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.value(key).map(|v| v.to_vec())))
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.value(key).map(|v| v[clip(&range, v.len())].to_vec())))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        Box::pin(ready(self.value(key).map(|v| v.len() as u64)))
    }

    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        let stat =
            |value: Arc<[u8]>| Stat { len: value.len() as u64, version: format!("{:08x}", crc32fast::hash(&value)) };
        Box::pin(ready(self.value(key).map(stat)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let values = self.values();
        let keys = values.range::<str, _>((start, Bound::Unbounded)).map(|(key, _)| key);
        let keys = keys.take_while(|key| key.starts_with(prefix)).take(limit).cloned().collect();
        Box::pin(ready(Ok(keys)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(check_key(key).map(|()| {
            self.values().remove(key);
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_conforms() {
        let store = MemoryStore::named("");
        crate::conformance::store(store);
    }

    #[test]
    fn one_racing_writer_wins() {
        crate::conformance::race(MemoryStore::named(""), 1_000);
    }

    #[test]
    fn a_name_in_use_is_one_store() {
        let store = MemoryStore::named("shared-by-name");
        super::super::wait(store.put("a", b"1")).unwrap();
        let same = super::super::open("memory:shared-by-name").unwrap();
        assert_eq!(super::super::wait(same.get("a")).unwrap(), b"1");
    }
}
