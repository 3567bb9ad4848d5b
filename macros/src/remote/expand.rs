//! What `#[wren::remote]` makes of a function:
//!
//! ```text
//! pub fn f(a: A, b: &B) -> R { body }
//!
//! ==>
//!
//! pub enum f {}
//! impl f {
//!     pub fn local(a: A, b: &B) -> R {
//!         fn f(a: A, b: &B) -> R { body }      // so that `f(..)` in the body is this
//!         f(a, b)
//!     }
//! }
//! pub fn f(a: A, b: &B) -> Call<R> {
//!     static RECORD: RemoteFn = ..;            // in the link-time registry
//!     fn entry(..) { decode arguments; f::local(..); encode the result }
//!     encode arguments; call(&RECORD, ..)
//! }
//! ```
//!
//! The enum lives among types and the function among values, so that one name serves both.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ItemFn, Lifetime, Type, TypeReference};

use super::parse::{Param, Passing, Remote};
use crate::record::Record;

pub(super) fn expand(remote: &Remote) -> TokenStream {
    let attrs = Attributes::of(&remote.item.attrs);
    let carrier = carrier(remote, &attrs);
    let stub = stub(remote, &attrs);
    quote!(#carrier #stub)
}

/// Attributes, by where they go: `cfg` on every item, what documents on the stub, what compiles on
/// the body, lints on both.
struct Attributes<'a> {
    cfg: Vec<&'a Attribute>,
    docs: Vec<&'a Attribute>,
    stub: Vec<&'a Attribute>,
    lints: Vec<&'a Attribute>,
    body: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    fn of(attrs: &'a [Attribute]) -> Self {
        let mut sorted = Self { cfg: vec![], docs: vec![], stub: vec![], lints: vec![], body: vec![] };
        for attr in attrs {
            let name = attr.path().get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                "cfg" | "cfg_attr" => sorted.cfg.push(attr),
                "doc" => sorted.docs.push(attr),
                "deprecated" | "must_use" => sorted.stub.push(attr),
                "allow" | "warn" | "deny" | "forbid" => sorted.lints.push(attr),
                _ => sorted.body.push(attr),
            }
        }
        sorted
    }
}

/// The enum that carries `f::local`.
fn carrier(remote: &Remote, attrs: &Attributes<'_>) -> TokenStream {
    let ItemFn { vis, sig, block, .. } = &remote.item;
    let Attributes { cfg, docs, lints, body, .. } = attrs;
    let name = &sig.ident;
    let mut local = sig.clone();
    local.ident = syn::Ident::new("local", name.span());
    local.inputs = remote.params.iter().map(plain).collect();
    let names = remote.params.iter().map(|param| &param.name);
    let wait = sig.asyncness.map(|_| quote!(.await));
    let about = format!("Carries [`{name}::local`], the remote function `{name}` as an ordinary one.");
    quote! {
        #(#cfg)*
        #[doc = #about]
        #[allow(non_camel_case_types, dead_code, clippy::empty_enums, missing_debug_implementations)]
        #vis enum #name {}

        #(#cfg)*
        #[allow(dead_code, clippy::too_many_arguments)]
        impl #name {
            #[doc = "Runs the function here, in this process and on this thread.\n\n"]
            #(#docs)*
            #(#lints)*
            #vis #local {
                #(#lints)*
                #(#body)*
                #sig #block
                #name(#(#names),*) #wait
            }
        }
    }
}

/// The parameter without its pattern: `mut x: T` is `x: T`.
fn plain(param: &Param) -> syn::FnArg {
    let name = &param.name;
    let ty = &param.written.ty;
    syn::parse_quote!(#name: #ty)
}

/// The function that makes the call.
fn stub(remote: &Remote, attrs: &Attributes<'_>) -> TokenStream {
    let ItemFn { vis, sig, .. } = &remote.item;
    let Attributes { cfg, docs, stub, lints, .. } = attrs;
    let private = remote.options.private();
    let name = &sig.ident;
    let generics = &sig.generics;
    let where_clause = &generics.where_clause;
    let params = remote.params.iter().map(plain);
    let pushes = remote.params.iter().map(push);
    let checks = remote.params.iter().map(|param| check(param, &private));
    let output = sent_back(remote, &private);
    let check_output = {
        let span = remote.output.declared.span();
        quote_spanned!(span=> {
            fn result<T: #private::Returned>() {}
            let _ = result::<#output>;
        })
    };
    let record = record(remote);
    let entry = entry(remote, &private);
    quote! {
        #(#cfg)*
        #(#docs)*
        #(#stub)*
        #(#lints)*
        #[allow(clippy::too_many_arguments, clippy::ptr_arg, clippy::needless_pass_by_value, clippy::trivially_copy_pass_by_ref)]
        #vis fn #name #generics (#(#params),*) -> #private::Call<#output> #where_clause {
            #record
            #entry
            #(#checks)*
            #check_output
            let mut args = #private::ArgsEncoder::new();
            #(#pushes)*
            #private::call(&RECORD, args)
        }
    }
}

/// The type that the caller gets: what `Ok` holds of a declared `Result`.
fn sent_back(remote: &Remote, private: &TokenStream) -> TokenStream {
    let declared = &remote.output.declared;
    if !remote.output.is_result {
        return quote!(#declared);
    }
    quote_spanned!(declared.span()=> <#declared as #private::ResultType>::Ok)
}

fn push(param: &Param) -> TokenStream {
    // At the type, where `check` has its errors: the compiler tells one place of one mistake once.
    let span = param.written.ty.span();
    let mut name = param.name.clone();
    name.set_span(type_of(param).span().resolved_at(name.span()));
    match &param.passing {
        Passing::Value => quote_spanned!(span=> args.push(&#name);),
        Passing::Boxed(_) | Passing::Str => quote_spanned!(span=> args.push(#name);),
        Passing::Bytes => quote!(args.push_bytes(#name);),
        Passing::ByteVec => quote!(args.push_bytes(&#name);),
    }
}

/// The type that is encoded.
fn type_of(param: &Param) -> &Type {
    match &param.passing {
        Passing::Boxed(ty) => ty,
        _ => &param.written.ty,
    }
}

/// Asks for what an argument must be, at its own type, so that the compiler points there.
fn check(param: &Param, private: &TokenStream) -> TokenStream {
    let (ty, boxed) = match &param.passing {
        Passing::Value => ((*param.written.ty).clone(), false),
        Passing::Boxed(ty) => ((**ty).clone(), true),
        Passing::Str | Passing::Bytes | Passing::ByteVec => return quote!(),
    };
    let span = ty.span();
    let ty = anonymous(ty);
    let ty = if boxed { quote_spanned!(span=> ::std::boxed::Box<#ty>) } else { quote!(#ty) };
    quote_spanned!(span=> {
        fn argument<'de, T: #private::Argument<'de>>() {}
        let _ = argument::<#ty>;
    })
}

/// The type with its lifetimes left to the compiler.
fn anonymous(mut ty: Type) -> Type {
    struct Anonymous;
    impl VisitMut for Anonymous {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                *lifetime = Lifetime::new("'_", lifetime.span());
            }
        }

        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            // `&T` in a turbofish infers as it stands.
            if reference.lifetime.as_ref().is_some_and(|l| l.ident != "static") {
                reference.lifetime = None;
            }
            visit_mut::visit_type_mut(self, &mut reference.elem);
        }
    }
    Anonymous.visit_type_mut(&mut ty);
    ty
}

fn record(remote: &Remote) -> TokenStream {
    let sig = &remote.item.sig;
    let block = &remote.item.block;
    Record {
        ident: syn::Ident::new("RECORD", proc_macro2::Span::call_site()),
        name: sig.ident.to_string().trim_start_matches("r#").to_owned(),
        signature: spaced(&quote!(#sig).to_string()),
        place: sig.ident.span(),
        hashed: quote!(#sig #block).to_string(),
        entry: quote!(entry),
    }
    .expand(&remote.options)
}

/// The worker's side: decode, call, encode.
fn entry(remote: &Remote, private: &TokenStream) -> TokenStream {
    let name = &remote.item.sig.ident;
    let count = remote.params.len();
    let decoded = remote.params.iter().map(decode);
    let passed = remote.params.iter().map(pass);
    let mut value = quote!(#name::local(#(#passed),*));
    if remote.item.sig.asyncness.is_some() {
        value = quote!(#private::block_on(#value));
    }
    if remote.output.is_result {
        let judged = match &remote.options.retry_if {
            Some(retry_if) => {
                quote_spanned!(retry_if.span()=> let again = #private::errors::is_worth_it(#retry_if, &error);)
            }
            None => quote!(let again = true;),
        };
        value = quote! {
            match #value {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(error) => {
                    #judged
                    return ::core::result::Result::Err(#private::error_failure!(error, again));
                }
            }
        };
    }
    let write = if remote.output.is_bytes { quote!(write_bytes(value)) } else { quote!(write(&value)) };
    quote! {
        #[allow(clippy::let_unit_value, clippy::unit_arg, deprecated, unused_mut, unused_variables)]
        fn entry(invoke: &mut #private::Invoke<'_>) -> ::core::result::Result<(), #private::Failure> {
            let (mut args, output) = invoke.split(#count);
            #(#decoded)*
            args.finish()?;
            let value = #value;
            output.#write
        }
    }
}

fn decode(param: &Param) -> TokenStream {
    let name = &param.name;
    let text = name.to_string();
    match &param.passing {
        Passing::Value => {
            let ty = anonymous((*param.written.ty).clone());
            quote_spanned!(ty.span()=> let #name = args.next::<#ty>(#text)?;)
        }
        Passing::Boxed(ty) => {
            let ty = anonymous((**ty).clone());
            quote_spanned!(ty.span()=> let #name = args.next::<::std::boxed::Box<#ty>>(#text)?;)
        }
        Passing::Str => quote!(let #name = args.next::<&str>(#text)?;),
        Passing::Bytes | Passing::ByteVec => quote!(let #name = args.next_bytes(#text)?;),
    }
}

fn pass(param: &Param) -> TokenStream {
    let name = &param.name;
    match &param.passing {
        Passing::Value | Passing::Str | Passing::Bytes => quote!(#name),
        Passing::Boxed(_) => quote!(&*#name),
        Passing::ByteVec => quote!(<[u8]>::to_vec(#name)),
    }
}

/// Tokens as a person would space them: `fn f(x : & T) -> Vec < u8 >` loses its needless spaces.
fn spaced(tokens: &str) -> String {
    let mut text = tokens.split_whitespace().collect::<Vec<_>>().join(" ");
    let rules = [
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" ,", ","),
        (" :", ":"),
        (" ;", ";"),
        ("& ", "&"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (":: ", "::"),
        ("[ ", "["),
        (" ]", "]"),
        ("->(", "-> ("),
        (",)", ")"),
        (":(", ": ("),
        (",(", ", ("),
        (": :", "::"),
        ("<' ", "<'"),
    ];
    for (from, to) in rules {
        text = text.replace(from, to);
    }
    // The rule for `>` took the space before the arrow's next token along.
    text.replace(")->", ") ->").replace("- >", "->").replace("->", " -> ").replace("  ", " ").replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_written() {
        let cases = [
            "fn f()",
            "fn simulate(seed: u64, model: &Model) -> Result<Outcome, SimError>",
            "async fn g<'a>(x: &'a str, y: Cow<'a, str>) -> Vec<u8>",
            "fn h((a, b): (u32, [f64; 3]), c: &[T], d: std::path::PathBuf) -> (u32, Option<String>)",
        ];
        for case in cases {
            let tokens: TokenStream = case.parse().unwrap();
            assert_eq!(spaced(&tokens.to_string()), case);
        }
    }
}
