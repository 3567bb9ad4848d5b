//! The messages of commands that are run in an empty folder. `CONTRIBUTING.md` says how to update the snapshots.

use crate::wren_command;

/// Commands that are run in an empty folder.
const IN_AN_EMPTY_FOLDER: [&str; 31] = [
    "run",
    "run --workers all",
    "deploy",
    "deploy --keep-days 0",
    "destroy",
    "list",
    "plan",
    "plan --duration 3x",
    "plan --memory lots",
    "plan --tasks many",
    "jobs",
    "jobs --jsn",
    "report",
    "report sweep",
    "logs",
    "logs sweep",
    "logs --since yesterday",
    "logs sweep first",
    "replay",
    "replay sweep 7",
    "attach",
    "attach sweep",
    "top",
    "cancel",
    "cancel sweep",
    "clean",
    "clean --older-than yesterday",
    "new",
    "new 9lives",
    "new --template reduce words",
    "depoly",
];

#[test]
fn refusals_say_what_happened_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let run = |arguments: &&str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = wren_command(&folder, &arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let printed = printed.replace(&*folder.to_string_lossy(), "<folder>");
        let code = output.status.code().unwrap();
        format!("$ cargo wren {}\n{}\n[exit code {code}]\n\n", arguments.join(" "), printed.trim_end())
    };
    let transcript: String = IN_AN_EMPTY_FOLDER.iter().map(run).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("refusals", transcript);
    });
}
