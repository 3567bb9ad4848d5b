//! What stands in for a function that cannot be remote, so that the reason is the only error.
//!
//! ```text
//! fn f(a: &mut A) -> R { body }
//!
//! ==>
//!
//! type __wren_refused_f = <() as Reply<{ compile_error!{"the reason"} }>>::Ok;
//! enum f {}
//! impl f { fn local(_: &mut A) -> __wren_refused_f { loop {} } }
//! fn f(_: &mut A) -> __wren_refused_f {
//!     fn _f(a: &mut A) -> __wren_refused_f { body }      // so that what the body uses is not reported as unused
//!     loop {}
//! }
//! ```
//!
//! The type is an erroneous type, about which the compiler reports nothing else: code that awaits a call of `f`, or maps
//! it, is accepted.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Error, FnArg, ItemFn, Pat, ReturnType, Safety, Signature, Type};

use super::lifetimes::anonymous;
use super::surroundings::is_associated;
use crate::options::{report, unexplained};

/// `carrier` is the name of the type that has `local`, if it is not the function's name.
pub(super) fn refuse(
    item: TokenStream,
    errors: Vec<Error>,
    carrier: Option<Ident>,
    private: &TokenStream,
) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        // Keep the item, so that the compiler does not report that it is missing.
        let errors = report(errors);
        return quote!(#item #errors);
    };
    let mut errors = errors.into_iter();
    let first = errors.next().unwrap_or_else(unexplained).to_compile_error();
    // A macro in place of a type that reports an error is the type `()`, but in place of a constant it is an error.
    let first = quote!(<() as #private::Reply<{ #first }>>::Ok);
    let others = errors.map(|error| error.to_compile_error());
    let stub = match function.sig.receiver().is_some() || is_associated(function.sig.ident.span()) {
        true => associated(function, first),
        false => free(function, carrier, first),
    };
    quote!(#stub #(#others)*)
}

/// Returns a function that takes the same arguments. It has no name for them, because it uses none.
fn stub(signature: &Signature, name: Ident, returned: &TokenStream) -> Signature {
    let mut stub = plain(signature, name, returned);
    for input in &mut stub.inputs {
        if let FnArg::Typed(typed) = input {
            *typed.pat = Pat::Wild(syn::PatWild { attrs: Vec::new(), underscore_token: Default::default() });
        }
    }
    stub
}

/// Returns the signature without qualifiers, and with another name and result.
fn plain(signature: &Signature, name: Ident, returned: &TokenStream) -> Signature {
    Signature {
        constness: None,
        asyncness: None,
        safety: Safety::Default,
        abi: None,
        variadic: None,
        output: syn::parse_quote!(-> #returned),
        ident: name,
        ..signature.clone()
    }
}

fn associated(function: ItemFn, error: TokenStream) -> TokenStream {
    let ItemFn { vis, sig, block, .. } = function;
    let used = used(&sig.output);
    if sig.asyncness.is_some() {
        let stub = stub(&sig, sig.ident.clone(), &error);
        return quote!(#[doc(hidden)] #vis #stub { #used loop {} });
    }
    let plain = plain(&sig, sig.ident.clone(), &error);
    // Braces around a block alone would cause a warning.
    let body = used.map_or_else(|| quote!(#block), |used| quote!({ #used #block }));
    quote!(#[doc(hidden)] #vis #plain #body)
}

/// Returns a statement that uses the types in a declared result, so that their imports are not reported as unused.
fn used(output: &ReturnType) -> Option<TokenStream> {
    let ReturnType::Type(_, ty) = output else { return None };
    let mut unnameable = Unnameable(false);
    unnameable.visit_type(ty);
    let ty = anonymous(ty);
    (!unnameable.0).then(|| quote!(let _ = ::core::marker::PhantomData::<#ty>;))
}

/// Finds types that can only be written in a signature.
struct Unnameable(bool);

impl Visit<'_> for Unnameable {
    fn visit_type(&mut self, ty: &Type) {
        match ty {
            Type::ImplTrait(_) | Type::Never(_) | Type::Infer(_) => self.0 = true,
            Type::Path(path) if path.path.is_ident("Self") => self.0 = true,
            _ => visit::visit_type(self, ty),
        }
    }
}

fn free(function: ItemFn, carrier: Option<Ident>, error: TokenStream) -> TokenStream {
    let ItemFn { vis, sig, block, .. } = function;
    let name = &sig.ident;
    let text = name.unraw();
    let ty = format_ident!("__wren_refused_{text}", span = Span::mixed_site());
    let mut carrier = carrier.unwrap_or_else(|| name.clone());
    carrier.set_span(carrier.span().resolved_at(Span::mixed_site()));
    let stand_in = stub(&sig, name.clone(), &quote!(#ty));
    let local = stub(&sig, Ident::new("local", Span::call_site()), &quote!(#ty));
    let mut inner = sig.clone();
    inner.ident = format_ident!("_{text}", span = Span::mixed_site());
    inner.output = match inner.output {
        ReturnType::Default => ReturnType::Default,
        ReturnType::Type(..) => syn::parse_quote!(-> #ty),
    };
    let used = used(&sig.output);
    let inner = sig.variadic.is_none().then(|| quote!(#inner #block));
    quote! {
        #[allow(non_camel_case_types)]
        type #ty = #error;
        #[doc(hidden)]
        #vis enum #carrier {}
        #[doc(hidden)]
        impl #carrier {
            #vis #local { loop {} }
        }
        #[doc(hidden)]
        #vis #stand_in {
            #inner
            #used
            loop {}
        }
    }
}
