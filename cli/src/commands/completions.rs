//! `cargo wren completions`: prints completion scripts for shells.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap_complete::Shell;

use crate::NAME;

// Clap's scripts complete `cargo-wren new`. These additions make them complete `cargo wren new` too, and
// `cargo-wren wren new`, which is how cargo runs it. In zsh, cargo's own completion calls that of the subcommand.
const BASH: &str = include_str!("../../completions/cargo.bash");
const FISH: &str = include_str!("../../completions/cargo.fish");
const ZSH: &str = include_str!("../../completions/cargo.zsh");
/// The line of clap's script after which `ZSH` is inserted.
const ZSH_BEGIN: &str = "_cargo-wren() {\n";

/// Print a completion script for a shell
///
/// In bash and fish, the script completes both `cargo wren` and `cargo-wren`. In zsh, it does the same if cargo's own
/// completion is installed (`rustup completions zsh cargo`). In elvish and PowerShell, it completes only `cargo-wren`,
/// because cargo does not let subcommands complete their arguments there. `cargo-wren` takes the same arguments, as in
/// `cargo-wren deploy`.
///
/// The script completes subcommands, options and fixed values, but not the names of jobs, packages and programs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples, one per shell; the comment names the file to add the line to:\n  \
        source <(cargo wren completions bash)  # ~/.bashrc\n  \
        source <(cargo wren completions zsh)  # ~/.zshrc, after compinit\n  \
        cargo wren completions fish | source  # ~/.config/fish/config.fish\n  \
        eval (cargo wren completions elvish | slurp)  # ~/.config/elvish/rc.elv\n  \
        cargo wren completions powershell | Out-String | iex  # $PROFILE")]
pub(crate) struct Args {
    /// Shell to print the script for
    shell: Shell,
}

pub(crate) fn completions(args: &Args) -> Result<ExitCode> {
    io::stdout().write_all(script(args.shell)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Result<String> {
    Ok(match shell {
        // With a `-` in the name, clap's script for bash does not complete the options of subcommands: its two parts
        // spell the name differently.
        Shell::Bash => clap_script(shell, "cargo_wren")?.replace(" cargo_wren\n", " cargo-wren\n") + BASH,
        Shell::Zsh => clap_script(shell, NAME)?.replacen(ZSH_BEGIN, &format!("{ZSH_BEGIN}{ZSH}"), 1),
        Shell::Fish => clap_script(shell, NAME)? + FISH,
        _ => clap_script(shell, NAME)?,
    })
}

/// Returns the script that clap generates.
fn clap_script(shell: Shell, name: &str) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::alone(), name, &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The additions refer to functions in clap's scripts.
    #[test]
    fn scripts_fit_the_additions() {
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
