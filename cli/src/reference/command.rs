//! Generates the page about `cargo wren` and its subcommands from clap's definitions.

use std::fmt::Write;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};

pub(super) fn page() -> String {
    let mut cargo = crate::Cargo::command();
    cargo.build();
    let wren = cargo.find_subcommand_mut("wren").expect("it is the only subcommand");
    let mut page = String::from("# `cargo wren`\n\n");
    page.push_str("`cargo wren help <command>` prints the same information.\n\n| command | |\n| --- | --- |\n");
    for command in shown(wren) {
        writeln!(page, "| [`{0}`](#cargo-wren-{0}) | {1} |", command.get_name(), text(command.get_about())).unwrap();
    }
    write!(page, "\n{}\n", text(wren.get_after_help())).unwrap();
    let names: Vec<_> = shown(wren).map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let command = wren.find_subcommand_mut(&name).expect("it is in the list");
        section(&mut page, command);
    }
    page
}

fn shown(wren: &Command) -> impl Iterator<Item = &Command> {
    wren.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

fn section(page: &mut String, command: &mut Command) {
    let usage = command.render_usage().to_string();
    let about = text(command.get_long_about().or(command.get_about()));
    let about = about.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    write!(page, "\n## `cargo wren {}`\n\n{about}\n", command.get_name()).unwrap();
    write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ")).unwrap();
    let arguments: Vec<_> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
    if !arguments.is_empty() {
        page.push_str("\n| | |\n| --- | --- |\n");
    }
    for argument in arguments {
        writeln!(page, "| {} | {} |", cell(&names(argument)), cell(&meaning(argument))).unwrap();
    }
    for paragraph in text(command.get_after_help()).split("\n\n") {
        // Commands are indented below a line that introduces them.
        let (prose, commands) = paragraph.split_once("\n  ").unwrap_or((paragraph, ""));
        write!(page, "\n{prose}\n").unwrap();
        if !commands.is_empty() {
            write!(page, "\n```text\n{}\n```\n", commands.replace("\n  ", "\n")).unwrap();
        }
    }
}

/// Returns the names of an argument, such as `-p`, `--package <NAME>`.
fn names(argument: &Arg) -> String {
    let takes = argument.get_action().takes_values();
    let value = argument.get_value_names().filter(|_| takes).and_then(|names| names.first());
    let value = value.map(|name| format!("<{name}>")).unwrap_or_default();
    let Some(long) = argument.get_long() else {
        let dots = if argument.get_num_args().is_some_and(|n| n.max_values() > 1) { ".." } else { "" };
        return format!("`{value}{dots}`");
    };
    let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    format!("{short}`{}`", format!("--{long} {value}").trim_end())
}

fn meaning(argument: &Arg) -> String {
    let mut meaning = text(argument.get_long_help().or(argument.get_help())).replace('\n', " ");
    if !argument.get_action().takes_values() {
        return meaning;
    }
    let values: Vec<_> = argument.get_possible_values();
    // The documentation may describe the values itself.
    let described = meaning.clone();
    let is_new = |value: &&PossibleValue| !described.contains(&format!("`{}`", value.get_name()));
    for (i, value) in values.iter().filter(|value| !value.is_hide_set()).filter(is_new).enumerate() {
        let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
        write!(meaning, "{} `{}`{help}", if i > 0 { "," } else { ":" }, value.get_name()).unwrap();
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() {
        write!(meaning, "; by default `{}`", defaults.join(" ")).unwrap();
    }
    meaning
}

fn text(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// Escapes text for a cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
