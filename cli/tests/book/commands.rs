//! Runs the commands of each chapter, in their order, from an empty folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use super::chapter::{Block, Chapter};
use super::{builds, chapters, output, root};

/// Separates the outputs of two blocks.
const MARK: &str = "--- block of line ";

#[test]
fn every_command_does_what_the_book_says() {
    let readme = Chapter::read(&root(), "README.md");
    let mut wrong = Vec::new();
    let chosen = std::env::var("CHAPTERS").ok();
    let is_chosen = |chapter: &Chapter| chosen.as_ref().is_none_or(|list| list.split(',').any(|p| p == chapter.path));
    for chapter in [readme].into_iter().chain(chapters()).filter(is_chosen) {
        let start = Instant::now();
        // A new reader, so that no chapter needs files of an earlier one.
        match Reader::new().follow(&chapter) {
            Ok(false) => {}
            Ok(true) => {
                // Not captured, so that slow chapters are visible.
                let line = format!("{}: commands took {:.1?}\n", chapter.path, start.elapsed());
                std::io::stderr().write_all(line.as_bytes()).unwrap();
            }
            Err(problem) => wrong.push(problem),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A reader of the book, with a shell in an empty folder.
struct Reader {
    folder: tempfile::TempDir,
}

/// Gets a checkout, which all chapters need.
const CLONE: &str = "git clone https://github.com/wren-rs/wren\ncd wren\n";

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        builds::share(folder.path());
        fs::create_dir(folder.path().join("home")).unwrap();

        let programs = folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // `cargo install --path cli` would build the program that is tested here.
        symlink(env!("CARGO_BIN_EXE_cargo-wren"), programs.join("cargo-wren")).unwrap();
        symlink(root().join("cli/tests/book/cargo.py"), programs.join("cargo")).unwrap();
        symlink(root().join("cli/tests/book/git.sh"), programs.join("git")).unwrap();
        Self { folder }
    }

    /// Runs the chapter's commands in one shell, and compares their output with the output that the chapter shows.
    /// Returns whether there are any commands, or the first difference.
    fn follow(&self, chapter: &Chapter) -> Result<bool, String> {
        let commands: Vec<&Block> = chapter.blocks.iter().filter(|block| is_run(chapter, block)).collect();
        if commands.is_empty() {
            return Ok(false);
        }
        let mut script = String::from("set -e\n");
        // The chapter for a new reader says how.
        if !commands.iter().any(|block| block.text.contains(CLONE)) {
            script += CLONE;
        }
        for Block { line, info, text } in &commands {
            script += &format!("echo '{MARK}{line}'\n");
            script += &match info.as_str() {
                "sh" => text.clone(),
                _ => format!("if (\n{text}); then echo 'this should fail, but does not'; exit 1; fi\n"),
            };
        }
        let printed = self.shell(&script);
        let (all, status) = &printed;
        let sections: Vec<(usize, &str)> = all.split(MARK).skip(1).map(section).collect();
        let Some((last, text)) = sections.last() else { return Err(format!("{}: {all}", chapter.path)) };
        if !status {
            return Err(format!("{}:{last}: the commands fail:\n{text}", chapter.path));
        }
        for (i, (line, printed)) in sections.iter().enumerate() {
            let end = sections.get(i + 1).map_or(usize::MAX, |(line, _)| *line);
            let shown =
                chapter.blocks.iter().filter(|block| block.info == "text" && (*line..end).contains(&block.line));
            for block in shown {
                if let Some(missing) = output::missing(&block.text, printed) {
                    return Err(format!(
                        "{}:{}: the commands of line {line} do not print this line, or not in this order:\n{missing}\n\
                         they print:\n{printed}",
                        chapter.path, block.line
                    ));
                }
            }
        }
        Ok(true)
    }

    /// Runs a script. Returns its output, and whether it succeeds.
    fn shell(&self, script: &str) -> (String, bool) {
        let programs = self.folder.path().join("bin");
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let log = self.folder.path().join("output");
        let file = fs::File::create(&log).unwrap();
        let mut command = builds::command("sh");
        command.args(["-c", script]).current_dir(self.folder.path().join("home")).env("PATH", path);
        command.env("CHECKOUT", root());
        command.env("CARGO", programs.join("cargo")).env("REAL_CARGO", std::env::var_os("CARGO").unwrap());
        command.env_remove("RUST_BACKTRACE");
        let status = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        (fs::read_to_string(log).unwrap(), status.success())
    }
}

/// Returns the line of a block, and its output.
fn section(text: &str) -> (usize, &str) {
    let (line, printed) = text.split_once('\n').unwrap();
    (line.parse().unwrap(), printed)
}

/// Whether the commands of a block are run. A block that cannot be run must state the reason.
fn is_run(chapter: &Chapter, block: &Block) -> bool {
    match block.info.as_str() {
        // A command that fails shows an error message.
        "sh" | "sh,fails" => true,
        "sh,ignore" => {
            assert!(
                block.text.starts_with("# "),
                "{}:{}: state in a comment why this cannot be run",
                chapter.path,
                block.line
            );
            false
        }
        info => {
            let at = format!("{}:{}", chapter.path, block.line);
            let known = ["", "text", "text,ignore", "toml", "json", "yaml", "rust", "rust,ignore"];
            assert!(
                known.contains(&info),
                "{at}: `{info}` is not a language of the book; commands belong in `sh` blocks"
            );
            false
        }
    }
}

#[test]
fn few_commands_are_ignored() {
    let of =
        |info: &str| chapters().iter().flat_map(|chapter| &chapter.blocks).filter(|block| block.info == info).count();
    let (run, ignored) = (of("sh"), of("sh,ignore"));
    assert!(run > 15 && ignored < 10, "{run} blocks of commands are run, {ignored} are ignored");
}

#[test]
fn a_reader_has_a_checkout() {
    let exists = |path: &Path| assert!(path.exists(), "{}", path.display());
    let reader = Reader::new();
    let (printed, succeeded) = reader.shell(&format!("set -e\n{CLONE}cargo --version && cargo wren --version"));
    assert!(succeeded && printed.contains(env!("CARGO_PKG_VERSION")), "{printed}");
    let checkout: PathBuf = reader.folder.path().join("home/wren");
    for name in ["Cargo.toml", "Cargo.lock", "README.md", "examples/Cargo.toml"] {
        exists(&checkout.join(name));
    }
}
