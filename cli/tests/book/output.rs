//! Compares the output of a program with the output that the book shows.

/// Returns the first line of `shown` that is not in `printed` after the lines before it.
///
/// Lines are compared word by word. Two words with a digit are alike, because times, numbers of processors and IDs
/// differ from run to run; so are two units of time. A line `...` stands for any number of lines.
pub(crate) fn missing<'s>(shown: &'s str, printed: &str) -> Option<&'s str> {
    let mut lines = printed.lines();
    let shown = shown.lines().filter(|line| !line.trim().is_empty() && line.trim() != "...");
    shown.into_iter().find(|line| !lines.any(|printed| alike(line, printed)))
}

fn alike(shown: &str, printed: &str) -> bool {
    let (mut shown, mut printed) = (shown.split_whitespace(), printed.split_whitespace());
    loop {
        match (shown.next(), printed.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if same(a, b) => {}
            _ => return false,
        }
    }
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
}
