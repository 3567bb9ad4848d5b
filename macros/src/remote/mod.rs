//! `#[wren::remote]`: parse, check, expand, one file each.

mod check;
mod expand;
mod lifetimes;
mod parse;
mod surroundings;

use proc_macro2::TokenStream;
use quote::quote;

use crate::options::report;
use crate::tokens;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = tokens::ungrouped(item);
    let mut errors = Vec::new();
    let function = parse::parse(options, &item, &mut errors);
    if let Some(function) = &function {
        check::check(function, &mut errors);
    }
    match function {
        Some(function) if errors.is_empty() => expand::expand(&function),
        _ => {
            // The item stays, so that an editor goes on completing and nothing else is missing.
            let errors = report(errors);
            quote!(#item #errors)
        }
    }
}
