//! Generates the page about the methods that configure calls, jobs and executors.

use std::fmt::Write;

use syn::{FnArg, ReturnType};

use super::command::cell;
use super::source::{Method, methods, parse, source};

/// A section of the page.
struct Section {
    heading: &'static str,
    about: &'static str,
    /// The types and the macros whose methods the page lists, each after its file.
    types: &'static [(&'static str, &'static str)],
}

const SECTIONS: [Section; 12] = [
    Section {
        heading: "Calls",
        about: "Calling a remote function returns a `Call`, which runs when it is awaited.",
        types: &[("runtime/src/calls/call.rs", "Call")],
    },
    Section {
        heading: "Jobs",
        about: "`wren::map(f, items)` and `wren::gather(calls)` return a `Map`. Awaiting it returns all results in the \
                order of the items, or the first error. See [Many calls](../jobs.md).",
        types: &[("runtime/src/calls/map/mod.rs", "Map")],
    },
    Section {
        heading: "Backoff",
        about: "The pauses before a call is retried, for `.backoff(..)` and the option `backoff`.",
        types: &[("runtime/src/function/backoff.rs", "Backoff")],
    },
    Section {
        heading: "Jobs that were started",
        about: "`.start().await` and `wren::attach(id).await` return a `Job`.",
        types: &[("runtime/src/calls/job/handle.rs", "Job")],
    },
    Section {
        heading: "MapReduce",
        about: "`wren::map_reduce(job, inputs)` returns a `MapReduceJob`. Awaiting it returns all outputs. \
                See [MapReduce](../mapreduce.md).",
        types: &[
            ("runtime/src/mapreduce/settings.rs", "common_settings"),
            ("runtime/src/mapreduce/job.rs", "MapReduceJob"),
        ],
    },
    Section {
        heading: "Sort",
        about: "The methods of `wren::sort(input)`, in addition to those of MapReduce. See [Sorting](../sort.md).",
        types: &[("runtime/src/sort/mod.rs", "Sort")],
    },
    Section {
        heading: "Supersteps",
        about: "The methods of `wren::bsp(job, inputs)`, in addition to those of MapReduce. \
                See [Supersteps](../bsp.md).",
        types: &[("runtime/src/bsp/job.rs", "BspJob")],
    },
    Section {
        heading: "Inputs",
        about: "`wren::Input` finds files and splits them. See [Inputs](../inputs.md).",
        types: &[("runtime/src/data/input.rs", "Input")],
    },
    Section {
        heading: "CSV",
        about: "Methods of `Input` for CSV files. Each of them also marks the input as CSV. \
                See [Inputs](../inputs.md#csv).",
        types: &[("runtime/src/data/dialect.rs", "Input")],
    },
    Section {
        heading: "Executors",
        about: "Most programs use the default executor, which is created from the [settings](settings.md). \
                `Executor::builder()` creates another one.",
        types: &[("runtime/src/executor/builder.rs", "Builder")],
    },
    Section {
        heading: "An executor",
        about: "The methods of an executor.",
        types: &[("runtime/src/executor/mod.rs", "Executor")],
    },
    Section {
        heading: "Faults",
        about: "For tests: the argument of an executor's `.faults(..)`. See [Fault injection](../faults.md).",
        types: &[("runtime/src/faults.rs", "Faults")],
    },
];

pub(super) fn page() -> String {
    let mut page = String::from(
        "# Methods\n\nThe methods that configure a call, a job or an executor before it runs. The crate's \
         documentation describes each of them in full, with its errors (`cargo doc -p wren-cloud --open`).\n",
    );
    for Section { heading, about, types } in SECTIONS {
        write!(page, "\n## {heading}\n\n{about}\n\n| method | |\n| --- | --- |\n").unwrap();
        for (path, name) in types {
            let methods = methods(&parse(path), name);
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
