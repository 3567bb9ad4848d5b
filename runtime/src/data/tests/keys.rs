//! Keys written by other programs, and the number of requests needed to find them.

use std::collections::BTreeMap;
use std::future::ready;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::{BoxFuture, Stat, StoreError, StoreResult, StoreScheme, clip};

/// A store with any keys, like a bucket that other programs write to. Its listing includes lengths.
#[derive(Debug, Default)]
struct Foreign {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Number of requests for a single value.
    single: AtomicUsize,
}

static FOREIGN: std::sync::LazyLock<Arc<Foreign>> = std::sync::LazyLock::new(Arc::default);

inventory::submit! {
    StoreScheme { scheme: "foreign", open: |_| Ok(FOREIGN.clone()) }
}

impl Foreign {
    fn value(&self, key: &str) -> StoreResult<Vec<u8>> {
        self.single.fetch_add(1, Ordering::Relaxed);
        let missing = || StoreError::NotFound { store: self.url(), key: key.to_owned() };
        self.values.lock().unwrap().get(key).cloned().ok_or_else(missing)
    }
}

impl Store for Foreign {
    fn url(&self) -> String {
        "foreign://bucket".to_owned()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        self.values.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Box::pin(ready(Ok(())))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        self.put(key, value)
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.value(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        Box::pin(ready(self.value(key).map(|value| value[clip(&range, value.len())].to_vec())))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        Box::pin(ready(self.value(key).map(|value| value.len() as u64)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        let found = self.list_stats(prefix, after, limit);
        Box::pin(async move { Ok(found.await?.into_iter().map(|(key, _)| key).collect()) })
    }

    fn list_stats<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<(String, Stat)>>> {
        let values = self.values.lock().unwrap();
        let found = values.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|a| key.as_str() > a));
        let stat = |(key, value): (&String, &Vec<u8>)| {
            (key.clone(), Stat { len: value.len() as u64, version: "1".to_owned() })
        };
        Box::pin(ready(Ok(found.map(stat).take(limit).collect())))
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(ready(Ok(())))
    }
}

#[test]
fn foreign_keys_are_used_unchanged() {
    let long = format!("long/{}/a.txt", "p".repeat(400));
    let keys =
        ["/lead.txt", "double//2026/b.txt", "double/a.txt", "dots/../x.txt", "dots/./y.txt", "end/z/", "sub/c.txt"];
    for key in keys.into_iter().chain([long.as_str()]) {
        store::wait(FOREIGN.put(key, format!("{key}\n").as_bytes())).unwrap();
    }
    store::wait(FOREIGN.put("double/", b"")).unwrap();
    let read = |path: &str| {
        FOREIGN.single.store(0, Ordering::Relaxed);
        let splits = splits(Input::glob(format!("foreign://bucket{path}")).unwrap()).unwrap();
        assert_eq!(FOREIGN.single.load(Ordering::Relaxed), 0, "no request per object of {path}");
        let names: Vec<_> = splits.iter().map(|split| split.path()["foreign://bucket/".len()..].to_owned()).collect();
        let texts: Vec<_> = joined(&splits, lines).into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(texts, names);
        names
    };
    assert_eq!(read("/double"), ["double//2026/b.txt", "double/a.txt"]);
    assert_eq!(read("/double/"), ["double//2026/b.txt", "double/a.txt"]);
    assert_eq!(read("/double//"), ["double//2026/b.txt"]);
    assert_eq!(read("/double/**/*.txt"), ["double//2026/b.txt", "double/a.txt"]);
    assert_eq!(read("/double//*/*.txt"), ["double//2026/b.txt"]);
    assert_eq!(read("/double//2026/b.txt"), ["double//2026/b.txt"]);
    assert_eq!(read("/long"), [long.as_str()]);
    assert_eq!(read("//lead.txt"), ["/lead.txt"]);
    assert_eq!(read("//*.txt"), ["/lead.txt"]);
    assert_eq!(read("/dots"), ["dots/../x.txt", "dots/./y.txt"]);
    assert_eq!(read("/end"), ["end/z/"], "an empty object marks a folder");
    assert_eq!(read("").len(), 8);
    assert_eq!(read("/").len(), 8);
    assert_eq!(read("/{sub,long}/**").len(), 2);
}
