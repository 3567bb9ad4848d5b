//! Names that a program may use together with remote functions. Generated code neither collides with them nor mistakes
//! them for others.

#![deny(warnings)]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::too_many_arguments, clippy::ptr_arg, unreachable_pub, reason = "the tests are about names and types")]

use std::sync::Arc;

use wren::{Error, block_on};

#[wren::remote]
fn every_name(
    args: u8,
    entry: u8,
    output: u8,
    invoke: u8,
    value: u8,
    error: u8,
    call: u8,
    local: u8,
) -> Result<u8, u8> {
    Ok(args + entry + output + invoke + value + error + call + local)
}

#[wren::remote]
fn scale(scale: f64) -> f64 {
    scale * 2.0
}

#[wren::remote]
fn r#type(r#match: u32, r#fn: &str, __wren_encoder: u32) -> u32 {
    r#match + r#fn.len() as u32 + __wren_encoder
}

#[wren::remote]
fn unused(_: u32, _x: u64, _y: &str, __z: Vec<u8>) {}

const RECORD: usize = 4;

#[wren::remote]
fn tail(bytes: [u8; RECORD]) -> u8 {
    bytes[RECORD - 1]
}

#[test]
fn parameters_and_constants_have_any_name() {
    block_on(async {
        assert_eq!(every_name(1, 1, 1, 1, 1, 1, 1, 1).await.unwrap(), 8);
        assert_eq!((scale(1.5).await.unwrap(), scale::local(2.5)), (3.0, 5.0));
        assert_eq!((r#type(1, "ab", 4).await.unwrap(), r#type::local(1, "", 0)), (7, 1));
        unused(1, 2, "", vec![]).await.unwrap();
        assert_eq!(tail([1, 2, 3, 4]).await.unwrap(), 4);
    });
    assert_eq!(wren::registry::find("remote_names::type").unwrap().name, "remote_names::type");
}

/// Types with the names of standard types, which are different types.
mod own {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Vec<T>(pub T);

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub enum Result<T> {
        Fine(T),
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Box(pub u8);

    #[wren::remote]
    pub fn shadowed(list: Vec<u8>, one: &Box) -> Vec<u8> {
        Vec(list.0 + one.0)
    }

    #[wren::remote]
    pub fn fine(x: u8) -> Result<u8> {
        Result::Fine(x)
    }
}

type Text = str;
type Bytes = [u8];
type Buffer = Vec<u8>;
type AppResult<T, E = String> = Result<T, E>;

#[wren::remote]
fn aliases(text: &Text, bytes: &Bytes, owned: Buffer, list: &Buffer) -> AppResult<Buffer> {
    if text.is_empty() { Err("no text".to_owned()) } else { Ok([bytes, &owned, list].concat()) }
}

#[test]
fn types_are_resolved_by_identity_not_by_name() {
    block_on(async {
        assert_eq!(own::shadowed(own::Vec(1), &own::Box(2)).await.unwrap(), own::Vec(3));
        assert_eq!(own::fine(1).await.unwrap(), own::Result::Fine(1));
        assert_eq!(aliases("t", b"a", vec![1], &vec![2]).await.unwrap(), [97, 1, 2]);
        let long = vec![7; 200_000];
        assert_eq!(aliases("t", &long, long.clone(), &long).await.unwrap().len(), 600_000);
        let error = aliases("", b"", vec![], &vec![]).await.unwrap_err();
        assert!(matches!(error, Error::Returned { message, .. } if message == "no text"));
    });
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Busy(bool);

impl Busy {
    fn is_transient(&self) -> bool {
        self.0
    }
}

type Tried<T> = AppResult<T, Busy>;

#[test]
fn errors_of_result_aliases_are_retried() {
    #[wren::remote(retries = 2)]
    fn always() -> Tried<u8> {
        Err(Busy(false))
    }
    #[wren::remote(retries = 2, retry_if = Busy::is_transient)]
    fn chosen(transient: bool) -> Tried<u8> {
        Err(Busy(transient))
    }
    let attempts = |call: wren::Call<u8>| {
        let error: Error = block_on(call).unwrap_err();
        assert!(error.downcast::<Busy>().is_some(), "{error}");
        error.attempt().unwrap().attempt
    };
    assert_eq!(attempts(always()), 3);
    assert_eq!((attempts(chosen(true)), attempts(chosen(false))), (3, 1));
}

#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
struct Borrowing<'a>(&'a str);

type Borrowed<'a, T> = Result<T, Borrowing<'a>>;
type BorrowedResult<'a, T> = Borrowed<'a, T>;

#[wren::remote]
fn static_error(x: u32) -> Result<u32, &'static str> {
    if x > 1 { Err("too large") } else { Ok(x) }
}

#[wren::remote]
fn borrowed_error<'a>(x: &'a str, _other: &str) -> Result<u32, &'a str> {
    x.parse().map_err(|_| x)
}

#[wren::remote]
fn elided_error(x: &str) -> Result<u32, &str> {
    x.parse().map_err(|_| x)
}

#[wren::remote]
fn alias_that_borrows(x: &str) -> BorrowedResult<'_, u32> {
    x.parse().map_err(|_| Borrowing(x))
}

#[wren::remote]
fn unit_error() -> Result<Option<u8>, ()> {
    Err(())
}

#[test]
fn errors_have_any_type() {
    let message_of = |call: wren::Call<u32>| match block_on(call).unwrap_err() {
        Error::Returned { message, .. } => message,
        other => panic!("{other}"),
    };
    assert_eq!(block_on(static_error(1)).unwrap(), 1);
    assert_eq!(message_of(static_error(2)), "too large");
    assert_eq!(message_of(borrowed_error("x", "")), "x");
    assert_eq!(message_of(elided_error("y")), "y");
    assert_eq!(message_of(alias_that_borrows("z")), "Borrowing(\"z\")");
    assert!(matches!(block_on(unit_error()), Err(Error::Returned { message, .. }) if message == "()"));
}

/// wren enables the feature of serde that this needs.
#[wren::remote]
fn shared(list: Arc<Vec<u32>>, text: Arc<str>) -> Arc<String> {
    Arc::new(format!("{list:?}{text}"))
}

#[test]
fn shared_values_are_arguments_and_results() {
    assert_eq!(*block_on(shared(Arc::new(vec![1]), "x".into())).unwrap(), "[1]x");
}

macro_rules! task {
    ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
        #[wren::remote]
        fn $name($($arg: $ty),*) -> $ret $body
    };
}

task!(lengths(text: &str, bytes: &[u8], list: &Vec<f64>, owned: Vec<u8>) -> Result<usize, String> {
    if text.is_empty() { Err("no text".into()) } else { Ok(text.len() + bytes.len() + list.len() + owned.len()) }
});

macro_rules! whole {
    ($($item:item)*) => { $(#[wren::remote] $item)* };
}

whole! {
    /// The macro receives this function as an item.
    fn from_item(x: &str) -> Result<u8, std::num::ParseIntError> {
        x.parse()
    }
}

macro_rules! mixed {
    ($name:ident, $x:ident, $t:ident, $($tokens:tt)*) => {
        #[wren::remote]
        fn $name($x: $t, x: $($tokens)*) -> usize {
            $x as usize * 10 + x.len()
        }
    };
}

mixed!(two_of_one_name, x, u8, &[f64]);

#[test]
fn macros_make_functions_from_every_fragment() {
    block_on(async {
        assert_eq!(lengths("a", b"b", &vec![1.0], vec![1]).await.unwrap(), 4);
        assert!(lengths("", b"b", &vec![1.0], vec![1]).await.is_err());
        assert_eq!(from_item("7").await.unwrap(), 7);
        assert_eq!(two_of_one_name(1, &[1.0, 2.0]).await.unwrap(), 12);
        assert_eq!(two_of_one_name::local(1, &[]), 10);
    });
}

#[wren::remote]
fn attributes(
    #[cfg(unix)] a: u8,
    #[cfg(not(unix))] a: u16,
    #[cfg_attr(unix, cfg(not(unix)))] gone: u64,
    #[cfg_attr(unix, allow(unused_variables))] b: u8,
    #[expect(unused_variables, reason = "a test")] c: u8,
    #[allow(non_snake_case)] D: u8,
) -> u8 {
    a + D
}

#[wren::remote]
#[expect(unused_variables, dead_code, reason = "a test")]
fn expected(x: u32, y: u32) -> u32 {
    x
}

#[wren::remote]
#[expect(non_snake_case)]
fn BadName(x: u32) -> u32 {
    x
}

#[test]
fn parameters_and_functions_have_attributes() {
    assert_eq!(block_on(attributes(1, 2, 3, 4)).unwrap(), 5);
    assert_eq!(attributes::local(1, 2, 3, 4), 5);
    assert_eq!(block_on(BadName(1)).unwrap(), 1);
}

/// A module and a function of the same name, as in many programs.
mod grep {
    #[wren::remote(carrier = Grep)]
    pub(super) fn grep(text: &str, word: &str) -> usize {
        text.matches(word).count()
    }

    pub(super) use Grep as Here;
}
use grep::grep;

/// A function with the name of a crate that it uses.
#[wren::remote(carrier = Json)]
fn serde_json(list: Vec<u32>) -> String {
    serde_json::to_string(&list).unwrap()
}

#[test]
fn carriers_of_local_can_be_renamed() {
    assert_eq!(block_on(grep("a b a", "a")).unwrap(), 2);
    assert_eq!(grep::Here::local("a b", "a"), 1);
    assert_eq!(block_on(serde_json(vec![1, 2])).unwrap(), "[1,2]");
    assert_eq!(Json::local(vec![3]), "[3]");
}

#[wren::remote]
fn unrelated(x: u32) -> u32 {
    x
}

async fn sum() -> u32 {
    #[wren::remote]
    fn item(x: u32) -> u32 {
        x
    }
    wren::map(item, 0..4).await.unwrap().iter().sum()
}

fn product() -> wren::Call<u32> {
    #[wren::remote]
    fn item(x: u32) -> u32 {
        x + 10
    }
    item(1)
}

const _: () = {
    #[wren::remote]
    #[allow(dead_code)]
    fn item(x: u32) -> u32 {
        x + 20
    }
};

struct Model;

impl Model {
    fn call() -> wren::Call<u32> {
        #[wren::remote]
        fn item(x: u32) -> u32 {
            x + 30
        }
        item(1)
    }
}

macro_rules! added {
    ($n:expr) => {{
        #[wren::remote]
        fn item(x: u32) -> u32 {
            x + $n
        }
        item(1)
    }};
}

#[test]
fn same_named_functions_in_bodies_are_separate() {
    block_on(async {
        assert_eq!(unrelated(1).await.unwrap(), 1);
        assert_eq!(sum().await, 6);
        assert_eq!(product().await.unwrap(), 11);
        assert_eq!(Model::call().await.unwrap(), 31);
        assert_eq!((added!(1).await.unwrap(), added!(2).await.unwrap()), (2, 3));
    });
    let all = wren::registry::all().unwrap();
    let ids: Vec<_> = all.iter().filter(|f| f.name == "remote_names::item").map(|f| f.id()).collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    for id in ["remote_names::sum::item", "remote_names::product::item"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    for (function, id) in all.iter().filter(|f| f.name == "remote_names::item").zip(&ids) {
        assert!(std::ptr::eq(wren::registry::find(id).unwrap(), *function), "{id}");
    }
    let ambiguous = wren::registry::find("remote_names::item").unwrap_err();
    assert!(
        matches!(&ambiguous, Error::DuplicateFunction { places, .. } if places.len() == 6 && places[0].contains("remote_names.rs:")),
        "{ambiguous}"
    );
    assert_eq!(wren::registry::find("remote_names::unrelated").unwrap().id(), "remote_names::unrelated");
}
