//! Compares the output of a program with the output that the book shows.

/// Returns the first line of `shown` that is not in `printed` after the lines before it.
///
/// Lines are compared word by word. Two words with a digit are alike, because times, numbers of processors and IDs
/// differ from run to run; so are two units of time. A line `...` stands for any number of lines, and a word `[...]` for
/// any number of words. The book may break a long line between words, as a terminal would.
pub(crate) fn missing<'s>(shown: &'s str, printed: &str) -> Option<&'s str> {
    let shown: Vec<&str> = shown.lines().filter(|line| !line.trim().is_empty() && line.trim() != "...").collect();
    let mut found = 0;
    for printed in printed.lines() {
        found += lines_of(printed, &shown[found..]);
    }
    shown.get(found).copied()
}

/// Returns how many of the first shown lines are this printed line: 0 if they are not.
fn lines_of(printed: &str, shown: &[&str]) -> usize {
    let mut printed = printed.split_whitespace();
    for (before, line) in shown.iter().enumerate() {
        let mut gap = false;
        for word in line.split_whitespace() {
            if word == "[...]" {
                gap = true;
            } else if std::mem::take(&mut gap) {
                if !printed.any(|printed| same(word, printed)) {
                    return 0;
                }
            } else if printed.next().is_none_or(|printed| !same(word, printed)) {
                return 0;
            }
        }
        if gap || printed.clone().next().is_none() {
            return before + 1;
        }
    }
    0
}

fn same(a: &str, b: &str) -> bool {
    let is_figure = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let is_unit = |word: &str| matches!(word, "s" | "min" | "h" | "ms" | "second" | "seconds");
    // An ID may have no digit.
    let is_id = |word: &str| {
        let word = word.trim_end_matches([':', ';', ',']);
        word.len() == 12 && word.chars().all(char::is_alphanumeric)
    };
    a == b || (is_figure(a) && (is_figure(b) || is_id(b))) || (is_unit(a) && is_unit(b))
}

#[test]
fn only_figures_may_differ() {
    let printed = "trying\nwren: done in 3.21s\n 4   5 s ago\nlast";
    assert_eq!(missing("wren: done in 250ms\n5 17 min ago", printed), None);
    assert_eq!(missing("last\ntrying", printed), Some("trying"));
    assert_eq!(missing("wren: failed in 3.21s", printed), Some("wren: failed in 3.21s"));
    assert_eq!(missing("wren:\n    done in\n    250ms\nlast", printed), None);
    assert_eq!(missing("wren: done\n5 s ago", printed), Some("wren: done"));
    assert_eq!(missing("wren: [...] 250ms\nlast", printed), None);
    assert_eq!(missing("wren: done [...]\nlast", printed), None);
    assert_eq!(missing("wren: [...] last", printed), Some("wren: [...] last"));
    assert_eq!(missing("wren: done in 250ms last", printed), Some("wren: done in 250ms last"));
}
