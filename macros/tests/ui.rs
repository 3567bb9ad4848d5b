//! Programs that the annotations refuse, with the exact messages, and programs that they accept.
//!
//! After you change a message, run `TRYBUILD=overwrite cargo test -p wren-macros --test ui` and read the diff.

use std::fs;
use std::path::Path;

#[test]
fn refused_forms_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[test]
fn accepted_forms_compile_without_warnings() {
    trybuild::TestCases::new().pass("tests/ui_pass/*.rs");
}

/// Maximum number of lines of the compiler's output about one mistake.
const MOST_LINES: usize = 25;

/// The compiler refuses attributes on closures before wren sees them.
const REPORTED_BY_THE_COMPILER: [&str; 1] = ["closure"];

/// A program with one mistake causes one short error. A program with several has a comment `// mistakes: 3` at its start.
#[test]
fn one_mistake_is_one_short_error() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut programs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "rs")
            || REPORTED_BY_THE_COMPILER.contains(&name.as_str())
        {
            continue;
        }
        programs += 1;
        let source = fs::read_to_string(&path).unwrap();
        let marked = source.lines().next().and_then(|line| line.strip_prefix("// mistakes: "));
        let mistakes: usize = marked.map_or(1, |count| count.parse().unwrap());
        let output = fs::read_to_string(path.with_extension("stderr")).unwrap();
        let problems = problems(&output, mistakes);
        assert!(problems.is_empty(), "{name}: {problems:?}\n{output}");
    }
    assert!(programs > 40, "{programs} programs");
}

/// Returns what is wrong with the compiler's output about a number of mistakes.
fn problems(output: &str, mistakes: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let starts = |line: &str, word: &str| line.strip_prefix(word).is_some_and(|rest| rest.starts_with([':', '[']));
    let errors = output.lines().filter(|line| starts(line, "error")).count();
    if errors != mistakes {
        problems.push(format!("{errors} errors for {mistakes} mistakes"));
    }
    if output.lines().any(|line| starts(line, "warning")) {
        problems.push("a warning beside the error".to_owned());
    }
    if !output.lines().next().is_some_and(|line| starts(line, "error")) {
        problems.push("the first line does not name the mistake".to_owned());
    }
    let (mut lines, mut longest) = (0, 0);
    for line in output.lines() {
        lines = if starts(line, "error") { 1 } else { lines + 1 };
        longest = longest.max(lines);
    }
    if longest > MOST_LINES {
        problems.push(format!("an error of {longest} lines"));
    }
    // What generated code requires is not what the program must write.
    if output.lines().filter(|line| starts(line, "error")).any(|line| line.contains("trait bound")) {
        problems.push("the first line is about a trait bound".to_owned());
    }
    problems
}

#[test]
fn long_and_repeated_errors_are_found() {
    let good = "error: `f` is wrong\n --> tests/ui/f.rs:1:1\n  |\n1 | f\n  | ^\n";
    assert!(problems(good, 1).is_empty());
    let bad = [
        (good.repeat(2), 1),
        (good.to_owned(), 2),
        (format!("{good}\nwarning: unused variable: `x`\n"), 1),
        (format!("warning: unused variable: `x`\n{good}"), 1),
        (format!("{good}{}", "  = note: more\n".repeat(MOST_LINES)), 1),
        (good.replace("error: `f` is wrong", "error[E0277]: the trait bound `F: Fit` is not satisfied"), 1),
    ];
    for (output, mistakes) in bad {
        assert!(!problems(&output, mistakes).is_empty(), "{output}");
    }
}
