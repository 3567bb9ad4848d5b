//! Verifies that the deployed program is the one that was built, by requesting its registry.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use serde_json::json;
use wren::deployment::DeployedFn;

use super::{Site, functions};
use crate::listing::{self, Listing};

/// Calls a function to get the registry of its program.
pub(crate) async fn registry(site: &Site, lambda: &str) -> Result<Listing> {
    let answer = functions::invoke(site, lambda, &json!({ "wren": 1, "registry": true })).await?;
    listing::parse(&String::from_utf8_lossy(&answer))
        .map_err(|_| anyhow!("{lambda} runs, but does not return its remote functions; {}", functions::NOT_WREN))
}

/// Fails if the deployed remote functions differ from those that were built.
pub(crate) async fn same(site: &Site, lambda: &str, built: &[DeployedFn]) -> Result<()> {
    site.report.doing(format!("reading the remote functions of {lambda}"));
    let deployed: Vec<_> = registry(site, lambda).await?.functions.iter().map(listing::Function::deployed).collect();
    let names = differing(built, &deployed);
    if !names.is_empty() {
        bail!(
            "{lambda} runs, but these remote functions differ from those that were built: {}; run `cargo wren deploy` \
             again; if that does not help, run `cargo wren destroy` first",
            names.join(", ")
        );
    }
    Ok(())
}

/// Returns the names of the functions that differ or that only one side has.
pub(crate) fn differing(one: &[DeployedFn], other: &[DeployedFn]) -> Vec<String> {
    let by_name = |all: &[DeployedFn]| all.iter().map(|f| (f.name.clone(), f.clone())).collect::<BTreeMap<_, _>>();
    let (one, other) = (by_name(one), by_name(other));
    let mut names: Vec<_> = one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_functions_are_named_once() {
        let function = |name: &str, body_hash| DeployedFn {
            name: name.to_owned(),
            signature: "fn f()".to_owned(),
            body_hash,
            memory_mb: None,
            timeout: None,
        };
        let built = [function("a", 1), function("b", 1), function("c", 1)];
        let deployed = [function("c", 1), function("b", 2), function("d", 1)];
        assert_eq!(differing(&built, &deployed), ["a", "b", "d"]);
        assert!(differing(&built, &built).is_empty());
    }
}
