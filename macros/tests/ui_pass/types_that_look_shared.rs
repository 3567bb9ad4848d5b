//! Types with the names of shared ones, types in which serde copies a lock on purpose, and types that hold references.
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock};

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mutex<T>(T);

/// A type of the program's own may have a lock in it: whoever writes its derives knows that it is copied.
#[derive(Serialize, Deserialize)]
struct Cached {
    value: u64,
    #[serde(skip)]
    cache: Lock<Option<u64>>,
}

#[wren::remote]
fn length<'a>(text: Cow<'a, str>, own: Mutex<u64>, shared: Arc<Vec<u64>>, maybe: Option<&'a str>) -> Mutex<usize> {
    Mutex(text.len() + own.0 as usize + shared.len() + maybe.map_or(0, str::len))
}

#[wren::remote]
fn cached(cached: &Cached, names: &HashMap<String, [&str; 2]>) -> (u64, [f64; 32]) {
    *cached.cache.lock().unwrap() = Some(cached.value);
    (cached.value + names.len() as u64, [0.5; 32])
}

#[wren::main]
async fn main() -> wren::Result<()> {
    assert_eq!(length("a".into(), Mutex(1), Arc::new(vec![1]), Some("b")).await?.0, 4);
    let one = Cached { value: 1, cache: Lock::default() };
    assert_eq!(cached(&one, &HashMap::from([("a".to_owned(), ["b", "c"])])).await?.0, 2);
    Ok(())
}
