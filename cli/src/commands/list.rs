//! `cargo wren list`: what a program can run remotely.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::program::Select;
use crate::table;

/// A program that lists itself takes milliseconds; one that does something else is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// List the remote functions of a program, as its link-time registry has them
///
/// The program is built and started; it answers before its own `main` runs, where that has
/// `#[wren::main]` or begins by `wren::init()`.
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

#[derive(Deserialize)]
struct Listing {
    functions: Vec<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    signature: String,
    file: String,
    line: u32,
    memory_mb: Option<u32>,
    timeout: Option<Duration>,
    retries: Option<u32>,
}

pub(crate) fn list(args: &Args) -> Result<ExitCode> {
    let program = args.select.build()?;
    let mut asked = Command::new(&program)
        .env("WREN_LIST", "json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))?;
    let mut stdout = asked.stdout.take().context("the program has no standard output")?;
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).map(|_| answer)
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match asked.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                asked.kill()?;
                bail!("{} runs on in place of listing itself; {MEND}", program.display());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let answer = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    if !status.success() {
        // It has said why, for instance that two functions have one name.
        bail!("{} cannot list itself ({status})", program.display());
    }
    let Ok(listing) = serde_json::from_str::<Listing>(&answer) else {
        bail!("{} did something else than list itself; {MEND}", program.display());
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(answer.as_bytes())?;
    } else {
        show(&mut out, &listing.functions)?;
    }
    Ok(ExitCode::SUCCESS)
}

const MEND: &str = "put `#[wren::main]` on its `main`, or call `wren::init()` first in it";

fn show(out: &mut impl Write, functions: &[Function]) -> Result<()> {
    if functions.is_empty() {
        return Ok(writeln!(out, "no remote function; put `#[wren::remote]` on one")?);
    }
    let row = |f: &Function| [f.name.clone(), limits(f), format!("{}:{}", f.file, f.line), f.signature.clone()];
    let rows: Vec<_> = functions.iter().map(row).collect();
    Ok(table::write(out, ["FUNCTION", "LIMITS", "WHERE", "SIGNATURE"], &rows)?)
}

fn limits(function: &Function) -> String {
    let memory = function.memory_mb.map(|mb| format!("{mb} MB"));
    let timeout = function.timeout.map(|timeout| format!("{} s", timeout.as_secs_f64()));
    let retries = function.retries.map(|retries| format!("{retries} retries"));
    let all: Vec<_> = [memory, timeout, retries].into_iter().flatten().collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}
