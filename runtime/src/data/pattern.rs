//! Pattern matching: braces, wildcards, and the names between slashes. Names are bytes, because file names need not be
//! UTF-8.

/// Maximum number of patterns that braces may expand to.
const MOST: usize = 1_000;

/// A pattern without braces, split at slashes.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) parts: Vec<Part>,
}

/// The part of a pattern between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Exactly this name.
    Name(Vec<u8>),
    /// A name that matches these tokens.
    Wild(Vec<Token>),
    /// `**`: any number of folders.
    Folders,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, or `[!a-z]` for all other characters.
    Class {
        others: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether a pattern contains wildcards.
pub(super) fn is_wild(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether wildcards and searches of folders skip a name.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'.' | b'_')) && name != b"." && name != b".."
}

/// Expands braces: `{a,b}/*` becomes `a/*` and `b/*`. Braces without a comma are literal, as in shells.
pub(super) fn alternatives(pattern: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let Some((open, close, commas)) = braces(pattern)? else { return Ok(vec![pattern.to_vec()]) };
    let (before, inside, after) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    if commas.is_empty() && inside.windows(2).any(|pair| pair == b"..") {
        let range = String::from_utf8_lossy(&pattern[open..=close]).into_owned();
        return Err(format!("shell ranges such as `{range}` are not supported; write `[0-9]` or `{{1,2,3}}`"));
    }
    let mut pieces = Vec::new();
    if commas.is_empty() {
        pieces.extend(alternatives(inside)?.into_iter().map(|inside| [&b"{"[..], &inside, b"}"].concat()));
    } else {
        let mut start = open + 1;
        for end in commas.into_iter().chain([close]) {
            pieces.extend(alternatives(&pattern[start..end])?);
            start = end + 1;
        }
    }
    let rest = alternatives(after)?;
    if pieces.len().saturating_mul(rest.len()) > MOST {
        return Err(format!("its braces expand to more than {MOST} patterns; write several patterns with fewer"));
    }
    let join = |piece: &Vec<u8>| rest.iter().map(|rest| [before, piece, rest].concat()).collect::<Vec<_>>();
    Ok(pieces.iter().flat_map(join).collect())
}

/// Returns the positions of the first pair of braces, and of the commas directly inside it.
fn braces(pattern: &[u8]) -> Result<Option<(usize, usize, Vec<usize>)>, String> {
    let (mut at, mut depth, mut open, mut commas) = (0, 0usize, 0, Vec::new());
    while at < pattern.len() {
        match pattern[at] {
            // Braces inside a class are literal.
            b'[' => at = class_end(pattern, at).unwrap_or(at),
            b'{' => {
                if depth == 0 {
                    open = at;
                }
                depth += 1;
            }
            b',' if depth == 1 => commas.push(at),
            b'}' if depth == 1 => return Ok(Some((open, at, commas))),
            b'}' if depth > 1 => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    if depth > 0 {
        return Err("a `{` has no matching `}`; write `[{]` for a literal `{`".to_owned());
    }
    Ok(None)
}

/// Returns the end of the class that begins at `open`.
fn class_end(pattern: &[u8], open: usize) -> Option<usize> {
    let mut first = open + 1;
    if matches!(pattern.get(first), Some(b'!' | b'^')) {
        first += 1;
    }
    // A closing bracket in first position is one of the characters.
    let inside = pattern.get(first + 1..)?;
    let end = inside.iter().position(|byte| matches!(byte, b']' | b'/'))?;
    (inside[end] == b']').then_some(first + 1 + end)
}

impl Pattern {
    /// Parses a pattern without braces.
    pub(super) fn new(pattern: &[u8]) -> Result<Self, String> {
        let mut parts = pattern.split(|byte| *byte == b'/').map(part).collect::<Result<Vec<_>, _>>()?;
        // A trailing `**` matches everything below.
        if parts.last() == Some(&Part::Folders) {
            parts.push(Part::Wild(vec![Token::Many]));
        }
        Ok(Self { parts })
    }

    /// Whether the pattern matches a key.
    pub(super) fn matches(&self, key: &[u8]) -> bool {
        let names: Vec<&[u8]> = key.split(|byte| *byte == b'/').collect();
        // `matched[n]`: whether the parts so far match the first `n` names.
        let mut matched = vec![false; names.len() + 1];
        matched[0] = true;
        for part in &self.parts {
            if *part == Part::Folders {
                for (at, name) in names.iter().enumerate() {
                    matched[at + 1] |= matched[at] && !is_hidden(name);
                }
            } else {
                for (at, name) in names.iter().enumerate().rev() {
                    matched[at + 1] = matched[at] && part.matches(name);
                }
                matched[0] = false;
            }
        }
        matched[names.len()]
    }
}

impl Part {
    /// Whether the part matches a name. `**` by itself matches no name.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Part::Name(own) => own == name,
            Part::Wild(tokens) => {
                let is_first = |token: &Token| matches!(token, Token::Byte(byte) if Some(byte) == name.first());
                (!is_hidden(name) || tokens.first().is_some_and(is_first)) && matches(tokens, name)
            }
            Part::Folders => false,
        }
    }
}

fn part(text: &[u8]) -> Result<Part, String> {
    if text == b"**" {
        return Ok(Part::Folders);
    }
    if text.windows(2).any(|pair| pair == b"**") {
        return Err("`**` must stand alone between slashes, as in `a/**/*.csv`".to_owned());
    }
    if !is_wild(text) {
        return Ok(Part::Name(text.to_vec()));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'*' => tokens.push(Token::Many),
            b'?' => tokens.push(Token::One),
            b'[' => {
                let end = class_end(text, at).ok_or("a `[` has no matching `]`; write `[[]` for a literal `[`")?;
                tokens.push(class(&text[at + 1..end])?);
                at = end;
            }
            byte => tokens.push(Token::Byte(byte)),
        }
        at += 1;
    }
    Ok(Part::Wild(tokens))
}

fn class(text: &[u8]) -> Result<Token, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the characters between `[` and `]` are not UTF-8".to_owned())?;
    let others = text.starts_with(['!', '^']);
    let characters: Vec<char> = text.chars().skip(usize::from(others)).collect();
    let mut ranges = Vec::new();
    let mut rest = characters.as_slice();
    loop {
        rest = match *rest {
            [first, '-', last, ref after @ ..] => {
                if first > last {
                    return Err(format!("in `[{text}]`, the range {first}-{last} is empty; swap its ends"));
                }
                ranges.push((first, last));
                after
            }
            [one, ref after @ ..] => {
                ranges.push((one, one));
                after
            }
            [] => return Ok(Token::Class { others, ranges }),
        };
    }
}

/// Whether the tokens match the whole name. After a `*`, the rest is tried at each position. Once a later `*` is
/// reached, an earlier one need not be tried again.
fn matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            None if at == name.len() => return true,
            None => None,
            Some(Token::Many) => {
                again = Some((token, at));
                token += 1;
                continue;
            }
            Some(one) => takes(one, &name[at..]),
        };
        match (step, again) {
            (Some(length), _) => (token, at) = (token + 1, at + length),
            (None, Some((many, from))) if from < name.len() => {
                let from = from + first_char(&name[from..]).1;
                again = Some((many, from));
                (token, at) = (many + 1, from);
            }
            (None, _) => return false,
        }
    }
}

/// Returns the number of bytes that a token takes, if it matches the start of `rest`.
fn takes(token: &Token, rest: &[u8]) -> Option<usize> {
    let first = *rest.first()?;
    match token {
        Token::Byte(byte) => (*byte == first).then_some(1),
        Token::One => Some(first_char(rest).1),
        Token::Class { others, ranges } => {
            let (character, length) = first_char(rest);
            let inside = character.is_some_and(|c| ranges.iter().any(|(first, last)| (first..=last).contains(&&c)));
            (inside != *others).then_some(length)
        }
        Token::Many => None,
    }
}

/// Returns the first character and its length. A byte that is not UTF-8 is not a character, and has length 1.
fn first_char(text: &[u8]) -> (Option<char>, usize) {
    for length in 1..=text.len().min(4) {
        if let Ok(character) = std::str::from_utf8(&text[..length]) {
            return (character.chars().next(), length);
        }
    }
    (None, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(pattern: &str, key: &[u8]) -> bool {
        Pattern::new(pattern.as_bytes()).unwrap().matches(key)
    }

    #[test]
    fn wildcards_match_names() {
        for (pattern, key) in [
            ("*.log", "a.log"),
            ("a*b*c", "axbybzc"),
            ("?", "é"),
            ("[a-cé]x", "éx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("[[]1[]]", "[1]"),
            ("[-a]", "-"),
            ("**/x", "x"),
            ("**/x", "a/b/x"),
            ("a/**", "a/b/c"),
            ("a/**/b/*", "a/b/b/c"),
            ("a/**/*", "a//b"),
            ("/a", "/a"),
            ("_*", "_x"),
            ("*", ""),
        ] {
            assert!(matched(pattern, key.as_bytes()), "{pattern} {key}");
        }
        for (pattern, key) in [
            ("*.log", "a/b.log"),
            ("*", "_x"),
            ("?", ".x"),
            ("[!a]", "a"),
            ("**/x", ".a/x"),
            ("a/**", "a"),
            ("a", "/a"),
            ("*a", "b"),
            ("?", ""),
        ] {
            assert!(!matched(pattern, key.as_bytes()), "{pattern} {key}");
        }
        assert!(matched("caf?.log", b"caf\xe9.log") && matched("c*", b"caf\xe9") && matched("caf[!a]", b"caf\xe9"));
        assert!(!matched("caf[a]", b"caf\xe9") && !matched("cafe", b"caf\xe9"));
    }

    #[test]
    fn braces_stand_for_several_patterns() {
        let all = |pattern: &str| {
            let all = alternatives(pattern.as_bytes()).unwrap().into_iter();
            all.map(|one| String::from_utf8(one).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("{a,b}/*"), ["a/*", "b/*"]);
        assert_eq!(all("x{,.gz}"), ["x", "x.gz"]);
        assert_eq!(all("{a,b{c,d}}{1,2}"), ["a1", "a2", "bc1", "bc2", "bd1", "bd2"]);
        assert_eq!(all("{1}"), ["{1}"]);
        assert_eq!(all("{}"), ["{}"]);
        assert_eq!(all("{a{b,c}}"), ["{ab}", "{ac}"]);
        assert_eq!(all("[{]a,b}"), ["[{]a,b}"]);
        assert_eq!(all("a}b"), ["a}b"]);
        let refused = |pattern: &str| alternatives(pattern.as_bytes()).unwrap_err();
        assert!(refused("{a,b").contains("has no matching `}`"));
        assert!(refused("f{1..3}").contains("shell ranges such as `{1..3}` are not supported"));
        assert!(refused(&"{a,b,c,d}".repeat(6)).contains("more than 1000"));
    }

    #[test]
    fn invalid_patterns_are_refused() {
        let refused = |pattern: &str| Pattern::new(pattern.as_bytes()).unwrap_err();
        assert!(refused("a/[b").contains("has no matching `]`"));
        assert!(refused("[a/b]").contains("has no matching `]`"));
        assert!(refused("a**").contains("must stand alone between slashes"));
        assert!(refused("[z-a]").contains("z-a is empty"));
    }

    /// Matches by trying every possibility.
    fn slowly(tokens: &[Token], name: &[u8]) -> bool {
        match tokens {
            [] => name.is_empty(),
            [Token::Many, rest @ ..] => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
            [one, rest @ ..] => takes(one, name).is_some_and(|length| slowly(rest, &name[length..])),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]
        #[test]
        fn a_star_is_tried_at_every_place(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            if let Ok(Part::Wild(tokens)) = part(pattern.as_bytes()) {
                prop_assert_eq!(matches(&tokens, name.as_bytes()), slowly(&tokens, name.as_bytes()));
            }
        }
    }
}
