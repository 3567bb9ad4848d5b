//! `#[wren::mapreduce]` and `#[wren::bsp]`: register the stages of an implementation.
//!
//! ```text
//! impl MapReduce for J { .. }
//!
//! ==>
//!
//! impl MapReduce for J { .. }                      // unchanged
//! const _: () = {
//!     static __wren_map: RemoteFn = ..;            // `module::J::map`, in the link-time registry
//!     static __wren_reduce: RemoteFn = ..;         // `module::J::reduce`
//!     impl Registered for J {
//!         const COMBINES: bool = ..;               // whether the impl has a `combine`
//!         const PARTITIONS: bool = ..;             // whether the impl has a `partition`
//!         fn stages() -> &[&RemoteFn] { .. }
//!     }
//! };
//! ```

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, Type};

use crate::crate_name::crate_name;
use crate::options::{Options, report};
use crate::record::Record;
use crate::tokens;

const KNOWN: [&str; 4] = ["memory", "timeout", "retries", "crate"];

/// A trait with stages.
pub(crate) struct Staged {
    pub(crate) attribute: &'static str,
    pub(crate) name: &'static str,
    /// The methods that workers run.
    pub(crate) stages: &'static [&'static str],
}

pub(crate) const MAP_REDUCE: Staged = Staged { attribute: "mapreduce", name: "MapReduce", stages: &["map", "reduce"] };

pub(crate) const BSP: Staged = Staged { attribute: "bsp", name: "Bsp", stages: &["load", "step", "finish"] };

pub(crate) fn expand(staged: &Staged, options: TokenStream, item: TokenStream) -> TokenStream {
    let wrong =
        format!("`#[{}::{}]` can only be used on `impl {} for ..`", crate_name(), staged.attribute, staged.name);
    let item = tokens::ungrouped(item);
    let mut errors = Vec::new();
    let options = Options::parse(options, &KNOWN, &mut errors);
    let implementation: ItemImpl = match syn::parse2(item.clone()) {
        Ok(implementation) => implementation,
        Err(_) => {
            errors.push(Error::new(item.span(), wrong));
            let errors = report(errors);
            return quote!(#item #errors);
        }
    };
    check(staged, &implementation, wrong, &mut errors);
    if !errors.is_empty() {
        let errors = report(errors);
        return quote!(#item #errors);
    }
    let registration = registration(staged, &options, &implementation);
    quote!(#item #registration)
}

fn check(staged: &Staged, implementation: &ItemImpl, wrong: String, errors: &mut Vec<Error>) {
    let is_it = |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == staged.name);
    if !implementation.trait_.as_ref().is_some_and(|(path, _)| is_it(path)) {
        errors.push(Error::new(implementation.self_ty.span(), wrong));
    }
    if let Some(first) = implementation.generics.params.first() {
        let message = format!(
            "an implementation of {} cannot have generics, because workers find its stages by name; implement it for a \
             concrete type",
            staged.name
        );
        errors.push(Error::new(first.span(), message));
    }
    if name_of(&implementation.self_ty).is_none() {
        let message = format!("{} can only be implemented for a type with a name", staged.name);
        errors.push(Error::new(implementation.self_ty.span(), message));
    }
}

fn name_of(ty: &Type) -> Option<&syn::Ident> {
    match ty {
        // A type that comes from `macro_rules!` is in a group.
        Type::Group(group) => name_of(&group.elem),
        Type::Paren(paren) => name_of(&paren.elem),
        Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|last| &last.ident),
        _ => None,
    }
}

fn method<'a>(implementation: &'a ItemImpl, name: &str) -> Option<&'a ImplItemFn> {
    implementation.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == name => Some(function),
        _ => None,
    })
}

fn registration(staged: &Staged, options: &Options, implementation: &ItemImpl) -> TokenStream {
    let private = options.private();
    let ty = &implementation.self_ty;
    let Some(name) = name_of(ty) else { return TokenStream::new() };
    // A change anywhere in the impl changes all stages, because they share its types.
    let body_hash = tokens::hash(implementation.to_token_stream());
    // The prefix keeps the names apart from those in the program.
    let idents: Vec<_> = staged.stages.iter().map(|stage| format_ident!("__wren_{stage}")).collect();
    let records = staged.stages.iter().zip(&idents).map(|(stage, ident)| {
        let place = method(implementation, stage).map_or(name.span(), |function| function.sig.ident.span());
        let entry = format_ident!("{stage}_entry");
        let signature = format!("{} for {name}: {stage}", staged.name);
        let record = Record {
            ident: ident.clone(),
            name: format!("{name}::{stage}"),
            beside: quote!(#ty),
            signature_hash: tokens::hash(quote!(#signature)),
            signature,
            conditional: Vec::new(),
            place,
            body_hash,
            entry: quote!(#private::#entry::<#ty>),
        };
        record.expand(options)
    });
    let combines = method(implementation, "combine").is_some();
    let partitions = method(implementation, "partition").is_some();
    let cfg = implementation.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    quote! {
        #(#cfg)*
        const _: () = {
            #(#records)*
            impl #private::Registered for #ty {
                const COMBINES: bool = #combines;
                const PARTITIONS: bool = #partitions;
                fn stages() -> &'static [&'static #private::RemoteFn] {
                    static __wren_stages: &[&#private::RemoteFn] = &[#(&#idents),*];
                    __wren_stages
                }
            }
        };
    }
}
