//! The figures of the book.

use std::fs;
use std::process::Command;

use super::{chapters, root, source};

#[test]
fn tables_and_plots_match_measurements() {
    let check = Command::new("python3").arg(root().join("compare/render.py")).arg("--check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// A figure that is part of its page has the colours of the page, whether that is light or dark. A figure that is shown
/// as an image cannot have them, so it needs a background of its own.
#[test]
fn figures_are_readable_on_light_and_dark_pages() {
    let pages: String =
        chapters().iter().map(|chapter| fs::read_to_string(source().join(&chapter.path)).unwrap()).collect();
    let mut included = 0;
    for entry in source().join("figures").read_dir().unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let svg = fs::read_to_string(entry.path()).unwrap();
        if pages.contains(&format!("{{{{#include figures/{name}}}}}")) {
            included += 1;
            let coloured = svg.lines().find(|line| ["\"#", "\"white\"", "\"black\""].iter().any(|c| line.contains(c)));
            assert!(svg.contains("currentColor") && coloured.is_none(), "{name} has a colour of its own: {coloured:?}");
        } else {
            assert!(pages.contains(&format!("(figures/{name})")), "no chapter shows {name}");
            assert!(svg.contains("<rect width=\"100%\" height=\"100%\""), "{name} has no background");
        }
    }
    assert!(included > 8, "only {included} figures are part of a page");
}
