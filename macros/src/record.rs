//! The `RemoteFn` that stands in the link-time registry.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Ident};

use crate::options::Options;

pub(crate) struct Record {
    /// What the static is called.
    pub(crate) ident: Ident,
    /// What stands behind the module's path in the name.
    pub(crate) name: String,
    /// A type that stands where the function does; its path tells functions of one name apart.
    pub(crate) beside: TokenStream,
    pub(crate) signature: String,
    /// Of what driver and worker must agree on.
    pub(crate) signature_hash: u64,
    /// Of parameters that only some targets have.
    pub(crate) conditional: Vec<(Vec<Attribute>, u64)>,
    /// Where the source is that a reader wants to see.
    pub(crate) place: Span,
    /// What the function is made of: other tokens, another hash.
    pub(crate) body_hash: u64,
    pub(crate) entry: TokenStream,
}

impl Record {
    pub(crate) fn expand(&self, options: &Options) -> TokenStream {
        let private = options.private();
        let Self { ident, name, beside, signature, signature_hash, body_hash, entry, .. } = self;
        // `line!()` says where the outermost macro is called; this is where the name stands.
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

/// Line and column, from 1. Unit tests have no compiler that knows them.
fn position(span: Span) -> (u32, u32) {
    if !proc_macro::is_available() {
        return (1, 1);
    }
    let span = span.unwrap();
    (span.line() as u32, span.column() as u32)
}
