//! Operations for which Redis has no command, as Lua scripts: the server runs each script as one atomic step.

use std::sync::LazyLock;

use redis::{Cmd, Script as Source, cmd};

/// A script, which every new connection loads.
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
    /// Returns the command that runs the script on one key.
    pub(super) fn on(&self, key: &str) -> Cmd {
        self.on_keys(&[key])
    }

    /// Returns the command that runs the script on several keys.
    pub(super) fn on_keys(&self, keys: &[&str]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.source.get_hash()).arg(keys.len()).arg(keys);
        command
    }

    /// Returns the command that loads the script into the server.
    pub(super) fn load(&self) -> Cmd {
        cmd("SCRIPT").arg("LOAD").arg(self.code).take()
    }
}
