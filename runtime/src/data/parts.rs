//! Names in a folder that a job writes its outputs to.

/// The mark of a folder in a store whose outputs are not all there yet: the job that writes them runs, or failed.
/// [`Input`](crate::Input) does not take them.
pub(crate) const INCOMPLETE: &str = "_incomplete";

/// Whether an entry of a folder of outputs is one.
pub(crate) fn is_part(name: &str) -> bool {
    let rest = name.strip_prefix("part-").unwrap_or_default();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits >= 5 && (digits == rest.len() || rest[digits..].starts_with('.'))
}
