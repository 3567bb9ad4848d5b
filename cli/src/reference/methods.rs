//! Generates the page about the methods that configure calls, jobs and executors.

use std::fmt::Write;

use syn::{FnArg, ReturnType};

use super::command::cell;
use super::source::{Method, methods, parse, source};

/// A section of the page.
struct Section {
    heading: &'static str,
    about: &'static str,
    file: &'static str,
    /// The types and the macros whose methods the page lists.
    names: &'static [&'static str],
}

const SECTIONS: [Section; 12] = [
    Section {
        heading: "Calls",
        about: "Calling a remote function returns a `Call`, which runs when it is awaited.",
        file: "runtime/src/calls/call.rs",
        names: &["Call"],
    },
    Section {
        heading: "Jobs",
        about: "`wren::map(f, items)` and `wren::gather(calls)` return a `Map`. Awaiting it returns all results in the \
                order of the items, or the first error. See [Many calls](../jobs.md).",
        file: "runtime/src/calls/map/mod.rs",
        names: &["Map"],
    },
    Section {
        heading: "Backoff",
        about: "The pauses before a call is retried, for `.backoff(..)` and the option `backoff`.",
        file: "runtime/src/function/backoff.rs",
        names: &["Backoff"],
    },
    Section {
        heading: "Jobs that were started",
        about: "`.start().await` and `wren::attach(id).await` return a `Job`.",
        file: "runtime/src/calls/job/handle.rs",
        names: &["Job"],
    },
    Section {
        heading: "MapReduce",
        about: "`wren::map_reduce(job, inputs)` returns a `MapReduceJob`. Awaiting it returns all outputs. \
                See [MapReduce](../mapreduce.md).",
        file: "runtime/src/mapreduce/job.rs",
        names: &["common_settings", "MapReduceJob"],
    },
    Section {
        heading: "Sort",
        about: "The methods of `wren::sort(input)`, in addition to those of MapReduce. See [Sorting](../sort.md).",
        file: "runtime/src/sort/mod.rs",
        names: &["Sort"],
    },
    Section {
        heading: "Supersteps",
        about: "The methods of `wren::bsp(job, inputs)`, in addition to those of MapReduce. \
                See [Supersteps](../bsp.md).",
        file: "runtime/src/bsp/job.rs",
        names: &["BspJob"],
    },
    Section {
        heading: "Inputs",
        about: "`wren::Input` finds files and splits them. See [Inputs](../inputs.md).",
        file: "runtime/src/data/input.rs",
        names: &["Input"],
    },
    Section {
        heading: "CSV",
        about: "Methods of `Input` for CSV files. Each of them also marks the input as CSV. \
                See [Inputs](../inputs.md#csv).",
        file: "runtime/src/data/dialect.rs",
        names: &["Input"],
    },
    Section {
        heading: "Executors",
        about: "Most programs use the default executor, which is created from the [settings](settings.md). \
                `Executor::builder()` creates another one.",
        file: "runtime/src/executor/builder.rs",
        names: &["Builder"],
    },
    Section {
        heading: "An executor",
        about: "The methods of an executor.",
        file: "runtime/src/executor/mod.rs",
        names: &["Executor"],
    },
    Section {
        heading: "Faults",
        about: "For tests: the argument of an executor's `.faults(..)`. See [Fault injection](../faults.md).",
        file: "runtime/src/faults.rs",
        names: &["Faults"],
    },
];

pub(super) fn page() -> String {
    let mut page = String::from(
        "# Methods\n\nThe methods that configure a call, a job or an executor before it runs. The crate's \
         documentation describes each of them in full, with its errors (`cargo doc -p wren-cloud --open`).\n",
    );
    for Section { heading, about, file: path, names } in SECTIONS {
        write!(page, "\n## {heading}\n\n{about}\n\n| method | |\n| --- | --- |\n").unwrap();
        let file = parse(path);
        for name in names {
            let methods = methods(&file, name);
            assert!(!methods.is_empty(), "{path} has no methods of `{name}`: correct SECTIONS");
            for method in methods {
                writeln!(page, "| `{}` | {} |", cell(&call(&method, name)), cell(&method.doc)).unwrap();
            }
        }
    }
    page
}

/// Formats a method as a call: `pub fn chunk(mut self, n: usize) -> Self` as `.chunk(n: usize)`, and a function without
/// `self` as `Type::new()`.
fn call(Method { signature, .. }: &Method, name: &str) -> String {
    let prefix = if signature.receiver().is_some() { ".".to_owned() } else { format!("{name}::") };
    let arguments = signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).map(source);
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    let wait = if signature.asyncness.is_some() { ".await" } else { "" };
    let result = match &signature.output {
        ReturnType::Type(_, kind) if source(kind) != "Self" => format!(" -> {}", source(kind)),
        _ => String::new(),
    };
    format!("{prefix}{}{}({arguments}){wait}{result}", signature.ident, source(&signature.generics))
}
