//! The options of an embedded storage, which its URL contains after the folder.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::platform;

/// Initial size of the memory map, in bytes of address space. It is doubled when the values need more. The map itself
/// takes neither memory nor disk space.
const MAP: usize = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) folder: PathBuf,
    /// Whether each change is on disk before the operation returns.
    pub(super) sync: bool,
    /// Initial size of the memory map, in bytes.
    pub(super) map: usize,
}

impl Options {
    /// Parses `<folder>`, `<folder>?sync=true` or `<folder>?map_mb=64`.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let (folder, options) = rest.split_once('?').unwrap_or((rest, ""));
        if folder.is_empty() {
            return Err(Error::Config("`embedded:` needs a folder, as in `embedded:.wren/kv`".to_owned()));
        }
        let folder = std::path::absolute(platform::path_of_text(folder))
            .map_err(|e| Error::Config(format!("cannot use the folder {folder} of `embedded:`: {e}")))?;
        let mut parsed = Self { folder, sync: false, map: MAP };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sync", "true")) => parsed.sync = true,
                Some(("sync", "false")) => parsed.sync = false,
                Some(("map_mb", mb)) if mb.parse::<u32>().is_ok_and(|mb| mb > 0) => {
                    parsed.map = mb.parse::<usize>().unwrap_or(1) << 20;
                }
                _ => {
                    return Err(Error::Config(format!(
                        "unknown option `{option}` of `embedded:`; expected `sync=true` or `map_mb=<number>`"
                    )));
                }
            }
        }
        Ok(parsed)
    }

    /// Returns the URL of the storage with these options.
    pub(super) fn url(&self) -> String {
        let mut url = format!("embedded:{}", platform::text_of_path(&self.folder));
        let mut separator = '?';
        let mut option = |text: String| {
            url.push(separator);
            url.push_str(&text);
            separator = '&';
        };
        if self.sync {
            option("sync=true".to_owned());
        }
        if self.map != MAP {
            option(format!("map_mb={}", self.map >> 20));
        }
        url
    }
}
