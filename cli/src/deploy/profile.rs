//! The profile of deployed programs. It is passed on cargo's command line, so that no `Cargo.toml` needs it.
//!
//! Measured with two cores on a program with the S3 and Lambda clients (2026-11): release with thin LTO and one codegen
//! unit needs 114 s of processor time to relink, and the zip file has 6.0 MB. Without LTO, and with the SDK optimized
//! for size, relinking takes 6 s, and the zip file has 5.3 MB. Symbols would add 1.0 MB.

use anyhow::Result;

use crate::program::{Chosen, Select};

/// The profile's name, and the name of its folder below `target`.
pub(crate) const PROFILE: &str = "wren-deploy";

/// The packages to optimize for size: those that connect a function to AWS or to another server. They make up most of
/// the program's size, and mostly wait for the network or the disk. Checksums, cryptography and packages that programs
/// compute with are not in the list. Zstandard compresses a third slower when it is optimized for size, which is still
/// several times as fast as Lambda's network (`make bench`, compression).
const FOR_SIZE: [&str; 58] = [
    "aws-config",
    "aws-credential-types",
    "aws-runtime",
    "aws-sdk-lambda",
    "aws-sdk-s3",
    "aws-sdk-sso",
    "aws-sdk-ssooidc",
    "aws-sdk-sts",
    "aws-sigv4",
    "aws-smithy-async",
    "aws-smithy-checksums",
    "aws-smithy-eventstream",
    "aws-smithy-http",
    "aws-smithy-http-client",
    "aws-smithy-json",
    "aws-smithy-observability",
    "aws-smithy-query",
    "aws-smithy-runtime",
    "aws-smithy-runtime-api",
    "aws-smithy-schema",
    "aws-smithy-types",
    "aws-smithy-xml",
    "aws-types",
    "combine",
    "console",
    "glob",
    "h2",
    "heed",
    "heed-traits",
    "heed-types",
    "http",
    "http-body",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "icu_normalizer",
    "icu_properties",
    "idna",
    "indicatif",
    "lambda_runtime",
    "lambda_runtime_api_client",
    "lmdb-master-sys",
    "mio",
    "redis",
    "regex-lite",
    "rustls",
    "rustls-native-certs",
    "rustls-webpki",
    "time",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "toml",
    "toml_parser",
    "tower",
    "url",
    "xmlparser",
    "zstd-sys",
];

/// Returns the profile as arguments of cargo. It names only packages of the program, because cargo warns about others.
fn arguments(packages: &[String]) -> Vec<String> {
    let mut settings = vec![
        r#"inherits="release""#.to_owned(),
        "lto=false".to_owned(),
        // Sixteen, the default of release, would add 0.3 MB to the zip file; four only for wren, 0.1 MB.
        "codegen-units=1".to_owned(),
        // A panic in a remote function must become an error of that call.
        r#"panic="unwind""#.to_owned(),
        "debug=false".to_owned(),
        "strip=true".to_owned(),
    ];
    let for_size = FOR_SIZE.iter().filter(|name| packages.iter().any(|package| package == **name));
    // The SDK gets `z`: it is half of the program, and it only builds requests and reads responses.
    let level = |name: &str| if name.starts_with("aws-") { 'z' } else { 's' };
    settings.extend(for_size.map(|name| format!(r#"package.{name}.opt-level="{}""#, level(name))));
    let options = settings.into_iter().flat_map(|s| ["--config".to_owned(), format!("profile.{PROFILE}.{s}")]);
    ["--profile".to_owned(), PROFILE.to_owned()].into_iter().chain(options).collect()
}

/// Returns the profile for a program, as arguments of cargo.
pub(crate) fn of_program(select: &Select, chosen: &Chosen) -> Result<Vec<String>> {
    let packages: Vec<_> = select.packages_of(chosen)?.into_iter().map(|package| package.name).collect();
    Ok(arguments(&packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_packages_are_named() {
        let locked = ["hyper", "nalgebra"].map(str::to_owned);
        let arguments = arguments(&locked);
        assert_eq!(arguments[..2], ["--profile", "wren-deploy"]);
        let named: Vec<_> = arguments.iter().filter(|argument| argument.contains("opt-level")).collect();
        assert_eq!(named, [r#"profile.wren-deploy.package.hyper.opt-level="s""#]);
        assert!(arguments.contains(&r#"profile.wren-deploy.panic="unwind""#.to_owned()));
    }

    /// A package whose name has changed would silently be optimized for speed.
    #[test]
    fn names_match_this_workspace() {
        let lock = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
        let name = |line: &str| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned);
        let locked: Vec<_> = std::fs::read_to_string(lock).unwrap().lines().filter_map(name).collect();
        let unknown: Vec<_> = FOR_SIZE.iter().filter(|name| !locked.iter().any(|locked| locked == **name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
