//! `cargo wren completions`: what makes a shell complete the command.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap_complete::Shell;

use crate::NAME;

// Clap's scripts complete `cargo-wren new`. What is added to them completes `cargo wren new` too, and
// `cargo-wren wren new`, as cargo runs it. In zsh, cargo's own completion calls that of the subcommand.
const BASH: &str = include_str!("../../completions/cargo.bash");
const FISH: &str = include_str!("../../completions/cargo.fish");
const ZSH: &str = include_str!("../../completions/cargo.zsh");
/// What `ZSH` stands behind.
const ZSH_BEGIN: &str = "_cargo-wren() {\n";

/// Print a script that makes a shell complete the command
///
/// Bash and fish complete `cargo wren` and `cargo-wren` then, and zsh does where cargo's own completion is
/// installed (`rustup completions zsh cargo`). Cargo lets its subcommands complete nothing: elvish and
/// PowerShell complete `cargo-wren` alone, which takes the same arguments, as in `cargo-wren deploy`.
/// Subcommands, options and fixed values are completed, but not names of jobs, packages and programs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples, one for each shell; where the line belongs stands behind it:\n  \
        source <(cargo wren completions bash)  # ~/.bashrc\n  \
        source <(cargo wren completions zsh)  # ~/.zshrc, after compinit\n  \
        cargo wren completions fish | source  # ~/.config/fish/config.fish\n  \
        eval (cargo wren completions elvish | slurp)  # ~/.config/elvish/rc.elv\n  \
        cargo wren completions powershell | Out-String | Invoke-Expression  # $PROFILE")]
pub(crate) struct Args {
    /// The shell that is to run it
    shell: Shell,
}

pub(crate) fn completions(args: &Args) -> Result<ExitCode> {
    io::stdout().write_all(script(args.shell)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Result<String> {
    Ok(match shell {
        // With a `-` in the name, clap's script for bash completes no option of a subcommand: its two parts take it
        // for different names.
        Shell::Bash => claps(shell, "cargo_wren")?.replace(" cargo_wren\n", " cargo-wren\n") + BASH,
        Shell::Zsh => claps(shell, NAME)?.replacen(ZSH_BEGIN, &format!("{ZSH_BEGIN}{ZSH}"), 1),
        Shell::Fish => claps(shell, NAME)? + FISH,
        _ => claps(shell, NAME)?,
    })
}

fn claps(shell: Shell, name: &str) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::alone(), name, &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added to the scripts of clap names functions in them.
    #[test]
    fn scripts_are_as_the_additions_expect() {
        let script = |shell| script(shell).unwrap();
        let bash = script(Shell::Bash);
        assert!(bash.starts_with("_cargo_wren() {\n") && bash.ends_with(BASH), "{bash}");
        assert_eq!(bash.matches("complete -F _cargo_wren -o").count(), 2);
        assert_eq!(bash.matches(" -o default cargo-wren\n").count(), 2);
        assert!(bash.contains("\n        cargo_wren__subcmd__new)\n"), "{bash}");
        assert!(script(Shell::Zsh).contains(&format!("\n{ZSH_BEGIN}{ZSH}")));
        let fish = script(Shell::Fish);
        assert!(fish.contains("complete -c cargo-wren ") && fish.ends_with(FISH), "{fish}");
    }
}
