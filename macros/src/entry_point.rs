//! `#[wren::main]`: expands `main` like this.
//!
//! ```text
//! #[wren::main]                         fn main() -> ::wren::__private::Exit {
//! async fn main() -> R { body }   ==>       async fn main() -> R { body }
//!                                           ::wren::__private::main(main)
//!                                       }
//! ```
//!
//! An attribute such as `#[tokio::main]` may stand above or below. Below, it is applied to the inner function, which then
//! runs in the runtime that it creates.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Attribute, Error, ItemFn, Signature, Visibility};

use crate::crate_name::crate_name;
use crate::options::{Options, report};
use crate::tokens;

const KNOWN: [&str; 1] = ["crate"];

pub(crate) fn expand(tokens: TokenStream, item: TokenStream) -> TokenStream {
    let item = tokens::ungrouped(item);
    let mut errors = Vec::new();
    let options = Options::parse(tokens, &KNOWN, &mut errors);
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let message = format!("`#[{}::main]` can only be used on `fn main` or `async fn main`", crate_name());
            errors.push(Error::new(item.span(), message));
            let errors = report(errors);
            return quote!(#item #errors);
        }
    };
    check(&function, &mut errors);
    if !errors.is_empty() {
        let errors = report(errors);
        if function.sig.ident != "main" {
            return quote!(#item #errors);
        }
        let ItemFn { attrs, sig, block, .. } = &function;
        let sig = Signature { ident: Ident::new("_main", Span::mixed_site()), ..sig.clone() };
        // Without any `main`, the compiler would report another error.
        return quote!(#errors fn main() { #(#attrs)* #sig #block });
    }
    let private = options.private();
    let others = function.attrs.iter().position(creates_runtime).unwrap_or(function.attrs.len());
    let (outer, inner) = function.attrs.split_at(others);
    let is_async = function.sig.asyncness.is_some() && inner.is_empty();
    let run = if is_async { quote!(main) } else { quote!(main_sync) };
    let vis = &function.vis;
    let body = ItemFn { attrs: inner.to_vec(), vis: Visibility::Inherited, ..function.clone() };
    quote! {
        #(#outer)*
        #vis fn main() -> #private::Exit {
            #body
            #private::#run(main)
        }
    }
}

/// Returns whether the attribute is `#[tokio::main]` or similar: it makes an ordinary function of an async one.
fn creates_runtime(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| last.ident == "main")
}

fn check(function: &ItemFn, errors: &mut Vec<Error>) {
    let signature = &function.sig;
    let name = crate_name();
    if signature.ident != "main" {
        errors.push(Error::new(
            signature.ident.span(),
            format!("`#[{name}::main]` can only be used on `main`; put `#[{name}::remote]` on a function for workers"),
        ));
    }
    if !signature.inputs.is_empty() {
        errors.push(Error::new(signature.inputs.span(), "`main` cannot take arguments; use `std::env::args()`"));
    }
    if !signature.generics.params.is_empty() {
        errors.push(Error::new(signature.generics.params.span(), "`main` cannot be generic"));
    }
}
