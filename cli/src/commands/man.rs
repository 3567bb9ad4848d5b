//! `cargo wren man`: its manual pages.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_mangen::Man;

/// Print the manual page, or write that of every subcommand
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren man | man -l -\n  \
                        cargo wren man --out ~/.local/share/man/man1 && man cargo-wren-deploy")]
pub(crate) struct Args {
    /// Write `cargo-wren.1`, `cargo-wren-new.1` and so on into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) fn man(args: &Args) -> Result<ExitCode> {
    match &args.out {
        Some(folder) => write(folder)?,
        None => print()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print() -> Result<()> {
    let mut page = Vec::new();
    Man::new(crate::alone()).render(&mut page)?;
    Ok(io::stdout().write_all(&page)?)
}

fn write(folder: &Path) -> Result<()> {
    let shown = folder.display();
    let pages = || {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(crate::alone(), folder)
    };
    pages().with_context(|| {
        format!("the manual pages cannot be written into {shown}; give a folder that is yours by --out")
    })?;
    let first = folder.join(format!("{}.1", crate::NAME));
    Ok(writeln!(io::stdout(), "wrote the manual pages into {shown}; look at one by `man {}`", first.display())?)
}
