//! The names by which remote functions are found.
//!
//! The name of a function consists of the path of its module and its identifier. That is not always unique: a function
//! in the body of another function has only the module's path, and `lib.rs` and `main.rs` of one package have the same
//! crate name. A macro sees only one function at a time. So the names are created at run time, when all functions of
//! the program are known. Each function has several names, and its id is the first of them that no other function has.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::REMOTE_FNS;
use crate::error::{Error, Result};
use crate::function::RemoteFn;

/// Number of names of each function, from the shortest to the longest.
const FORMS: usize = 5;

pub(super) struct Names {
    functions: &'static [RemoteFn],
    by_name: HashMap<&'static str, Named>,
    /// The ids of functions whose name is not unique, by the addresses of the functions' records.
    ids: HashMap<usize, String>,
}

/// The functions with one name.
enum Named {
    One(&'static RemoteFn),
    Several(Vec<&'static RemoteFn>),
}

impl Names {
    pub(super) fn get() -> &'static Self {
        static NAMES: OnceLock<Names> = OnceLock::new();
        NAMES.get_or_init(|| Self::new(&REMOTE_FNS))
    }

    pub(super) fn new(functions: &'static [RemoteFn]) -> Self {
        let mut by_name = HashMap::with_capacity(functions.len());
        for function in functions {
            by_name
                .entry(function.name)
                .and_modify(|named: &mut Named| match named {
                    Named::One(first) => *named = Named::Several(vec![*first, function]),
                    Named::Several(all) => all.push(function),
                })
                .or_insert(Named::One(function));
        }
        let mut names = Self { functions, by_name, ids: HashMap::new() };
        let shared = names.by_name.values().flat_map(|named| match named {
            Named::One(_) => &[][..],
            Named::Several(all) => all,
        });
        let ids = shared.map(|function| (address(function), names.shortest(function)));
        names.ids = ids.collect();
        names
    }

    /// Returns the first of a function's names by which it is found, or its last name if it is found by none.
    fn shortest(&self, function: &'static RemoteFn) -> String {
        let mut id = String::new();
        for form in 0..FORMS {
            id = form_of(function, form);
            if matches!(self.find(&id), Ok(Some(found)) if std::ptr::eq(found, function)) {
                break;
            }
        }
        id
    }

    pub(super) fn id<'a>(&'static self, function: &'a RemoteFn) -> &'static str
    where
        'static: 'a,
    {
        match self.ids.is_empty() {
            true => function.name,
            false => self.ids.get(&address(function)).map_or(function.name, String::as_str),
        }
    }

    /// Returns the function that has that name among its names.
    ///
    /// # Errors
    /// [`Error::DuplicateFunction`].
    pub(super) fn find(&self, name: &str) -> Result<Option<&'static RemoteFn>> {
        match self.by_name.get(name) {
            Some(Named::One(function)) => return Ok(Some(function)),
            Some(Named::Several(all)) => return Err(Self::ambiguous(name, all)),
            None => {}
        }
        for form in 1..FORMS {
            let all: Vec<_> = self.functions.iter().filter(|function| form_of(function, form) == name).collect();
            match all[..] {
                [] => {}
                [function] => return Ok(Some(function)),
                _ => return Err(Self::ambiguous(name, &all)),
            }
        }
        Ok(None)
    }

    pub(super) fn ambiguous(name: &str, all: &[&'static RemoteFn]) -> Error {
        let mut places: Vec<_> = all.iter().map(|function| function.place()).collect();
        places.sort_unstable();
        Error::DuplicateFunction { name: name.to_owned(), places }
    }
}

fn address(function: &RemoteFn) -> usize {
    std::ptr::from_ref(function).addr()
}

/// Returns one of the names of a function. A higher `form` is longer.
fn form_of(function: &RemoteFn, form: usize) -> String {
    let (name, path) = (function.name, path_of(function));
    let [.., line, column] = function.source.place;
    match form {
        0 => name.to_owned(),
        1 => path,
        2 => format!("{name}@{}", function.file),
        3 => format!("{name}@{}", function.place()),
        // Two functions may come from the same place in a macro that is called twice, with other tokens or at another
        // place.
        _ => format!("{name}@{}:{line}:{column}-{:08x}", function.place(), function.body_hash as u32),
    }
}

/// Returns the path of a function, including the functions that contain it: `my_crate::sum::item`.
pub(super) fn path_of(function: &RemoteFn) -> String {
    let beside = (function.source.beside)();
    // The last part of `my_crate::Job<a::B>` is `Job<a::B>`.
    let plain = beside.split('<').next().unwrap_or(beside);
    let parent = plain.rsplit_once("::").map_or("", |(parent, _)| parent);
    // Async functions and closures are parts of the path that have no name, such as `{{closure}}`.
    let parts = parent.split("::").filter(|part| !part.starts_with("{{"));
    parts.chain([function.source.name]).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::registry::Source;

    /// Name, path of a type next to it, file, line.
    type Recorded = (&'static str, fn() -> &'static str, &'static str, u32);

    fn names(functions: &[Recorded]) -> Names {
        let record = |(name, beside, file, line)| {
            let short = str::rsplit(name, "::").next().unwrap_or_default();
            let source = Source { file, place: [line, 8, line, 5], name: short, beside };
            RemoteFn::new(name, "fn()", source, [0; 2], |_| Ok(()))
        };
        Names::new(Vec::leak(functions.iter().copied().map(record).collect()))
    }

    fn ids(names: &'static Names) -> Vec<&'static str> {
        names.functions.iter().map(|function| names.id(function)).collect()
    }

    fn leaked(names: Names) -> &'static Names {
        Box::leak(Box::new(names))
    }

    #[test]
    fn a_function_has_the_shortest_unique_name() {
        let names = leaked(names(&[
            ("a::alone", || "a::alone", "src/lib.rs", 1),
            ("a::item", || "a::sum::item", "src/lib.rs", 2),
            ("a::item", || "a::product::{{closure}}::item", "src/lib.rs", 3),
            ("a::f", || "a::f", "src/lib.rs", 4),
            ("a::f", || "a::f", "src/main.rs", 4),
            ("a::g", || "a::t::g", "src/lib.rs", 5),
            ("a::g", || "a::t::g", "src/lib.rs", 6),
            ("a::u::h", || "a::u::h", "src/lib.rs", 7),
            ("a::h", || "a::u::h", "src/lib.rs", 8),
            ("a::h", || "a::v::h", "src/lib.rs", 9),
        ]));
        let expected = [
            "a::alone",
            "a::sum::item",
            "a::product::item",
            "a::f@src/lib.rs",
            "a::f@src/main.rs",
            "a::g@src/lib.rs:5:8",
            "a::g@src/lib.rs:6:8",
            "a::u::h",
            "a::h@src/lib.rs:8:8",
            "a::v::h",
        ];
        assert_eq!(ids(names), expected);
        for function in names.functions {
            assert!(std::ptr::eq(names.find(names.id(function)).unwrap().unwrap(), function), "{}", names.id(function));
        }
    }

    #[test]
    fn duplicate_names_list_all_places() {
        let names = names(&[
            ("a::f", || "a::f", "src/main.rs", 30),
            ("a::g", || "a::g", "src/lib.rs", 5),
            ("a::f", || "a::f", "src/lib.rs", 4),
        ]);
        assert_eq!(
            names.find("a::f").unwrap_err().to_string(),
            "several remote functions are named `a::f`: at src/lib.rs:4:8, src/main.rs:30:8; select one \
             with `a::f@file:line:column`, or rename them"
        );
        assert_eq!(names.find("a::g").unwrap().unwrap().line, 5);
        assert!(names.find("a::nothing").unwrap().is_none());
    }

    #[test]
    fn names_from_earlier_builds_are_found() {
        // A job still refers to `a::sum::item`, from a build with two functions named `a::item`.
        let names = names(&[("a::item", || "a::sum::item", "src/lib.rs", 2)]);
        for name in ["a::item", "a::sum::item", "a::item@src/lib.rs", "a::item@src/lib.rs:2:8"] {
            assert!(names.find(name).unwrap().is_some(), "{name}");
        }
    }

    #[test]
    fn indistinguishable_functions_fail_only_their_calls() {
        let twice: Recorded = ("a::f", || "a::t::f", "src/lib.rs", 1);
        let names = leaked(names(&[twice, twice, ("a::g", || "a::g", "src/lib.rs", 2)]));
        assert_eq!(ids(names)[2], "a::g");
        assert!(matches!(names.find(ids(names)[0]), Err(Error::DuplicateFunction { places, .. }) if places.len() == 2));
        assert!(names.find("a::g").unwrap().is_some());
    }

    #[test]
    fn stages_of_same_named_types_are_distinct() {
        let source = |beside| Source { file: "src/lib.rs", place: [1; 4], name: "Job::map", beside };
        let record = |beside| RemoteFn::new("a::Job::map", "", source(beside), [0; 2], |_| Ok(()));
        let names = leaked(Names::new(Vec::leak(vec![record(|| "a::x::Job<b::C>"), record(|| "a::y::Job")])));
        assert_eq!(ids(names), ["a::x::Job::map", "a::y::Job::map"]);
    }
}
