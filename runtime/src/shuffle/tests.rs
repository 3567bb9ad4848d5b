//! Tests of the shuffle: every record arrives once, in order, also with little memory.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::store::{self, FileStore, MemoryStore};

type Pair = (Vec<u8>, Vec<u8>);

/// Scatters the records of each map task, and returns the records of each reduce task.
fn shuffled(
    store: &Arc<dyn Store>,
    tasks: &[Vec<Pair>],
    partitions: usize,
    memory: usize,
    compress: bool,
) -> Vec<Vec<Pair>> {
    let scattered: Vec<_> = (0..)
        .zip(tasks)
        .map(|(task, pairs)| {
            let mut scatter = Scatter::new(partitions, memory, store.scratch(), compress);
            for (i, (key, value)) in pairs.iter().enumerate() {
                let partition = usize::from(key.first().copied().unwrap_or(0)) % partitions;
                if i % 2 == 0 {
                    scatter.push(partition, key, value).unwrap();
                } else {
                    scatter.push_whole(partition, &[&key[..], value].concat(), key.len()).unwrap();
                }
            }
            scatter.finish(&**store, &format!("job/shuffle/0/{task}")).unwrap()
        })
        .collect();
    let sorted = |partition| {
        let mut sorter = Sorter::new(memory, store.scratch());
        let segments = scattered.iter().filter_map(|object| object.segment(partition)).collect();
        Segments::new(store.clone(), segments, memory).read(|records| sorter.add(records)).unwrap();
        let mut merged = sorter.finish().unwrap();
        let mut records = Vec::new();
        while let Some(record) = merged.record() {
            records.push((record.key().to_vec(), record.value().to_vec()));
            merged.advance().unwrap();
        }
        records
    };
    (0..partitions).map(sorted).collect()
}

/// Returns the records that a shuffle must give each reduce task, by the standard library's stable sort.
fn expected(tasks: &[Vec<Pair>], partitions: usize) -> Vec<Vec<Pair>> {
    let of = |partition| {
        let is_of = |(key, _): &&Pair| usize::from(key.first().copied().unwrap_or(0)) % partitions == partition;
        let mut pairs: Vec<_> = tasks.iter().flatten().filter(is_of).cloned().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs
    };
    (0..partitions).map(of).collect()
}

fn pairs() -> impl Strategy<Value = Vec<Vec<Pair>>> {
    let bytes = |most| prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..most);
    prop::collection::vec(prop::collection::vec((bytes(12), bytes(200)), 0..60), 0..5)
}

proptest! {
    #[test]
    fn every_record_arrives_once_in_the_order_of_keys_and_tasks(
        tasks in pairs(), partitions in 1usize..7, compress: bool, memory in prop_oneof![Just(1usize), 1usize..20_000],
    ) {
        let store: Arc<dyn Store> = MemoryStore::named("");
        prop_assert_eq!(shuffled(&store, &tasks, partitions, memory, compress), expected(&tasks, partitions));
    }
}

#[test]
fn data_larger_than_memory_goes_through_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FileStore::open(folder.path()).unwrap());
    let mut random = fastrand::Rng::with_seed(7);
    let mut pair = || {
        let key: Vec<u8> = (0..random.usize(1..20)).map(|_| random.u8(..)).collect();
        let value = vec![random.u8(..); random.usize(..300)];
        (key, value)
    };
    let mut tasks: Vec<Vec<Pair>> = (0..3).map(|_| (0..40_000).map(|_| pair()).collect()).collect();
    // A record longer than any block and than all the memory.
    tasks[1][100].1 = (0..3 << 20).map(|i| i as u8).collect();
    for compress in [false, true] {
        assert_eq!(shuffled(&store, &tasks, 4, 1 << 20, compress), expected(&tasks, 4));
    }
    let left: Vec<_> = std::fs::read_dir(store.scratch()).unwrap().collect();
    assert!(left.is_empty(), "files are left: {left:?}");
}

#[test]
fn long_lengths_round_trip() {
    for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
        let (key, value) = (vec![1; len], vec![2; 300]);
        let mut block = Vec::new();
        record::write(&key, &value, &mut block);
        let (record, rest) = Record::read(&block).unwrap();
        assert!(record.key() == key && record.value() == value && rest.is_empty());
        for cut in [0, 1, block.len() / 2, block.len() - 1] {
            assert!(Record::read(&block[..cut]).is_none(), "{len}, cut at {cut}");
        }
    }
    assert!(Record::read(&[0xff; 40]).is_none(), "a length that is too large");
}

#[test]
fn damage_is_an_error_naming_the_object() {
    let store: Arc<dyn Store> = MemoryStore::named("");
    let mut scatter = Scatter::new(1, 1 << 20, store.scratch(), false);
    (0..1_000u32).for_each(|i| scatter.push(0, &i.to_be_bytes(), b"some value").unwrap());
    let object = scatter.finish(&*store, "job/shuffle/0/7").unwrap();
    let whole = store::wait(store.get("job/shuffle/0/7")).unwrap();
    let read = || {
        let mut sorter = Sorter::new(1 << 20, store.scratch());
        Segments::new(store.clone(), vec![object.segment(0).unwrap()], 1 << 20).read(|records| sorter.add(records))
    };
    assert_eq!(read(), Ok(()));
    let end = object.ends[0] as usize;
    for at in [0, 3, 5, 9, 12, 13, 500, end - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        store::wait(store.put("job/shuffle/0/7", &damaged)).unwrap();
        let error = read().unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { key, .. } if key == "job/shuffle/0/7"), "{at}: {error}");
    }
    store::wait(store.put("job/shuffle/0/7", &whole[..end / 2])).unwrap();
    assert!(matches!(read(), Err(StoreError::Damaged { .. })));
    store::wait(store.delete("job/shuffle/0/7")).unwrap();
    assert!(matches!(read(), Err(StoreError::NotFound { .. })));
}

#[test]
fn an_object_ends_with_its_index() {
    let store: Arc<dyn Store> = MemoryStore::named("");
    let mut scatter = Scatter::new(3, 1 << 20, store.scratch(), false);
    scatter.push(0, b"a", b"1").unwrap();
    scatter.push(99, b"b", b"2").unwrap();
    let object = scatter.finish(&*store, "job/shuffle/0/0").unwrap();
    let bytes = store::wait(store.get("job/shuffle/0/0")).unwrap();
    assert!(bytes.ends_with(b"wrenshuf"));
    assert_eq!(object.ends.len(), 3);
    assert_eq!(bytes.len() as u64, object.ends[2] + 3 * 8 + 8 + 8);
    assert!(object.segment(1).is_none() && object.segment(2).is_some() && object.segment(3).is_none());
}

proptest! {
    #[test]
    fn prefixes_compare_as_keys(a in prop::collection::vec(0u8..3, 0..11), b in prop::collection::vec(0u8..3, 0..11)) {
        let [first, second] = [prefix(&a), prefix(&b)];
        match first.cmp(&second) {
            std::cmp::Ordering::Equal if record::is_whole(first) => prop_assert_eq!(a, b),
            std::cmp::Ordering::Equal => {}
            order => prop_assert_eq!(order, a.cmp(&b)),
        }
    }
}
