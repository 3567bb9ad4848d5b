//! The options in the parentheses of the attributes.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Path, Token};

use crate::crate_name::crate_ident;
use crate::numbers::{MEMORY, RETRIES, TIMEOUT};

/// The options of an attribute. All of them may be missing.
#[derive(Default)]
pub(crate) struct Options {
    /// A constant expression of type `f64`, like `timeout_s`.
    pub(crate) memory_mb: Option<TokenStream>,
    pub(crate) timeout_s: Option<TokenStream>,
    /// A constant expression of type `u32`.
    pub(crate) retries: Option<TokenStream>,
    pub(crate) backoff: Option<Expr>,
    pub(crate) retry_if: Option<Expr>,
    pub(crate) at_most_once: bool,
    /// The name of the type that has `local`.
    pub(crate) carrier: Option<Ident>,
    /// The path of wren.
    pub(crate) path: Option<Path>,
}

/// `name = value`, or `name`.
struct Pair {
    name: Ident,
    /// The tokens after `=`.
    value: Option<TokenStream>,
}

/// The option that takes no value.
const AT_MOST_ONCE: &str = "at_most_once";

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        // `parse_any`, because `crate` is a keyword.
        let name = input.call(Ident::parse_any).map_err(|error| {
            Error::new(error.span(), "an option is written as `name = value`, as in `memory = 2048, timeout = 300`")
        })?;
        if input.parse::<Option<Token![=]>>()?.is_none() {
            // The rest of `name: value` or `name(value)` belongs to the same mistake.
            let rest = until_comma(input)?;
            if name == AT_MOST_ONCE && rest.is_empty() {
                return Ok(Self { name, value: None });
            }
            return Err(Error::new(name.span(), needs_value(&name)));
        }
        // A value may contain commas, as in `f::<A, B>`, so it ends where the expression ends.
        let ahead = input.fork();
        if let Ok(value) = ahead.parse::<Expr>()
            && (ahead.is_empty() || ahead.peek(Token![,]))
        {
            input.advance_to(&ahead);
            return Ok(Self { name, value: Some(quote!(#value)) });
        }
        let value = until_comma(input)?;
        Ok(Self { name, value: Some(value) })
    }
}

fn needs_value(name: &Ident) -> String {
    match name == AT_MOST_ONCE {
        true => format!("option `{name}` takes no value; write only `{name}`"),
        false => format!("option `{name}` needs a value; write `{name} = ..`"),
    }
}

fn until_comma(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        tokens.extend([input.parse::<proc_macro2::TokenTree>()?]);
    }
    Ok(tokens)
}

/// Parses options one by one, so that a mistake in one of them does not hide those in others.
fn pairs(input: ParseStream<'_>) -> syn::Result<Vec<syn::Result<Pair>>> {
    let mut pairs = Vec::new();
    while !input.is_empty() {
        pairs.push(input.parse::<Pair>());
        // After a mistake, tokens may remain before the comma.
        until_comma(input)?;
        input.parse::<Option<Token![,]>>()?;
    }
    Ok(pairs)
}

impl Options {
    /// Parses options such as `memory = 2048, timeout = 300`. Adds every mistake to `errors`.
    pub(crate) fn parse(tokens: TokenStream, known: &[&str], errors: &mut Vec<Error>) -> Self {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let pairs = pairs.parse2(tokens).unwrap_or_else(|error| vec![Err(error)]);
        for pair in pairs {
            let Pair { name, value } = match pair {
                Ok(pair) => pair,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let text = name.to_string();
            if !known.contains(&text.as_str()) {
                let message = format!("unknown option `{text}`; known options: {}", known.join(", "));
                errors.push(Error::new(name.span(), message));
            } else if seen.contains(&text) {
                errors.push(Error::new(name.span(), format!("option `{text}` is set twice")));
            } else if let Err(error) = options.set(&name, value) {
                errors.push(error);
            }
            seen.push(text);
        }
        options.check(errors);
        options
    }

    /// Rejects combinations of options that exclude each other.
    fn check(&self, errors: &mut Vec<Error>) {
        for (name, value) in [("backoff", &self.backoff), ("retry_if", &self.retry_if)] {
            let Some(value) = value.as_ref().filter(|_| self.retries.is_none()) else { continue };
            let message = format!("`{name}` only applies to retries; set their number with `retries = ..`");
            errors.push(Error::new_spanned(value, message));
        }
        if let Some(retries) = self.retries.as_ref().filter(|_| self.at_most_once) {
            let message = "a function with `at_most_once` is never retried; remove `retries` or `at_most_once`";
            errors.push(Error::new_spanned(retries, message));
        }
    }

    fn set(&mut self, name: &Ident, value: Option<TokenStream>) -> syn::Result<()> {
        let text = name.to_string();
        let Some(value) = value else {
            self.at_most_once = true;
            return Ok(());
        };
        if value.is_empty() || text == AT_MOST_ONCE {
            let at = if value.is_empty() { name.span() } else { value.span() };
            return Err(Error::new(at, needs_value(name)));
        }
        match text.as_str() {
            "memory" => self.memory_mb = Some(MEMORY.parse(value)?),
            "timeout" => self.timeout_s = Some(TIMEOUT.parse(value)?),
            "retries" => self.retries = Some(RETRIES.parse(value)?),
            "backoff" => {
                self.backoff = Some(parsed(value, "`backoff` must be a constant of type `wren::Backoff`")?);
            }
            "retry_if" => {
                let message = "`retry_if` must be a function from `&E` to `bool`, as in `retry_if = is_transient`";
                self.retry_if = Some(parsed(value, message)?);
            }
            "carrier" => {
                let message = "`carrier` must be the name of a new type: `carrier = Train` creates `Train::local(..)`";
                self.carrier = Some(parsed(value, message)?);
            }
            _ => {
                let at = value.span();
                let message = "`crate` must be the path of wren, as in `crate = my_crate::wren`";
                let path = Path::parse_mod_style.parse2(value);
                self.path = Some(path.map_err(|_| Error::new(at, message))?);
            }
        }
        Ok(())
    }

    /// Returns the path of the items that generated code uses.
    pub(crate) fn private(&self) -> TokenStream {
        match &self.path {
            Some(path) => quote!(#path::__private),
            None => {
                let name = crate_ident();
                quote!(::#name::__private)
            }
        }
    }
}

/// Parses a value. Its own message replaces the parser's, which does not know the option.
fn parsed<T: Parse>(value: TokenStream, message: &str) -> syn::Result<T> {
    let at = value.span();
    syn::parse2(value).map_err(|_| Error::new(at, message))
}

/// Converts the errors to tokens that make the compiler report each of them at its location.
pub(crate) fn report(errors: Vec<Error>) -> TokenStream {
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.unwrap_or_else(unexplained).to_compile_error()
}

/// Returns the error for an item that was rejected without a reason.
pub(crate) fn unexplained() -> Error {
    Error::new(Span::call_site(), "wren rejected this item without a reason; please report this as a bug")
}
