//! A shuffle through Redis.

use std::fs;

use libtest_mimic::Trial;
use wren::{Executor, Input};

use super::redis_server::RedisServer;

pub(crate) fn trials() -> Vec<Trial> {
    super::trials![a_sort_through_redis_is_right_and_leaves_nothing]
}

fn a_sort_through_redis_is_right_and_leaves_nothing() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut lines: Vec<String> = (0..50_000).map(|_| format!("{:x}", random.u64(..))).collect();
    fs::write(folder.path().join("in"), lines.join("\n")).unwrap();
    lines.sort_unstable();

    let store = format!("file:{}", folder.path().join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let input = Input::glob(folder.path().join("in")).unwrap().split_size(100_000);
    let sort = wren::sort(input).partitions(3).shuffle(server.url()).on(&executor).quiet();
    let sorted = wren::block_on(sort.write(folder.path().join("out").display().to_string())).unwrap();
    let ours: String = sorted.files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(ours.lines().eq(&lines));
    let redis = wren::store::open(&server.url()).unwrap();
    assert_eq!(wren::block_on(redis.list("", None, 10)).unwrap(), [""; 0]);
}
