//! The parts of a deployment, which `cargo wren deploy` puts together. Each part first reads the current state and
//! changes it only if something is missing or differs, so deploying again is safe.

pub(crate) mod bucket;
pub(crate) mod build;
pub(crate) mod debug_info;
pub(crate) mod elf;
pub(crate) mod feature;
pub(crate) mod functions;
pub(crate) mod log_groups;
pub(crate) mod name;
pub(crate) mod package;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod removal;
pub(crate) mod report;
pub(crate) mod role;
pub(crate) mod site;
pub(crate) mod verify;

use std::fmt;

use aws_sdk_lambda::types::Architecture;
use object::elf::{EM_AARCH64, EM_X86_64, Machine};

pub(crate) use site::Site;

/// The tag of all resources of a deployment; its value is the deployment's name.
pub(crate) const TAG: &str = "wren";

/// Formats a number of things: `1 function`, `2 functions`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Processor architectures of AWS Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "arm64")]
    Arm64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Arm64];

    /// Returns Lambda's name for it.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::X86_64 { "x86_64" } else { "arm64" }
    }

    pub(crate) fn lambda(self) -> Architecture {
        if self == Self::X86_64 { Architecture::X8664 } else { Architecture::Arm64 }
    }

    /// Returns Rust's name for it.
    pub(crate) fn cpu(self) -> &'static str {
        if self == Self::X86_64 { "x86_64" } else { "aarch64" }
    }

    /// Returns the Rust target with glibc.
    pub(crate) fn triple(self) -> &'static str {
        if self == Self::X86_64 { "x86_64-unknown-linux-gnu" } else { "aarch64-unknown-linux-gnu" }
    }

    /// Returns the path of the dynamic loader.
    pub(crate) fn loader(self) -> &'static str {
        if self == Self::X86_64 { "/lib64/ld-linux-x86-64.so.2" } else { "/lib/ld-linux-aarch64.so.1" }
    }

    pub(crate) fn machine(self) -> Machine {
        if self == Self::X86_64 { EM_X86_64 } else { EM_AARCH64 }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
