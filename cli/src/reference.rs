//! Generates pages of the book's reference. A test fails if they are out of date; `make reference` writes them.

mod command;
mod methods;
mod source;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use source::{Constant, Variant};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// Returns all generated pages, by name.
fn pages() -> [(&'static str, String); 5] {
    [
        ("command", command::page()),
        ("methods", methods::page()),
        ("failures", failures()),
        ("limits", limits()),
        ("prices", prices()),
    ]
}

#[test]
fn generated_pages_are_current() {
    let write = std::env::var_os("WRITE_REFERENCE").is_some();
    for (name, text) in pages() {
        let path = root().join(format!("book/src/reference/{name}.md"));
        let text =
            format!("<!-- `make reference` writes this page; a change here is lost. -->\n\n{}\n", text.trim_end());
        if write {
            fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        } else {
            let current = fs::read_to_string(&path).unwrap_or_default();
            assert!(current == text, "{} is out of date: run `make reference` and commit the result", path.display());
        }
    }
}

/// Returns the page about errors: a section for each enum, and the cause and the fix of each variant.
fn failures() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error of wren is a variant of `wren::Error`, so programs never have to parse a message. \
         [Errors and retries](../errors.md) shows how to match them.\n",
    );
    let enums = [
        (
            "runtime/src/error/mod.rs",
            "Error",
            "The errors of a call have an `attempt`: the function, the task, the number of attempts, and the last \
             4 KiB that it wrote to standard error.",
        ),
        ("runtime/src/error/store.rs", "StoreError", "The cause in `Error::Store`."),
        ("runtime/src/error/kv.rs", "KvError", "The cause in `Error::Kv`."),
    ];
    let examples = read("runtime/src/error/snapshots/messages.snap");
    for (path, name, about) in enums {
        write!(page, "\n## `{name}`\n\n{about}\n").unwrap();
        for Variant { name: variant, cause, fix, fields } in source::variants(&source::parse(path), name) {
            assert!(
                !fix.is_empty(),
                "the documentation of {name}::{variant} does not name a fix: add a second paragraph in {path}"
            );
            write!(page, "\n### `{variant}`\n\n{cause}\n\n{fix}\n").unwrap();
            // The messages of `Error::Store` and `Error::Kv` are those of the causes, which have sections of their own.
            let has_causes = name == "Error" && ["Store", "Kv"].contains(&&*variant);
            match message(&examples, name, &variant) {
                Some(message) => {
                    write!(page, "\nFor example:\n\n```text,ignore\n{}```\n", wrapped(message)).unwrap();
                }
                None => assert!(has_causes, "messages.snap has no message of {name}::{variant}"),
            }
            if !fields.is_empty() {
                page.push('\n');
            }
            for (field, doc) in fields {
                writeln!(page, "- `{field}`: {doc}").unwrap();
            }
        }
    }
    page
}

/// Returns the first message of a variant in the snapshot of all messages, where it is indented below its name.
fn message<'s>(examples: &'s str, name: &str, variant: &str) -> Option<&'s str> {
    let title = match name.strip_suffix("Error") {
        Some("") | None => variant.to_owned(),
        Some(kind) => format!("{kind}({variant})"),
    };
    examples.split_once(&format!("\n{title}\n    "))?.1.lines().next()
}

/// Breaks a message into lines that a block of code shows without a scroll bar.
fn wrapped(message: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in message.split(' ') {
        let len = word.chars().count();
        if width > 0 && width + 1 + len > 76 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += len;
    }
    text + "\n"
}

fn limits() -> String {
    let file = source::parse("runtime/src/aws/limits.rs");
    let mut page = format!("# Limits of AWS\n\n{}\n\n", source::text(&file.attrs));
    page.push_str(
        "The table says which limits AWS can raise for an account. In a program, the limits are in `wren::limits`.\n\n| | | `wren::limits::` |\n| ---: | --- | --- |\n",
    );
    for Constant { name, doc, value, .. } in source::constants(&file) {
        let (unit, meaning) = unit(&doc);
        let value = match unit {
            "bytes" if value >= f64::from(1 << 20) => format!("{} MiB", value / f64::from(1 << 20)),
            _ => format!("{} {unit}", thousands(value)),
        };
        writeln!(page, "| {} | {meaning} | `{name}` |", value.trim_end()).unwrap();
    }
    page
}

/// Splits a constant's documentation into the unit that it names and the rest.
fn unit(doc: &str) -> (&'static str, String) {
    for (phrase, unit) in [(", in bytes", "bytes"), (", in MB", "MB"), (", in seconds", "s")] {
        if doc.contains(phrase) {
            return (unit, doc.replacen(phrase, "", 1));
        }
    }
    ("", doc.to_owned())
}

fn thousands(value: f64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn prices() -> String {
    let file = source::parse("runtime/src/aws/price.rs");
    let mut page = format!("# Prices\n\n{}\n\n", source::text(&file.attrs));
    page.push_str(
        "wren estimates the cost of jobs with these prices: for `.budget(..)`, for `cargo wren plan`, and in the \
         summary line of a job. [What it costs](../cost.md) has examples.\n\n| dollars | for | `wren::price::` |\n| ---: | --- | --- |\n",
    );
    for Constant { name, doc, value, .. } in source::constants(&file).iter().filter(|constant| constant.is_f64) {
        writeln!(page, "| {value} | {doc} | `{name}` |").unwrap();
    }
    let second = wren::price::per_second(wren::limits::DEFAULT_MEMORY_MB);
    write!(
        page,
        "\nA function without a `memory` option gets {} MB. One second of it costs {second:.8} dollars, and one hour \
         costs {:.4} dollars.\n",
        thousands(f64::from(wren::limits::DEFAULT_MEMORY_MB)),
        3600.0 * second
    )
    .unwrap();
    page
}

/// Checks that the hand-written pages cover everything.
#[test]
fn hand_written_pages_are_complete() {
    let page = |name: &str| read(&format!("book/src/reference/{name}.md"));
    let need = |page: &str, text: &str, what: &str| {
        assert!(page.contains(text), "the reference does not cover {what}: `{text}` is missing");
    };

    let annotations = page("annotations");
    for path in ["macros/src/remote/parse.rs", "macros/src/staged.rs", "macros/src/entry_point.rs"] {
        for option in source::strings(&source::parse(path), "KNOWN") {
            let has_value = !annotations.contains(&format!("| `{option}` |"));
            let row = if has_value { format!("| `{option} = ") } else { format!("| `{option}` |") };
            need(&annotations, &row, "an option of an annotation");
        }
    }
    for name in source::attributes(&source::parse("macros/src/lib.rs")) {
        need(&annotations, &format!("## `#[wren::{name}]`"), "an annotation");
    }

    let settings = page("settings");
    let config = source::parse("runtime/src/config.rs");
    let keys = source::field_names(&config, "File");
    assert!(keys.len() > 5, "{keys:?}");
    for key in keys {
        need(&settings, &format!("| `{key}` |"), "a key of Wren.toml");
    }
    let variables = source::strings(&config, "VARIABLES");
    assert!(variables.len() > 10, "{variables:?}");
    for variable in &variables {
        need(&settings, &format!("| `{variable}` |"), "a variable");
    }
    // The sources use no other variables.
    for file in source::rust_files(&["runtime/src", "cli/src", "macros/src", "examples"]) {
        for variable in source::variables_in(&read(&file)) {
            assert!(
                variables.contains(&variable) || variable == "WREN_WORKER_COUNT",
                "{file} names {variable}, which is not among the VARIABLES of runtime/src/config.rs"
            );
        }
    }
}
