//! Tests key-value storage with real processes and a real Redis server, which are both killed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crashes;
mod jobs;
mod outages;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[cfg(feature = "data")]
mod shuffle;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Trial;
use wren::Executor;
use wren::kv::Kv;

use redis_server::RedisServer;

fn executor(workers: usize) -> Executor {
    Executor::builder().backend("local").workers(workers).store("memory:").build().unwrap()
}

/// Runs a test with a storage of each kind.
fn on_all(test: fn(&Kv)) {
    let folder = tempfile::tempdir().unwrap();
    test(&Kv::open(&format!("embedded:{}", folder.path().display())).unwrap());
    let server = RedisServer::start();
    test(&Kv::open(&server.url()).unwrap());
    test(&Kv::open(&format!("{}?prefix=some:", server.url())).unwrap());
}

fn redis_conforms() {
    let server = RedisServer::start();
    for options in ["", "?prefix=some*prefix:"] {
        let kv = Kv::open(&format!("{}{options}", server.url())).unwrap();
        wren::conformance::kv(kv.storage().clone());
    }
}

fn the_redis_store_conforms() {
    let server = RedisServer::start();
    let store = wren::store::open(&server.url()).unwrap();
    wren::conformance::store(store.clone());
    wren::conformance::race(store, 1_000);
    let other: Arc<dyn wren::store::Store> = wren::store::open(&format!("{}?prefix=b/", server.url())).unwrap();
    wren::conformance::store(other);
}

fn forgotten_scripts_are_loaded_again() {
    let server = RedisServer::start();
    let kv = Kv::open(&server.url()).unwrap();
    kv.set_numbers("n", &[0.0f32; 8]).unwrap();
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        kv.add("n", 2, &[1.0f32; 3]).unwrap();
    }
    assert_eq!(kv.numbers::<f32>("n").unwrap().unwrap(), [0.0, 0.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0]);
}

/// Turns functions into tests.
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$(libtest_mimic::Trial::test(stringify!($name), || {
            $name();
            Ok(())
        })),*]
    };
}
use trials;

#[wren::main]
fn main() -> ExitCode {
    if let Some(code) = crashes::write_if_asked() {
        return code;
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Each test starts several processes itself.
    arguments.test_threads = Some(1);
    let own: Vec<Trial> = trials![redis_conforms, the_redis_store_conforms, forgotten_scripts_are_loaded_again];
    let mut trials: Vec<_> =
        [own, jobs::trials(), crashes::trials(), outages::trials()].into_iter().flatten().collect();
    #[cfg(feature = "data")]
    trials.extend(shuffle::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
