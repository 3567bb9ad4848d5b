//! Where a store may lie: shared by containers that do not see each other's processes, on a full disk.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use wren::Error;
use wren::store::StoreError;

use super::drivers::{DRIVE, executor_in};
use super::{add, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![containers_share_a_store, a_full_disk_is_an_error_and_what_failed_takes_no_room]
}

/// This program in namespaces of its own, where it is process 1.
fn contained(script: &str, what: &str, folder: &Path) -> Command {
    let unshare = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount"]).args(options);
        command
    };
    // Without root, the namespaces are those of a user of its own.
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

/// What each container does.
pub(crate) async fn share(folder: &Path) -> wren::Result<()> {
    assert_eq!(std::process::id(), 1, "this is a container");
    let side: u64 = std::env::var("SIDE").unwrap().parse().unwrap();
    let executor = executor_in(folder);
    let other = 3 - side;
    for round in 0..60u64 {
        // Both write at the same moment, and each its own.
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

async fn a_full_disk_is_an_error_and_what_failed_takes_no_room() {
    let folder = scratch("full-disk");
    let script = "mkdir \"$WREN_DIR/disk\"; mount -t tmpfs -o size=4m none \"$WREN_DIR/disk\"; exec \"$1\"";
    let output = contained(script, "full", &folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is done on the full disk.
pub(crate) async fn fill(folder: &Path) -> wren::Result<()> {
    let disk = folder.join("disk");
    let store = format!("file:{}", disk.join("store").display());
    let executor = wren::Executor::builder().backend("local").workers(1).directory(folder).store(store).build()?;
    wren::put(&"a".repeat(3 << 20)).on(&executor).await?;
    for large in ["b", "c"] {
        let full = wren::put(&large.repeat(2 << 20)).on(&executor).await.map(drop).unwrap_err();
        assert!(matches!(full, Error::Store(StoreError::Full { .. })), "{full:?}");
        assert!(full.to_string().contains("has no room for `blobs/"), "{full}");
    }
    let left: Vec<_> = std::fs::read_dir(disk.join("store/.tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let small = wren::put(&"d".repeat(10_000)).on(&executor).await?;
    assert_eq!(small.get().await?.len(), 10_000);
    Ok(())
}
