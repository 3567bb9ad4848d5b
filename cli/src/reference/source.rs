//! Extracts documentation and definitions from the sources.

use proc_macro2::TokenTree;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, BinOp, Expr, ExprLit, Fields, File, Ident, ImplItem, Item, Lit, Meta, Visibility};

use super::{read, root};

/// Parses a file of this project.
pub(super) fn parse(path: &str) -> File {
    syn::parse_file(&read(path)).unwrap_or_else(|e| panic!("cannot parse {path}: {e}"))
}

/// Returns the text of documentation comments, as it was written.
pub(super) fn text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => Some(string(&pair.value)?.trim().to_owned() + "\n"),
        _ => None,
    });
    lines.collect::<String>().trim_end().to_owned()
}

/// Returns the paragraphs of documentation up to the first heading or code block, as Markdown without rustdoc's links.
pub(super) fn paragraphs(attributes: &[Attribute]) -> Vec<String> {
    let text = text(attributes);
    let prose = text.lines().take_while(|line| !line.starts_with("# ") && !line.starts_with("```"));
    let prose = prose.collect::<Vec<_>>().join("\n");
    let paragraphs = prose.split("\n\n").map(|paragraph| unlinked(&paragraph.trim().replace('\n', " ")));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
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

/// Returns the source of something parsed, in one line.
pub(super) fn source(parsed: &impl Spanned) -> String {
    let text = parsed.span().source_text().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the part of the item of this name that `pick` selects along with the item's name.
fn find<'f, T>(file: &'f File, name: &str, pick: impl Fn(&'f Item) -> Option<(&'f Ident, T)>) -> T {
    let found = file.items.iter().filter_map(pick).find(|(ident, _)| *ident == name);
    found.unwrap_or_else(|| panic!("the reference's test finds no {name}")).1
}

fn string(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// A `pub const` with its documentation and its value.
pub(super) struct Constant {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) is_f64: bool,
    pub(super) value: f64,
}

/// Returns the public constants of a file.
pub(super) fn constants(file: &File) -> Vec<Constant> {
    let mut constants: Vec<Constant> = Vec::new();
    for item in &file.items {
        if let Item::Const(item) = item
            && matches!(item.vis, Visibility::Public(_))
        {
            let is_f64 = matches!(&*item.ty, syn::Type::Path(path) if path.path.is_ident("f64"));
            let doc = paragraphs(&item.attrs).join(" ");
            constants.push(Constant {
                name: item.ident.to_string(),
                doc,
                is_f64,
                value: value(&item.expr, &constants),
            });
        }
    }
    constants
}

/// Evaluates the value of a constant, with as much arithmetic as the constants use. A string counts as 0.
fn value(expression: &Expr, known: &[Constant]) -> f64 {
    let found = match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(_) => Some(0.0),
            Lit::Int(number) => number.base10_parse().ok(),
            Lit::Float(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Binary(shift) if matches!(shift.op, BinOp::Shl(_)) => {
            Some(value(&shift.left, known) * value(&shift.right, known).exp2())
        }
        // `Duration::from_secs(..)`
        Expr::Call(call) if call.args.len() == 1 => Some(value(&call.args[0], known)),
        Expr::Path(path) => {
            known.iter().find(|constant| path.path.is_ident(&constant.name)).map(|constant| constant.value)
        }
        _ => None,
    };
    found.unwrap_or_else(|| panic!("the reference's test cannot evaluate `{}`", source(expression)))
}

/// A variant of an error enum.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) cause: String,
    pub(super) fix: String,
    pub(super) fields: Vec<(String, String)>,
}

/// Returns the variants of an error enum.
pub(super) fn variants(file: &File, name: &str) -> Vec<Variant> {
    let found = find(file, name, |item| match item {
        Item::Enum(item) => Some((&item.ident, &item.variants)),
        _ => None,
    });
    let variants = found.iter().map(|variant| {
        let mut paragraphs = paragraphs(&variant.attrs).into_iter();
        Variant {
            name: variant.ident.to_string(),
            cause: paragraphs.next().unwrap_or_default(),
            fix: paragraphs.collect::<Vec<_>>().join("\n\n"),
            fields: fields(&variant.fields),
        }
    });
    variants.collect()
}

/// Returns the named fields with their documentation.
fn fields(fields: &Fields) -> Vec<(String, String)> {
    let named = fields.iter().filter_map(|field| Some((field.ident.as_ref()?.to_string(), &field.attrs)));
    named.map(|(name, attributes)| (name, paragraphs(attributes).join(" "))).collect()
}

/// Returns the names of a struct's fields.
pub(super) fn field_names(file: &File, name: &str) -> Vec<String> {
    let found = find(file, name, |item| match item {
        Item::Struct(item) => Some((&item.ident, &item.fields)),
        _ => None,
    });
    fields(found).into_iter().map(|(name, _)| name).collect()
}

/// A public method.
pub(super) struct Method {
    pub(super) signature: syn::Signature,
    pub(super) doc: String,
}

/// Returns the public methods of a type, or those that the macro of this name adds to types.
pub(super) fn methods(file: &File, name: &str) -> Vec<Method> {
    let mut methods = Vec::new();
    for item in &file.items {
        let items = match item {
            Item::Impl(item) if item.trait_.is_none() && is_named(&item.self_ty, name) => item.items.clone(),
            Item::Macro(item) if item.ident.as_ref().is_some_and(|ident| ident == name) => {
                let bodies = item.mac.tokens.clone().into_iter().filter_map(|token| match token {
                    TokenTree::Group(group) => Some(group.stream()),
                    _ => None,
                });
                let items = |input: ParseStream<'_>| {
                    std::iter::from_fn(|| (!input.is_empty()).then(|| input.parse())).collect::<syn::Result<Vec<_>>>()
                };
                items.parse2(bodies.last().unwrap_or_default()).expect("the macro's body is methods")
            }
            _ => continue,
        };
        methods.extend(items.into_iter().filter_map(|item| match item {
            ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => {
                let doc = paragraphs(&method.attrs).into_iter().next().unwrap_or_default();
                Some(Method { signature: method.sig, doc })
            }
            _ => None,
        }));
    }
    methods
}

fn is_named(kind: &syn::Type, name: &str) -> bool {
    matches!(kind, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// Returns the strings in a constant array.
pub(super) fn strings(file: &File, name: &str) -> Vec<String> {
    let array = find(file, name, |item| match item {
        Item::Const(item) => Some((&item.ident, &*item.expr)),
        _ => None,
    });
    let Expr::Array(array) = array else { panic!("{name} is not an array") };
    array.elems.iter().filter_map(string).collect()
}

/// Returns the names of the attributes that a macro crate defines.
pub(super) fn attributes(file: &File) -> Vec<String> {
    let functions = file.items.iter().filter_map(|item| match item {
        Item::Fn(item) => Some(item),
        _ => None,
    });
    let is_attribute = |attribute: &Attribute| attribute.path().is_ident("proc_macro_attribute");
    let attributes = functions.filter(|function| function.attrs.iter().any(is_attribute));
    attributes.map(|function| function.sig.ident.to_string()).collect()
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
