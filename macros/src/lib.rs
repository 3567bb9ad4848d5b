//! The attribute macros of wren; use them as `wren::remote` and `wren::main`.

mod crate_name;
mod entry_point;
mod options;
mod record;
mod remote;
mod staged;
mod tokens;

use proc_macro::TokenStream;

/// Makes a function remote: called, it returns a lazy `wren::Call` that runs in a worker when awaited.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Model {
///     offset: i64,
/// }
///
/// #[wren::remote(memory = 2048, timeout = 300, retries = 1)]
/// fn parse(text: &str, model: &Model) -> Result<i64, std::num::ParseIntError> {
///     Ok(text.parse::<i64>()? + model.offset)
/// }
///
/// # wren::block_on(async {
/// let model = Model { offset: 40 };
/// let sum = parse("2", &model).await?; // in a worker
/// assert_eq!(parse::local("2", &model), Ok(sum)); // here, as if there were no annotation
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// Options:
///
/// | option | |
/// | --- | --- |
/// | `memory = 2048` | megabytes of 2^20 bytes |
/// | `timeout = 300` | seconds |
/// | `retries = 5` | how often an `Err` or a panic is run again |
/// | `retry_if = is_transient` | with `retries`: which `Err`s are run again, by a `fn(&E) -> bool` |
/// | `backoff = BACKOFF` | with `retries`: the pauses before that, a constant `wren::Backoff` |
/// | `at_most_once` | never run again, whatever became of it; see `Call::at_most_once` |
/// | `carrier = Train` | the name of the type that has `local`, where the function's own name is taken by another type, a module or a crate |
/// | `crate = path::to::wren` | where it is re-exported; a dependency that the manifest renames needs no option |
///
/// Arguments implement serde's `Serialize` and `Deserialize`; `&str`, `&[T]`, `&Path` and `&T` work
/// as they stand, and so do `Rc<T>` and `Arc<T>`. A declared `Result<T, E>`, by whatever alias, gives a `Call<T>`, and
/// its `Err` is the call's error, with all sources. `E` is any type with `Debug`, also one that borrows from the arguments.
///
/// # A module of the same name
///
/// `f::local` is a function of a type named `f`. Rust allows one type or module of a name, and so a module `f` beside
/// the function, or `use f::f;`, is E0428 or E0255. The option `carrier` names the type:
///
/// ```
/// mod grep {
///     #[wren::remote(carrier = Grep)]
///     pub fn grep(text: &str, word: &str) -> usize {
///         text.matches(word).count()
///     }
/// }
/// use grep::{Grep, grep};
///
/// # wren::block_on(async {
/// assert_eq!(grep("a b a", "a").await?, 2);
/// assert_eq!(Grep::local("a b a", "b"), 1);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// # Attributes
///
/// Documentation, `deprecated` and `must_use` are the function's; a doctest in it runs once. `cfg` may stand on the
/// function and on parameters. Lints hold for the function and for its body. `expect` is taken for `allow`: a function
/// becomes several, and a lint is seen in one of them.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into()).into()
}

/// Makes `main` ready for remote functions: the program becomes its own worker where it is started
/// as one, an async `main` gets an event loop, and Ctrl-C, SIGTERM and SIGHUP end its calls with
/// `Error::Cancelled` and the program after five seconds. Signals that the program handles itself are its own.
///
/// ```
/// #[wren::remote]
/// fn greet(name: &str) -> String {
///     format!("hello, {name}")
/// }
///
/// #[wren::main]
/// async fn main() -> wren::Result<()> {
///     assert_eq!(greet("you").await?, "hello, you");
///     Ok(())
/// }
/// ```
///
/// The event loop is tokio's, of one thread. Option: `crate`, the path of wren where it is re-exported.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry_point::expand(options.into(), item.into()).into()
}

/// Registers the two stages of a MapReduce, so that workers find them: goes on `impl MapReduce for ..`.
///
/// Options: `memory` of a worker in MB; `timeout` of a task in seconds; `retries`, how often an `Err`
/// or a panic is run again; `crate`, the path of wren where it is re-exported.
///
/// See `wren::mapreduce::MapReduce` for an example.
#[proc_macro_attribute]
pub fn mapreduce(options: TokenStream, item: TokenStream) -> TokenStream {
    staged::expand(&staged::MAP_REDUCE, options.into(), item.into()).into()
}

/// Registers the stages of a computation in supersteps, so that workers find them: goes on
/// `impl Bsp for ..`.
///
/// Options: as those of [`macro@mapreduce`].
///
/// See `wren::bsp::Bsp` for an example.
#[proc_macro_attribute]
pub fn bsp(options: TokenStream, item: TokenStream) -> TokenStream {
    staged::expand(&staged::BSP, options.into(), item.into()).into()
}
