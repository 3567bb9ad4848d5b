//! Handles as arguments of remote functions that run in several processes at once.

use libtest_mimic::Trial;
use wren::kv::{Kv, Params};

use super::{RedisServer, executor, on_all, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        processes_race_and_lose_nothing,
        all_processes_push_to_parameters,
        workers_open_the_drivers_storage,
        passwords_are_not_sent,
    ]
}

#[wren::remote]
fn stress(kv: Kv, rounds: u64) -> u32 {
    // Long enough that a second worker starts before the first one has run all calls, also on a busy machine.
    std::thread::sleep(std::time::Duration::from_millis(200));
    wren::conformance::stress(&**kv.storage(), "race", rounds);
    std::process::id()
}

fn processes_race_and_lose_nothing() {
    on_all(|kv| {
        let calls = wren::map(|_| stress(kv.clone(), 150), 0..8);
        let mut processes = wren::block_on(calls.chunk(1).on(&executor(4)).into_future()).unwrap();
        processes.sort_unstable();
        processes.dedup();
        assert!(processes.len() > 1, "several processes take part");
        wren::conformance::check_stress(&**kv.storage(), "race", 8, 150);
    });
}

#[wren::remote]
fn push(weights: Params<f32>, task: usize) -> wren::Result<()> {
    let (len, ones) = (weights.len(), vec![1.0; 700]);
    for i in 0..50 {
        weights.push((task * 31 + i * 97) % (len - 700), &ones)?;
        let indices: Vec<usize> = (0..40).map(|j| (task + i * 7 + j * 53) % len).collect();
        weights.push_sparse(&indices, &ones[..40])?;
        assert_eq!(weights.pull_range(100..len)?.len(), len - 100);
    }
    Ok(())
}

fn all_processes_push_to_parameters() {
    on_all(|kv| {
        let weights = Params::create_sharded(kv, "weights", &[0.0f32; 2_500], 256).unwrap();
        let calls = wren::map(|task| push(weights.clone(), task), 0..6);
        wren::block_on(calls.chunk(1).on(&executor(3)).into_future()).unwrap();
        // Whole numbers this small are exact in `f32`, so that the sum shows any loss.
        let sum: f32 = weights.pull().unwrap().iter().sum();
        assert_eq!(sum, 6.0 * 50.0 * 740.0);
        assert_eq!(Params::<f32>::open(kv, "weights").unwrap().pull().unwrap(), weights.pull().unwrap());
        weights.delete().unwrap();
        assert!(kv.keys("weights").unwrap().is_empty());
    });
}

#[wren::remote]
fn url_of(kv: &Kv) -> String {
    kv.url()
}

fn workers_open_the_drivers_storage() {
    on_all(|kv| {
        let url = wren::block_on(url_of(kv).on(&executor(1))).unwrap();
        assert_eq!(url, kv.url());
    });
}

fn passwords_are_not_sent() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let url = server.url().replace("//", "//:s3cret@");
    let kv = Kv::open(&url).unwrap();
    kv.set("a", &1).unwrap();
    assert_eq!(format!("{kv:?}"), format!("Kv({})", server.url().replace("//", "//:***@")));
    let message = wren::block_on(url_of(&kv).on(&executor(1))).unwrap_err().to_string();
    assert!(message.contains("password") && message.contains("Kv::open(\"env:NAME\")"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    let message = wren::store::open(&url).unwrap_err().to_string();
    assert!(message.contains("password_env=NAME") && !message.contains("s3cret"), "{message}");
    // A wrong password is an error that names the server, and is not retried for long.
    let wrong = Kv::open(&server.url().replace("//", "//:wr0ng@")).unwrap();
    let message = wrong.get::<u32>("a").unwrap_err().to_string();
    assert!(message.contains("cannot reach redis://:***@127.0.0.1"), "{message}");
    assert!(!message.contains("wr0ng"), "{message}");

    // SAFETY: trials run one at a time, and no other thread of this process reads the environment now.
    unsafe { std::env::set_var("KV_TEST_URL", &url) };
    let named = Kv::open("env:KV_TEST_URL").unwrap();
    assert_eq!(wren::block_on(url_of(&named).on(&executor(1))).unwrap(), kv.url());
    let message = Kv::open("env:KV_TEST_NONE").unwrap_err().to_string();
    assert!(message.contains("environment variable KV_TEST_NONE, which is not set"), "{message}");
}
