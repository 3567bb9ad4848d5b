//! The attribute macros of wren. Programs use them as `wren::remote`, `wren::main`, `wren::mapreduce` and `wren::bsp`.

mod crate_name;
mod entry_point;
mod numbers;
mod options;
mod record;
mod remote;
mod staged;
mod tokens;

use proc_macro::TokenStream;

/// Makes a function remote. Calling it returns a lazy `wren::Call`, which runs in a worker when it is awaited.
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
/// let sum = parse("2", &model).await?; // runs in a worker
/// assert_eq!(parse::local("2", &model), Ok(sum)); // runs here, like a function without the attribute
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// Options:
///
/// | option | |
/// | --- | --- |
/// | `memory = 2048` | memory limit, in megabytes of 2^20 bytes |
/// | `timeout = 300` | time limit, in seconds |
/// | `retries = 5` | number of retries after an `Err` or a panic |
/// | `retry_if = is_transient` | with `retries`: a `fn(&E) -> bool` that returns whether to retry after this `Err` |
/// | `backoff = BACKOFF` | with `retries`: the pauses before the retries, a constant of type `wren::Backoff` |
/// | `at_most_once` | the call never runs again, whatever its outcome; see `Call::at_most_once` |
/// | `carrier = Train` | the name of the type that has `local`, if another type, a module or a crate has the function's name |
/// | `crate = path::to::wren` | the path of wren, if it is re-exported; not needed if the manifest renames the dependency |
///
/// `memory`, `timeout` and `retries` are numbers or constant expressions, such as `2 * GB` for a `const GB: u32 = 1024`.
/// A number with a unit, such as `2GB` or `5m`, is an error that says what to write. A memory or a time above AWS
/// Lambda's maximum, 10,240 MB and 900 seconds, causes a warning, which `#[allow(deprecated)]` silences for a function
/// that only runs elsewhere.
///
/// Arguments must implement serde's `Serialize` and `Deserialize`. `&str`, `&[T]`, `&Path` and `&T` are accepted too,
/// and so are `Rc<T>` and `Arc<T>`. If the declared result is `Result<T, E>`, or an alias of it, a call is a `Call<T>`,
/// and an `Err` is the error of the call, with all sources. `E` can be any type that implements `Debug`, even one that
/// borrows from the arguments.
///
/// A worker gets copies of the arguments. So the compiler refuses types that share a value between threads, such as
/// `Arc<Mutex<T>>`, `&RwLock<T>` and `&AtomicU64`, and types that belong to one process, such as `File`.
///
/// # A module of the same name
///
/// `f::local` is a function of a type named `f`. Types and modules share a namespace in Rust, so a module `f` next to
/// the function, or `use f::f;`, causes the error E0428 or E0255. The option `carrier` gives the type another name:
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
/// Documentation, `deprecated` and `must_use` apply to the remote function; a doctest in the documentation runs once.
/// `cfg` is allowed on the function and on parameters. Lint attributes apply to the function and to its body. `expect`
/// works like `allow`, because the macro generates several functions, and the lint only occurs in one of them.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into()).into()
}

/// Prepares `main` for remote functions.
///
/// If the program is started as a worker, it runs as a worker instead of running `main`. An async `main` runs in an
/// async runtime. Ctrl-C, SIGTERM and SIGHUP end all calls with `Error::Cancelled`, and five seconds later the program,
/// except for signals that the program handles itself.
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
/// The async runtime is tokio's, with one thread. For another runtime, write its attribute, such as `#[tokio::main]`,
/// above or below this one. The only option is `crate`, the path of wren if it is re-exported.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry_point::expand(options.into(), item.into()).into()
}

/// Registers the two stages of a MapReduce, so that workers can find them. Use it on `impl MapReduce for ..`.
///
/// Options: `memory`, the memory limit of a worker in MB; `timeout`, the time limit of a task in seconds; `retries`,
/// the number of retries after an `Err` or a panic; `crate`, the path of wren if it is re-exported.
///
/// See `wren::mapreduce::MapReduce` for an example.
#[proc_macro_attribute]
pub fn mapreduce(options: TokenStream, item: TokenStream) -> TokenStream {
    staged::expand(&staged::MAP_REDUCE, options.into(), item.into()).into()
}

/// Registers the stages of a computation in supersteps, so that workers can find them. Use it on `impl Bsp for ..`.
///
/// The options are those of [`macro@mapreduce`].
///
/// See `wren::bsp::Bsp` for an example.
#[proc_macro_attribute]
pub fn bsp(options: TokenStream, item: TokenStream) -> TokenStream {
    staged::expand(&staged::BSP, options.into(), item.into()).into()
}
