//! `cargo wren list`: lists the remote functions of a program.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use wren::registry::is_wrens;

use crate::listing::{self, Function};
use crate::program::Select;
use crate::screen::Screen;
use crate::table;

/// List the remote functions in a program's link-time registry
///
/// Builds and starts the program. It prints the list before the body of `main` runs, so `main` must have
/// `#[wren::main]` or start with `wren::init()`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo wren list\n  cargo wren list --example sweep --json | jq '.functions[].name'"
)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// Print one JSON object: `wren` (version) and `functions`
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(args: &Args) -> Result<ExitCode> {
    let answer = listing::ask(&args.select.build()?)?;
    let mut out = Screen::stdout();
    if args.json {
        out.whole_line(answer.trim_end())?;
    } else {
        show(&mut out, &listing::parse(&answer)?.functions)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut Screen<impl Write>, functions: &[Function]) -> Result<()> {
    // Leave out wren's own functions.
    let functions: Vec<_> = functions.iter().filter(|f| !is_wrens(&f.name)).collect();
    if functions.is_empty() {
        return Ok(writeln!(out, "no remote functions; put `#[wren::remote]` on one")?);
    }
    let row = |f: &&Function| [f.name.clone(), format!("{}:{}", f.file, f.line), limits(f), f.signature.clone()];
    let rows: Vec<_> = functions.iter().map(row).collect();
    Ok(table::write(out, ["FUNCTION", "WHERE", "LIMITS", "SIGNATURE"], &rows)?)
}

fn limits(function: &Function) -> String {
    let memory = function.memory_mb.map(|mb| format!("{mb} MB"));
    let timeout = function.timeout.map(|timeout| format!("{} s", timeout.as_secs_f64()));
    let retries = function.retries.map(|retries| format!("{retries} retries"));
    let all: Vec<_> = [memory, timeout, retries].into_iter().flatten().collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}
