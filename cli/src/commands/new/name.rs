//! Rejects package names that cargo accepts but that would clash with another crate.

use std::path::Path;

use anyhow::{Result, bail};

/// Crates that ship with Rust.
const OF_RUST: [&str; 5] = ["alloc", "core", "proc_macro", "std", "test"];

/// wren's own crates.
const OF_WREN: [&str; 4] = ["cargo_wren", "wren", "wren_cloud", "wren_macros"];

/// wren's dependencies. With two packages of the same name, cargo rejects `-p serde` as ambiguous.
const DEPENDENCIES: &[&str] = &[
    "aws_config",
    "aws_sdk_lambda",
    "aws_sdk_s3",
    "aws_smithy_http_client",
    "base64",
    "blake3",
    "bytemuck",
    "bytes",
    "castaway",
    "crc32fast",
    "csv",
    "fastrand",
    "flate2",
    "foldhash",
    "futures_core",
    "hashbrown",
    "heed",
    "indicatif",
    "inventory",
    "lambda_runtime",
    "libc",
    "linkme",
    "log",
    "memchr",
    "memmap2",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "redis",
    "rustix",
    "serde",
    "serde_json",
    "smallvec",
    "tempfile",
    "thiserror",
    "tokio",
    "toml",
    "tracing",
    "tracing_core",
    "tracing_opentelemetry",
    "tracing_subscriber",
    "zstd",
];

/// Keywords of Rust, which cannot name a crate.
const KEYWORDS: &[&str] = &[
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Fails if cargo accepts no package of this name, or if it would be mistaken for another one.
pub(super) fn check(name: &str, path: &Path) -> Result<()> {
    let Some(reason) = reason(name) else { return Ok(()) };
    let other: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    let other = other.trim_start_matches(['-', '_']);
    bail!(
        "the name `{name}` cannot be used for a package: {reason}; choose another one with --name, as in \
         `cargo wren new {} --name my-{other}`",
        path.display()
    )
}

/// Returns whether the name of a package may contain this.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

fn reason(name: &str) -> Option<&'static str> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some("it starts with a digit");
    }
    if !name.chars().all(is_allowed) {
        return Some("it may have only letters, digits, `-` and `_`");
    }
    if KEYWORDS.contains(&name) {
        return Some("it is a keyword of Rust");
    }
    let name = name.replace('-', "_");
    let name = name.as_str();
    if OF_RUST.contains(&name) {
        return Some("Rust itself has a crate of that name, and the compiler would mistake one for the other");
    }
    if OF_WREN.contains(&name) {
        return Some("wren has a crate of that name, and its items would be mistaken for yours");
    }
    DEPENDENCIES
        .contains(&name)
        .then_some("wren depends on a package of that name, and cargo could not tell the two apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_are_refused() {
        for name in ["wren", "wren-cloud", "wren_cloud", "serde", "crc32fast", "linkme", "core", "proc-macro"] {
            let refusal = check(name, Path::new("projects/x")).unwrap_err().to_string();
            assert!(refusal.contains(&format!("`cargo wren new projects/x --name my-{name}`")), "{refusal}");
        }
        for (name, other) in [("9lives", "9lives"), ("a b", "a-b"), ("fn", "fn"), ("größe.2", "größe-2")] {
            let refusal = check(name, Path::new("x")).unwrap_err().to_string();
            assert!(refusal.ends_with(&format!("`cargo wren new x --name my-{other}`")), "{refusal}");
        }
        for name in ["hello", "wren-hello", "my-serde", "cores"] {
            check(name, Path::new("x")).unwrap();
        }
    }

    #[test]
    fn wrens_dependencies_are_known() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/Cargo.toml");
        let manifest: toml_edit::DocumentMut = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        assert!(dependencies.len() > 10);
        for (name, _) in dependencies {
            assert!(reason(name).is_some(), "`{name}` is a dependency of wren: add it to DEPENDENCIES in new/name.rs");
        }
    }
}
