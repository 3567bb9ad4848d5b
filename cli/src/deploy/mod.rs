//! The parts of a deployment, each found out by reading, made only where it lacks or differs, and so
//! safely made again: `cargo wren deploy` puts them together.

pub(crate) mod bucket;
pub(crate) mod build;
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

/// The tag that everything of a deployment has; its value is the deployment's name.
pub(crate) const TAG: &str = "wren";

/// `1 function`, `2 functions`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Processors of AWS Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "arm64")]
    Arm64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Arm64];

    /// As Lambda says it.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::X86_64 { "x86_64" } else { "arm64" }
    }

    pub(crate) fn lambda(self) -> Architecture {
        if self == Self::X86_64 { Architecture::X8664 } else { Architecture::Arm64 }
    }

    /// As Rust says it.
    pub(crate) fn cpu(self) -> &'static str {
        if self == Self::X86_64 { "x86_64" } else { "aarch64" }
    }

    /// The target with glibc.
    pub(crate) fn triple(self) -> &'static str {
        if self == Self::X86_64 { "x86_64-unknown-linux-gnu" } else { "aarch64-unknown-linux-gnu" }
    }

    /// What starts its programs.
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
