//! Checks that each folder of `runtime/src` only uses folders above it. The table in `ARCHITECTURE.md` lists the
//! folders in order, with the folders that each uses, and this test compares it with every `use` and every path of the
//! sources. Tests and the links of documentation may name anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A row of the table: a folder or file of `runtime/src`, and the folders that it uses.
#[derive(Debug)]
struct Row {
    folder: String,
    uses: BTreeSet<String>,
}

/// A path that names another folder.
#[derive(Debug, PartialEq)]
struct Mention {
    line: usize,
    /// The first name after `crate::`.
    name: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the rows of the table whose first column is `| folder |`.
fn table(text: &str) -> Vec<Row> {
    let rows = text.lines().skip_while(|line| !line.starts_with("| folder |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [folder, _, uses] = cells[..] else { panic!("a row of the table has three columns: {line}") };
        let uses =
            uses.split(',').map(|name| name.trim().trim_matches('`')).filter(|name| !name.is_empty() && *name != "–");
        Row {
            folder: folder.trim_matches('`').trim_end_matches('/').to_owned(),
            uses: uses.map(str::to_owned).collect(),
        }
    });
    rows.collect()
}

/// Collects the paths of one file that start with `crate`, `wren`, `super` or `self`.
struct Paths {
    /// The path in the crate of the module that is being read.
    module: Vec<String>,
    mentions: Vec<Mention>,
    /// Modules in separate files that are built for tests only.
    test_modules: Vec<String>,
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl Paths {
    fn mention(&mut self, line: usize, segments: &[String]) {
        let mut at = match segments.first().map(String::as_str) {
            Some("crate" | "wren") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        let mut rest = segments;
        while let [first, more @ ..] = rest
            && ["crate", "wren", "self", "super"].contains(&first.as_str())
        {
            if first == "super" {
                at.pop();
            }
            rest = more;
        }
        at.extend(rest.iter().cloned());
        if let Some(name) = at.into_iter().next() {
            self.mentions.push(Mention { line, name });
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.mention(name.span().start().line, &with(&name.ident)),
            syn::UseTree::Rename(name) => self.mention(name.span().start().line, &with(&name.ident)),
            syn::UseTree::Glob(glob) => self.mention(glob.span().start().line, before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }

    /// Collects the paths in the input of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            let is_start =
                at == 0 || !matches!(&tokens[at - 1], TokenTree::Punct(p) if [':', '$'].contains(&p.as_char()));
            match &tokens[at] {
                TokenTree::Ident(first) if is_start => {
                    let mut segments = vec![first.to_string()];
                    let mut end = at + 1;
                    while is_colon(tokens.get(end))
                        && is_colon(tokens.get(end + 1))
                        && let Some(TokenTree::Ident(next)) = tokens.get(end + 2)
                    {
                        segments.push(next.to_string());
                        end += 3;
                    }
                    if segments.len() > 1 {
                        self.mention(first.span().start().line, &segments);
                    }
                    at = end;
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Type(item) => &item.attrs,
            syn::Item::Macro(item) => &item.attrs,
            _ => &Vec::new(),
        };
        match item {
            syn::Item::Mod(item) if is_for_tests(attributes) && item.content.is_none() => {
                self.test_modules.push(item.ident.to_string());
            }
            _ if is_for_tests(attributes) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.mention(path.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    // Skips attributes, because they contain documentation, which may link to anything.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Returns the mentions in the source file of a module, and its modules for tests.
fn read(module: &[&str], source: &str) -> (Vec<Mention>, Vec<String>) {
    let file = syn::parse_file(source).expect("sources are Rust");
    let module = module.iter().map(|&name| name.to_owned()).collect();
    let mut paths = Paths { module, mentions: Vec::new(), test_modules: Vec::new() };
    paths.visit_file(&file);
    (paths.mentions, paths.test_modules)
}

/// Compares the mentions of one file with the table. Returns the mistakes.
fn check(table: &[Row], file: &str, folder: &str, mentions: &[Mention], used: &mut BTreeSet<String>) -> Vec<String> {
    let position = |name: &str| table.iter().position(|row| row.folder == name);
    let own = position(folder).expect("its row was found before");
    let mut mistakes = Vec::new();
    for Mention { line, name } in mentions.iter().filter(|mention| mention.name != folder) {
        let place = format!("runtime/src/{file}:{line}");
        match position(name) {
            None => mistakes.push(format!(
                "{place}: `crate::{name}` is a name of lib.rs, which is below `{folder}`; use the path in the folder \
                 that defines it"
            )),
            Some(other) if other > own => mistakes.push(format!(
                "{place}: `{folder}` uses `{name}`, which is below it in ARCHITECTURE.md; move the code to a folder \
                 that may use it"
            )),
            Some(_) if !table[own].uses.contains(name) => mistakes.push(format!(
                "{place}: `{folder}` uses `{name}`, but its row in ARCHITECTURE.md does not list it; add it there, or \
                 remove the use"
            )),
            Some(_) => {
                used.insert(name.clone());
            }
        }
    }
    mistakes
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn folders_use_only_those_above_them() {
    let table = table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let src = root().join("runtime/src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    // Files that declare modules come before the modules.
    files.sort_by_key(|path| (path.components().count(), path.file_name() != Some("mod.rs".as_ref()), path.clone()));
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut for_tests: Vec<Vec<String>> = Vec::new();
    let mut mistakes = Vec::new();
    for path in files {
        let file = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let module: Vec<&str> = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
        if module == ["lib"]
            || for_tests.iter().any(|tests| module.iter().zip(tests).filter(|(a, b)| a == b).count() == tests.len())
        {
            continue;
        }
        let (mentions, tests) = read(&module, &fs::read_to_string(&path).unwrap());
        for_tests.extend(
            tests.into_iter().map(|name| module.iter().map(|&part| part.to_owned()).chain([name]).collect::<Vec<_>>()),
        );
        let folder = module[0];
        let used = folders.entry(folder.to_owned()).or_default();
        if table.iter().any(|row| row.folder == folder) {
            mistakes.extend(check(&table, &file, folder, &mentions, used));
        } else {
            mistakes.push(format!("runtime/src/{file}: ARCHITECTURE.md has no row for `{folder}`"));
        }
    }
    for row in table.iter().filter(|row| row.folder != "lib.rs") {
        let Row { folder, uses } = row;
        match folders.get(folder) {
            None => mistakes.push(format!("ARCHITECTURE.md has a row for `{folder}`, which is not in runtime/src")),
            Some(used) => mistakes.extend(
                uses.difference(used)
                    .map(|unused| format!("ARCHITECTURE.md says that `{folder}` uses `{unused}`, but it does not")),
            ),
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn upward_uses_are_found_in_any_form() {
    let table = table(
        "| folder | owns | uses |\n| --- | --- | --- |\n| `error/` | x | – |\n| `store/` | x | `error` |\n| `calls/` | x | `store` |\n",
    );
    let mistakes = |source: &str| {
        let (mentions, _) = read(&["store", "file", "deep"], source);
        check(&table, "store/file/deep.rs", "store", &mentions, &mut BTreeSet::new())
    };
    assert_eq!(mistakes("use crate::error::Error;\nuse super::{b, c};\nuse std::fs;\n"), [""; 0]);
    let found = mistakes("\nuse crate::calls::Call;\n");
    let place = "runtime/src/store/file/deep.rs:2: `store` uses `calls`, which is below it";
    assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    for source in [
        "use crate::{error::Error, calls::{self, Call}};",
        "use super::super::super::calls;",
        "fn f() -> wren::calls::Call<u8> { todo!() }",
        "fn f() { crate::calls::call(7); }",
        "fn f() { println!(\"{}\", [crate::calls::NAME][0]); }",
        "mod inner { use super::super::super::super::calls::Call; }",
        "impl crate::calls::Trait for X {}",
    ] {
        assert!(mistakes(source).iter().any(|mistake| mistake.contains("`store` uses `calls`")), "{source}");
    }
    assert!(mistakes("use crate::Call;")[0].contains("`crate::Call` is a name of lib.rs"));
    assert_eq!(
        mistakes("#[cfg(test)]\nmod tests { use crate::calls::Call; }\n/// [`crate::calls`]\nfn f() {}"),
        [""; 0]
    );
    let (_, tests) = read(&["store"], "#[cfg(test)]\nmod tests;\nmod file;\n");
    assert_eq!(tests, ["tests"]);
}
