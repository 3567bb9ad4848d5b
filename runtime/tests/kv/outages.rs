//! A Redis server that becomes unavailable in the middle of a job.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::kv::{Kv, KvError};
use wren::{Error, Result};

use super::{RedisServer, executor, trials};

/// More than ten times the usual time of any of these tests, and much less than a wait for each of a thousand commands,
/// or for each increment.
const LIMIT: Duration = Duration::from_secs(60);

/// Number of increments of a call that is to end with an error: so many that the server is always stopped before the
/// last one, however late a busy machine runs the thread that stops it.
const ENDLESS: u64 = 1_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_killed_server_is_an_error_naming_it,
        a_restarted_server_gives_no_wrong_sum,
        a_durable_server_may_be_restarted,
        reads_wait_for_a_restarting_server,
        a_frozen_server_is_an_error_naming_it,
        an_absent_server_is_an_error_naming_it,
    ]
}

#[wren::remote]
fn count(kv: Kv, times: u64) -> Result<()> {
    for _ in 0..times {
        kv.increment("sum", 1)?;
    }
    Ok(())
}

/// Runs a job of 20 calls with `each` increments, and calls `meanwhile` in the middle of it.
fn job(kv: &Kv, each: u64, meanwhile: impl FnOnce() + Send) -> Result<i64> {
    kv.set_bytes("sum", b"0")?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while kv.counter("sum").is_ok_and(|sum| sum < 2_000) {
                std::thread::sleep(Duration::from_millis(1));
            }
            meanwhile();
        });
        let calls = wren::map(|_| count(kv.clone(), each), 0..20);
        wren::block_on(calls.chunk(1).on(&executor(3)).into_future())?;
        kv.counter("sum")
    })
}

/// Runs `act` and asserts that it takes less than [`LIMIT`].
fn in_time<T>(act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = act();
    assert!(start.elapsed() < LIMIT, "it took {:?}", start.elapsed());
    value
}

fn names(error: &Error, server: &RedisServer) {
    assert!(error.to_string().contains(&server.url()), "{error}");
}

fn a_killed_server_is_an_error_naming_it() {
    let mut server = RedisServer::start();
    let kv = Kv::open(&format!("{}?timeout=1", server.url())).unwrap();
    let url = server.url();
    let error = in_time(|| job(&kv, ENDLESS, || server.kill())).unwrap_err();
    assert!(error.to_string().contains(&url), "{error}");
}

fn a_restarted_server_gives_no_wrong_sum() {
    let mut server = RedisServer::start();
    let kv = Kv::open(&server.url()).unwrap();
    let url = server.url();
    let restart = || {
        server.kill();
        server.start_again(&[]);
    };
    let error = in_time(|| job(&kv, ENDLESS, restart)).unwrap_err();
    assert!(error.to_string().contains(&url), "{error}");
    // Also for a handle that was idle during the restart.
    let error = kv.counter("sum").unwrap_err();
    assert!(matches!(error, Error::Kv(KvError::Restarted { .. })), "{error}");
    assert_eq!(
        Kv::open(&server.url()).unwrap().counter("sum").unwrap(),
        0,
        "a new handle accepts the restarted server"
    );
}

fn a_durable_server_may_be_restarted() {
    const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = RedisServer::start_with(&DURABLE);
    let kv = Kv::open(&format!("{}?restarts=allowed", server.url())).unwrap();
    let url = server.url();
    let restart = || {
        server.kill();
        server.start_again(&DURABLE);
    };
    match in_time(|| job(&kv, 2_000, restart)) {
        // No increment was in progress.
        Ok(sum) => assert_eq!(sum, 40_000),
        Err(error) => assert!(error.to_string().contains(&url), "{error}"),
    }
    let sum = kv.counter("sum").unwrap();
    assert!((2_000..=40_000).contains(&sum), "{sum}");
    assert_eq!(kv.increment("sum", 5).unwrap(), sum + 5);
}

fn reads_wait_for_a_restarting_server() {
    let mut server = RedisServer::start();
    // The server has a minute for its restart.
    let patient = Kv::open(&format!("{}?restarts=allowed&timeout=60", server.url())).unwrap();
    patient.set("a", &1).unwrap();
    server.kill();
    let (value, mut server) = std::thread::scope(|scope| {
        let again = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            server.start_again(&[]);
            server
        });
        (patient.get::<u32>("a"), again.join().unwrap())
    });
    assert_eq!(value.unwrap(), None);
    let kv = Kv::open(&format!("{}?timeout=10", server.url())).unwrap();
    kv.set("a", &2).unwrap();
    server.kill();
    let start = Instant::now();
    let error = kv.get::<u32>("a").unwrap_err();
    assert!(matches!(error, Error::Kv(KvError::Unreachable { .. })), "{error}");
    names(&error, &server);
    // The last pause, of at most 0.2 s, would exceed the timeout. A second wait for the timeout would take 20 s.
    assert!((9..20).contains(&start.elapsed().as_secs()), "it retries until the timeout, and no longer");
}

fn a_frozen_server_is_an_error_naming_it() {
    let server = RedisServer::start();
    let kv = Kv::open(&format!("{}?timeout=0.5", server.url())).unwrap();
    kv.set_numbers("numbers", &[0.0f32; 3_000]).unwrap();
    let error = in_time(|| job(&kv, ENDLESS, || server.signal("STOP"))).unwrap_err();
    names(&error, &server);
    assert!(error.to_string().contains("no answer"), "{error}");
    // On new connections, with one command and with many.
    let keys: Vec<String> = (0..1_000).map(|i| i.to_string()).collect();
    let ranges: Vec<_> = keys.iter().map(|key| (key.as_str(), 0..4)).collect();
    let outcomes = in_time(|| {
        [kv.get::<u32>("a").err(), kv.storage().get_ranges(&ranges).err().map(Error::Kv), kv.increment("sum", 1).err()]
    });
    for error in outcomes {
        let error = error.unwrap();
        assert!(matches!(error, Error::Kv(KvError::Unreachable { .. })), "{error}");
        names(&error, &server);
    }
    server.signal("CONT");
    assert_eq!(kv.numbers::<f32>("numbers").unwrap().map(|numbers| numbers.len()), Some(3_000));
    // An update that was sent but not answered is a different error.
    server.signal("STOP");
    let error = kv.increment("sum", 1).unwrap_err();
    assert!(matches!(error, Error::Kv(KvError::Uncertain { .. })), "{error}");
    names(&error, &server);
    server.signal("CONT");
}

fn an_absent_server_is_an_error_naming_it() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kv = Kv::open(&format!("redis://127.0.0.1:{port}/0?timeout=0.3")).unwrap();
    let error = in_time(|| kv.increment("a", 1)).unwrap_err();
    assert!(matches!(error, Error::Kv(KvError::Unreachable { .. })), "{error}");
    assert!(error.to_string().contains(&format!("redis://127.0.0.1:{port}/0")), "{error}");
}
