//! `cargo wren man`: writes the manual pages.

use std::fs;
use std::io::{self, Write};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use crate::{NAME, VERSION};

/// Print the manual page, or write the pages of all subcommands
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren man | man -l -\n  \
                        cargo wren man --out ~/.local/share/man/man1 && man cargo-wren-deploy")]
pub(crate) struct Args {
    /// Write all pages (`cargo-wren.1`, `cargo-wren-new.1` and so on) to this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) fn man(args: &Args) -> Result<ExitCode> {
    // `help` gets no page.
    let mut command = crate::alone().disable_help_subcommand(true);
    command.build();
    match &args.out {
        Some(folder) => write(&command, folder)?,
        None => print(&command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(command: &Command) -> Result<()> {
    let mut text = Vec::new();
    page(command).render(&mut text)?;
    Ok(io::stdout().write_all(&text)?)
}

fn write(command: &Command, folder: &Path) -> Result<()> {
    let commands: Vec<_> = iter::once(command).chain(command.get_subcommands()).collect();
    let pages = || {
        fs::create_dir_all(folder)?;
        commands.iter().try_for_each(|command| page(command).generate_to(folder).map(drop))
    };
    let shown = folder.display();
    pages().with_context(|| {
        format!("cannot write the manual pages to {shown}; pass a folder to --out that you can write to")
    })?;
    let (pages, first) = (commands.len(), folder.join(format!("{NAME}.1")));
    Ok(writeln!(io::stdout(), "wrote {pages} pages to {shown}; read one with `man {}`", first.display())?)
}

fn page(command: &Command) -> Man {
    Man::new(command.clone()).source(format!("{NAME} {VERSION}"))
}
