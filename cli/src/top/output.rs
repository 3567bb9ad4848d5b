//! The output of a job's tasks, as it is written.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use wren::history::{self, JobSummary, Outputs};

/// Maximum number of lines that are kept.
const MOST: usize = 2_000;

/// The latest lines that a job or one of its tasks printed.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) title: String,
    task: Option<u64>,
    /// `None` if the output is not on this machine.
    reader: Option<Outputs>,
    pub(super) lines: VecDeque<String>,
    /// Number of lines after the last one that is shown.
    pub(super) below: usize,
    /// What is shown if there are no lines.
    pub(super) note: String,
}

impl Output {
    pub(super) fn open(folder: &Path, job: &JobSummary, task: Option<u64>) -> io::Result<Self> {
        let command = match task {
            Some(task) => format!("cargo wren logs {} {task}", job.id),
            None => format!("cargo wren logs {}", job.id),
        };
        let is_elsewhere = wren::backend::is_lambda(&job.backend);
        let note = if is_elsewhere {
            format!("The output of this job is on AWS. `{command}` shows it.")
        } else if job.backend == "inline" {
            "The job runs on threads of its own program, so its output is part of the program's output.".to_owned()
        } else {
            "It has printed nothing so far.".to_owned()
        };
        let mut output = Self {
            title: command,
            task,
            reader: if is_elsewhere { None } else { Some(history::outputs(folder)?) },
            lines: VecDeque::new(),
            below: 0,
            note,
        };
        output.read();
        Ok(output)
    }

    /// Reads the lines that were written since.
    pub(super) fn read(&mut self) {
        let Self { task, reader, lines, below, .. } = self;
        let is_wanted = |of: Option<u64>| task.is_none() || of.is_none() || of == *task;
        for line in reader.iter_mut().flatten().filter(|line| is_wanted(line.task)) {
            let text = plain(&line.line);
            lines.push_back(match line.task.filter(|_| task.is_none()) {
                Some(task) => format!("[{task}] {text}"),
                None => text,
            });
            if lines.len() > MOST {
                lines.pop_front();
            }
            // A person who has scrolled back keeps their place.
            *below += usize::from(*below > 0);
        }
        *below = (*below).min(lines.len());
    }

    /// Scrolls by this number of lines, towards the end if it is positive.
    pub(super) fn scroll(&mut self, by: isize) {
        let below = self.below.saturating_add_signed(by.saturating_neg());
        self.below = below.min(self.lines.len().saturating_sub(1));
    }
}

/// Removes what could move the cursor or change colours: escape sequences and control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                // A sequence such as `ESC [ 31 m` ends with a letter; others have a single character.
                if rest.next() == Some('[') {
                    rest.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m and \u{1b}cplain\ttab\u{7}\r"), "red and plain    tab");
        assert_eq!(plain("\u{1b}[31"), "");
        assert_eq!(plain("\u{1b}"), "");
    }
}
