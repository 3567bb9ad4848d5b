//! Converts tokens to text and to a hash. Neither depends on the formatting of the source.

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};

/// One token, or an operator of several characters.
struct Token {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Punct,
    Open,
    Close,
}

/// Returns the tokens of an item without the group that surrounds an item from `macro_rules!`.
pub(crate) fn ungrouped(item: TokenStream) -> TokenStream {
    let mut trees = item.clone().into_iter();
    match (trees.next(), trees.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => ungrouped(group.stream()),
        _ => item,
    }
}

/// Returns the tokens with another location, at which the compiler reports errors about them.
pub(crate) fn located_at(tokens: &TokenStream, span: Span) -> TokenStream {
    let moved = |mut tree: TokenTree| {
        tree.set_span(tree.span().located_at(span));
        tree
    };
    tokens.clone().into_iter().map(moved).collect()
}

/// Returns the FNV-1a hash of the tokens. Line breaks, spaces, comments and trailing commas do not change it.
pub(crate) fn hash(tokens: TokenStream) -> u64 {
    flat(tokens).iter().fold(FNV_START, |hash, token| {
        // Hash the end of each token too, so that `ab c` and `a bc` differ.
        token.text.bytes().chain([0xff]).fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
    })
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Formats the tokens of a signature on one line, in the usual style: `fn f(x: &T) -> Vec<u8>`.
pub(crate) fn written(tokens: TokenStream) -> String {
    let mut text = String::new();
    let mut before: Option<Token> = None;
    for token in flat(tokens) {
        if before.as_ref().is_some_and(|before| are_apart(before, &token)) {
            text.push(' ');
        }
        text.push_str(&token.text);
        before = Some(token);
    }
    text
}

/// Returns whether to put a space between two tokens of a signature.
fn are_apart(left: &Token, right: &Token) -> bool {
    let follows_name = left.kind == Kind::Word || left.text == ">";
    match (left.text.as_str(), right.text.as_str()) {
        ("&" | "(" | "[" | "<" | "::" | "'" | "#" | "?" | "*" | "!", _) => false,
        (_, "," | ";" | ":" | ")" | "]" | ">") => false,
        (_, "(" | "<" | "::" | "!") => !follows_name,
        // A `[` directly follows a name only in `name![..]`, which does not occur in a signature.
        _ => true,
    }
}

fn flat(tokens: TokenStream) -> Vec<Token> {
    let mut flat = Vec::new();
    append(tokens, &mut flat);
    flat
}

fn append(tokens: TokenStream, flat: &mut Vec<Token>) {
    let mut is_joint = false;
    for tree in tokens {
        let was_joint = std::mem::take(&mut is_joint);
        let (text, kind) = match tree {
            TokenTree::Group(group) => {
                append_group(group.delimiter(), group.stream(), flat);
                continue;
            }
            TokenTree::Ident(ident) => (ident.to_string(), Kind::Word),
            TokenTree::Literal(literal) => (literal.to_string(), Kind::Word),
            TokenTree::Punct(punct) => {
                is_joint = punct.spacing() == Spacing::Joint;
                let text = punct.to_string();
                if let Some(left) = flat.last_mut().filter(|left| was_joint && is_operator(&left.text, &text)) {
                    left.text.push_str(&text);
                    continue;
                }
                if text == ">" {
                    remove_comma(flat);
                }
                (text, Kind::Punct)
            }
        };
        flat.push(Token { text, kind });
    }
}

fn is_operator(left: &str, right: &str) -> bool {
    matches!((left, right), (":", ":") | ("-" | "=", ">") | ("." | "..", ".") | ("..", "="))
}

fn append_group(delimiter: Delimiter, inner: TokenStream, flat: &mut Vec<Token>) {
    let (open, close) = match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::Brace => ("{", "}"),
        // The invisible group around a macro fragment.
        Delimiter::None => return append(inner, flat),
    };
    let is_comma = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ',');
    // `(x,)` is a tuple, but `(x)` is not.
    let may_be_tuple = open == "(" && !flat.last().is_some_and(is_called);
    let comma_counts = may_be_tuple && inner.clone().into_iter().filter(is_comma).count() < 2;
    flat.push(Token { text: open.to_owned(), kind: Kind::Open });
    append(inner, flat);
    if !comma_counts {
        remove_comma(flat);
    }
    flat.push(Token { text: close.to_owned(), kind: Kind::Close });
}

/// Returns whether parentheses after this token contain parameters or arguments.
fn is_called(token: &Token) -> bool {
    const KEYWORDS: [&str; 8] = ["as", "break", "else", "if", "in", "match", "return", "while"];
    match token.kind {
        Kind::Word => !KEYWORDS.contains(&token.text.as_str()),
        Kind::Close => token.text == ")" || token.text == "]",
        Kind::Punct | Kind::Open => token.text == ">" || token.text == "!",
    }
}

fn remove_comma(flat: &mut Vec<Token>) {
    if flat.last().is_some_and(|last| last.text == ",") {
        flat.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().unwrap()
    }

    #[test]
    fn signatures_read_as_written() {
        let cases = [
            "fn f()",
            "fn simulate(seed: u64, model: &Model) -> Result<Outcome, SimError>",
            "async fn g<'a>(x: &'a str, y: Cow<'a, str>) -> Vec<u8>",
            "fn h((a, b): (u32, [f64; 3]), c: &[T], d: std::path::PathBuf) -> (u32, Option<String>)",
            "fn i(mut x: Vec<Vec<u8>>, _: &&str, r#type: ::std::string::String) -> <T as Trait>::Out",
            "fn j(#[cfg(unix)] x: u8) -> Result<(), Box<dyn Error + Send + Sync>>",
            "fn k(Model { name, .. }: Model, [c, ..]: [u32; 3]) -> (u8,)",
        ];
        for case in cases {
            assert_eq!(written(tokens(case)), case);
        }
    }

    #[test]
    fn formatting_changes_neither_text_nor_hash() {
        let as_written = "fn f(x: Vec<Vec<u8>>, y: &(u8, u8)) -> Result<A, B> { g(x, [1, 2], |a| a.h(&y)) }";
        let others = [
            "fn f(\n    x: Vec<Vec<u8>>,\n    y: &(u8, u8),\n) -> Result<A, B> {\n    g(x, [1, 2], |a| a.h(&y))\n}",
            "fn f ( x : Vec < Vec < u8 > > , y : & ( u8 , u8 , ) ) -> Result < A , B , > { g(x, [1,2,], |a| a.h(& y,),) }",
            "fn f(x: Vec<Vec<u8>>, /* why */ y: &(u8, u8)) -> Result<A, B> { // what\n g(x, [1, 2], |a| a.h(&y)) }",
        ];
        for other in others {
            assert_eq!(hash(tokens(other)), hash(tokens(as_written)), "{other}");
            let signature = |text: &str| written(tokens(text.split('{').next().unwrap()));
            assert_eq!(signature(other), signature(as_written));
        }
    }

    #[test]
    fn other_tokens_have_another_hash() {
        let different = ["f(x)", "f(y)", "f((x,))", "f((x))", "f(x, y)", "fx()", "f[x]"];
        for (i, one) in different.iter().enumerate() {
            for other in &different[..i] {
                assert_ne!(hash(tokens(one)), hash(tokens(other)), "{one} and {other}");
            }
        }
    }
}
