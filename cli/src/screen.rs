//! Output for people: lines wrap at words in a terminal, and colours follow `NO_COLOR` and `CLICOLOR_FORCE`.

use std::io::{self, Stderr, Stdout, Write};

use console::Term;

/// Width of a line that is never wrapped.
const UNLIMITED: usize = usize::MAX;

/// Part of a line's width within which a label may end. The text after it continues below itself.
const LABEL: usize = 3;

/// A stream whose lines wrap at words, if it is a terminal.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    width: usize,
    has_colors: bool,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
}

impl Screen<Stdout> {
    pub(crate) fn stdout() -> Self {
        Self::on(io::stdout(), &Term::stdout())
    }
}

impl Screen<Stderr> {
    pub(crate) fn stderr() -> Self {
        Self::on(io::stderr(), &Term::stderr())
    }
}

fn width_of(term: &Term) -> usize {
    match term.size_checked() {
        Some((_, columns)) if term.is_term() && columns > 0 => usize::from(columns),
        _ => UNLIMITED,
    }
}

/// Returns whether a stream shows colours, as for cargo: `NO_COLOR` is stronger than `CLICOLOR_FORCE`.
fn shows_colors(term: &Term) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|is| is == value);
    let is_forced = is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0");
    let may = term.is_term() && !is("TERM", "dumb") && !is("CLICOLOR", "0");
    !is_set("NO_COLOR") && (is_forced || may)
}

impl<W: Write> Screen<W> {
    fn on(out: W, term: &Term) -> Self {
        Self::new(out, width_of(term), shows_colors(term))
    }

    pub(crate) fn new(out: W, width: usize, has_colors: bool) -> Self {
        Self { out, width, has_colors, line: Vec::new() }
    }

    pub(crate) fn has_colors(&self) -> bool {
        self.has_colors
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Formats a text with this style, if the stream shows colours.
    pub(crate) fn styled(&self, style: console::Style, text: &str) -> String {
        style.force_styling(self.has_colors).apply_to(text).to_string()
    }

    /// Writes a line for scripts, which stays one line.
    pub(crate) fn whole_line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        if length(text) <= self.width {
            return self.out.write_all(line);
        }
        wrapped(text, self.width).iter().try_for_each(|line| writeln!(self.out, "{line}"))
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            self.write_line(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.line)?;
        self.line.clear();
        self.out.flush()
    }
}

/// Returns the number of columns that a text takes, without its escape sequences.
pub(crate) fn length(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Wraps a line. Further lines are indented like the text after the line's label, which two spaces separate from it, or
/// else like the line itself.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let text = line.trim_start_matches(' ');
    let spaces = line.len() - text.len();
    let label = text.find("  ").map(|end| {
        let after = &text[end..];
        length(&text[..end]) + after.len() - after.trim_start_matches(' ').len()
    });
    let indent = spaces + label.filter(|label| spaces + label <= width / LABEL).unwrap_or(0);
    let indent = if indent < width / 2 { indent } else { 0 };
    let lines = broken(text, [spaces, indent].map(|taken| width.saturating_sub(taken).max(1)), false);
    let lines = lines.into_iter().enumerate();
    lines.map(|(i, part)| format!("{:1$}{part}", "", if i == 0 { spaces } else { indent })).collect()
}

/// Splits a text into lines of at most `width` columns: at words, and in names and paths where these can be read in
/// parts. A part that is longer is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    broken(text, [width, width], true)
}

/// Splits a text into lines. `first` and `rest` are the widths of the first line and of the others. Words are only
/// broken `in_words`: otherwise a long one, such as a path, stays whole, so that it can be copied.
fn broken(text: &str, [first, rest]: [usize; 2], in_words: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut width = first;
    for mut word in words(text, in_words) {
        if !line.is_empty() && length(&line) + length(word.trim_end()) > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
            width = rest;
        }
        while in_words && length(word.trim_end()) > width {
            let ends = word.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
            let Some(cut) = ends.take_while(|at| length(&word[..*at]) <= width).last() else { break };
            lines.push(word[..cut].to_owned());
            word = &word[cut..];
            width = rest;
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Splits a text after spaces and, `in_words`, after the marks at which long names and paths can be read in parts.
fn words(text: &str, in_words: bool) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices().peekable();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            let may_break = match c {
                ' ' => next != Some(' '),
                ':' => in_words && next != Some(':') && rest[..at].ends_with(':'),
                '/' | '_' => in_words && next.is_some_and(char::is_alphanumeric),
                _ => false,
            };
            if may_break {
                end = at + c.len_utf8();
                break;
            }
        }
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, width: usize) -> String {
        let mut screen = Screen::new(Vec::new(), width, false);
        // In pieces, as `write!` passes them.
        text.as_bytes().chunks(7).for_each(|piece| screen.write_all(piece).unwrap());
        screen.flush().unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn lines_wrap_at_words_and_below_their_text() {
        let text = "memory     at most 12 MB in a worker, limit 512 MB\n";
        assert_eq!(shown(text, 80), text);
        assert_eq!(shown(text, 40), "memory     at most 12 MB in a worker,\n           limit 512 MB\n");
        assert_eq!(shown("    one two three", 100), "    one two three");
        assert_eq!(shown("    one two three\n", 12), "    one two\n    three\n");
        assert_eq!(shown("\n\na b\n", 2), "\n\na\nb\n");
        assert_eq!(shown("\u{1b}[1mbold text\u{1b}[0m\n", 9), "\u{1b}[1mbold text\u{1b}[0m\n");
    }

    #[test]
    fn names_break_where_they_can_be_read() {
        assert_eq!(wrap("my_crate::deep::function", 12), ["my_crate::", "deep::", "function"]);
        assert_eq!(wrap("/usr/local/bin/program", 11), ["/usr/local/", "bin/program"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("größer als", 7), ["größer", "als"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_except_for_a_long_word() {
        let text =
            "What went well  is `deep::inside::a_module::function_name` at /a/long/path/to/a/file.rs:17, again\n";
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        for width in 1..140 {
            let shown = shown(text, width);
            let fits = |line: &str| length(line) <= width || !line.trim().contains(' ');
            assert!(shown.lines().all(fits), "{width}: {shown}");
            assert_eq!(letters(&shown), letters(text), "{width}");
            assert!(shown.contains("/a/long/path/to/a/file.rs:17"), "a path can be copied: {shown}");
            assert!(wrap(text.trim_end(), width).iter().all(|line| length(line) <= width), "{width}");
        }
    }
}
