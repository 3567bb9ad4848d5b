//! The `RemoteFn`: a function's entry in the link-time registry.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Ident};

use crate::options::Options;
use crate::tokens;

pub(crate) struct Record {
    /// The name of the static.
    pub(crate) ident: Ident,
    /// The part of the function's name after the module path.
    pub(crate) name: String,
    /// A type in the same scope as the function; its path distinguishes functions of the same name.
    pub(crate) beside: TokenStream,
    pub(crate) signature: String,
    /// Hash of the parts of the signature that driver and worker must agree on.
    pub(crate) signature_hash: u64,
    /// The `cfg` attributes and the hashes of parameters that only some targets have.
    pub(crate) conditional: Vec<(Vec<Attribute>, u64)>,
    /// The source location to show to users.
    pub(crate) place: Span,
    /// Hash of all tokens of the function.
    pub(crate) body_hash: u64,
    pub(crate) entry: TokenStream,
}

impl Record {
    pub(crate) fn expand(&self, options: &Options) -> TokenStream {
        let private = options.private();
        let Self { ident, name, beside, signature, signature_hash, body_hash, entry, .. } = self;
        // `line!()` is the line of the outermost macro call; this is the line of the name.
        let (line, column) = position(self.place);
        let conditional = (!self.conditional.is_empty()).then(|| {
            let hashes = self.conditional.iter().map(|(cfg, hash)| quote!(#(#cfg)* #hash));
            quote!(.conditional(&[#(#hashes),*]))
        });
        // At the location of the value, because the compiler evaluates it and reports a bad one.
        let limit = |value: &TokenStream, function: &str| {
            let span = Span::mixed_site().located_at(value.span());
            let (private, function) = (tokens::located_at(&private, span), Ident::new(function, span));
            quote_spanned!(span=> #private::annotation::#function(#value))
        };
        let memory = options.memory_mb.as_ref().map(|mb| limit(mb, "memory_mb")).map(|mb| quote!(.memory(#mb)));
        let timeout = options.timeout_s.as_ref().map(|s| limit(s, "timeout")).map(|limit| quote!(.timeout(#limit)));
        let retries = options.retries.as_ref().map(|n| quote!(.retries(#n)));
        let warnings = above_lambda(options, &private);
        let backoff = options.backoff.as_ref().map(|backoff| quote!(.backoff(#backoff)));
        let at_most_once = options.at_most_once.then(|| quote!(.at_most_once()));
        quote! {
            #warnings
            #[#private::linkme::distributed_slice(#private::REMOTE_FNS)]
            #[linkme(crate = #private::linkme)]
            static #ident: #private::RemoteFn = #private::RemoteFn::new(
                ::core::concat!(::core::module_path!(), "::", #name),
                #signature,
                #private::Source {
                    file: ::core::file!(),
                    place: [#line, #column, ::core::line!(), ::core::column!()],
                    name: #name,
                    beside: ::core::any::type_name::<#beside>,
                },
                [#signature_hash, #body_hash],
                #entry,
            ) #conditional #memory #timeout #retries #backoff #at_most_once;
        }
    }
}

/// Returns items that cause a warning if a limit is above the maximum of AWS Lambda: the use of a deprecated constant. A
/// program that only runs elsewhere may have such limits.
fn above_lambda(options: &Options, private: &TokenStream) -> TokenStream {
    let limits = [
        (&options.memory_mb, "MEMORY", quote!(#private::limits::MAX_MEMORY_MB)),
        (&options.timeout_s, "TIMEOUT", quote!(#private::limits::MAX_TIMEOUT_S)),
    ];
    let warnings = limits.into_iter().filter_map(|(value, name, maximum)| {
        let value = value.as_ref()?;
        let span = Span::mixed_site().located_at(value.span());
        let name = Ident::new(name, span);
        let exceeds = quote!({ #private::annotation::exceeds(#value, #maximum) });
        Some(quote_spanned!(span=> const _: () = #private::annotation::AboveLambda::<#exceeds>::#name;))
    });
    warnings.collect()
}

/// Returns line and column, from 1. They are not available in unit tests, which run outside the compiler.
fn position(span: Span) -> (u32, u32) {
    if !proc_macro::is_available() {
        return (1, 1);
    }
    let span = span.unwrap();
    (span.line() as u32, span.column() as u32)
}
