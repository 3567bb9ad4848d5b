//! The parts of a chapter: blocks of code, links, headings.

use std::fs;
use std::path::Path;

pub(crate) struct Chapter {
    /// The path in the summary.
    pub(crate) path: String,
    pub(crate) blocks: Vec<Block>,
    /// The lines outside of blocks, with their numbers.
    prose: Vec<(usize, String)>,
}

/// The text between two lines of three backticks.
pub(crate) struct Block {
    /// The number of the opening line.
    pub(crate) line: usize,
    /// The text after the opening backticks.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Chapter {
    pub(crate) fn read(source: &Path, path: &str) -> Self {
        let text = fs::read_to_string(source.join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
        let mut chapter = Self { path: path.to_owned(), blocks: Vec::new(), prose: Vec::new() };
        let mut open = None::<Block>;
        for (line, text) in (1..).zip(text.lines()) {
            match (&mut open, text.strip_prefix("```")) {
                (None, Some(info)) => open = Some(Block { line, info: info.to_owned(), text: String::new() }),
                (Some(_), Some(_)) => chapter.blocks.extend(open.take()),
                (Some(block), None) => block.text.extend([text, "\n"]),
                (None, None) => {
                    assert!(!text.starts_with("    "), "{path}:{line}: indented code is not tested; use ```");
                    chapter.prose.push((line, text.to_owned()));
                }
            }
        }
        assert!(open.is_none(), "{path}: a block is not closed");
        chapter
    }

    /// Returns the targets of links, each with its line.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let targets = |(line, text): &(usize, String)| {
            let line = *line;
            // Text between backticks is not a link.
            let plain: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
            let targets = plain.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            targets.map(|target| (line, target.to_owned())).collect::<Vec<_>>()
        };
        self.prose.iter().flat_map(targets).collect()
    }

    /// Returns the anchors of the headings, as mdBook makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|(_, text)| text.starts_with('#'));
        let mut anchors: Vec<String> = Vec::new();
        for (_, heading) in headings {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let same = anchors.iter().filter(|known| **known == anchor).count();
            anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
        }
        anchors
    }
}
