//! Names of files in an output folder.

/// Key that marks a folder in a store as incomplete: the job that writes its outputs is still running, or has failed.
/// [`Input`](crate::Input) rejects such outputs.
pub(crate) const INCOMPLETE: &str = "_incomplete";

/// Whether a name in an output folder is that of an output.
pub(crate) fn is_part(name: &str) -> bool {
    let rest = name.strip_prefix("part-").unwrap_or_default();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits >= 5 && (digits == rest.len() || rest[digits..].starts_with('.'))
}
