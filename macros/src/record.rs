//! The `RemoteFn` that stands in the link-time registry.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Ident;

use crate::options::Options;

pub(crate) struct Record {
    /// What the static is called.
    pub(crate) ident: Ident,
    /// What stands behind the module's path in the name.
    pub(crate) name: String,
    pub(crate) signature: String,
    /// Where the source is that a reader wants to see.
    pub(crate) place: Span,
    /// What the function is made of: other tokens, another hash.
    pub(crate) hashed: String,
    pub(crate) entry: TokenStream,
}

impl Record {
    pub(crate) fn expand(&self, options: &Options) -> TokenStream {
        let private = options.private();
        let Self { ident, name, signature, place, hashed, entry } = self;
        let body_hash = fnv1a(hashed.as_bytes());
        let option = |value: Option<TokenStream>| match value {
            Some(value) => quote!(::core::option::Option::Some(#value)),
            None => quote!(::core::option::Option::None),
        };
        let memory = option(options.memory_mb.map(|mb| quote!(#mb)));
        let timeout = option(options.timeout_s.map(|seconds| {
            let micros = (seconds * 1e6).ceil() as u64;
            quote!(::core::time::Duration::from_micros(#micros))
        }));
        let retries = option(options.retries.map(|n| quote!(#n)));
        let backoff = option(options.backoff.as_ref().map(|backoff| quote!(#backoff)));
        let at_most_once = options.at_most_once;
        // `line!()` would say where the attribute stands; this is where the name does.
        let here = place.unwrap();
        let (line, column) = (here.line() as u32, here.column() as u32);
        quote! {
            #[#private::linkme::distributed_slice(#private::REMOTE_FNS)]
            #[linkme(crate = #private::linkme)]
            static #ident: #private::RemoteFn = #private::RemoteFn {
                name: ::core::concat!(::core::module_path!(), "::", #name),
                signature: #signature,
                file: ::core::file!(),
                line: #line,
                column: #column,
                memory_mb: #memory,
                timeout: #timeout,
                retries: #retries,
                backoff: #backoff,
                at_most_once: #at_most_once,
                body_hash: #body_hash,
                entry: #entry,
            };
        }
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
