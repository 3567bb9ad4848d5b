//! What stands in the parentheses of the attributes.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Lit, LitInt, Path, Token};

use crate::crate_name::crate_ident;

/// The options of an attribute, all optional.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) memory_mb: Option<u32>,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Expr>,
    pub(crate) retry_if: Option<Expr>,
    pub(crate) at_most_once: bool,
    /// What the type is called that carries `local`.
    pub(crate) carrier: Option<Ident>,
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

/// The option that has no value.
const AT_MOST_ONCE: &str = "at_most_once";

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        // `any`, because `crate` is a keyword.
        let name: Ident = input.call(Ident::parse_any)?;
        if name == AT_MOST_ONCE {
            if input.peek(Token![=]) {
                return Err(input.error(format!("option `{name}` has no value: write `{name}` alone")));
            }
            return Ok(Self { name, value: Value::None });
        }
        if input.parse::<Option<Token![=]>>()?.is_none() {
            return Err(Error::new(name.span(), format!("option `{name}` needs a value: `{name} = ..`")));
        }
        let value = match name.to_string().as_str() {
            "crate" => Value::Path(Path::parse_mod_style(input)?),
            "carrier" => Value::Ident(input.parse().map_err(|error| {
                Error::new(
                    error.span(),
                    "`carrier` is the name of a type to be: `carrier = Train` gives `Train::local(..)`",
                )
            })?),
            "backoff" | "retry_if" => Value::Expr(input.parse()?),
            _ => Value::Lit(input.parse()?),
        };
        Ok(Self { name, value })
    }
}

impl Options {
    /// Reads `memory = 2048, timeout = 300`; every mistake goes to `errors`.
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
                let message = format!("unknown option `{name}`; known are {}", known.join(", "));
                errors.push(Error::new(pair.name.span(), message));
            } else if seen.contains(&name) {
                errors.push(Error::new(pair.name.span(), format!("option `{name}` is given twice")));
            } else if let Err(error) = options.set(&name, &pair.value) {
                errors.push(error);
            }
            seen.push(name);
        }
        options.check(errors);
        options
    }

    /// Refuses options that exclude each other.
    fn check(&self, errors: &mut Vec<Error>) {
        for (name, value) in [("backoff", &self.backoff), ("retry_if", &self.retry_if)] {
            let Some(value) = value.as_ref().filter(|_| self.retries.is_none()) else { continue };
            let message = format!("`{name}` is for what is run again: say how often by `retries = ..`");
            errors.push(Error::new_spanned(value, message));
        }
        if self.at_most_once && self.retries.is_some() {
            let message = "what is to run at most once is never run again: leave out `retries` or `at_most_once`";
            errors.push(Error::new(Span::call_site(), message));
        }
    }

    fn set(&mut self, name: &str, value: &Value) -> syn::Result<()> {
        match (name, value) {
            ("memory", Value::Lit(Lit::Int(mb))) => self.memory_mb = Some(positive(mb, "megabytes")?),
            ("memory", Value::Lit(other)) => {
                return Err(not(other, "`memory` is a whole number of megabytes: `memory = 2048`"));
            }
            ("timeout", Value::Lit(Lit::Int(s))) => self.timeout_s = Some(f64::from(positive(s, "seconds")?)),
            ("timeout", Value::Lit(Lit::Float(s))) if s.base10_parse::<f64>()? > 0.0 => {
                self.timeout_s = Some(s.base10_parse()?)
            }
            ("timeout", Value::Lit(other)) => {
                return Err(not(other, "`timeout` is a number of seconds above 0: `timeout = 300` or `timeout = 0.5`"));
            }
            ("retries", Value::Lit(Lit::Int(n))) => self.retries = Some(n.base10_parse()?),
            ("retries", Value::Lit(other)) => return Err(not(other, "`retries` is a whole number: `retries = 2`")),
            ("backoff", Value::Expr(value)) => self.backoff = Some((**value).clone()),
            ("retry_if", Value::Expr(value)) => self.retry_if = Some((**value).clone()),
            (AT_MOST_ONCE, Value::None) => self.at_most_once = true,
            (_, Value::Path(path)) => self.path = Some(path.clone()),
            (_, Value::Ident(name)) => self.carrier = Some(name.clone()),
            // `parse` lets known names only come here.
            _ => {}
        }
        Ok(())
    }

    /// The path to what generated code uses.
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
        0 => Err(Error::new(number.span(), format!("0 {what} are too few; leave the option out for no limit"))),
        n => Ok(n),
    }
}

fn not(found: &Lit, message: &str) -> Error {
    Error::new(found.span(), message)
}

/// The errors as tokens that the compiler reports, each at its place.
pub(crate) fn report(errors: Vec<Error>) -> TokenStream {
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.unwrap_or_else(|| Error::new(Span::call_site(), "wren found a mistake and cannot name it")).to_compile_error()
}
