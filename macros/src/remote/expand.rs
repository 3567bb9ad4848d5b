//! Expands `#[wren::remote]`:
//!
//! ```text
//! pub fn f(a: A, b: &B) -> R { body }
//!
//! ==>
//!
//! pub enum f {}
//! impl f {
//!     pub fn local(a: A, b: &B) -> R {
//!         fn f(a: A, b: &B) -> R { body }      // so that `f(..)` in the body calls this function
//!         f(a, b)
//!     }
//! }
//! pub fn f(a: A, b: &B) -> Call<R> {
//!     static __wren_record: RemoteFn = ..;     // in the link-time registry, with this closure:
//!         |invoke| { decode arguments; f::local(..); encode the result }
//!     encode arguments; call(&__wren_record, ..)
//! }
//! ```
//!
//! The enum is in the type namespace and the function in the value namespace, so both can have the same name.
//!
//! Names in generated code must not conflict with those of the program: types, constants, macro fragments. So the code
//! uses full paths, its variables and items start with `__wren`, and its variables have the hygiene of the macro. The
//! type of an argument or a result, and not its name, decides how it is passed: see `wren::__private` in
//! `runtime/src/function/types.rs`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Ident, ItemFn, Meta, Type, Visibility};

use super::lifetimes::{anonymous, with_static};
use super::parse::{Kind, Param, Remote, generated};
use super::shared;
use crate::record::Record;
use crate::tokens;

pub(super) fn expand(remote: &Remote) -> TokenStream {
    let attrs = Attributes::of(&remote.item.attrs);
    let names = Names::new(remote);
    let carrier = carrier(remote, &names, &attrs);
    let stub = stub(remote, &names, &attrs);
    quote!(#carrier #stub)
}

/// The names in the generated code.
struct Names {
    private: TokenStream,
    /// The type that has `local`.
    carrier: Ident,
    record: Ident,
    encoder: Ident,
    decoder: Ident,
    invoke: Ident,
    output: Ident,
    value: Ident,
}

impl Names {
    fn new(remote: &Remote) -> Self {
        let own = |name: &str| Ident::new(name, Span::mixed_site());
        let mut carrier = remote.options.carrier.clone().unwrap_or_else(|| remote.item.sig.ident.clone());
        // Located at the function's name, but with the macro's hygiene, so that the program's lints ignore it.
        carrier.set_span(carrier.span().resolved_at(Span::mixed_site()));
        Self {
            private: remote.options.private(),
            carrier,
            record: own("__wren_record"),
            encoder: own("__wren_encoder"),
            decoder: own("__wren_decoder"),
            invoke: own("__wren_invoke"),
            output: own("__wren_output"),
            value: own("__wren_value"),
        }
    }
}

/// The attributes, grouped by destination: documentation goes on the stub, lints go on the stub and the body, and other
/// attributes go on the body.
struct Attributes<'a> {
    docs: Vec<&'a Attribute>,
    /// `doc(hidden)` and similar attributes.
    shown: Vec<&'a Attribute>,
    stub: Vec<&'a Attribute>,
    lints: Vec<Attribute>,
    body: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    fn of(attrs: &'a [Attribute]) -> Self {
        let mut sorted = Self { docs: vec![], shown: vec![], stub: vec![], lints: vec![], body: vec![] };
        for attr in attrs {
            let name = attr.path().get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                "doc" if matches!(attr.meta, Meta::List(_)) => sorted.shown.push(attr),
                "doc" => sorted.docs.push(attr),
                "deprecated" | "must_use" => sorted.stub.push(attr),
                "allow" | "warn" | "deny" | "forbid" => sorted.lints.push(attr.clone()),
                "expect" => sorted.lints.push(allowed(attr)),
                _ => sorted.body.push(attr),
            }
        }
        sorted
    }
}

/// Turns `expect` into `allow`. The lint occurs in only one of the generated functions, and `expect` would warn on the
/// others.
fn allowed(expect: &Attribute) -> Attribute {
    let mut allow = expect.clone();
    if let Meta::List(list) = &mut allow.meta {
        list.path = Ident::new("allow", expect.path().span()).into();
    }
    allow
}

/// Generates the enum that has `f::local`.
fn carrier(remote: &Remote, names: &Names, attrs: &Attributes<'_>) -> TokenStream {
    let ItemFn { vis, sig, block, .. } = &remote.item;
    let Attributes { shown, lints, body, .. } = attrs;
    let (name, carrier) = (&sig.ident, &names.carrier);
    let (mut inner, mut local) = (sig.clone(), sig.clone());
    local.ident = Ident::new("local", name.span().resolved_at(Span::mixed_site()));
    // The function inside `local` would shadow a parameter of the same name.
    let renamed = |(i, param): (usize, &Param)| match param.name == *name {
        true => Param { name: generated(i), ..param.clone() },
        false => param.clone(),
    };
    let params: Vec<_> = remote.params.iter().enumerate().map(renamed).collect();
    local.inputs = params.iter().map(plain).collect();
    inner.inputs.iter_mut().for_each(expected_here);
    let passed = params.iter().map(|Param { name, cfg, .. }| quote!(#(#cfg)* #name));
    let wait = sig.asyncness.map(|_| quote!(.await));
    let inapplicable = inapplicable(vis);
    let text = name.unraw();
    let about =
        format!("Has [`local`](Self::local), which calls the remote function `{text}` as an ordinary function.");
    let about_local = format!("Runs [`{text}`](fn@{text}) in this process, on this thread.");
    quote! {
        #[doc = #about]
        #(#shown)*
        #[non_exhaustive]
        #vis enum #carrier {}

        impl #carrier {
            #[doc = #about_local]
            #(#shown)*
            #[allow(#(clippy::#inapplicable),*)]
            #(#lints)*
            #vis #local {
                #(#lints)*
                #(#body)*
                #inner #block
                #name(#(#passed),*) #wait
            }
        }
    }
}

/// Returns the clippy lints that do not apply: a remote function is never `const`, and clippy does not recognize that
/// the function inside `local` is exported.
fn inapplicable(vis: &Visibility) -> impl Iterator<Item = Ident> {
    let exported = ["needless_pass_by_value", "trivially_copy_pass_by_ref", "unnecessary_wraps"];
    let exported = exported.into_iter().filter(|_| matches!(vis, Visibility::Public(_)));
    ["missing_const_for_fn"].into_iter().chain(exported).map(|lint| Ident::new(lint, Span::call_site()))
}

/// Returns the parameter without its pattern: `x: T` for `mut x: T`.
fn plain(param: &Param) -> FnArg {
    let Param { name, ty, cfg, .. } = param;
    syn::parse_quote!(#(#cfg)* #name: #ty)
}

/// Turns `expect` on a parameter into `allow`, as on the function.
fn expected_here(input: &mut FnArg) {
    let FnArg::Typed(typed) = input else { return };
    for attr in typed.attrs.iter_mut().filter(|attr| attr.path().is_ident("expect")) {
        *attr = allowed(attr);
    }
}

/// Generates the function that returns the call.
fn stub(remote: &Remote, names: &Names, attrs: &Attributes<'_>) -> TokenStream {
    let ItemFn { vis, sig, .. } = &remote.item;
    let Attributes { docs, shown, stub, lints, .. } = attrs;
    let Names { private, record, encoder, .. } = names;
    let (name, generics, where_clause) = (&sig.ident, &sig.generics, &sig.generics.where_clause);
    let params = remote.params.iter().map(plain);
    let pushes = remote.params.iter().map(|param| push(param, names));
    let output = sent_back(remote, private);
    let static_record = static_record(remote, names);
    let not_shared = arguments_not_shared(remote, private);
    quote! {
        #(#docs)*
        #(#shown)*
        #(#stub)*
        #(#lints)*
        #vis fn #name #generics (#(#params),*) -> #private::Call<#output> #where_clause {
            use #private::{Any as _, EachTime as _, Once as _};
            #not_shared
            #static_record
            let mut #encoder = #private::ArgsEncoder::new();
            #(#pushes)*
            #private::call(&#record, #encoder)
        }
    }
}

/// Returns the type that the caller gets: for a `Result`, the type in `Ok`.
///
/// The check of the type is inside of the type itself. So if a derive is missing, the type is erroneous, and the compiler
/// reports nothing about code that uses a call.
fn sent_back(remote: &Remote, private: &TokenStream) -> TokenStream {
    let declared = with_static(&remote.output.declared, &remote.item.sig.generics);
    let Some(kind) = remote.output.result else { return quote!(#declared) };
    let span = remote.output.declared.span();
    let reply = reply(kind, &declared, span, private);
    quote_spanned!(span=> <#declared as #reply>::Ok)
}

/// Returns the trait that splits the declared type into value and error, with a check of the value's type.
fn reply(kind: Kind, declared: &Type, span: Span, private: &TokenStream) -> TokenStream {
    let is_result = is_result(kind, declared, span, private);
    let ok = match kind {
        Kind::Not => quote!(#declared),
        Kind::May | Kind::Must => quote_spanned!(span=> <#declared as #private::Reply<#is_result>>::Ok),
    };
    let must = (kind == Kind::Must).then(|| quote_spanned!(span=> #private::must_be_result::<#declared>();));
    let form = on_type(&ok, "result", span, private);
    let shared = shared::returned(declared).into_iter().map(|ty| not_shared(&ty, private));
    quote!(#private::Reply<{ use #private::Any as _; let _ = || { #must #form; #(#shared)* }; #is_result }>)
}

/// Returns a constant: whether the declared type is a `Result`.
fn is_result(kind: Kind, declared: &Type, span: Span, private: &TokenStream) -> TokenStream {
    match kind {
        Kind::Not => quote!(false),
        // An inherent `IS_RESULT` takes precedence over that of the trait, which all types have.
        Kind::May | Kind::Must => {
            let is_result = quote_spanned!(span=> #private::Type::<#declared>::IS_RESULT);
            quote!({ use #private::Any as _; #is_result })
        }
    }
}

/// Returns a statement that the compiler refuses for a type that is shared between threads.
fn not_shared(ty: &Type, private: &TokenStream) -> TokenStream {
    let call = on_type(&quote!(#ty), "must_not_be_shared", ty.span(), private);
    quote!(#call;)
}

/// Returns an item that the compiler refuses if an argument is shared between threads.
fn arguments_not_shared(remote: &Remote, private: &TokenStream) -> Option<TokenStream> {
    let checks = remote.params.iter().flat_map(|param| {
        let cfg = &param.cfg;
        let types = shared::candidates(&travelling(param).0).into_iter();
        types.map(|ty| not_shared(&ty, private)).map(move |check| quote!(#(#cfg)* #check))
    });
    let checks: Vec<TokenStream> = checks.collect();
    (!checks.is_empty()).then(|| quote!(const _: fn() = || { #(#checks)* };))
}

fn push(param: &Param, names: &Names) -> TokenStream {
    let Names { private, encoder, .. } = names;
    let Param { name, cfg, .. } = param;
    let (ty, method) = travelling(param);
    let mut argument = name.clone();
    argument.set_span(ty.span().resolved_at(name.span()));
    let argument = match param.borrowed {
        Some(_) => quote!(#argument),
        None => quote_spanned!(ty.span()=> &#argument),
    };
    let (form, push) = (on_type(&quote!(#ty), method, ty.span(), private), format_ident!("push_{method}"));
    quote!(#(#cfg)* #private::Type::<#ty>::NEW.#push(#form, &mut #encoder, #argument);)
}

/// Returns the type to encode, and how it is passed.
fn travelling(param: &Param) -> (Type, &'static str) {
    match &param.borrowed {
        Some(ty) => (anonymous(ty), "borrowed"),
        None => (anonymous(&param.ty), "owned"),
    }
}

/// Returns a call of a method that the compiler selects by the type, such as the type's serde form. The driver's and the
/// worker's side use it with the same span, so that the compiler reports an error only once.
fn on_type(ty: &TokenStream, method: &str, span: Span, private: &TokenStream) -> TokenStream {
    // The compiler shows an expression whose tokens differ in hygiene at the annotation, and not at its location.
    let span = Span::call_site().located_at(span);
    let (method, private) = (Ident::new(method, span), tokens::located_at(private, span));
    quote_spanned!(span=> #private::Type::<#ty>::NEW.#method())
}

fn static_record(remote: &Remote, names: &Names) -> TokenStream {
    let ItemFn { sig, block, .. } = &remote.item;
    let hash_of = |param: &Param| {
        let (text, ty) = (param.text(), &param.ty);
        tokens::hash(quote!(#text #ty))
    };
    let (always, sometimes): (Vec<_>, Vec<_>) = remote.params.iter().partition(|param| param.cfg.is_empty());
    let always = always.into_iter().map(|param| (param.text(), &param.ty)).map(|(text, ty)| quote!(#text: #ty));
    let output = &remote.output.declared;
    let carrier = &names.carrier;
    Record {
        ident: names.record.clone(),
        name: sig.ident.unraw().to_string(),
        beside: quote!(#carrier),
        signature: tokens::written(quote!(#sig)),
        signature_hash: tokens::hash(quote!((#(#always),*) -> #output)),
        conditional: sometimes.into_iter().map(|param| (param.cfg.clone(), hash_of(param))).collect(),
        place: sig.ident.span(),
        body_hash: tokens::hash(quote!(#sig #block)),
        entry: entry(remote, names),
    }
    .expand(&remote.options)
}

/// Generates the worker's side, which decodes the arguments, calls the function and encodes the result.
fn entry(remote: &Remote, names: &Names) -> TokenStream {
    let Names { private, carrier, decoder, invoke, output, value, .. } = names;
    let decoded = remote.params.iter().map(|param| decode(param, names));
    let passed = remote.params.iter().map(pass);
    let mut called = quote!(#carrier::local(#(#passed),*));
    if remote.item.sig.asyncness.is_some() {
        called = quote!(#private::run_async(#called));
    }
    let span = remote.output.declared.span();
    if let Some(kind @ (Kind::May | Kind::Must)) = remote.output.result {
        called = taken_apart(remote, names, kind, &called);
    }
    let sent = sent_back(remote, private);
    let form = on_type(&sent, "result", span, private);
    quote! {
        |#invoke| {
            let (mut #decoder, #output) = #invoke.split();
            #(#decoded)*
            #decoder.finish()?;
            let #value = #called;
            let #output = #output.shown_as(&#value, #private::Type::of(&#value).debug());
            #private::Type::of(&#value).write(#form, #output, #value)
        }
    }
}

/// Generates the code that takes the value out of a `Result`. An `Err` becomes the failure of the call.
fn taken_apart(remote: &Remote, names: &Names, kind: Kind, called: &TokenStream) -> TokenStream {
    let Names { private, value, .. } = names;
    let mut value = value.clone();
    value.set_span(remote.output.declared.span().resolved_at(value.span()));
    let declared = with_static(&remote.output.declared, &remote.item.sig.generics);
    let span = remote.output.declared.span();
    let reply = match kind {
        Kind::Must => reply(kind, &declared, span, private),
        // The result of the stub has the check.
        Kind::May | Kind::Not => {
            let is_result = is_result(kind, &declared, span, private);
            quote!(#private::Reply<#is_result>)
        }
    };
    let again = match &remote.options.retry_if {
        Some(retry_if) => quote_spanned!(retry_if.span()=> #private::errors::is_worth_it(#retry_if, &#value)),
        None => quote!(true),
    };
    let failure = quote_spanned!(span=> #private::error_failure!(#value, #again));
    quote_spanned! {span=>
        match <_ as #reply>::into_result(#called) {
            ::core::result::Result::Ok(#value) => #value,
            ::core::result::Result::Err(#value) => return ::core::result::Result::Err(#failure),
        }
    }
}

fn decode(param: &Param, names: &Names) -> TokenStream {
    let Names { private, decoder, .. } = names;
    let Param { name, cfg, .. } = param;
    let text = param.text();
    let (ty, method) = travelling(param);
    let (form, next) = (on_type(&quote!(#ty), method, ty.span(), private), format_ident!("next_{method}"));
    quote!(#(#cfg)* let #name = #private::Type::<#ty>::NEW.#next(#form, &mut #decoder, #text)?;)
}

fn pass(param: &Param) -> TokenStream {
    let Param { name, cfg, .. } = param;
    match &param.borrowed {
        Some(_) => quote!(#(#cfg)* &*#name),
        None => quote!(#(#cfg)* #name),
    }
}
