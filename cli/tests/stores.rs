//! The S3 store against two servers that others wrote: s3s behind the emulator, and moto.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;
use std::sync::Arc;

use support::{Moto, emulate, run_inner};
use wren::store::{self, Store};

#[test]
fn s3_on_the_emulator() {
    let mut command = emulate(&[]);
    command.arg(std::env::current_exe().unwrap());
    run_inner(command, "inner_s3");
}

#[test]
fn s3_on_the_emulator_that_refuses_a_tenth() {
    let mut command = emulate(&["--throttle", "0.1", "--seed", "3"]);
    command.arg(std::env::current_exe().unwrap()).env("INNER_ROUNDS", "50");
    run_inner(command, "inner_s3");
}

#[test]
fn s3_on_moto() {
    let moto = Moto::start();
    let mut command = Command::new(std::env::current_exe().unwrap());
    // A slow server, whose every race others have tried.
    command.envs(moto.variables()).env("INNER_ROUNDS", "100");
    run_inner(command, "inner_s3");
}

#[test]
#[ignore = "run by the tests above, with a server's address"]
fn inner_s3() {
    let store = opened("s3://conformance-bucket/a/prefix");
    store::conformance(store.clone());
    let rounds = std::env::var("INNER_ROUNDS").map_or(1_000, |rounds| rounds.parse().unwrap());
    store::race(store, rounds);
    let missing = wren::block_on(store::open("s3://no-such-bucket").unwrap().get("a")).unwrap_err().to_string();
    assert!(missing.contains("NoSuchBucket") && missing.contains("cargo wren deploy"), "{missing}");
}

fn opened(url: &str) -> Arc<dyn Store> {
    wren::block_on(async {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http).load().await;
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        client.create_bucket().bucket("conformance-bucket").send().await.unwrap();
    });
    store::open(url).unwrap()
}
