//! Colours of messages, under the same conditions as those of cargo.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

/// The style of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The subject of a line, such as the name of a job.
    Subject,
    /// A failure.
    Failure,
}

/// Returns the text in this style, if standard error shows colours.
pub(crate) fn paint(style: Style, text: &str) -> String {
    paint_if(colours(), style, text)
}

/// Returns whether standard error shows colours.
pub(super) fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| has_colours(io::stderr().is_terminal(), |name| env::var_os(name)))
}

pub(super) fn paint_if(colours: bool, style: Style, text: &str) -> String {
    let code = match style {
        Style::Subject => "1;36",
        Style::Failure => "1;31",
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Returns whether to write in colour. A value of `NO_COLOR` forbids it, one of `CLICOLOR_FORCE` asks for it, and
/// otherwise it takes a terminal that can show colours.
fn has_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let value = |name| variable(name).filter(|value| !value.is_empty());
    if value("NO_COLOR").is_some() {
        false
    } else if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        true
    } else {
        is_terminal && value("CLICOLOR").is_none_or(|value| value != "0") && !is_dumb(variable("TERM"))
    }
}

/// Returns whether this value of `TERM` is that of a terminal that cannot move its cursor.
pub(super) fn is_dumb(term: Option<OsString>) -> bool {
    term.is_none_or(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_decide_on_colours_as_in_cargo() {
        let colours = |is_terminal, variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            has_colours(is_terminal, value)
        };
        let xterm = ("TERM", "xterm");
        assert!(colours(true, &[xterm]) && !colours(false, &[xterm]));
        assert!(!colours(true, &[("TERM", "dumb")]) && !colours(true, &[]));
        assert!(!colours(true, &[xterm, ("NO_COLOR", "1")]) && colours(true, &[xterm, ("NO_COLOR", "")]));
        assert!(colours(false, &[("CLICOLOR_FORCE", "1")]) && !colours(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!colours(true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(!colours(true, &[xterm, ("CLICOLOR", "0")]));
    }
}
