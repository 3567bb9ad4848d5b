//! The details of the command: completions, manual pages, its version, suggestions, colours, and the state of new
//! projects.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{stderr, stdout, wren, wren_command};

/// Returns the completions of bash for command lines, each of which ends with the word that is being typed.
fn completed_by_bash(lines: &[&str]) -> Vec<String> {
    let script = stdout(&wren(Path::new("."), &["completions", "bash"]));
    let mut bash = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = bash.stdin.take().unwrap();
    writeln!(input, "_before() {{ COMPREPLY=(\"before: $2\"); }}\ncomplete -o filenames -F _before cargo\n{script}")
        .unwrap();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let (command, current, previous) = (words[0], words[words.len() - 1], words[words.len() - 2]);
        writeln!(
            input,
            "COMP_WORDS=({line}); COMP_CWORD={}; COMP_WORDS[COMP_CWORD]='{current}'; COMPREPLY=()\n\
             spec=$(complete -p {command}); spec=${{spec#*-F }}\n\
             ${{spec%% *}} {command} '{current}' {previous}; echo \"${{COMPREPLY[*]}}\"",
            words.len() - 1
        )
        .unwrap();
    }
    drop(input);
    stdout(&bash.wait_with_output().unwrap()).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_both_names_of_the_command() {
    let lines = [
        "cargo wren dep",
        "cargo +stable wren new --template ma",
        "cargo-wren wren new --tem",
        "cargo-wren completions ba",
        "cargo bui",
        "cargo wre",
    ];
    let expected = ["deploy", "map mapreduce", "--template", "bash", "before: bui", "before: wre"];
    assert_eq!(completed_by_bash(&lines), expected);
}

#[test]
fn every_shell_has_a_script() {
    for (shell, beginning) in [
        ("zsh", "#compdef cargo-wren\n"),
        ("fish", "# Print an optspec"),
        ("elvish", "\nuse builtin;"),
        ("powershell", "\nusing namespace"),
    ] {
        let script = stdout(&wren(Path::new("."), &["completions", shell]));
        assert!(script.starts_with(beginning) && script.contains("no-default-features"), "{script}");
    }
    assert_eq!(wren(Path::new("."), &["completions", "sh"]).status.code(), Some(2));
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = stdout(&wren(folder.path(), &["man"]));
    assert!(page.contains(".TH cargo-wren 1") && page.contains(r"cargo\-wren\-deploy(1)"), "{page}");
    let printed = stdout(&wren(folder.path(), &["man", "--out", "share/man1"]));
    assert!(printed.ends_with("read one with `man share/man1/cargo-wren.1`\n"), "{printed}");
    let read = |name: &str| fs::read_to_string(folder.path().join("share/man1").join(name)).unwrap();
    assert_eq!(read("cargo-wren.1"), page);
    let new = read("cargo-wren-new.1");
    assert!(new.contains(r"\fBcargo wren new\fR") && new.contains("wren new hello"), "{new}");
    let pages = fs::read_dir(folder.path().join("share/man1")).unwrap().count();
    assert!(printed.starts_with(&format!("wrote {pages} pages to share/man1;")), "{printed}");
    assert_eq!(page.matches(r"cargo\-wren\-").count(), pages - 1, "{page}");

    fs::write(folder.path().join("file"), "").unwrap();
    let refused = wren(folder.path(), &["man", "--out", "file/man1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("pass a folder to --out that you can write to"), "{}", stderr(&refused));
}

/// Runs `git` in the workspace. Returns `None` if the workspace is not a repository, as in an unpacked crate.
fn git(arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    (output.status.success() && root.join(".git").exists()).then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_version_names_the_commit() {
    let version = stdout(&wren(Path::new("."), &["--version"]));
    let plain = concat!("cargo-wren ", env!("CARGO_PKG_VERSION"));
    let commit = version.trim_end().strip_prefix(plain).unwrap();
    if git(&["rev-parse", "HEAD"]).is_none() {
        return assert_eq!(commit, "");
    }
    // The commit of the build, which may be older than `HEAD`.
    let (hash, date) = commit.strip_prefix(" (").unwrap().strip_suffix(')').unwrap().split_once(' ').unwrap();
    assert!(hash.len() >= 9);
    assert_eq!(git(&["show", "--no-patch", "--format=%cd", "--date=short", hash]).unwrap().trim(), date);
}

#[test]
fn a_mistyped_command_is_suggested() {
    let mistyped = wren(Path::new("."), &["depoly"]);
    assert_eq!(mistyped.status.code(), Some(2));
    assert!(stderr(&mistyped).contains("tip: ") && stderr(&mistyped).contains("'deploy'"), "{}", stderr(&mistyped));
    assert!(!stderr(&mistyped).contains("destroy"), "only the nearest is suggested: {}", stderr(&mistyped));
    let mistyped = wren(Path::new("."), &["list", "--exmaple", "pi"]);
    assert!(stderr(&mistyped).contains("a similar argument exists: '--example'"), "{}", stderr(&mistyped));
}

#[test]
fn colours_are_for_terminals_or_when_forced() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |variables: &[&str], arguments: &[&str]| {
        let mut command = wren_command(folder.path(), arguments);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR");
        stderr(&command.envs(variables.iter().map(|name| (name, "1"))).output().unwrap())
    };
    for arguments in [["jobs", "nothing"], ["jobs", "--nothing"]] {
        let plain = shown(&[], &arguments);
        assert!(plain.starts_with("error: ") && !plain.contains('\x1b'), "{plain:?}");
        let forced = shown(&["CLICOLOR_FORCE"], &arguments);
        assert!(forced.contains("error:\x1b[0m ") && forced.starts_with('\x1b'), "{forced:?}");
        assert_eq!(shown(&["CLICOLOR_FORCE", "NO_COLOR"], &arguments), plain);
    }
    let plain = shown(&[], &["jobs", "nothing"]);
    assert_eq!(plain, "error: no job here is called `nothing`; run `cargo wren jobs` for a list\n");
}

#[test]
fn new_projects_ignore_files_written_by_wren() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&wren(folder.path(), &["new", "alone"]));
    assert_eq!(fs::read_to_string(folder.path().join("alone/.gitignore")).unwrap(), "/target\n/.wren\n");
    // In an existing repository, cargo leaves the file to that repository.
    stdout(&wren(&folder.path().join("alone"), &["new", "inner"]));
    assert!(!folder.path().join("alone/inner/.gitignore").exists());
}

#[test]
fn projects_are_not_created_in_the_checkout() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap();
    let manifest = fs::read(checkout.join("Cargo.toml")).unwrap();
    for (folder, path) in [("", "hello"), ("examples", "../inner/hello"), ("cli", "../hello")] {
        let output = wren(&checkout.join(folder), &["new", path]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        let instead =
            format!("elsewhere, for instance with `cargo wren new {}`\n", checkout.with_file_name("hello").display());
        assert!(stderr(&output).ends_with(&instead), "{}", stderr(&output));
        assert!(!checkout.join(folder).join(path).exists(), "{path}");
    }
    assert!(fs::read(checkout.join("Cargo.toml")).unwrap() == manifest, "the checkout was changed");
}

#[test]
fn new_projects_have_the_features_of_their_template() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |template: &str| {
        stdout(&wren(folder.path(), &["new", "--template", template, template]));
        fs::read_to_string(folder.path().join(template).join("Cargo.toml")).unwrap()
    };
    let params = manifest("params");
    assert!(params.contains("/runtime\", features = [\"kv\"] }\n"), "{params}");
    let mapreduce = manifest("mapreduce");
    assert!(mapreduce.contains("/runtime\" }\n"), "{mapreduce}");
}

#[test]
fn projects_cannot_take_names_of_used_crates() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], reason: &str| {
        let output = wren(folder.path(), &[&["new"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(reason) && stderr(&output).contains("--name my-"), "{}", stderr(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments:?} left something behind");
    };
    refused(&["wren"], "wren has a crate of that name");
    refused(&["inner/wren-cloud"], "wren has a crate of that name");
    refused(&["serde"], "wren depends on a package of that name");
    refused(&["tracing-subscriber"], "wren depends on a package of that name");
    refused(&["9lives"], "it starts with a digit");
    refused(&["fn"], "it is a keyword of Rust");
    refused(&["core"], "Rust itself has a crate of that name");
    refused(&["hello", "--name", "proc-macro"], "Rust itself has a crate of that name");
    stdout(&wren(folder.path(), &["new", "serde", "--name", "my-serde"]));
    let manifest = fs::read_to_string(folder.path().join("serde/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"my-serde\""), "{manifest}");
}
