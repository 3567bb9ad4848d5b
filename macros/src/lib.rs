//! The attribute macros of wren; use them as `wren::remote` and `wren::main`.

mod entry_point;
mod options;
mod remote;

use proc_macro::TokenStream;

/// Makes a function remote: called, it returns a lazy `wren::Call` that runs in a worker when awaited.
///
/// ```ignore
/// #[wren::remote(memory = 2048, timeout = 300, retries = 1)]
/// fn simulate(seed: u64, model: &Model) -> Result<Outcome, SimError> { .. }
///
/// let outcome = simulate(7, &model).await?;          // in a worker
/// let outcome = simulate::local(7, &model)?;         // here, as if there were no annotation
/// ```
///
/// Options: `memory` in MB; `timeout` in seconds; `retries`, how often an `Err` or a panic is run
/// again; `crate`, the path of wren where it is re-exported.
///
/// Arguments implement serde's `Serialize` and `Deserialize`; `&str`, `&[T]`, `&Path` and `&T` work
/// as they stand. A declared `Result<T, E>` gives a `Call<T>`, and its `Err` is the call's error,
/// with all sources.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into()).into()
}

/// Makes `main` ready for remote functions: the program becomes its own worker where it is started
/// as one, an async `main` gets an event loop, and Ctrl-C cancels what runs.
///
/// ```ignore
/// #[wren::main]
/// async fn main() -> wren::Result<()> { .. }
/// ```
///
/// The event loop is tokio's, of one thread. Option: `crate`, the path of wren where it is re-exported.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry_point::expand(options.into(), item.into()).into()
}
