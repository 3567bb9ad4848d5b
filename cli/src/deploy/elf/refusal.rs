//! The reasons why a program cannot be deployed, with their fixes.

use std::fmt;

use super::{GLIBC, Glibc};
use crate::deploy::Arch;

/// A reason why a program would not start in `provided.al2023`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not a program for Linux.
    NotElf(String),
    /// It is a 32-bit program.
    Narrow,
    WrongMachine {
        found: String,
        wanted: Arch,
    },
    /// A shared library, an object file or a core dump.
    NotExecutable,
    /// Some symbols need a newer glibc or libstdc++. Each is listed with its library and version.
    NewGlibc {
        needs: Glibc,
        symbols: Vec<String>,
    },
    Missing {
        libraries: Vec<String>,
    },
    /// The dynamic loader has another path on Amazon Linux. This happens with a build on NixOS, for example.
    Loader {
        path: String,
        wanted: &'static str,
    },
}

impl Refusal {
    /// Returns whether a different way to build may fix it.
    pub(crate) fn may_be_fixed_by_another_build(&self) -> bool {
        matches!(self, Refusal::NewGlibc { .. } | Refusal::Loader { .. })
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotElf(why) => write!(
                f,
                "the program is not an ELF file ({why}), and Lambda only runs ELF files; build it for Linux: leave out \
                 `--binary`, or pass the result of `cargo build --target x86_64-unknown-linux-gnu`"
            ),
            Refusal::Narrow => f.write_str(
                "the program is a 32-bit program, and Lambda only runs 64-bit programs; build it for \
                 `x86_64-unknown-linux-gnu` or `aarch64-unknown-linux-gnu`",
            ),
            Refusal::WrongMachine { found, wanted } => write!(
                f,
                "the program is for {found}, but the Lambda functions use {wanted}; pass another `--target`, or build \
                 the program for `{}`",
                wanted.triple()
            ),
            Refusal::NotExecutable => f.write_str(
                "the file is a library or an object file and not an executable; pass a binary or an example of the \
                 package",
            ),
            Refusal::NewGlibc { needs, symbols } => write!(
                f,
                "the program needs glibc {needs} or a libstdc++ newer than that of GCC 11, but Amazon Linux 2023 has \
                 glibc {GLIBC} and the libstdc++ of GCC 11: the program uses {}; install `cargo-zigbuild` and zig \
                 (`pip install cargo-zigbuild ziglang`), which build for an older glibc, or a musl target (`rustup \
                 target add x86_64-unknown-linux-musl`), and deploy again",
                few(symbols)
            ),
            Refusal::Loader { path, wanted } => write!(
                f,
                "the program needs the dynamic loader {path}, which Amazon Linux 2023 does not have; install \
                 `cargo-zigbuild` and zig (`pip install cargo-zigbuild ziglang`), whose programs use {wanted}, and \
                 deploy again"
            ),
            Refusal::Missing { libraries } => write!(
                f,
                "the program needs shared libraries that Lambda's provided.al2023 does not have: {}; link them \
                 statically (many `-sys` crates have a feature `vendored`, `static` or `bundled` for this; for TLS, \
                 rustls works without OpenSSL), and deploy again",
                libraries.join(", ")
            ),
        }
    }
}

/// Lists the first six symbols, and the number of the others.
fn few(symbols: &[String]) -> String {
    match symbols.len().checked_sub(6).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", symbols[..6].join(", ")),
        None => symbols.join(", "),
    }
}
