//! The annotated function, with all that is known of its signature.

use proc_macro2::TokenStream;
use quote::format_ident;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Pat, PatType, Path, PathArguments, ReturnType, Type, TypeReference};

use crate::crate_name::crate_name;
use crate::options::Options;

const KNOWN: [&str; 7] = ["memory", "timeout", "retries", "retry_if", "backoff", "at_most_once", "crate"];

pub(super) struct Remote {
    pub(super) options: Options,
    pub(super) item: ItemFn,
    pub(super) params: Vec<Param>,
    pub(super) output: Output,
}

/// A parameter: `mut name: &T` has the name `name` outside the body, a pattern `__argN`.
pub(super) struct Param {
    pub(super) name: Ident,
    pub(super) written: PatType,
    pub(super) passing: Passing,
}

/// How an argument is encoded and decoded.
pub(super) enum Passing {
    /// `T`.
    Value,
    /// `&T`, decoded as `Box<T>`.
    Boxed(Box<Type>),
    /// `&str`, borrowed from the message.
    Str,
    /// `&[u8]`, borrowed from the message.
    Bytes,
    /// `Vec<u8>`, in one copy.
    ByteVec,
}

pub(super) struct Output {
    pub(super) declared: Type,
    /// Whether the declared type is named `Result`.
    pub(super) is_result: bool,
    /// Whether what is sent back is a `Vec<u8>`.
    pub(super) is_bytes: bool,
}

pub(super) fn parse(options: TokenStream, item: &TokenStream, errors: &mut Vec<Error>) -> Option<Remote> {
    let options = Options::parse(options, &KNOWN, errors);
    let item: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(not_a_function(item, error));
            return None;
        }
    };
    let params = item.sig.inputs.iter().enumerate().filter_map(|(i, input)| match input {
        FnArg::Typed(written) => Some(param(i, written.clone())),
        FnArg::Receiver(_) => None,
    });
    let params = params.collect();
    let output = output(&item.sig.output);
    Some(Remote { options, params, output, item })
}

fn not_a_function(item: &TokenStream, error: Error) -> Error {
    let is_method = syn::parse2::<syn::TraitItemFn>(item.clone()).is_ok();
    let is_item = syn::parse2::<syn::Item>(item.clone()).is_ok();
    let message = match (is_method, is_item) {
        (true, _) => "a remote function needs a body; methods of traits cannot be remote".to_owned(),
        (false, true) => format!("`#[{}::remote]` goes on a function", crate_name()),
        // Rust's own syntax error says more.
        (false, false) => return error,
    };
    Error::new(item.span(), message)
}

fn param(index: usize, written: PatType) -> Param {
    let name = match &*written.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => pattern.ident.clone(),
        _ => format_ident!("__arg{index}"),
    };
    let passing = match &*written.ty {
        Type::Reference(reference) => by_reference(reference),
        ty if is_byte_vec(ty) => Passing::ByteVec,
        _ => Passing::Value,
    };
    Param { name, passing, written }
}

fn by_reference(reference: &TypeReference) -> Passing {
    match &*reference.elem {
        Type::Path(path) if path.path.is_ident("str") => Passing::Str,
        Type::Slice(slice) if is_ident(&slice.elem, "u8") => Passing::Bytes,
        other => Passing::Boxed(Box::new(other.clone())),
    }
}

fn is_ident(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.qself.is_none() && path.path.is_ident(name))
}

fn is_byte_vec(ty: &Type) -> bool {
    argument_of(ty, "Vec").is_some_and(|inner| is_ident(inner, "u8"))
}

/// The first type argument of a path whose last segment is `name`.
fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn output(output: &ReturnType) -> Output {
    let declared = match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let named_result = |path: &Path| path.segments.last().is_some_and(|last| last.ident == "Result");
    let is_result = matches!(&declared, Type::Path(path) if path.qself.is_none() && named_result(&path.path));
    let is_bytes = is_byte_vec(&declared) || (is_result && argument_of(&declared, "Result").is_some_and(is_byte_vec));
    Output { declared, is_result, is_bytes }
}
