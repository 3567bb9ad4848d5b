//! `#[wren::main]`: expands `main` like this.
//!
//! ```text
//! #[wren::main]                         fn main() -> ::wren::__private::Exit {
//! async fn main() -> R { body }   ==>       async fn main() -> R { body }
//!                                           ::wren::__private::main(main)
//!                                       }
//! ```

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, ItemFn};

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
        // Without any `main`, the compiler would report another error.
        return quote!(#errors fn main() {});
    }
    let private = options.private();
    let run = if function.sig.asyncness.is_some() { quote!(main) } else { quote!(main_sync) };
    let (attrs, vis) = (&function.attrs, &function.vis);
    let inner = ItemFn { attrs: Vec::new(), vis: syn::Visibility::Inherited, ..function.clone() };
    quote! {
        #(#attrs)*
        #vis fn main() -> #private::Exit {
            #inner
            #private::#run(main)
        }
    }
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
    // Another attribute that creates an async runtime. One that comes first is fine: it has already turned `main` into
    // an ordinary function.
    if let Some(other) =
        function.attrs.iter().find(|attr| attr.path().segments.last().is_some_and(|s| s.ident == "main"))
    {
        let path = other.path().to_token_stream();
        let path = tokens::written(path);
        errors.push(Error::new(
            other.span(),
            format!(
                "`#[{name}::main]` already runs `main` in a tokio runtime with one thread; remove `#[{path}]`, or \
                 write `#[{path}]` before `#[{name}::main]` to use its runtime"
            ),
        ));
    }
    if !signature.inputs.is_empty() {
        errors.push(Error::new(signature.inputs.span(), "`main` cannot take arguments; use `std::env::args()`"));
    }
    if !signature.generics.params.is_empty() {
        errors.push(Error::new(signature.generics.params.span(), "`main` cannot be generic"));
    }
}
