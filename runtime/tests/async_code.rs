//! Checks that no async code of the library blocks. It would hold up the async runtime of the program, and a store that
//! awaits tokio would never answer. Blocking code uses `store::Requests` or `store::unblock`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Functions and methods that block, by the last parts of their paths.
const BLOCKING_FUNCTIONS: &[&[&str]] = &[&["wait"], &["store", "wait"], &["thread", "sleep"], &["thread", "park"]];
const BLOCKING_METHODS: &[&str] = &["get_blocking", "recv", "recv_timeout"];
/// Modules whose functions all block.
const BLOCKING_MODULES: &[&str] = &["fs"];
/// Functions and methods that run their closures on threads for blocking code.
const OFFLOADING: &[&str] = &["unblock", "make", "for_each", "spawn_blocking", "spawn_blocking_on", "spawn"];

#[test]
fn async_code_does_not_block() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    assert!(files.len() > 100, "only {} files were found", files.len());
    let mut found = Vec::new();
    // Stores may block, because they are polled on threads of their own. Tests may block too.
    let is_for_tests = |file: &Path| file.iter().any(|name| name == "tests" || name == "tests.rs");
    files.retain(|file| !file.starts_with(sources.join("store")) && !file.ends_with("src/faults.rs"));
    files.retain(|file| !is_for_tests(file.strip_prefix(&sources).unwrap()));
    for file in files {
        found.extend(blocking_in(&std::fs::read_to_string(&file).unwrap()).into_iter().map(|(line, what)| {
            format!("{}:{line}: `{what}` blocks in async code", file.strip_prefix(&sources).unwrap().display())
        }));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_blocking_code_is_found() {
    let bad = "
        async fn a(store: S) { store::wait(store.get(key)); }
        fn b() { async { std::fs::read(path) }; }
        fn poll_c() { let _ = keys.iter().map(|key| wait(store.get(key))); }
        async fn d() { thread::sleep(pause); refs.get_blocking(); }";
    let lines: Vec<usize> = blocking_in(bad).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 5]);
    let good = "
        fn a(store: S) { store::wait(store.get(key)); }
        async fn b() { unblock(move || std::fs::read(path)).await; running.wait().await; }
        async fn c() { requests.for_each(keys, |store, key| wait(store.get(key))).await; }
        async fn d() { fn inner() { thread::sleep(pause) } }";
    assert_eq!(blocking_in(good), []);
}

/// Valgrind hides the kernel's vDSO, in which rustix looks for the clock, and the program crashes.
#[test]
fn nothing_asks_rustix_for_the_time() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        assert!(!source.contains("rustix::time"), "{}: read the time with `libc` or `std`", file.display());
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn blocking_in(source: &str) -> Vec<(usize, String)> {
    let mut search = Search { in_async: false, found: Vec::new() };
    search.visit_file(&syn::parse_file(source).unwrap());
    search.found
}

struct Search {
    in_async: bool,
    /// Lines, and the code that blocks there.
    found: Vec<(usize, String)>,
}

impl Search {
    fn within(&mut self, is_async: bool, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.in_async, is_async);
        visit(self);
        self.in_async = before;
    }

    fn note(&mut self, span: proc_macro2::Span, what: &str) {
        if self.in_async {
            self.found.push((span.start().line, what.to_owned()));
        }
    }

    fn arguments<'ast>(&mut self, called: &str, arguments: impl Iterator<Item = &'ast syn::Expr>) {
        for argument in arguments {
            let is_elsewhere = matches!(argument, syn::Expr::Closure(_)) && OFFLOADING.contains(&called);
            self.within(self.in_async && !is_elsewhere, |this| this.visit_expr(argument));
        }
    }
}

fn is_polled(signature: &syn::Signature) -> bool {
    let name = signature.ident.to_string();
    signature.asyncness.is_some() || name == "poll" || name.starts_with("poll_")
}

impl<'ast> Visit<'ast> for Search {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // Tests may block.
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.within(is_polled(&function.sig), |this| visit::visit_item_fn(this, function));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within(is_polled(&function.sig), |this| visit::visit_impl_item_fn(this, function));
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.within(true, |this| visit::visit_expr_async(this, block));
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let mut called = String::new();
        if let syn::Expr::Path(path) = &*call.func {
            let names: Vec<String> = path.path.segments.iter().map(|part| part.ident.to_string()).collect();
            called = names.last().cloned().unwrap_or_default();
            let is = |suffix: &[&str]| names == suffix || (suffix.len() > 1 && names.ends_with(&owned(suffix)));
            let of = names.len() > 1 && BLOCKING_MODULES.contains(&names[names.len() - 2].as_str());
            if of || BLOCKING_FUNCTIONS.iter().any(|suffix| is(suffix)) {
                self.note(call.span(), &names.join("::"));
            }
        } else {
            self.visit_expr(&call.func);
        }
        self.arguments(&called, call.args.iter());
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        if BLOCKING_METHODS.contains(&method.as_str()) {
            self.note(call.method.span(), &method);
        }
        self.visit_expr(&call.receiver);
        self.arguments(&method, call.args.iter());
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
