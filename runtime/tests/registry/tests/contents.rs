//! The exact contents of the registries of a library, a binary, an example and an integration test.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

// If no code mentions a library, the library and its functions are not linked.
use shelf as _;

/// A function of this test.
#[wren::remote]
fn of_the_test() -> u32 {
    1
}

const LIBRARY: [&str; 4] = ["shelf::fetch", "shelf::inside", "shelf::private", "shelf::upper::reach"];

/// Whether a function is not one of wren's own, which depend on its features.
fn is_users(name: &str) -> bool {
    !name.starts_with("wren::")
}

fn listed(program: &PathBuf) -> Vec<String> {
    let output = Command::new(program).env("WREN_LIST", "json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let functions = listing["functions"].as_array().unwrap();
    functions.iter().map(|f| f["name"].as_str().unwrap().to_owned()).filter(|name| is_users(name)).collect()
}

fn ran(program: &PathBuf) -> String {
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn this_test_has_the_library_and_itself() {
    let names: Vec<_> = wren::registry::all().unwrap().iter().map(|f| f.name).filter(|name| is_users(name)).collect();
    assert_eq!(names, [&["contents::of_the_test"], &LIBRARY[..]].concat());
    assert_eq!(wren::block_on(of_the_test()).unwrap(), 1);
    assert_eq!(wren::block_on(shelf::nested()).unwrap(), 1);
}

#[test]
fn the_binary_has_the_library_and_itself() {
    let counter = PathBuf::from(env!("CARGO_BIN_EXE_counter"));
    assert_eq!(listed(&counter), [&["counter::sell"], &LIBRARY[..]].concat());
    assert_eq!(ran(&counter), "3");
}

#[test]
fn the_example_has_itself_alone() {
    let window = PathBuf::from(env!("CARGO_BIN_EXE_counter")).with_file_name("examples").join("window");
    assert_eq!(listed(&window), ["window::look"]);
    assert_eq!(ran(&window), "1");
}

#[test]
fn records_match_their_annotation() {
    let reach = wren::registry::find("shelf::upper::reach").unwrap();
    assert_eq!(reach.signature, "fn reach(name: &str, tags: &[String]) -> Result<String, std::fmt::Error>");
    assert!(reach.file.ends_with("registry/src/lib.rs"), "{}", reach.file);
    let source = include_str!("../src/lib.rs");
    let line = source.lines().nth(reach.line as usize - 1).unwrap();
    assert!(line[reach.column as usize - 1..].starts_with("reach("), "{}:{} is `{line}`", reach.line, reach.column);
    assert_eq!((reach.memory_mb, reach.retries), (Some(2048), Some(2)));
    assert_eq!(reach.timeout, Some(Duration::from_millis(1500)));
    assert_ne!(reach.body_hash, wren::registry::find("shelf::fetch").unwrap().body_hash);
}

#[test]
fn unknown_names_list_all_known_ones() {
    let message = wren::registry::find("shelf::missing").unwrap_err().to_string();
    assert!(message.contains("shelf::upper::reach") && message.contains("use that_crate as _;"), "{message}");
}
