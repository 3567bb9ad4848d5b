//! The methods by which calls, jobs and executors are told how to run.

use std::fmt::Write;

use super::command::cell;
use super::read;
use super::source::{Doc, body};

/// What is listed.
struct Section {
    heading: &'static str,
    about: &'static str,
    file: &'static str,
    /// The lines with which blocks of methods begin.
    blocks: &'static [&'static str],
}

const SECTIONS: [Section; 12] = [
    Section {
        heading: "Calls",
        about: "A remote function that is called gives a `Call`, which runs when it is awaited.",
        file: "runtime/src/calls/call.rs",
        blocks: &["impl<R> Call<R> {"],
    },
    Section {
        heading: "Jobs",
        about: "`wren::map(f, items)` and `wren::gather(calls)` give a `Map`. Awaited, it gives all results in the \
                order of the items, or the first error. [Many calls](../jobs.md) shows them.",
        file: "runtime/src/calls/map/mod.rs",
        blocks: &["impl<I, R> Map<I, R> {", "impl<I: Calls<Result = R>, R> Map<I, R> {"],
    },
    Section {
        heading: "Backoff",
        about: "The pauses before a call is run again, as `.backoff(..)` and the annotation take them.",
        file: "runtime/src/function/backoff.rs",
        blocks: &["impl Backoff {"],
    },
    Section {
        heading: "Jobs that were started",
        about: "`.start().await` and `wren::attach(id).await` give a `Job`.",
        file: "runtime/src/calls/job/handle.rs",
        blocks: &["impl<R> Job<R> {", "impl<R: DeserializeOwned> Job<R> {"],
    },
    Section {
        heading: "MapReduce",
        about: "`wren::map_reduce(job, inputs)` gives a `MapReduceJob`. Awaited, it gives all outputs. \
                [MapReduce](../mapreduce.md) shows it.",
        file: "runtime/src/mapreduce/job.rs",
        blocks: &["macro_rules! common_settings {", "impl<T, I> MapReduceJob<T, I>"],
    },
    Section {
        heading: "Sort",
        about: "Of `wren::sort(input)`, beside the settings of MapReduce. [Sorting](../sort.md) shows it.",
        file: "runtime/src/sort/mod.rs",
        blocks: &["impl Sort {"],
    },
    Section {
        heading: "Supersteps",
        about: "Of `wren::bsp(job, inputs)`, beside the settings of MapReduce. [Supersteps](../bsp.md) shows it.",
        file: "runtime/src/bsp/job.rs",
        blocks: &["impl<T: Bsp, I> BspJob<T, I> {", "impl<T, I> BspJob<T, I>"],
    },
    Section {
        heading: "Inputs",
        about: "`wren::Input` finds files and splits them. [Inputs](../inputs.md) shows it.",
        file: "runtime/src/data/input.rs",
        blocks: &["impl Input {"],
    },
    Section {
        heading: "CSV",
        about: "Of an `Input`. Each says that it is CSV. [Inputs](../inputs.md#csv) shows them.",
        file: "runtime/src/data/dialect.rs",
        blocks: &["impl Input {"],
    },
    Section {
        heading: "Executors",
        about: "Most programs name none: the default one is made from the [settings](settings.md). \
                `Executor::builder()` makes another.",
        file: "runtime/src/executor/builder.rs",
        blocks: &["impl Builder {"],
    },
    Section {
        heading: "An executor",
        about: "What an executor that was built tells of itself.",
        file: "runtime/src/executor/mod.rs",
        blocks: &["impl Executor {"],
    },
    Section {
        heading: "Faults",
        about: "For tests: what `.faults(..)` of an executor is given. [Fault injection](../faults.md) shows it.",
        file: "runtime/src/faults.rs",
        blocks: &["impl Faults {"],
    },
];

pub(super) fn page() -> String {
    let mut page = String::from(
        "# Methods\n\nWhat can be said of a call, a job or an executor before it runs. The documentation of each, with \
         its errors, is that of the crate (`cargo doc -p wren-cloud --open`).\n",
    );
    for Section { heading, about, file, blocks } in SECTIONS {
        write!(page, "\n## {heading}\n\n{about}\n\n| method | |\n| --- | --- |\n").unwrap();
        let source = read(file);
        for block in blocks {
            let methods = methods(&source, block);
            assert!(!methods.is_empty(), "{file} has no methods after `{block}`: correct SECTIONS");
            for (signature, doc) in methods {
                writeln!(page, "| `{}` | {} |", cell(&signature), cell(&doc)).unwrap();
            }
        }
    }
    page
}

/// The public methods in all blocks that begin so: as they are called, and the first paragraph on them.
fn methods(source: &str, head: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(&format!("\n{head}")) {
        rest = &rest[at + 1..];
        let mut doc = Doc::default();
        let mut signature = None::<String>;
        for line in body(rest, head) {
            let text = line.trim();
            if let Some(begun) = &mut signature {
                begun.push_str(text);
                begun.push(' ');
            } else if ["pub fn ", "pub const fn ", "pub async fn "].iter().any(|start| text.starts_with(start)) {
                signature = Some(format!("{text} "));
            } else {
                doc.line(line);
            }
            let whole = signature.take_if(|text| text.contains('{'));
            if let Some(whole) = whole {
                found.push((call(&whole, head), doc.take().into_iter().next().unwrap_or_default()));
            }
        }
        rest = rest.find('\n').map_or("", |end| &rest[end..]);
    }
    found
}

/// `pub fn chunk(mut self, n: usize) -> Self {` as `.chunk(n: usize)`, and without `self` as `Type::new()`.
fn call(signature: &str, head: &str) -> String {
    let signature = signature.split(" where ").next().unwrap_or_default().split('{').next().unwrap_or_default().trim();
    let (is_async, signature) = match signature.strip_prefix("pub async fn ") {
        Some(rest) => (true, rest),
        None => (false, signature.trim_start_matches("pub ").trim_start_matches("const ").trim_start_matches("fn ")),
    };
    let signature = signature.trim_end_matches(" -> Self").replace("( ", "(").replace(", )", ")");
    let mut method = signature.clone();
    for receiver in ["mut self", "&self", "self"] {
        method = method.replacen(&format!("({receiver}, "), "(", 1).replacen(&format!("({receiver})"), "()", 1);
    }
    let implemented = head.split_whitespace().nth(1).and_then(|name| name.split('<').next()).unwrap_or_default();
    let prefix = if method == signature { format!("{implemented}::") } else { ".".to_owned() };
    let (method, result) = method.split_once(" -> ").unwrap_or((&method, ""));
    let wait = if is_async { ".await" } else { "" };
    let result = if result.is_empty() { String::new() } else { format!(" -> {result}") };
    format!("{prefix}{method}{wait}{result}")
}
