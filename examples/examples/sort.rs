//! Sorts files: lines, or records of the sort benchmark.
//!
//!     cargo run --release -p examples --features data \
//!         --example sort -- sorted README.md
//!     cargo run --release -p examples --features data \
//!         --example sort -- --records sorted gensort/
//!
//! `--memory MB` limits each worker.

use wren::Input;

#[wren::main]
async fn main() -> wren::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let records = args
        .iter()
        .position(|arg| arg == "--records")
        .map(|at| args.remove(at))
        .is_some();
    let memory = args
        .iter()
        .position(|arg| arg == "--memory")
        .filter(|at| at + 1 < args.len());
    let memory =
        memory.and_then(|at| args.drain(at..at + 2).nth(1)?.parse().ok());
    let [folder, files @ ..] = &args[..] else { usage() };
    if files.is_empty() {
        usage();
    }

    let input = Input::paths(files)?;
    let mut sort = if records {
        wren::sort(input.fixed(100)).key(0..10)
    } else {
        wren::sort(input)
    };
    if let Some(mb) = memory {
        sort = sort.memory(mb);
    }
    let sorted = sort.write(folder).await?;
    println!(
        "{} records, {} bytes, in {} files in {folder}",
        sorted.records,
        sorted.bytes,
        sorted.files.len()
    );
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: sort [--records] [--memory MB] FOLDER FILE...");
    std::process::exit(2);
}
