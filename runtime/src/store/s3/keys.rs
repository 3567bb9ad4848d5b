//! Keys of S3, and the properties that a listing reports of their objects.

use aws_sdk_s3::types::Object;

use super::super::{Stat, StoreError, StoreResult};

/// Checks that a key is possible in S3. Keys that other programs have written may have empty parts and dots.
pub(super) fn check_any(key: &str) -> StoreResult<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > 1024 {
        "it is longer than 1,024 bytes"
    } else {
        return Ok(());
    };
    Err(StoreError::BadKey { key: key.to_owned(), reason: reason.to_owned() })
}

/// Decodes a key of a listing with `encoding-type=url`, where a space is `+` or `%20`. Returns `None` if it is not
/// UTF-8.
pub(super) fn decoded(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(high) << 4 | digit(low));
                rest = after;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Returns the properties that a HEAD request would return.
pub(super) fn stat_of(object: &Object) -> Stat {
    let len = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    let modified = || object.last_modified().map(|time| format!("{}.{:09}", time.secs(), time.subsec_nanos()));
    let version = object.e_tag().map(str::to_owned).or_else(modified).unwrap_or_default();
    Stat { len, version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_are_decoded() {
        assert_eq!(decoded("a%20b/c%2B%25%C3%A9+x").as_deref(), Some("a b/c+%é x"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(decoded("%FF"), None);
    }

    #[test]
    fn foreign_keys_are_read_unchanged() {
        for key in ["/a", "a//b", "a/", "..", "a/../b", ".x", "a\nb"] {
            check_any(key).unwrap();
        }
        check_any(&format!("{}/x", "p".repeat(400))).unwrap();
        assert!(check_any("").is_err() && check_any(&"k".repeat(1_025)).is_err());
    }
}
