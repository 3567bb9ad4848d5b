//! Parses the annotated function and its signature.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Meta, Pat, PatType, ReturnType, Token, Type};

use crate::crate_name::crate_name;
use crate::options::Options;

pub(super) const KNOWN: [&str; 8] =
    ["memory", "timeout", "retries", "retry_if", "backoff", "at_most_once", "carrier", "crate"];

pub(super) struct Remote {
    pub(super) options: Options,
    pub(super) item: ItemFn,
    pub(super) params: Vec<Param>,
    pub(super) output: Output,
}

/// A parameter.
#[derive(Clone)]
pub(super) struct Param {
    /// Its name outside the body: `name` for `mut name: T`, and `__wren_0` for a pattern. Its hygiene allows only
    /// generated code to use it, so it never conflicts with an item of the program.
    pub(super) name: Ident,
    /// Its type as written, without the group around a macro's fragment.
    pub(super) ty: Type,
    /// `T` for `&T`. The worker decodes it as a type that it can borrow from, such as `Box<T>`.
    pub(super) borrowed: Option<Type>,
    /// The attributes that decide whether the parameter exists.
    pub(super) cfg: Vec<Attribute>,
}

/// The declared return type.
pub(super) struct Output {
    pub(super) declared: Type,
    /// Whether it is a `Result`. `None` for `()` and primitive types, which need no check.
    pub(super) result: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It must be a `Result`, because the annotation has `retry_if`.
    Must,
    /// It may be a `Result`: the macro cannot decide it, because `AppResult<T>` may be an alias of `Result` or a type of
    /// the user's own. The compiler decides by the type.
    May,
    /// It is a built-in type such as `(A, B)` or `[T; 3]`, which is never a `Result`.
    Not,
}

pub(super) fn parse(options: Options, item: &TokenStream, errors: &mut Vec<Error>) -> Option<Remote> {
    let item: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(not_a_function(item, error));
            return None;
        }
    };
    let mut taken = HashSet::new();
    let params = item.sig.inputs.iter().enumerate().filter_map(|(i, input)| match input {
        FnArg::Typed(written) => Some(param(i, written, &mut taken)),
        FnArg::Receiver(_) => None,
    });
    let params = params.collect();
    let output = output(&item.sig.output, options.retry_if.is_some());
    Some(Remote { options, params, output, item })
}

fn not_a_function(item: &TokenStream, error: Error) -> Error {
    let is_method = syn::parse2::<syn::TraitItemFn>(item.clone()).is_ok();
    let is_item = syn::parse2::<syn::Item>(item.clone()).is_ok();
    let name = crate_name();
    let message = match (is_method, is_item) {
        (true, _) => "a remote function needs a body; trait methods cannot be remote".to_owned(),
        (false, true) => format!("`#[{name}::remote]` can only be used on a function"),
        _ if is_closure(item) => format!(
            "a closure cannot be remote, because workers find functions by name; write a `fn` with \
             `#[{name}::remote]`, and pass the captured values as arguments"
        ),
        // The parser's own error is more specific.
        (false, false) => return error,
    };
    Error::new(item.span(), message)
}

/// Returns whether the item is `|x| ..` or `let f = |x| ..;`.
fn is_closure(item: &TokenStream) -> bool {
    use syn::{Expr, Local, LocalInit, Stmt};
    let is_closure = |expr: &Expr| matches!(expr, Expr::Closure(_));
    if let Ok(expr) = syn::parse2::<Expr>(item.clone()) {
        return is_closure(&expr);
    }
    let statements = syn::parse::Parser::parse2(syn::Block::parse_within, item.clone());
    matches!(statements.as_deref(),
        Ok([Stmt::Local(Local { init: Some(LocalInit { expr, .. }), .. })]) if is_closure(expr))
}

fn param(index: usize, written: &PatType, taken: &mut HashSet<String>) -> Param {
    let mut name = match &*written.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => pattern.ident.clone(),
        _ => generated(index),
    };
    name.set_span(name.span().resolved_at(Span::mixed_site()));
    // Two parameters may have the same name if `macro_rules!` generates them: their hygiene differs.
    let is_taken = !taken.insert(name.to_string()) && cfg(&written.attrs).is_empty();
    if is_taken || name.to_string().starts_with(OWN) {
        name = generated(index);
    }
    let ty = ungrouped(&written.ty).clone();
    let borrowed = match &ty {
        Type::Reference(reference) => Some(ungrouped(&reference.elem).clone()),
        _ => None,
    };
    Param { name, borrowed, ty, cfg: cfg(&written.attrs) }
}

/// The prefix of generated variables.
const OWN: &str = "__wren_";

/// Returns the name for a parameter that has none outside the body.
pub(super) fn generated(index: usize) -> Ident {
    format_ident!("{OWN}{index}", span = Span::mixed_site())
}

impl Param {
    /// Returns its name for messages.
    pub(super) fn text(&self) -> String {
        self.name.unraw().to_string()
    }
}

/// Returns the attributes that decide whether the annotated parameter exists.
fn cfg(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg") || brings_cfg(attr)).cloned().collect()
}

/// Returns whether the attribute is `cfg_attr(.., cfg(..))`.
fn brings_cfg(attr: &Attribute) -> bool {
    let parts = Punctuated::<Meta, Token![,]>::parse_terminated;
    attr.path().is_ident("cfg_attr")
        && attr.parse_args_with(parts).is_ok_and(|parts| parts.iter().skip(1).any(|part| part.path().is_ident("cfg")))
}

/// Returns the type without parentheses and without the group that surrounds a fragment of `macro_rules!`.
pub(super) fn ungrouped(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        };
    }
}

fn output(output: &ReturnType, must_be_result: bool) -> Output {
    let declared = match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => ungrouped(ty).clone(),
    };
    let result = match &declared {
        Type::Path(path) if path.qself.is_none() && PRIMITIVES.iter().any(|ty| path.path.is_ident(ty)) => None,
        Type::Tuple(tuple) if tuple.elems.is_empty() => None,
        // A macro call in type position can expand to anything.
        Type::Path(_) | Type::Macro(_) => Some(if must_be_result { Kind::Must } else { Kind::May }),
        _ => Some(Kind::Not),
    };
    Output { declared, result }
}

const PRIMITIVES: [&str; 16] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize",
];
