//! The options in the parentheses of the attributes.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Lit, LitInt, Path, Token};

use crate::crate_name::crate_ident;

/// The options of an attribute. All of them may be missing.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) memory_mb: Option<u32>,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) retries: Option<u32>,
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
    value: Value,
}

enum Value {
    Lit(Lit),
    Expr(Box<Expr>),
    Path(Path),
    Ident(Ident),
    None,
}

/// The option that takes no value.
const AT_MOST_ONCE: &str = "at_most_once";

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        // `parse_any`, because `crate` is a keyword.
        let name: Ident = input.call(Ident::parse_any)?;
        if name == AT_MOST_ONCE {
            if input.peek(Token![=]) {
                return Err(input.error(format!("option `{name}` takes no value; write only `{name}`")));
            }
            return Ok(Self { name, value: Value::None });
        }
        if input.parse::<Option<Token![=]>>()?.is_none() {
            return Err(Error::new(name.span(), format!("option `{name}` needs a value; write `{name} = ..`")));
        }
        let value = match name.to_string().as_str() {
            "crate" => Value::Path(Path::parse_mod_style(input)?),
            "carrier" => Value::Ident(input.parse().map_err(|error| {
                Error::new(
                    error.span(),
                    "`carrier` must be the name of a new type: `carrier = Train` creates `Train::local(..)`",
                )
            })?),
            "backoff" | "retry_if" => Value::Expr(input.parse()?),
            _ => Value::Lit(input.parse()?),
        };
        Ok(Self { name, value })
    }
}

impl Options {
    /// Parses options such as `memory = 2048, timeout = 300`. Adds every mistake to `errors`.
    pub(crate) fn parse(tokens: TokenStream, known: &[&str], errors: &mut Vec<Error>) -> Self {
        let mut options = Self::default();
        let pairs = match Punctuated::<Pair, Token![,]>::parse_terminated.parse2(tokens) {
            Ok(pairs) => pairs,
            Err(error) => {
                errors.push(error);
                return options;
            }
        };
        let mut seen: Vec<String> = Vec::new();
        for pair in pairs {
            let name = pair.name.to_string();
            if !known.contains(&name.as_str()) {
                let message = format!("unknown option `{name}`; known options: {}", known.join(", "));
                errors.push(Error::new(pair.name.span(), message));
            } else if seen.contains(&name) {
                errors.push(Error::new(pair.name.span(), format!("option `{name}` is set twice")));
            } else if let Err(error) = options.set(&name, &pair.value) {
                errors.push(error);
            }
            seen.push(name);
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
        if self.at_most_once && self.retries.is_some() {
            let message = "a function with `at_most_once` is never retried; remove `retries` or `at_most_once`";
            errors.push(Error::new(Span::call_site(), message));
        }
    }

    fn set(&mut self, name: &str, value: &Value) -> syn::Result<()> {
        match (name, value) {
            ("memory", Value::Lit(Lit::Int(mb))) => self.memory_mb = Some(positive(mb, "megabytes")?),
            ("memory", Value::Lit(other)) => {
                return Err(invalid(other, "`memory` must be a whole number of megabytes, as in `memory = 2048`"));
            }
            ("timeout", Value::Lit(Lit::Int(s))) => self.timeout_s = Some(f64::from(positive(s, "seconds")?)),
            ("timeout", Value::Lit(Lit::Float(s))) if s.base10_parse::<f64>()? > 0.0 => {
                self.timeout_s = Some(s.base10_parse()?)
            }
            ("timeout", Value::Lit(other)) => {
                return Err(invalid(
                    other,
                    "`timeout` must be a number of seconds greater than 0, as in `timeout = 300` or `timeout = 0.5`",
                ));
            }
            ("retries", Value::Lit(Lit::Int(n))) => self.retries = Some(n.base10_parse()?),
            ("retries", Value::Lit(other)) => {
                return Err(invalid(other, "`retries` must be a whole number, as in `retries = 2`"));
            }
            ("backoff", Value::Expr(value)) => self.backoff = Some((**value).clone()),
            ("retry_if", Value::Expr(value)) => self.retry_if = Some((**value).clone()),
            (AT_MOST_ONCE, Value::None) => self.at_most_once = true,
            (_, Value::Path(path)) => self.path = Some(path.clone()),
            (_, Value::Ident(name)) => self.carrier = Some(name.clone()),
            // `parse` only passes known names.
            _ => {}
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

fn positive(number: &LitInt, what: &str) -> syn::Result<u32> {
    match number.base10_parse()? {
        0 => Err(Error::new(number.span(), format!("0 {what} is not a valid limit; remove the option for no limit"))),
        n => Ok(n),
    }
}

fn invalid(found: &Lit, message: &str) -> Error {
    Error::new(found.span(), message)
}

/// Converts the errors to tokens that make the compiler report each of them at its location.
pub(crate) fn report(errors: Vec<Error>) -> TokenStream {
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.unwrap_or_else(|| {
        Error::new(Span::call_site(), "wren rejected this item without a reason; please report this as a bug")
    })
    .to_compile_error()
}
