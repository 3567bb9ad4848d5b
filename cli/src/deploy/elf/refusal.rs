//! Why a program is refused, and what mends it.

use std::fmt;

use super::{GLIBC, Glibc};
use crate::deploy::Arch;

/// Why a program would not start in `provided.al2023`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no program for Linux.
    NotElf(String),
    /// Of 32 bits.
    Narrow,
    WrongMachine {
        found: String,
        wanted: Arch,
    },
    /// A shared library, an object file or a core dump.
    NotExecutable,
    /// Symbols, each with the version of glibc that it needs and the library it is from.
    NewGlibc {
        needs: Glibc,
        symbols: Vec<String>,
    },
    Missing {
        libraries: Vec<String>,
    },
    /// What would start it is elsewhere on Amazon Linux, as after a build on NixOS.
    Loader {
        path: String,
        wanted: &'static str,
    },
}

impl Refusal {
    /// Whether another way of building may mend it.
    pub(crate) fn is_mended_by_building_otherwise(&self) -> bool {
        matches!(self, Refusal::NewGlibc { .. } | Refusal::Loader { .. })
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotElf(why) => write!(
                f,
                "the program is no ELF file ({why}), and Lambda starts nothing else; build it for Linux: leave \
                 `--binary` out, or give what `cargo build --target x86_64-unknown-linux-gnu` made"
            ),
            Refusal::Narrow => f.write_str(
                "the program is of 32 bits, and Lambda runs only those of 64; build it for \
                 `x86_64-unknown-linux-gnu` or `aarch64-unknown-linux-gnu`",
            ),
            Refusal::WrongMachine { found, wanted } => write!(
                f,
                "the program is for {found}, and the functions are to be {wanted}; give another `--target`, or \
                 build it for `{}`",
                wanted.triple()
            ),
            Refusal::NotExecutable => f.write_str(
                "the file is no program that can be started, but a library or an object file; give a binary or an \
                 example of the package",
            ),
            Refusal::NewGlibc { needs, symbols } => write!(
                f,
                "the program needs glibc {needs} or a libstdc++ newer than GCC 11's, and Amazon Linux 2023 has glibc \
                 {GLIBC} and that of GCC 11: it uses {}; install \
                 `cargo-zigbuild` and zig (`pip install cargo-zigbuild ziglang`), which builds for an older glibc, \
                 or a musl target (`rustup target add x86_64-unknown-linux-musl`), and deploy again",
                few(symbols)
            ),
            Refusal::Loader { path, wanted } => write!(
                f,
                "the program is started by {path}, which Amazon Linux 2023 has not; install `cargo-zigbuild` and zig \
                 (`pip install cargo-zigbuild ziglang`), whose programs are started by {wanted}, and deploy again"
            ),
            Refusal::Missing { libraries } => write!(
                f,
                "the program needs shared libraries that Lambda's provided.al2023 lacks: {}; link them statically \
                 (many `-sys` crates have a feature `vendored`, `static` or `bundled` for it; for TLS, rustls needs \
                 no OpenSSL), and deploy again",
                libraries.join(", ")
            ),
        }
    }
}

fn few(symbols: &[String]) -> String {
    match symbols.len().checked_sub(6).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", symbols[..6].join(", ")),
        None => symbols.join(", "),
    }
}
