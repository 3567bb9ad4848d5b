//! Checks that the book is true: its links have targets, its programs are compiled, its commands do what it says.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/builds.rs"]
mod builds;

mod chapter;
mod commands;
mod figures;
mod layout;
mod output;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use chapter::{Block, Chapter};

/// Returns the folder of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn source() -> PathBuf {
    root().join("book/src")
}

/// Returns the chapters in the order of the book. Their paths are relative to `book/src`.
fn chapters() -> Vec<Chapter> {
    let summary = fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let links = summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')'));
    links.map(|path| Chapter::read(&source(), path)).collect()
}

#[test]
fn every_page_is_in_the_summary() {
    let chapters = chapters();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") && !path.ends_with("SUMMARY.md") {
                let known = chapters.iter().any(|chapter| source().join(&chapter.path) == path);
                assert!(known, "SUMMARY.md does not list {}", path.display());
            }
        }
    }
}

/// Code in the book must be part of a program that cargo compiles, so that it stays correct.
#[test]
fn every_rust_block_is_part_of_a_program() {
    let mut count = 0;
    for chapter in chapters() {
        for Block { line, info, text } in &chapter.blocks {
            let at = format!("{}:{line}", chapter.path);
            if !info.starts_with("rust") {
                continue;
            }
            count += 1;
            for line in text.lines() {
                let include = include(line).unwrap_or_else(|| {
                    panic!("{at}: `{line}` is not compiled by a test; move it to examples/ and include it from there")
                });
                assert!(!included(&chapter, include, &at).is_empty(), "{at}: {include} has no lines");
            }
        }
    }
    assert!(count > 20, "only {count} blocks of Rust were found");
}

/// Templates are compiled and run by the tests of `cargo wren new`.
#[test]
fn the_readme_shows_the_program_of_a_new_project() {
    let template = fs::read_to_string(root().join("cli/templates/map/main.rs")).unwrap();
    let (program, _) = template.split_once("\n#[cfg(test)]").unwrap();
    let readme = Chapter::read(&root(), "README.md");
    let shown: Vec<_> = readme.blocks.iter().filter(|block| block.info == "rust").map(|block| &block.text).collect();
    assert_eq!(shown, [program]);
}

/// Returns what a line of the form `{{#include what}}` includes.
fn include(line: &str) -> Option<&str> {
    line.strip_prefix("{{#include ")?.strip_suffix("}}")
}

/// Returns the lines of an include of the form `path` or `path:anchor`. The path must be that of a program below
/// examples/ or of a template. Numbers of lines would be wrong after the next change of the program.
fn included(chapter: &Chapter, include: &str, at: &str) -> Vec<String> {
    let (path, anchor) = include.split_once(':').map_or((include, None), |(path, anchor)| (path, Some(anchor)));
    let path = source().join(&chapter.path).with_file_name(path);
    let file = path.canonicalize().unwrap_or_else(|_| panic!("{at}: the file {} does not exist", path.display()));
    let compiled = ["examples", "cli/templates"].iter().any(|folder| file.starts_with(root().join(folder)));
    assert!(compiled, "{at}: {} is not a program that tests compile", file.display());
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let Some(anchor) = anchor else {
        assert!(!text.contains("// ANCHOR"), "{at}: mdBook would show the anchors of {}", file.display());
        return lines.into_iter().map(str::to_owned).collect();
    };
    let place = |comment: String| {
        let found = lines.iter().position(|line| line.trim() == comment);
        found.unwrap_or_else(|| panic!("{at}: {} has no line `{comment}`", file.display()))
    };
    let lines = &lines[place(format!("// ANCHOR: {anchor}"))..place(format!("// ANCHOR_END: {anchor}"))];
    // mdBook leaves out the anchors of other parts.
    lines.iter().filter(|line| !line.contains("// ANCHOR")).map(|&line| line.to_owned()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let chapters = chapters();
    let anchors: HashMap<PathBuf, Vec<String>> = chapters
        .iter()
        .map(|chapter| (source().join(&chapter.path).canonicalize().unwrap(), chapter.anchors()))
        .collect();
    let mut count = 0;
    for chapter in &chapters {
        for (line, target) in chapter.links() {
            let at = format!("{}:{line}: the link to {target}", chapter.path);
            count += 1;
            if let Some(rest) = target.strip_prefix("https://") {
                assert!(rest.split('/').next().unwrap().contains('.') && !rest.contains(' '), "{at} is not an address");
                // Files of this repository can be checked here.
                if let Some(path) = rest.strip_prefix("github.com/wren-rs/wren/blob/main/") {
                    assert!(root().join(path.split('#').next().unwrap()).exists(), "{at} does not lead to a file");
                }
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((target.as_str(), None), |(p, a)| (p, Some(a)));
            let file = source().join(&chapter.path);
            let file = if path.is_empty() { file } else { file.parent().unwrap().join(path) };
            let file = file.canonicalize().unwrap_or_else(|_| panic!("{at} does not lead to a file"));
            if file.extension().is_some_and(|end| end == "png" || end == "svg") {
                continue;
            }
            let there = anchors.get(&file).unwrap_or_else(|| panic!("{at} does not lead to a chapter"));
            if let Some(anchor) = anchor {
                assert!(
                    there.iter().any(|heading| heading == anchor),
                    "{at} does not lead to a heading; there are {there:?}"
                );
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
}
