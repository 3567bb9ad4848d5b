//! Places of stores and programs: shared by containers that do not see each other's processes, on a full disk, under
//! names that are not UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use wren::store::StoreError;
use wren::{Error, Input, Split};

use super::drivers::{DRIVE, executor_in};
use super::{add, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        containers_share_a_store,
        a_full_disk_is_an_error_and_failures_take_no_room,
        names_around_a_program_need_not_be_utf_8
    ]
}

/// Returns a command that runs this program in its own namespaces, where it is process 1.
fn contained(script: &str, what: &str, folder: &Path) -> Command {
    let unshare = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount"]).args(options);
        command
    };
    // Without root, the command also needs a user namespace.
    let options: &[&str] = match unshare(&[]).arg("true").stderr(Stdio::null()).status() {
        Ok(status) if status.success() => &[],
        _ => &["--user", "--map-root-user"],
    };
    let mut command = unshare(options);
    command.args(["sh", "-ec", script, "sh"]).arg(std::env::current_exe().unwrap());
    command.env(DRIVE, what).env("WREN_DIR", folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn containers_share_a_store() {
    let folder = scratch("containers");
    let drivers: Vec<_> = ["1", "2"]
        .into_iter()
        .map(|side| {
            contained("mount -t proc proc /proc; exec \"$1\"", "shared", &folder).env("SIDE", side).spawn().unwrap()
        })
        .collect();
    for driver in drivers {
        let output = driver.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Runs in each container.
pub(crate) async fn share(folder: &Path) -> wren::Result<()> {
    assert_eq!(std::process::id(), 1, "this must run in a container");
    let side: u64 = std::env::var("SIDE").unwrap().parse().unwrap();
    let executor = executor_in(folder);
    let other = 3 - side;
    for round in 0..60u64 {
        // Both containers write at the same time, each its own value.
        std::fs::write(folder.join(format!("ready-{side}-{round}")), "").unwrap();
        while !folder.join(format!("ready-{other}-{round}")).exists() {}
        let value = format!("{side} {round} ").repeat(100_000);
        let put = wren::put(&value).on(&executor).await?;
        assert_eq!(put.get().await?, value);
    }
    for round in 0..30u64 {
        let sums = wren::map(|i| add(i, side), 0..200).on(&executor).quiet().named(format!("{side}-{round}"));
        assert!(sums.await?.into_iter().eq(side..200 + side));
        let both = wren::map(|i| add(i, round), 0..200).on(&executor).quiet().named(format!("both-{round}"));
        assert!(both.await?.into_iter().eq(round..200 + round));
    }
    Ok(())
}

async fn a_full_disk_is_an_error_and_failures_take_no_room() {
    let folder = scratch("full-disk");
    let script = "mkdir \"$WREN_DIR/disk\"; mount -t tmpfs -o size=4m none \"$WREN_DIR/disk\"; exec \"$1\"";
    let output = contained(script, "full", &folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs with the small disk and fills it.
pub(crate) async fn fill(folder: &Path) -> wren::Result<()> {
    let disk = folder.join("disk");
    let store = format!("file:{}", disk.join("store").display());
    let executor = wren::Executor::builder().backend("local").workers(1).directory(folder).store(store).build()?;
    wren::put(&"a".repeat(3 << 20)).on(&executor).await?;
    for large in ["b", "c"] {
        let full = wren::put(&large.repeat(2 << 20)).on(&executor).await.map(drop).unwrap_err();
        assert!(matches!(full, Error::Store(StoreError::Full { .. })), "{full:?}");
        assert!(full.to_string().contains("has no space for `blobs/"), "{full}");
    }
    let left: Vec<_> = std::fs::read_dir(disk.join("store/.tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let small = wren::put(&"d".repeat(10_000)).on(&executor).await?;
    assert_eq!(small.get().await?.len(), 10_000);
    Ok(())
}

/// Covers the environment, the working folder, the program's own path, its arguments, and files that it reads.
async fn names_around_a_program_need_not_be_utf_8() {
    let odd = OsStr::from_bytes(b"caf\xe9");
    let root = scratch("odd-names");
    let folder = root.join(odd);
    std::fs::create_dir(&folder).unwrap();
    // Not in that folder, because the program splits the folder's files into parts of 4 bytes.
    let programs = root.join(OsStr::from_bytes(b"program\xe9"));
    std::fs::create_dir(&programs).unwrap();
    let program = programs.join(odd);
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(b"\xff.log")), "one\ntwo\n").unwrap();
    let mut command = Command::new(&program);
    command.current_dir(&folder).env_remove("WREN_DIR").env(DRIVE, "odd names").env("HOME", &folder);
    command.env("OLDPWD", odd).env(OsStr::from_bytes(b"N\xffME"), odd).env("RUST_LOG", odd).arg(odd);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.join(".wren/store").is_dir() && folder.join(".wren/jobs/odd").is_dir());
    let beside = std::fs::read_dir(&root).unwrap().flatten().filter(|entry| entry.file_name() != odd);
    let beside: Vec<_> = beside.map(|entry| entry.file_name()).collect();
    assert!(
        !beside.iter().any(|name| name.to_string_lossy().starts_with("caf")),
        "there is no folder with a similar name: {beside:?}"
    );
    let log = std::fs::read_to_string(folder.join(".wren/jobs/odd/events.jsonl")).unwrap();
    assert!(log.contains("caf%e9\""), "the program is in the log: {log}");
    assert_eq!(wren::history::JobSummary::read(&folder.join(".wren/jobs/odd")).unwrap().done, 50);
}

#[wren::remote]
fn lines(split: &Split) -> wren::Result<usize> {
    split.lines()?.try_fold(0, |lines, line| line.map(|_| lines + 1))
}

/// Runs in that program.
pub(crate) async fn among_odd_names() -> wren::Result<()> {
    for pattern in ["*.log", ".", "~/*.log"] {
        let input = Input::glob(pattern)?.split_size(4);
        let splits: Vec<_> = input.splits().await?.into_iter().filter(|split| split.path().ends_with(".log")).collect();
        assert_eq!(splits.len(), 2);
        assert_eq!(wren::map(|split| lines(&split), splits).quiet().await?, [1, 1]);
    }
    let text = "text ".repeat(1_000_000);
    let put = wren::put(&text).await?;
    assert_eq!(put.get().await?, text);
    let sums = || wren::map(|i| add(i, 1), 0..50).quiet().named("odd");
    assert_eq!(sums().await?, sums().await?);
    Ok(())
}
