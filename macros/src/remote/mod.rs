//! `#[wren::remote]`: parses, checks and expands a function, with one file for each step.

mod check;
mod expand;
mod lifetimes;
mod parse;
mod refused;
mod shared;
mod surroundings;

use proc_macro2::TokenStream;

use crate::options::Options;
use crate::tokens;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = tokens::ungrouped(item);
    let mut errors = Vec::new();
    let options = Options::parse(options, &parse::KNOWN, &mut errors);
    let (private, carrier) = (options.private(), options.carrier.clone());
    let function = parse::parse(options, &item, &mut errors);
    if let Some(function) = &function {
        check::check(function, &mut errors);
    }
    match function {
        Some(function) if errors.is_empty() => expand::expand(&function),
        _ => refused::refuse(item, errors, carrier, &private),
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::{TokenStream, TokenTree};

    fn expanded(item: &str) -> TokenStream {
        super::expand(TokenStream::new(), item.parse().unwrap())
    }

    fn count(tokens: TokenStream) -> usize {
        let of = |tree| match tree {
            TokenTree::Group(group) => 2 + count(group.stream()),
            _ => 1,
        };
        tokens.into_iter().map(of).sum()
    }

    #[test]
    fn docs_appear_once() {
        let text = expanded("/// ```\n/// assert!(true);\n/// ```\npub fn f() {}").to_string();
        assert_eq!(text.matches("assert!(true)").count(), 1, "a doctest runs once: {text}");
    }

    /// A large expansion would make builds slow.
    #[test]
    fn the_expansion_is_small() {
        let tokens = count(expanded("fn f(x: u64, y: &str) -> u64 { x }"));
        assert!(tokens < 680, "{tokens} tokens");
        let tokens = count(expanded("fn f(x: Seed, y: &Model) -> Result<Outcome, Problem> { x }"));
        // With the checks of the types, which keep the errors short.
        assert!(tokens < 1240, "{tokens} tokens");
    }

    #[test]
    fn user_names_do_not_collide() {
        let names = ["fn entry(", "static RECORD", "let args", "let mut args", "let output", "__arg"];
        let text =
            expanded("fn f((a, b): (u8, u8), mut c: Vec<u8>, _: &str) -> Result<u8, String> { Ok(a) }").to_string();
        assert!(!names.iter().any(|name| text.contains(name)), "{text}");
    }
}
