//! Generates the page about the methods that configure calls, jobs and executors.

use std::fmt::Write;

use super::command::cell;
use super::read;
use super::source::{Doc, body};

/// A section of the page.
struct Section {
    heading: &'static str,
    about: &'static str,
    file: &'static str,
    /// The first lines of the `impl` blocks to list.
    blocks: &'static [&'static str],
}

const SECTIONS: [Section; 12] = [
    Section {
        heading: "Calls",
        about: "Calling a remote function returns a `Call`, which runs when it is awaited.",
        file: "runtime/src/calls/call.rs",
        blocks: &["impl<R> Call<R> {"],
    },
    Section {
        heading: "Jobs",
        about: "`wren::map(f, items)` and `wren::gather(calls)` return a `Map`. Awaiting it returns all results in the \
                order of the items, or the first error. See [Many calls](../jobs.md).",
        file: "runtime/src/calls/map/mod.rs",
        blocks: &["impl<I, R> Map<I, R> {", "impl<I: Calls<Result = R>, R> Map<I, R> {"],
    },
    Section {
        heading: "Backoff",
        about: "The pauses before a call is retried, for `.backoff(..)` and the option `backoff`.",
        file: "runtime/src/function/backoff.rs",
        blocks: &["impl Backoff {"],
    },
    Section {
        heading: "Jobs that were started",
        about: "`.start().await` and `wren::attach(id).await` return a `Job`.",
        file: "runtime/src/calls/job/handle.rs",
        blocks: &["impl<R> Job<R> {", "impl<R: DeserializeOwned> Job<R> {"],
    },
    Section {
        heading: "MapReduce",
        about: "`wren::map_reduce(job, inputs)` returns a `MapReduceJob`. Awaiting it returns all outputs. \
                See [MapReduce](../mapreduce.md).",
        file: "runtime/src/mapreduce/job.rs",
        blocks: &["macro_rules! common_settings {", "impl<T, I> MapReduceJob<T, I>"],
    },
    Section {
        heading: "Sort",
        about: "The methods of `wren::sort(input)`, in addition to those of MapReduce. See [Sorting](../sort.md).",
        file: "runtime/src/sort/mod.rs",
        blocks: &["impl Sort {"],
    },
    Section {
        heading: "Supersteps",
        about: "The methods of `wren::bsp(job, inputs)`, in addition to those of MapReduce. \
                See [Supersteps](../bsp.md).",
        file: "runtime/src/bsp/job.rs",
        blocks: &["impl<T: Bsp, I> BspJob<T, I> {", "impl<T, I> BspJob<T, I>"],
    },
    Section {
        heading: "Inputs",
        about: "`wren::Input` finds files and splits them. See [Inputs](../inputs.md).",
        file: "runtime/src/data/input.rs",
        blocks: &["impl Input {"],
    },
    Section {
        heading: "CSV",
        about: "Methods of `Input` for CSV files. Each of them also marks the input as CSV. \
                See [Inputs](../inputs.md#csv).",
        file: "runtime/src/data/dialect.rs",
        blocks: &["impl Input {"],
    },
    Section {
        heading: "Executors",
        about: "Most programs use the default executor, which is created from the [settings](settings.md). \
                `Executor::builder()` creates another one.",
        file: "runtime/src/executor/builder.rs",
        blocks: &["impl Builder {"],
    },
    Section {
        heading: "An executor",
        about: "The methods of an executor.",
        file: "runtime/src/executor/mod.rs",
        blocks: &["impl Executor {"],
    },
    Section {
        heading: "Faults",
        about: "For tests: the argument of an executor's `.faults(..)`. See [Fault injection](../faults.md).",
        file: "runtime/src/faults.rs",
        blocks: &["impl Faults {"],
    },
];

pub(super) fn page() -> String {
    let mut page = String::from(
        "# Methods\n\nThe methods that configure a call, a job or an executor before it runs. The crate's \
         documentation describes each of them in full, with its errors (`cargo doc -p wren-cloud --open`).\n",
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

/// Returns the public methods in all blocks that start with `head`: each as a call, with the first paragraph of its
/// documentation.
fn methods(source: &str, head: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(&format!("\n{head}")) {
        rest = &rest[at + 1..];
        let mut doc = Doc::default();
        let mut signature = None::<String>;
        for line in body(rest, head) {
            let text = line.trim();
            if let Some(partial) = &mut signature {
                partial.push_str(text);
                partial.push(' ');
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

/// Formats a signature as a call: `pub fn chunk(mut self, n: usize) -> Self {` as `.chunk(n: usize)`, and one without
/// `self` as `Type::new()`.
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
