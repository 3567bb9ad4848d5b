//! Reads a program's registry of remote functions by starting the program.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use wren::deployment::DeployedFn;

/// How long a program may take to list its functions. It needs milliseconds; one that ignores the request is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

const FIX: &str = "either the program does not use wren (add it with `cargo add wren-cloud`), or its `main` lacks \
                   `#[wren::main]` (put it on `main`, or call `wren::init()` at the start of `main`)";

/// A program's description of itself: printed under `WREN_LIST=json` here, and returned by a deployed function that is
/// asked for its registry.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listing {
    /// The version of wren that the program was built with.
    pub(crate) wren: String,
    pub(crate) functions: Vec<Function>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) signature: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) memory_mb: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) body_hash: u64,
}

impl Function {
    /// Returns the part that a deployment's record keeps.
    pub(crate) fn deployed(&self) -> DeployedFn {
        DeployedFn {
            name: self.name.clone(),
            signature: self.signature.clone(),
            body_hash: self.body_hash,
            memory_mb: self.memory_mb,
            timeout: self.timeout,
        }
    }
}

/// Starts a program in listing mode and returns the JSON that it prints.
pub(crate) fn ask(program: &Path) -> Result<String> {
    let mut child = Command::new(program)
        .env("WREN_LIST", "json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut stdout = child.stdout.take().context("the program has no standard output")?;
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).map(|_| answer)
    });
    let Some(success) = wait(&mut child)? else {
        bail!("{} kept running instead of listing its remote functions: {FIX}", program.display());
    };
    let answer = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    if !success {
        // The program has printed the reason, for instance that two functions have the same name.
        bail!("{} cannot list its remote functions", program.display());
    }
    // Where parsing failed does not help: the answer is the output of some other `main`.
    match parse(&answer) {
        Ok(_) => Ok(answer),
        Err(_) => bail!("{} did not list its remote functions: {FIX}", program.display()),
    }
}

pub(crate) fn parse(answer: &str) -> Result<Listing> {
    serde_json::from_str(answer).context("cannot parse the list of remote functions")
}

/// Waits for the process and returns whether it succeeded; `None` if it took too long and was stopped.
fn wait(child: &mut Child) -> Result<Option<bool>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status.success())),
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
