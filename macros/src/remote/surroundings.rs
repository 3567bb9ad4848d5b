//! Finds out whether a function is in an `impl` or a `trait`.
//!
//! A macro only gets the tokens of the function, and the items that it generates are not allowed in an `impl`. The
//! compiler's errors would be about generated items that the user has never seen, so this module reads the source file
//! instead. If it cannot, as in an editor, the user gets the compiler's errors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use proc_macro2::Span;

thread_local! {
    /// The blocks of each source file that was read.
    static BLOCKS: RefCell<HashMap<PathBuf, Vec<Block>>> = RefCell::default();
}

/// Returns whether the innermost block around the span is that of an `impl` or a `trait`.
pub(super) fn is_associated(span: Span) -> bool {
    if !proc_macro::is_available() {
        return false;
    }
    let span = span.unwrap();
    let Some(file) = span.local_file() else { return false };
    let place = (span.line(), span.column());
    BLOCKS.with_borrow_mut(|known| {
        let blocks = known
            .entry(file)
            .or_insert_with_key(|file| std::fs::read_to_string(file).map(|source| blocks(&source)).unwrap_or_default());
        innermost(blocks, place)
    })
}

/// Line and column, from 1.
type Place = (usize, usize);

struct Block {
    range: Range<Place>,
    is_associated: bool,
}

fn innermost(blocks: &[Block], place: Place) -> bool {
    let around = blocks.iter().filter(|block| block.range.contains(&place));
    around.max_by_key(|block| block.range.start).is_some_and(|block| block.is_associated)
}

/// Returns all blocks in braces.
fn blocks(source: &str) -> Vec<Block> {
    let mut lexer = Lexer { rest: source, place: (1, 1) };
    let (mut open, mut blocks) = (Vec::new(), Vec::new());
    // The tokens since the last block or statement, which determine the kind of the next block.
    let mut words: Vec<&str> = Vec::new();
    while let Some((token, start)) = lexer.next() {
        match token {
            "{" => open.push((start, is_header(&words))),
            "}" => {
                if let Some((start, is_associated)) = open.pop() {
                    blocks.push(Block { range: start..lexer.place, is_associated });
                }
            }
            ";" => {}
            word => {
                words.push(word);
                continue;
            }
        }
        words.clear();
    }
    blocks
}

/// Returns whether the tokens start an `impl` or a `trait`: `#[attribute] pub unsafe trait ..`, `impl<T> ..`.
fn is_header(words: &[&str]) -> bool {
    let mut depth = 0usize;
    for word in words {
        match *word {
            "[" => depth += 1,
            "]" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            "impl" | "trait" => return true,
            "#" | "pub" | "(" | ")" | "crate" | "super" | "in" | "self" | "unsafe" | "default" | "auto" => {}
            _ => return false,
        }
    }
    false
}

/// Splits source into words and single characters, and skips comments and quoted text.
struct Lexer<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<(&'a str, Place)> {
        loop {
            let start = self.place;
            let first = self.rest.chars().next()?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let word = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            let after = &self.rest[word..];
            if let Some(comment) = self.rest.strip_prefix("//") {
                self.take(2 + comment.find('\n').unwrap_or(comment.len()));
            } else if self.rest.starts_with("/*") {
                self.take(comment(self.rest));
            } else if first == '"' {
                self.take(1 + quoted(&self.rest[1..], '"'));
            } else if first == '\'' {
                self.take(character(self.rest));
            } else if matches!(&self.rest[..word], "r" | "br" | "cr") && is_raw(after) {
                self.take(word + raw(after));
            } else if word > 0 {
                return Some((self.take(word), start));
            } else {
                let taken = self.take(first.len_utf8());
                if !first.is_whitespace() {
                    return Some((taken, start));
                }
            }
        }
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        for c in taken.chars() {
            self.place = if c == '\n' { (self.place.0 + 1, 1) } else { (self.place.0, self.place.1 + 1) };
        }
        taken
    }
}

/// Returns the length of a block comment, including nested comments.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(next) = text[at..].find(['/', '*']) {
        at += next;
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

/// Returns the length up to and including the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of a character literal `'x'`, or 1 for the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut rest = text[1..].chars();
    match (rest.next(), rest.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => 1 + quoted(&text[1..], '\''),
        _ => 1,
    }
}

fn is_raw(after: &str) -> bool {
    after.trim_start_matches('#').starts_with('"')
}

/// Returns the length of a raw string after its prefix: `#"raw"#`.
fn raw(text: &str) -> usize {
    let marks = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(marks));
    text[marks + 1..].find(&end).map_or(text.len(), |at| marks + 1 + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the function `here` in `source` is in an `impl` or a `trait`.
    fn is_associated(source: &str) -> bool {
        let before = &source[..source.find("here(").unwrap()];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        innermost(&blocks(source), (line, column))
    }

    #[test]
    fn associated_functions_are_distinguished() {
        let associated = [
            "impl Model {\n    fn here() {}\n}",
            "mod m { #[cfg(unix)] unsafe impl<'a, T> super::Tr<'a> for T where T: 'a { pub fn here() {} } }",
            "fn f() { let c = '{'; let s = \"}\\\"{\"; struct S; impl S { fn g() {} fn here() {} } }",
            "pub(crate) trait Tr { fn here() {} }",
            "/* { /* { */ */ const S: &str = r#\"{\"{\"#; // {\n impl X { fn here() {} }",
        ];
        for source in associated {
            assert!(is_associated(source), "{source}");
        }
        let free = [
            "fn here() {}",
            "impl S { fn f() {} } fn here() {}",
            "impl S { fn f() { fn here() {} } }",
            "fn g() -> impl Copy { fn here() {} }",
            "mod m { struct S; impl S {} fn here() {} }",
            "const _: () = { impl S {} fn here() {} };",
            "fn f<'a>(x: &'a str) -> &'a str { let t: [impl_; 1]; fn here() {} x }",
        ];
        for source in free {
            assert!(!is_associated(source), "{source}");
        }
    }
}
