//! Options whose value is a number: a literal, which is checked here, or a constant expression, which the compiler
//! evaluates and `runtime/src/function/annotation.rs` checks.

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{Error, Expr, Lit};

pub(crate) struct NumberOption {
    /// The message for a value that is not a number of this kind.
    expected: &'static str,
    /// The unit in words.
    unit: &'static str,
    /// Units that people write behind the number, in lower case, and their number of this option's units.
    suffixes: &'static [(&'static [&'static str], f64)],
    /// How the value must be written.
    example: &'static str,
    may_be_fraction: bool,
    /// Whether it is a number of times and not a limit.
    counts: bool,
}

pub(crate) const MEMORY: NumberOption = NumberOption {
    expected: "`memory` must be a whole number of megabytes greater than 0",
    unit: "megabytes",
    suffixes: &[
        (&["m", "mb", "mib"], 1.0),
        (&["g", "gb", "gib"], 1024.0),
        (&["t", "tb", "tib"], 1024.0 * 1024.0),
        (&["k", "kb", "kib"], 1.0 / 1024.0),
    ],
    example: "memory = 2048",
    may_be_fraction: false,
    counts: false,
};

pub(crate) const TIMEOUT: NumberOption = NumberOption {
    expected: "`timeout` must be a number of seconds greater than 0",
    unit: "seconds",
    suffixes: &[
        (&["s", "sec", "secs", "second", "seconds"], 1.0),
        (&["m", "min", "mins", "minute", "minutes"], 60.0),
        (&["h", "hour", "hours"], 3600.0),
        (&["d", "day", "days"], 24.0 * 3600.0),
        (&["ms", "millis"], 1e-3),
    ],
    example: "timeout = 300",
    may_be_fraction: true,
    counts: false,
};

pub(crate) const RETRIES: NumberOption = NumberOption {
    expected: "`retries` must be a whole number",
    unit: "retries",
    suffixes: &[],
    example: "retries = 2",
    may_be_fraction: false,
    counts: true,
};

/// Suffixes that are types of numbers in Rust.
const TYPES: [&str; 15] =
    ["", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64"];

impl NumberOption {
    /// Parses the value, and checks it if it is a literal. Returns an expression of type `u32` for a number that counts,
    /// and of type `f64` for a limit: a constant can have any type of number.
    pub(crate) fn parse(&self, value: TokenStream) -> syn::Result<TokenStream> {
        let at = value.span();
        let Ok(expr) = syn::parse2::<Expr>(value.clone()) else { return Err(self.with_unit(value, at)) };
        self.check(&expr)
    }

    fn check(&self, expr: &Expr) -> syn::Result<TokenStream> {
        let at = expr.span();
        match expr {
            Expr::Group(group) => self.check(&group.expr),
            Expr::Paren(paren) => self.check(&paren.expr),
            Expr::Lit(lit) => match &lit.lit {
                Lit::Int(number) => self.check_number(number.base10_digits(), number.suffix(), false, at),
                Lit::Float(number) => self.check_number(number.base10_digits(), number.suffix(), true, at),
                Lit::Str(text) => Err(self.text(&text.value(), at)),
                _ => Err(self.wrong(at)),
            },
            Expr::Binary(_)
            | Expr::Path(_)
            | Expr::Call(_)
            | Expr::MethodCall(_)
            | Expr::Cast(_)
            | Expr::Macro(_)
            | Expr::If(_) => Ok(self.typed(expr)),
            // The others are never a number, such as a list or a closure, or are negative.
            _ => Err(self.wrong(at)),
        }
    }

    fn typed(&self, expr: &Expr) -> TokenStream {
        let at = Span::mixed_site().located_at(expr.span());
        match expr {
            _ if self.counts => quote_spanned!(at=> #expr),
            Expr::Binary(_) => quote_spanned!(at=> (#expr) as f64),
            // Parentheses around the others would cause warnings.
            _ => quote_spanned!(at=> #expr as f64),
        }
    }

    fn check_number(&self, digits: &str, suffix: &str, is_fraction: bool, at: Span) -> syn::Result<TokenStream> {
        if !TYPES.contains(&suffix) {
            return Err(self.suffixed(digits, suffix, at));
        }
        let number: f64 = digits.parse().map_err(|_| self.wrong(at))?;
        if number == 0.0 && !self.counts {
            let message = format!("0 {} is not a valid limit; remove the option for no limit", self.unit);
            return Err(Error::new(at, message));
        }
        // A time may be any number; the others have 32 bits.
        let fits = if self.may_be_fraction { number.is_finite() } else { !is_fraction && number <= u32::MAX.into() };
        if !fits {
            return Err(self.wrong(at));
        }
        let mut literal = match self.counts {
            true => Literal::u32_suffixed(number as u32),
            false => Literal::f64_suffixed(number),
        };
        literal.set_span(at);
        Ok(TokenTree::from(literal).into())
    }

    fn wrong(&self, at: Span) -> Error {
        Error::new(at, format!("{}, as in `{}`", self.expected, self.example))
    }

    /// Returns the error for a number with a unit, such as `5m`.
    fn suffixed(&self, digits: &str, suffix: &str, at: Span) -> Error {
        let name = self.example.split(' ').next().unwrap_or_default();
        let lower = suffix.to_lowercase();
        let unit = self.suffixes.iter().find(|(names, _)| names.contains(&lower.as_str()));
        let number = digits.parse::<f64>().ok().zip(unit).map(|(number, (_, unit))| number * unit);
        // Only suggest a number that the option accepts.
        let number = number.filter(|number| *number > 0.0 && (self.may_be_fraction || number.fract() == 0.0));
        match number {
            Some(number) => Error::new(
                at,
                format!("`{name}` is a number of {} without a unit; write `{name} = {number}`", self.unit),
            ),
            None => Error::new(
                at,
                format!("`{name}` is a number of {} without `{suffix}`, as in `{}`", self.unit, self.example),
            ),
        }
    }

    /// Returns the error for tokens that are not an expression, such as `5 min`.
    fn with_unit(&self, value: TokenStream, at: Span) -> Error {
        let joined: String = value.into_iter().map(|tree| tree.to_string()).collect();
        self.text(&joined, at)
    }

    /// Returns the error for a text, which may be a number with a unit, such as `"2 GB"`.
    fn text(&self, text: &str, at: Span) -> Error {
        let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        match text.split_at(digits) {
            ("", _) => self.wrong(at),
            (digits, "") => match digits.parse::<f64>() {
                Ok(number) => {
                    let name = self.example.split(' ').next().unwrap_or_default();
                    Error::new(at, format!("{}; write `{name} = {number}`", self.expected))
                }
                Err(_) => self.wrong(at),
            },
            (digits, suffix) => self.suffixed(digits, suffix, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(option: &NumberOption, value: &str) -> String {
        match option.parse(value.parse().unwrap()) {
            Ok(_) => panic!("{value} is accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn units_are_converted_in_the_message() {
        let cases = [
            (&TIMEOUT, "5m", "timeout = 300"),
            (&TIMEOUT, "5 min", "timeout = 300"),
            (&TIMEOUT, "\"1.5 h\"", "timeout = 5400"),
            (&TIMEOUT, "250ms", "timeout = 0.25"),
            (&TIMEOUT, "\"30\"", "timeout = 30"),
            (&MEMORY, "512GB", "memory = 524288"),
            (&MEMORY, "2 GiB", "memory = 2048"),
            (&MEMORY, "\"0.5g\"", "memory = 512"),
            (&MEMORY, "2_048kb", "memory = 2"),
        ];
        for (option, value, fixed) in cases {
            let message = refused(option, value);
            assert!(message.ends_with(&format!("write `{fixed}`")), "{value}: {message}");
        }
    }

    #[test]
    fn other_values_are_refused_with_an_example() {
        let cases = [
            (&TIMEOUT, "5parsecs"),
            (&TIMEOUT, "-1"),
            (&TIMEOUT, "true"),
            (&TIMEOUT, "\"soon\""),
            (&TIMEOUT, "1e400"),
            (&TIMEOUT, "5 +"),
            (&MEMORY, "1kb"),
            (&MEMORY, "1.5"),
            (&MEMORY, "99999999999"),
            (&MEMORY, "99999999999999999999999999999999999999999999999999"),
            (&MEMORY, "[512]"),
            (&RETRIES, "2x"),
            (&RETRIES, "'2'"),
            (&RETRIES, "-1"),
        ];
        for (option, value) in cases {
            let message = refused(option, value);
            assert!(message.ends_with(&format!("as in `{}`", option.example)), "{value}: {message}");
        }
    }

    #[test]
    fn numbers_and_constants_are_accepted() {
        let cases = [
            (&TIMEOUT, "300"),
            (&TIMEOUT, "0.5"),
            (&TIMEOUT, "5 * 60"),
            (&TIMEOUT, "2.5e2_f64"),
            (&MEMORY, "0x800_u32"),
            (&MEMORY, "2 * GB"),
            (&MEMORY, "(size::of::<u8, u8>())"),
            (&RETRIES, "0"),
            (&RETRIES, "crate::RETRIES"),
        ];
        for (option, value) in cases {
            let parsed = option.parse(value.parse().unwrap());
            assert!(parsed.is_ok(), "{value}: {}", parsed.err().unwrap());
        }
    }
}
