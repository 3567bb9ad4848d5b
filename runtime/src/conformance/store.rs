//! The test suite for stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Store, StoreError, StoreResult, wait};

/// Checks that a store keeps every promise of [`Store`]. For tests of stores; takes about a second.
///
/// All keys have a random prefix, so the store need not be empty.
///
/// ```
/// use wren::store::MemoryStore;
///
/// wren::conformance::store(MemoryStore::named(""));
/// ```
///
/// # Panics
/// If the store breaks a promise; the message names the promise.
pub fn store(store: Arc<dyn Store>) {
    let root = format!("conformance-{:016x}", crate::platform::random());
    let suite = Suite { store, root };
    suite.values_round_trip();
    suite.files_become_values();
    suite.missing_keys_are_not_found();
    suite.ranges_are_clipped();
    suite.one_put_if_absent_wins();
    (0..20).for_each(|round| suite.racing_writers_have_one_winner(round));
    suite.keys_are_listed_in_byte_order();
    suite.readers_see_whole_values();
    suite.bad_keys_are_refused();
    suite.a_key_may_be_the_folder_of_others();
}

/// Races 16 writers of 200 KB for one key, `rounds` times, each time for another key. Exactly one writer must win each
/// round, and the stored value must be its value.
///
/// [`store`] runs 20 rounds. A store that checks for the key before it receives the bytes sometimes passes 20 rounds,
/// but not a thousand.
///
/// # Panics
/// If no writer or several writers win.
pub fn race(store: Arc<dyn Store>, rounds: usize) {
    let root = format!("race-{:016x}", crate::platform::random());
    let suite = Suite { store, root };
    (0..rounds).for_each(|round| suite.racing_writers_have_one_winner(round));
}

struct Suite {
    store: Arc<dyn Store>,
    root: String,
}

impl Suite {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    fn a_key_may_be_the_folder_of_others(&self) {
        for (round, order) in [["f", "f/g", "f/g/h"], ["f/g/h", "f/g", "f"], ["f/g", "f/g/h", "f"]].iter().enumerate() {
            let name = |key: &str| format!("folders-{round}/{key}");
            for key in order {
                self.put(&name(key), key.as_bytes());
            }
            self.put(&name("f-"), b"f-");
            let all = ["f", "f-", "f/g", "f/g/h"];
            for key in all {
                let value = wait(self.store.get(&self.key(&name(key))));
                assert_eq!(value.as_deref().ok(), Some(key.as_bytes()), "`{key}` beside the others");
                let size = wait(self.store.size(&self.key(&name(key))));
                assert_eq!(size.ok(), Some(key.len() as u64), "the size of `{key}`");
                let end = wait(self.store.get_range(&self.key(&name(key)), key.len() as u64 - 1..9));
                assert_eq!(end.as_deref().ok(), Some(&key.as_bytes()[key.len() - 1..]), "the end of `{key}`");
                let again = wait(self.store.put_if_absent(&self.key(&name(key)), b"again"));
                assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "`{key}` is there: {again:?}");
            }
            let listed = |after: Option<&str>, limit| {
                let (prefix, after) = (self.key(&name("")), after.map(|after| self.key(&name(after))));
                let keys = wait(self.store.list(&prefix, after.as_deref(), limit)).expect("list succeeds");
                keys.into_iter().map(|key| key[prefix.len()..].to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(listed(None, 10), all, "in byte order");
            for (at, key) in all.iter().enumerate() {
                assert_eq!(listed(Some(key), 10), all[at + 1..], "after `{key}`");
                assert_eq!(listed(None, at), all[..at], "at most {at} keys");
            }
            for (at, key) in all.iter().enumerate() {
                self.put(&name(key), b"new");
                assert_eq!(wait(self.store.get(&self.key(&name(key)))).as_deref().ok(), Some(&b"new"[..]));
                wait(self.store.delete(&self.key(&name(key)))).expect("delete succeeds");
                wait(self.store.delete(&self.key(&name(key)))).expect("deleting a missing key succeeds");
                let gone = wait(self.store.get(&self.key(&name(key))));
                assert!(matches!(gone, Err(StoreError::NotFound { .. })), "`{key}` is gone: {gone:?}");
                assert_eq!(listed(None, 10), all[at + 1..], "the others stay");
            }
            let below = wait(self.store.get(&self.key(&name("f-/below"))));
            assert!(matches!(below, Err(StoreError::NotFound { .. })), "nothing is below a value: {below:?}");
        }
    }

    fn put(&self, name: &str, value: &[u8]) {
        wait(self.store.put(&self.key(name), value)).expect("put succeeds");
    }

    fn get(&self, name: &str) -> Vec<u8> {
        wait(self.store.get(&self.key(name))).expect("get finds what was put")
    }

    fn values_round_trip(&self) {
        let long: Vec<u8> = (0..37u32 << 20).map(|i| (i ^ (i >> 11)) as u8).collect();
        for value in [&b""[..], b"x", &long[..5 << 20], &long] {
            self.put("value/a", value);
            assert!(self.get("value/a") == value, "a value of {} bytes comes back", value.len());
            let size = wait(self.store.size(&self.key("value/a"))).expect("size finds what was put");
            assert_eq!(size, value.len() as u64, "size is the length of the last value put");
        }
    }

    fn files_become_values(&self) {
        let value: Vec<u8> = (0..20u32 << 20).map(|i| (i ^ (i >> 9)) as u8).collect();
        for folder in [self.store.scratch(), std::env::temp_dir()] {
            for value in [&value[..], &[]] {
                let path = folder.join(format!("wren-conformance-{:016x}", crate::platform::random()));
                std::fs::write(&path, value).expect("the scratch folder accepts files");
                wait(self.store.put_file(&self.key("file/a"), &path)).expect("put_file succeeds");
                assert!(self.get("file/a") == value, "a file of {} bytes becomes a value", value.len());
                let _ = std::fs::remove_file(&path);
                let gone = wait(self.store.put_file(&self.key("file/b"), &path));
                assert!(matches!(gone, Err(StoreError::Io { .. })), "put_file of a missing file: {gone:?}");
            }
        }
    }

    fn missing_keys_are_not_found(&self) {
        let key = self.key("missing/a");
        let not_found = |error: Option<StoreError>| matches!(error, Some(StoreError::NotFound { .. }));
        assert!(not_found(wait(self.store.get(&key)).err()), "get of a missing key");
        assert!(not_found(wait(self.store.size(&key)).err()), "size of a missing key");
        assert!(not_found(wait(self.store.get_range(&key, 0..1)).err()), "get_range of a missing key");
        assert_eq!(wait(self.store.delete(&key)), Ok(()), "delete of a missing key");
        self.put("missing/a", b"1");
        assert_eq!(wait(self.store.delete(&key)), Ok(()));
        assert!(not_found(wait(self.store.get(&key)).err()), "get of a deleted key");
    }

    fn ranges_are_clipped(&self) {
        self.put("range", b"0123456789");
        let cases = [(0..3, "012"), (7..10, "789"), (8..99, "89"), (10..12, ""), (50..60, ""), (4..4, "")];
        for (range, want) in cases {
            let got = wait(self.store.get_range(&self.key("range"), range.clone()));
            assert_eq!(got, Ok(want.as_bytes().to_vec()), "get_range of {range:?} among 10 bytes");
        }
    }

    fn one_put_if_absent_wins(&self) {
        let key = self.key("absent/a");
        assert_eq!(wait(self.store.put_if_absent(&key, b"first")), Ok(()));
        let second = wait(self.store.put_if_absent(&key, b"second"));
        assert!(matches!(second, Err(StoreError::AlreadyExists { .. })), "the second put_if_absent: {second:?}");
        assert_eq!(self.get("absent/a"), b"first");
    }

    fn racing_writers_have_one_winner(&self, round: usize) {
        let key = self.key(&format!("race/{round}"));
        let start = std::sync::Barrier::new(16);
        let race = |writer: u8| {
            let value = vec![writer; 200_000];
            start.wait();
            wait(self.store.put_if_absent(&key, &value))
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let race = &race;
            let writers: Vec<_> = (0..16u8).map(|w| (w, scope.spawn(move || race(w)))).collect();
            writers.into_iter().map(|(w, t)| (w, t.join().expect("put_if_absent does not panic"))).collect()
        });
        let won: Vec<u8> = outcomes.iter().filter_map(|(w, outcome)| outcome.is_ok().then_some(*w)).collect();
        assert_eq!(won.len(), 1, "exactly one of 16 racing put_if_absent wins: {outcomes:?}");
        let lost = |o: &StoreResult<()>| matches!(o, Ok(()) | Err(StoreError::AlreadyExists { .. }));
        assert!(outcomes.iter().all(|(_, o)| lost(o)), "the others fail with AlreadyExists: {outcomes:?}");
        let value = wait(self.store.get(&key)).expect("the winner's value is there");
        assert!(value == vec![won[0]; 200_000], "the value is the complete value of the winner");
        wait(self.store.delete(&key)).expect("delete succeeds");
    }

    fn keys_are_listed_in_byte_order(&self) {
        let mut names: Vec<String> = (0..1_500).map(|i| format!("list/many/{i:05}")).collect();
        names.extend(["a-b", "a.b", "a/b", "a/c/d", "a0", "ab", "B"].map(|name| format!("list/{name}")));
        names.iter().for_each(|name| self.put(name, b""));
        self.put("listed-not", b"");
        let mut want: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        want.sort_unstable();
        let list = |prefix: &str, after: Option<&str>, limit| {
            wait(self.store.list(prefix, after, limit)).expect("list succeeds")
        };
        let prefix = self.key("list/");
        assert_eq!(list(&prefix, None, 10_000), want, "all keys of a prefix, in byte order");
        let list_stats = |after: Option<&str>, limit| {
            wait(self.store.list_stats(&prefix, after, limit)).expect("list_stats succeeds")
        };
        let stats = list_stats(None, 10_000);
        assert!(stats.iter().map(|(key, _)| key).eq(&want), "list_stats returns the keys of list");
        assert_eq!(list_stats(Some(&want[3]), 2), stats[4..6], "list_stats after a key, up to a limit");
        self.put("list/many/00000", b"seven..");
        let (key, stat) = list_stats(None, 10_000).into_iter().find(|(_, stat)| stat.len > 0).expect("it is listed");
        let alone = wait(self.store.stat(&key)).expect("stat finds what was put");
        assert_eq!((key, stat), (self.key("list/many/00000"), alone), "list_stats and stat agree");
        let mut paged = Vec::new();
        loop {
            let page = list(&prefix, paged.last().map(String::as_str), 97);
            assert!(page.len() <= 97, "a page of at most 97 keys has {}", page.len());
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, want, "all keys, page by page");
        let some: Vec<_> = want.iter().filter(|key| key.starts_with(&self.key("list/a"))).cloned().collect();
        assert_eq!(list(&self.key("list/a"), None, 10_000), some, "a prefix that ends inside a component");
        assert_eq!(list(&self.key("nothing/"), None, 10), Vec::<String>::new());
    }

    fn readers_see_whole_values(&self) {
        self.put("whole", &vec![0; 300_000]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..40 {
                    self.put("whole", &vec![n; 300_000]);
                }
                stop.store(true, Ordering::Release);
            });
            while !stop.load(Ordering::Acquire) {
                let value = self.get("whole");
                assert_eq!(value.len(), 300_000, "a value under replacement is complete");
                assert!(value.iter().all(|b| *b == value[0]), "a value under replacement comes from one put");
            }
        });
    }

    fn bad_keys_are_refused(&self) {
        for key in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", ".hidden", "a\0b"] {
            let put = wait(self.store.put(key, b""));
            assert!(matches!(put, Err(StoreError::BadKey { .. })), "put of key {key:?}: {put:?}");
            // A store that other programs also write to may look up any key.
            let get = wait(self.store.get(key));
            let none = matches!(get, Err(StoreError::BadKey { .. } | StoreError::NotFound { .. }));
            assert!(none, "get of key {key:?}: {get:?}");
        }
    }
}
