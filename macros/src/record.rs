//! The `RemoteFn`: a function's entry in the link-time registry.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Ident};

use crate::options::Options;

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
        let memory = options.memory_mb.map(|mb| quote!(.memory(#mb)));
        let timeout = options.timeout_s.map(|seconds| {
            let micros = (seconds * 1e6).ceil() as u64;
            quote!(.timeout_micros(#micros))
        });
        let retries = options.retries.map(|n| quote!(.retries(#n)));
        let backoff = options.backoff.as_ref().map(|backoff| quote!(.backoff(#backoff)));
        let at_most_once = options.at_most_once.then(|| quote!(.at_most_once()));
        quote! {
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

/// Returns line and column, from 1. They are not available in unit tests, which run outside the compiler.
fn position(span: Span) -> (u32, u32) {
    if !proc_macro::is_available() {
        return (1, 1);
    }
    let span = span.unwrap();
    (span.line() as u32, span.column() as u32)
}
