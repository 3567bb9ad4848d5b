//! The figures of the book that are generated from measurements.

use std::process::Command;

use super::root;

#[test]
fn tables_and_plots_match_measurements() {
    let check = Command::new("python3").arg(root().join("compare/render.py")).arg("--check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
