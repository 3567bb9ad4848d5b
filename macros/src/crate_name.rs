//! The name of wren in the crate that is being compiled, where the dependency may be renamed.

use proc_macro2::{Ident, Span};

/// The name of wren's library if its dependents do not rename it.
const LIBRARY: &str = "wren";

/// Returns the name of wren in the crate that is being compiled.
///
/// Cargo passes each dependency to rustc under its name in the manifest, as `--extern
/// cloud=/…/libwren-0123456789abcdef.rmeta`. A macro runs inside rustc and can read its arguments, which are correct
/// for renamed, inherited and target-specific dependencies. Editors that expand macros in a separate process get the
/// usual name.
pub(crate) fn crate_name() -> String {
    named_by(std::env::args_os().filter_map(|argument| argument.into_string().ok()).flat_map(of_file))
}

/// Returns [`crate_name`] as an identifier.
pub(crate) fn crate_ident() -> Ident {
    Ident::new(&crate_name(), Span::call_site())
}

/// Expands an argument `@file` to the arguments in that file. Cargo uses a file if the command line would be too long.
fn of_file(argument: String) -> Vec<String> {
    let text = argument.strip_prefix('@').and_then(|file| std::fs::read_to_string(file).ok());
    text.map_or_else(|| vec![argument], |text| text.lines().map(str::to_owned).collect())
}

fn named_by(arguments: impl Iterator<Item = String>) -> String {
    let mut names =
        arguments.filter_map(|argument| name_of_wren(argument.strip_prefix("--extern=").unwrap_or(&argument)));
    match (names.next(), names.next()) {
        (Some(name), None) => name,
        // If two libraries match, it is not known which of them is wren.
        _ => LIBRARY.to_owned(),
    }
}

/// Returns `cloud` for `priv,noprelude:cloud=/…/libwren-0123456789abcdef.rmeta`, and `None` for other libraries.
fn name_of_wren(argument: &str) -> Option<String> {
    let (name, path) = argument.split_once('=')?;
    let file = path.rsplit('/').next()?;
    let hash = file.strip_prefix("lib")?.strip_prefix(LIBRARY)?.strip_prefix('-')?;
    let is_library = [".rmeta", ".rlib"].iter().any(|extension| hash.ends_with(extension));
    let name = name.rsplit(':').next()?;
    (is_library && syn::parse_str::<Ident>(name).is_ok()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(arguments: &[&str]) -> String {
        named_by(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn a_renamed_dependency_has_its_new_name() {
        let serde = "serde=/t/libserde-01.rmeta";
        assert_eq!(named(&["rustc", "--extern", serde, "--extern", "wren=/t/libwren-02.rmeta"]), "wren");
        assert_eq!(named(&["rustc", "--extern", serde, "--extern", "cloud=/t/libwren-02.rlib"]), "cloud");
        assert_eq!(named(&["rustc", "--extern=priv:cloud=/t/libwren-02.rmeta"]), "cloud");
    }

    #[test]
    fn arguments_may_come_from_a_file() {
        let file = std::env::temp_dir().join(format!("wren-arguments-{}", std::process::id()));
        std::fs::write(&file, "--extern\ncloud=/t/libwren-02.rlib\n").unwrap();
        let arguments = ["rustc".to_owned(), format!("@{}", file.display())];
        assert_eq!(named_by(arguments.into_iter().flat_map(of_file)), "cloud");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn the_crate_name_defaults_to_wren() {
        assert_eq!(named(&["rust-analyzer-proc-macro-srv"]), "wren");
        // wren itself is being compiled, with a crate whose name starts with the same letters.
        assert_eq!(named(&["rustc", "--extern", "w=/t/libwren_macros-01.so", "--cfg", "feature=\"data\""]), "wren");
        // The crate also depends on the other project named `wren`.
        assert_eq!(named(&["--extern", "wren=/t/libwren-01.rmeta", "--extern", "cloud=/t/libwren-02.rmeta"]), "wren");
    }
}
