//! Paths as text. Most paths are UTF-8 and do not change. The bytes of other paths are encoded, so that no path becomes
//! another path.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The start of the text of an absolute path that is not UTF-8. In that text, each byte other than ASCII letters,
/// digits and `/.-_` is `%` and two hexadecimal digits.
const CODED: &str = "%/";

/// Returns the text of a path, which [`path_of_text`] turns back into the path. The text of a relative path that is not
/// UTF-8 is only an approximation.
pub(crate) fn text_of_path(path: &Path) -> Cow<'_, str> {
    if path.to_str().is_some() || !path.is_absolute() {
        return path.to_string_lossy();
    }
    let mut text = String::from("%");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text.into()
}

/// Returns the path of a text from [`text_of_path`].
pub(crate) fn path_of_text(text: &str) -> PathBuf {
    if !text.starts_with(CODED) {
        return text.into();
    }
    let mut path = Vec::with_capacity(text.len());
    let mut rest = &text.as_bytes()[1..];
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| byte == b'%') {
            Some(code) => {
                path.push(code);
                rest = &after[2..];
            }
            None => {
                path.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// Functions for `#[serde(with = ..)]`, because serde rejects paths that are not UTF-8.
pub(crate) mod as_text {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::text_of_path(path))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        String::deserialize(deserializer).map(|text| super::path_of_text(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_round_trip() {
        let bytes: [&[u8]; 6] = [b"/a b/%41", b"/caf\xe9", b"/\xff%/x\n", "/é%".as_bytes(), b"relative", b"/"];
        for path in bytes.map(|bytes| PathBuf::from(OsString::from_vec(bytes.to_vec()))) {
            assert_eq!(path_of_text(&text_of_path(&path)), path);
        }
        assert_eq!(text_of_path(Path::new("/a b/%41")), "/a b/%41");
        assert_eq!(text_of_path(&PathBuf::from(OsString::from_vec(b"/caf\xe9 1".to_vec()))), "%/caf%e9%201");
        assert_eq!(path_of_text("%/a%zz%4"), Path::new("/a%zz%4"));
    }
}
