//! Values that are nested deeply.

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Expr {
    Leaf,
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Maybe(Option<Box<Expr>>),
    List { all: Vec<Expr> },
}

type Wrap = fn(Box<Expr>) -> Expr;

fn nested(depth: usize, wrap: Wrap) -> Expr {
    (0..depth).fold(Expr::Leaf, |expr, _| wrap(Box::new(expr)))
}

/// Runs `call` on a stack as small as that of the threads of tokio and of the standard library.
fn on_a_small_stack<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(call).unwrap().join().unwrap()
}

#[test]
fn writable_depths_are_readable_and_deeper_is_an_error() {
    on_a_small_stack(|| {
        let wraps: [(Wrap, usize); 4] = [
            (Expr::Not, 256),
            (|expr| Expr::And(Box::new(Expr::Leaf), expr), 256),
            (|expr| Expr::Maybe(Some(expr)), 128),
            (|expr| Expr::List { all: vec![*expr] }, 128),
        ];
        for (wrap, most) in wraps {
            comes_back(&nested(most, wrap));
            let error = encode(&nested(most + 1, wrap)).unwrap_err().to_string();
            assert!(error.contains("nested more than 256 levels deep"), "{error}");
        }
        let deep = nested(20_000, Expr::Not);
        assert!(encode(&deep).is_err());
        // Dropping it would overflow this stack.
        std::mem::forget(deep);
    });
}

#[test]
fn a_deep_untagged_type_can_be_read() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Number(i64),
        Text(String),
        List(Vec<Loose>),
    }
    on_a_small_stack(|| {
        let value = (0..250).fold(Loose::Number(1), |inner, _| Loose::List(vec![inner, Loose::Text("x".into())]));
        comes_back(&value);
    });
}

#[test]
fn deep_nesting_is_an_error_not_an_overflow() {
    for mark in [marks::SOME, marks::SEQ, marks::MAP] {
        let bytes: Vec<u8> = [mark, 1].repeat(1 << 20);
        assert!(decode::<serde_json::Value>(&bytes).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&bytes).is_err());
    }
}
