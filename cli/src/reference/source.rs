//! Extracts documentation and definitions from the source. rustfmt formats the source, so lines and indentation are
//! enough to find them.

use super::{read, root};

/// A `pub const` with its documentation and its value.
pub(super) struct Constant {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) kind: String,
    pub(super) value: f64,
}

/// Returns the documentation of a module of constants, and the constants.
pub(super) fn constants(source: &str) -> (String, Vec<Constant>) {
    let head = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let head = head.map(|line| format!("{line}\n")).collect::<String>();
    let mut constants: Vec<Constant> = Vec::new();
    let mut doc = Doc::default();
    for line in source.lines() {
        let constant = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": "));
        if let Some((name, rest)) = constant {
            let (kind, value) = rest.trim_end_matches(';').split_once(" = ").expect(line);
            let value = value_of(value, &constants);
            let (name, kind) = (name.to_owned(), kind.to_owned());
            constants.push(Constant { name, doc: doc.take().join(" "), kind, value });
        } else {
            doc.line(line);
        }
    }
    (head.trim_end().to_owned(), constants)
}

/// Evaluates the value of a constant, with as much arithmetic as the constants use. A string counts as 0.
fn value_of(text: &str, known: &[Constant]) -> f64 {
    if text.starts_with('"') {
        return 0.0;
    }
    if let Some((number, shift)) = text.split_once(" << ") {
        return value_of(number, known) * value_of(shift, known).exp2();
    }
    if let Some(seconds) = text.strip_prefix("Duration::from_secs(") {
        return value_of(seconds.trim_end_matches(')'), known);
    }
    let constant = known.iter().find(|constant| constant.name == text).map(|constant| constant.value);
    let number = || text.replace('_', "").parse().ok();
    constant.or_else(number).unwrap_or_else(|| panic!("the reference's test cannot evaluate `{text}`"))
}

/// A variant of an error enum.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) cause: String,
    pub(super) fix: String,
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
}

/// Returns the variants of an enum that derives `thiserror::Error`.
pub(super) fn variants(source: &str, name: &str) -> Vec<Variant> {
    let mut variants: Vec<Variant> = Vec::new();
    let (mut doc, mut attribute) = (Doc::default(), None::<String>);
    for line in body(source, &format!("pub enum {name} {{")) {
        let text = line.trim();
        let outer = line.len() - line.trim_start().len() == 4;
        if let Some(partial) = &mut attribute {
            partial.push_str(text);
            if text.ends_with(")]") {
                doc.message = attribute.take().map(|whole| message(&whole)).unwrap_or_default();
            }
        } else if text.starts_with("#[error(") {
            if text.ends_with(")]") {
                doc.message = message(text);
            } else {
                attribute = Some(text.to_owned());
            }
        } else if outer && text.starts_with(char::is_uppercase) {
            let message = std::mem::take(&mut doc.message);
            let mut paragraphs = doc.take().into_iter();
            let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
            let cause = paragraphs.next().unwrap_or_default();
            let fix = paragraphs.collect::<Vec<_>>().join("\n\n");
            variants.push(Variant { name, cause, fix, message, fields: Vec::new() });
        } else if !outer && text.ends_with(',') && text.contains(": ") {
            let (field, _) = text.split_once(": ").expect(text);
            let last = variants.last_mut().expect("a field belongs to a variant");
            last.fields.push((field.to_owned(), doc.take().join(" ")));
        } else {
            doc.line(text);
        }
    }
    assert!(!variants.is_empty(), "the reference's test finds no variants of {name}");
    variants
}

/// Returns the text of `#[error("..")]`.
fn message(attribute: &str) -> String {
    let Some((_, rest)) = attribute.split_once('"') else { return String::new() };
    // An unnamed placeholder stands for a field or for a list of fields.
    let end = rest.match_indices('"').map(|(at, _)| at).find(|at| !rest[..*at].ends_with('\\'));
    let text = end.map_or("", |end| &rest[..end]);
    text.replace("{}{}", "{}").replace("{}", "..").replace(":.4}", "}")
}

/// Collects documentation line by line.
#[derive(Default)]
pub(super) struct Doc {
    lines: Vec<String>,
    message: String,
}

impl Doc {
    /// Adds a line of documentation. Any other line, except an attribute, discards the lines so far.
    pub(super) fn line(&mut self, line: &str) {
        match line.trim().strip_prefix("///") {
            Some(text) => self.lines.push(text.trim().to_owned()),
            None if line.trim().starts_with("#[") => {}
            None => self.lines.clear(),
        }
    }

    /// Takes the paragraphs up to the first heading or code block, as Markdown without rustdoc's links.
    pub(super) fn take(&mut self) -> Vec<String> {
        let lines = std::mem::take(&mut self.lines);
        let prose = lines.iter().take_while(|line| !line.starts_with("# ") && !line.starts_with("```"));
        let text = prose.map(|line| if line.is_empty() { "\n" } else { line }).collect::<Vec<_>>().join(" ");
        text.split('\n').map(|paragraph| unlinked(paragraph.trim())).filter(|paragraph| !paragraph.is_empty()).collect()
    }
}

/// Removes rustdoc's links to items, which do not work in the book.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) = link.split_once(']').filter(|(label, _)| label.starts_with('`')) else {
            plain.push_str(before);
            plain.push('[');
            rest = link;
            continue;
        };
        plain.push_str(before);
        plain.push_str(label);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}

/// Returns the lines between the one that starts with `head` and the closing brace below it.
pub(super) fn body<'s>(source: &'s str, head: &str) -> Vec<&'s str> {
    let lines: Vec<_> = source.lines().skip_while(|line| !line.starts_with(head)).skip(1).collect();
    assert!(!lines.is_empty(), "no line starts with `{head}`");
    lines.into_iter().take_while(|line| !line.starts_with(['}', ']'])).collect()
}

/// Returns the names of a struct's fields.
pub(super) fn fields(source: &str, head: &str) -> Vec<String> {
    let lines = body(source, head).into_iter().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(|line| line.split_once(": ").map(|(name, _)| name.to_owned())).collect()
}

/// Returns the strings in a constant array.
pub(super) fn strings(source: &str, head: &str) -> Vec<String> {
    body(source, head).iter().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Returns the options that an attribute accepts.
pub(super) fn known_options(source: &str) -> Vec<String> {
    let lists = source.lines().filter(|line| line.contains("KNOWN: [&str;") || line.contains("Options::parse("));
    lists.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Returns the names of the attributes that a macro crate defines.
pub(super) fn attributes(source: &str) -> Vec<String> {
    let lines = source.lines().zip(source.lines().skip(1)).filter(|(line, _)| *line == "#[proc_macro_attribute]");
    let name = |line: &str| line.trim_start_matches("pub fn ").split('(').next().map(str::to_owned);
    lines.filter_map(|(_, next)| name(next)).collect()
}

/// Returns wren's environment variables that occur in a text.
pub(super) fn variables_in(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        format!("WREN_{}", &rest[..end])
    };
    text.split("WREN_").skip(1).map(name).filter(|name| name != "WREN_").collect()
}

/// Returns the Rust files in some folders, as paths from the root.
pub(super) fn rust_files(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    while let Some(folder) = folders.pop() {
        for entry in root().join(&folder).read_dir().expect("the source folder exists").flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    assert!(found.iter().any(|path| !read(path).is_empty()));
    found
}
