//! The layout of the book: the width of its blocks of code, and the way from chapter to chapter.

use std::fs;

use super::{Block, chapters, include, included, source};

/// The most columns that mdBook shows without a scroll bar in a window of 1,280 pixels.
const COLUMNS: usize = 76;

#[test]
fn blocks_of_code_fit_their_page() {
    let mut wide = Vec::new();
    for chapter in chapters() {
        for Block { line, info, text } in &chapter.blocks {
            for (number, text) in (line + 1..).zip(text.lines()) {
                let at = format!("{}:{number}", chapter.path);
                let lines = match include(text).filter(|_| info.starts_with("rust")) {
                    Some(include) => included(&chapter, include, &at),
                    None => vec![text.to_owned()],
                };
                let too_wide = lines.iter().filter(|line| line.chars().count() > COLUMNS);
                wide.extend(too_wide.map(|line| format!("{at}: {line}")));
            }
        }
    }
    assert!(wide.is_empty(), "these lines have more than {COLUMNS} columns:\n{}", wide.join("\n"));
}

/// Returns the paths of the tutorial's chapters, in their order.
pub(crate) fn tutorial() -> Vec<String> {
    let summary = fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let (_, part) = summary.split_once("\n# Tutorial\n").unwrap();
    let links = part.lines().take_while(|line| !line.starts_with("# "));
    links.filter_map(|line| Some(line.split_once("](")?.1.strip_suffix(')')?.to_owned())).collect()
}

#[test]
fn each_chapter_of_the_tutorial_leads_to_the_next() {
    let tutorial = tutorial();
    let chapters: Vec<_> = chapters().into_iter().filter(|chapter| tutorial.contains(&chapter.path)).collect();
    assert!(chapters.len() > 10, "only {} chapters were found", chapters.len());
    for (i, chapter) in chapters.iter().enumerate() {
        let path = &chapter.path;
        let text = fs::read_to_string(source().join(path)).unwrap();
        let last = text.trim_end().lines().last().unwrap();
        assert_eq!(last.starts_with("Next: ["), i + 1 < chapters.len(), "{path} ends with `{last}`");
        if let Some(next) = chapters.get(i + 1) {
            let (_, target) = chapter.links().pop().unwrap();
            assert_eq!(target, next.path, "{path} does not lead to the next chapter");
        }
    }
}

#[test]
fn the_introduction_counts_the_chapters() {
    let text = fs::read_to_string(source().join("introduction.md")).unwrap();
    let count = match tutorial().len() {
        12 => "twelve",
        13 => "thirteen",
        14 => "fourteen",
        n => panic!("add the word for {n} here"),
    };
    assert!(text.contains(&format!("in {count} chapters")), "the tutorial has {count} chapters");
}
