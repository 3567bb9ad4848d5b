//! Job ids.

use super::random;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_LEN: usize = 12;

/// Whether `text` has the form of an id from [`new_id`].
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| DIGITS.contains(&byte))
}

/// Returns a new job id. It is random, so that a store that splits its load by key prefix can do so.
pub(crate) fn new_id() -> String {
    let random = random();
    (0..ID_LEN).map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize % DIGITS.len()])).collect()
}
