//! Asking a program for its registry of remote functions.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use wren::deployment::DeployedFn;

/// A program that lists itself takes milliseconds; one that does something else is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

const MEND: &str = "put `#[wren::main]` on its `main`, or call `wren::init()` first in it";

/// What a program says of itself: under `WREN_LIST=json` here, and in a deployment when it is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listing {
    /// Its version of wren.
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
    /// What a deployment's record keeps of it.
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

/// Starts a program only to learn its remote functions: the JSON it prints.
pub(crate) fn ask(program: &Path) -> Result<String> {
    let mut asked = Command::new(program)
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
    let Some(success) = ended(&mut asked)? else {
        bail!("{} runs on in place of listing itself; {MEND}", program.display());
    };
    let answer = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    if !success {
        // It has said why, for instance that two functions have one name.
        bail!("{} cannot list itself", program.display());
    }
    parse(&answer).with_context(|| format!("{} did something else than list itself; {MEND}", program.display()))?;
    Ok(answer)
}

pub(crate) fn parse(answer: &str) -> Result<Listing> {
    serde_json::from_str(answer).context("the list of remote functions cannot be read")
}

/// Whether the process ended well; `None` where it had to be stopped.
fn ended(asked: &mut Child) -> Result<Option<bool>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match asked.try_wait()? {
            Some(status) => return Ok(Some(status.success())),
            None if Instant::now() > deadline => {
                asked.kill()?;
                asked.wait()?;
                return Ok(None);
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
