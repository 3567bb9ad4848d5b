//! What Redis has no command for, as Lua scripts: the server runs each as one step.

use std::sync::LazyLock;

use redis::{Cmd, Script as Source, cmd};

/// A script, which every connection loads when it is made.
pub(super) struct Script {
    source: LazyLock<Source>,
    pub(super) code: &'static str,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Script =
            Script { source: LazyLock::new(|| Source::new(include_str!($file))), code: include_str!($file) };
    };
}
script!(GET_RANGE, "get_range.lua");
script!(COMPARE_AND_SET, "compare_and_set.lua");
script!(ADD, "add.lua");
script!(PUT, "put.lua");
script!(DELETE, "delete.lua");

pub(super) static ALL: [&Script; 5] = [&GET_RANGE, &COMPARE_AND_SET, &ADD, &PUT, &DELETE];

impl Script {
    /// The command that runs it on a key.
    pub(super) fn on(&self, key: &str) -> Cmd {
        self.on_keys(&[key])
    }

    /// The command that runs it on several keys.
    pub(super) fn on_keys(&self, keys: &[&str]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.source.get_hash()).arg(keys.len()).arg(keys);
        command
    }

    /// The command that makes the server know it.
    pub(super) fn load(&self) -> Cmd {
        cmd("SCRIPT").arg("LOAD").arg(self.code).take()
    }
}
