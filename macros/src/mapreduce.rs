//! `#[wren::mapreduce]`.
//!
//! ```text
//! impl MapReduce for J { .. }
//!
//! ==>
//!
//! impl MapReduce for J { .. }                      // as it stands
//! const _: () = {
//!     static MAP: RemoteFn = ..;                   // `module::J::map`, in the link-time registry
//!     static REDUCE: RemoteFn = ..;                // `module::J::reduce`
//!     impl Registered for J {
//!         const COMBINES: bool = ..;               // whether the impl has a `combine`
//!         const PARTITIONS: bool = ..;             // whether the impl has a `partition`
//!         fn stages() -> [&RemoteFn; 2] { [&MAP, &REDUCE] }
//!     }
//! };
//! ```

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, Type};

use crate::options::{Options, report};
use crate::record::Record;

const KNOWN: [&str; 4] = ["memory", "timeout", "retries", "crate"];

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Vec::new();
    let options = Options::parse(options, &KNOWN, &mut errors);
    let implementation: ItemImpl = match syn::parse2(item.clone()) {
        Ok(implementation) => implementation,
        Err(_) => {
            errors.push(Error::new(item.span(), "`#[wren::mapreduce]` goes on `impl MapReduce for ..`"));
            let errors = report(errors);
            return quote!(#item #errors);
        }
    };
    check(&implementation, &mut errors);
    if !errors.is_empty() {
        let errors = report(errors);
        return quote!(#item #errors);
    }
    let registration = registration(&options, &implementation);
    quote!(#item #registration)
}

fn check(implementation: &ItemImpl, errors: &mut Vec<Error>) {
    let is_it = |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == "MapReduce");
    if !implementation.trait_.as_ref().is_some_and(|(_, path, _)| is_it(path)) {
        let message = "`#[wren::mapreduce]` goes on `impl MapReduce for ..`";
        errors.push(Error::new(implementation.self_ty.span(), message));
    }
    if let Some(first) = implementation.generics.params.first() {
        let message = "a MapReduce has no generics: its stages are found by name, and have one entry each; \
                       implement it for a concrete type";
        errors.push(Error::new(first.span(), message));
    }
    if name_of(&implementation.self_ty).is_none() {
        errors.push(Error::new(implementation.self_ty.span(), "a MapReduce is implemented for a type with a name"));
    }
}

fn name_of(ty: &Type) -> Option<&syn::Ident> {
    match ty {
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

fn registration(options: &Options, implementation: &ItemImpl) -> TokenStream {
    let private = options.private();
    let ty = &implementation.self_ty;
    let Some(name) = name_of(ty) else { return TokenStream::new() };
    // Whatever is changed in the impl changes both stages: `map` and `reduce` share its types.
    let tokens = implementation.to_token_stream().to_string();
    let stage = |ident: &str, stage: &str| {
        let place = method(implementation, stage).map_or(name.span(), |function| function.sig.ident.span());
        Record {
            ident: syn::Ident::new(ident, name.span()),
            name: format!("{name}::{stage}"),
            signature: format!("MapReduce for {name}: {stage}"),
            place,
            hashed: tokens.clone(),
            entry: {
                let entry = syn::Ident::new(&format!("{stage}_entry"), name.span());
                quote!(#private::#entry::<#ty>)
            },
        }
        .expand(options)
    };
    let map = stage("MAP", "map");
    let reduce = stage("REDUCE", "reduce");
    let combines = method(implementation, "combine").is_some();
    let partitions = method(implementation, "partition").is_some();
    let cfg = implementation.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    quote! {
        #(#cfg)*
        const _: () = {
            #map
            #reduce
            impl #private::Registered for #ty {
                const COMBINES: bool = #combines;
                const PARTITIONS: bool = #partitions;
                fn stages() -> [&'static #private::RemoteFn; 2] {
                    [&MAP, &REDUCE]
                }
            }
        };
    }
}
