//! The files that patterns and folders match.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn names(input: Result<Input>) -> Vec<String> {
    let splits = splits(input.unwrap()).unwrap();
    splits.iter().map(|split| split.path().rsplit_once("/in/").unwrap().1.to_owned()).collect()
}

#[test]
fn patterns_match_alike_in_files_and_stores() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::named("");
    let all = ["b.txt", "a.txt", "_SUCCESS", "sub/c.txt", "sub/deep/d.txt", "sub/_e.txt", "[1].txt", "sub.txt"];
    for name in all {
        let path = folder.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        store::wait(store.put(&format!("in/{name}"), b"x")).unwrap();
    }
    fs::write(folder.path().join("in/.hidden.txt"), "x").unwrap();
    fs::write(folder.path().join("in/empty.txt"), "").unwrap();
    store::wait(store.put("in/empty.txt", b"")).unwrap();
    let local = folder.path().to_str().unwrap().to_owned();
    for root in [local.clone(), format!("file://{local}"), store.url()] {
        let glob = |pattern: &str| names(Input::glob(format!("{root}/in/{pattern}")));
        assert_eq!(glob("*.txt"), ["[1].txt", "a.txt", "b.txt", "sub.txt"], "{root}");
        assert_eq!(glob("?.txt"), ["a.txt", "b.txt"]);
        assert_eq!(glob("[ab].txt"), ["a.txt", "b.txt"]);
        assert_eq!(glob("**/?.txt"), ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]);
        assert_eq!(glob("sub/_*"), ["sub/_e.txt"]);
        assert_eq!(glob("_SUCCESS"), ["_SUCCESS"]);
        assert_eq!(glob("sub"), ["sub/c.txt", "sub/deep/d.txt"]);
        assert_eq!(glob(""), ["[1].txt", "a.txt", "b.txt", "sub.txt", "sub/c.txt", "sub/deep/d.txt"]);
        let paths = |paths: &[&str]| names(Input::paths(paths.iter().map(|path| format!("{root}/in/{path}"))));
        assert_eq!(
            paths(&["[1].txt", "sub", "a.txt", "sub/c.txt"]),
            ["[1].txt", "sub/c.txt", "sub/deep/d.txt", "a.txt"]
        );
        let whole = splits(Input::glob(format!("{root}/in/empty.txt")).unwrap().whole()).unwrap();
        assert_eq!((whole.len(), bytes_of(&whole[0]).unwrap()), (1, vec![]));
        let missing = reason(splits(Input::glob(format!("{root}/in/*.csv")).unwrap()));
        assert!(missing.contains("/in/*.csv: nothing matches the pattern"), "{missing}");
        let missing = reason(splits(Input::glob(format!("{root}/in/z.csv")).unwrap()));
        assert!(missing.contains("/in/z.csv"), "{missing}");
    }
    let folders = reason(splits(Input::glob(format!("{local}/i*")).unwrap()));
    assert!(folders.contains("the pattern matches only folders; add `/*`"), "{folders}");
}

#[test]
fn workers_in_other_folders_find_relative_paths() {
    let splits = splits(Input::glob("src/data/*.rs").unwrap()).unwrap();
    assert!(splits.iter().all(|split| Path::new(split.path()).is_absolute()));
}

/// Creates a folder `in` with these files, each of which contains its own name.
fn folder(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    fs::create_dir(&inside).unwrap();
    for name in files {
        let path = inside.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{name}\n")).unwrap();
    }
    (folder, inside)
}

fn found(path: impl AsRef<Path>) -> Vec<String> {
    names(Input::glob(path))
}

fn refused(path: impl AsRef<Path>) -> String {
    reason(splits(Input::glob(path).unwrap()))
}

#[test]
fn names_need_not_be_utf_8() {
    let (_folder, inside) = folder(&["ok.log"]);
    let odd = inside.join(OsStr::from_bytes(b"caf\xe9.log"));
    fs::write(&odd, "two\nthree\n").unwrap();
    for input in [Input::glob(inside.join("*.log")), Input::glob(&inside), Input::glob(inside.join("caf?.log"))] {
        let splits = splits(input.unwrap().split_size(4)).unwrap();
        assert!(joined(&splits, lines).starts_with(&[b"two".to_vec(), b"three".to_vec()]));
        assert!(splits[0].path().ends_with("/caf\u{fffd}.log"), "{splits:?}");
    }
    assert_eq!(found(inside.join("o*.log")), ["ok.log"]);
    assert_eq!(found(inside.join("**/ok.log")), ["ok.log"]);
    assert_eq!(splits(Input::paths([&odd]).unwrap()).unwrap().len(), 1);
    assert_eq!(splits(Input::glob(&odd).unwrap()).unwrap().len(), 1);
    // Two names that look alike are two files.
    fs::write(inside.join(OsStr::from_bytes(b"caf\xe8.log")), "four\n").unwrap();
    assert_eq!(splits(Input::glob(inside.join("caf*")).unwrap()).unwrap().len(), 2);
    let below = inside.join(OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&below).unwrap();
    fs::write(below.join("x.csv"), "a\n1\n").unwrap();
    let splits = splits(Input::glob(inside.join("**/*.csv")).unwrap().csv().split_size(2)).unwrap();
    assert_eq!(joined(&splits, |split| split.records::<(u8,)>()?.collect()), [(1,)]);
    assert!(refused(below.join("none")).contains("no such file or folder"));
}

#[test]
fn a_folder_with_several_links_is_read_once() {
    let (_folder, inside) = folder(&["2026-11-26/a.log", "near.log", "other/far.log"]);
    symlink("2026-11-26", inside.join("latest")).unwrap();
    symlink("latest", inside.join("first")).unwrap();
    symlink(&inside, inside.join("2026-11-26/loop")).unwrap();
    symlink("round", inside.join("round")).unwrap();
    let all = ["2026-11-26/a.log", "near.log", "other/far.log"];
    assert_eq!(found(inside.join("**/*.log")), all);
    assert_eq!(found(inside.join("*/*.log")), ["2026-11-26/a.log", "other/far.log"]);
    assert_eq!(found(inside.join("*/a.log")), ["2026-11-26/a.log"]);
    assert_eq!(found(inside.join("latest/*.log")), ["latest/a.log"]);
    assert_eq!(found(inside.join("latest/loop/near.log")), ["latest/loop/near.log"]);
    assert!(refused(&inside).contains("/in/round: cannot read its metadata"), "a link to itself is not a folder");
    fs::remove_file(inside.join("round")).unwrap();
    assert_eq!(found(&inside), all);
    assert_eq!(found(inside.join("**")), all);
    assert_eq!(found(inside.join("**/")), all);
}

#[test]
fn folders_and_files_behind_links_are_read() {
    let (_far, far) = folder(&["far.log", "deep/x.log"]);
    let (_folder, inside) = folder(&["near.log"]);
    symlink(&far, inside.join("linked")).unwrap();
    symlink(far.join("far.log"), inside.join("to-file.log")).unwrap();
    symlink("to-file.log", inside.join("to-link.log")).unwrap();
    let all = ["linked/deep/x.log", "linked/far.log", "near.log", "to-file.log", "to-link.log"];
    assert_eq!(found(&inside), all);
    assert_eq!(found(inside.join("**/*.log")), all);
    assert_eq!(found(inside.join("*/*.log")), ["linked/far.log"]);
    assert_eq!(found(inside.join("linked")), ["linked/deep/x.log", "linked/far.log"]);
    let (_root, root) = folder(&[]);
    fs::remove_dir(&root).unwrap();
    symlink(&inside, &root).unwrap();
    assert_eq!(found(&root), all, "a folder that is itself a link");
}

#[test]
fn matching_broken_links_are_errors() {
    let (_folder, inside) = folder(&["a.log", "b/c.log"]);
    symlink("/nowhere/b.log", inside.join("b.log")).unwrap();
    for path in [inside.clone(), inside.join("*.log"), inside.join("**/*.log"), inside.join("b.log")] {
        let message = refused(&path);
        assert!(message.contains("/in/b.log: it is a link to `/nowhere/b.log`, which does not exist"), "{message}");
    }
    assert_eq!(found(inside.join("a*")), ["a.log"]);
    assert_eq!(found(inside.join("*/*.log")), ["b/c.log"]);
}

#[test]
fn pipes_sockets_and_devices_are_errors_naming_them() {
    let (_folder, inside) = folder(&["a.log"]);
    let made = std::process::Command::new("mkfifo").arg(inside.join("p.log")).status();
    assert!(made.unwrap().success());
    for input in [Input::glob(&inside), Input::glob(inside.join("*.log")), Input::paths([inside.join("p.log")])] {
        for input in [input.clone().unwrap(), input.unwrap().whole()] {
            let message = reason(splits(input));
            assert!(message.contains("/in/p.log: it is a pipe, not a file"), "{message}");
        }
    }
    assert_eq!(found(inside.join("a*")), ["a.log"]);
    let _socket = std::os::unix::net::UnixListener::bind(inside.join("s.sock")).unwrap();
    assert!(refused(inside.join("s*")).contains("a socket"));
    assert!(refused("/dev/zero").contains("a device"));
    assert_eq!(splits(Input::paths(["/dev/null"]).unwrap()).unwrap(), []);
    let (reader, _writer) = std::io::pipe().unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&reader);
    assert!(refused(format!("/dev/fd/{descriptor}")).contains("a pipe"), "like the shell's `<(..)`");
}

#[cfg(target_os = "linux")]
#[test]
fn proc_files_are_refused_and_descriptors_resolved() {
    let empty = refused("/proc/self/status");
    assert!(empty.contains("it reports a length of 0 but has content"), "{empty}");
    let (_folder, path) = file("in.txt", b"one\ntwo\n");
    let open = fs::File::open(&path).unwrap();
    let descriptor = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    let splits = splits(Input::paths([&descriptor]).unwrap()).unwrap();
    assert_eq!(splits[0].path(), path.canonicalize().unwrap().to_str().unwrap(), "workers have other descriptors");
    assert_eq!(joined(&splits, lines), [b"one", b"two"]);
    fs::remove_file(&path).unwrap();
    assert!(refused(&descriptor).contains("it is open only in this program"));
}

#[test]
fn a_file_that_became_a_pipe_is_an_error() {
    let (_folder, path) = file("a.log", b"one\n");
    let splits = splits(Input::glob(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let message = reason(splits[0].lines().map(drop));
    assert!(message.contains("is not one now"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn unreadable_folders_are_errors() {
    use std::os::unix::fs::PermissionsExt;

    use crate::data::pattern::Pattern;
    use crate::data::walk;

    let (_folder, inside) = folder(&["a.log", "shut/b.log"]);
    let modes = [(&inside, 0o755), (&inside.parent().unwrap().to_owned(), 0o755), (&inside.join("shut"), 0o000)];
    modes.iter().for_each(|(path, mode)| fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap());
    let find = |pattern: &str| {
        let pattern = Pattern::new(inside.join(pattern).as_os_str().as_bytes()).unwrap();
        walk::matches(&pattern).map(|walk| walk.files.len())
    };
    let search = || {
        // SAFETY: the call changes only the effective user of this thread, which ends soon. It is needed because root
        // may read any folder.
        unsafe { libc::syscall(libc::SYS_setresuid, -1i64, 65_534i64, -1i64) };
        let (path, reason) = find("**/*.log").unwrap_err();
        assert!(path.ends_with("shut") && reason.contains("cannot read the folder: Permission denied"), "{reason}");
        assert!(find("*/*.log").unwrap_err().0.ends_with("shut"));
        assert_eq!(find("*.log"), Ok(1));
    };
    std::thread::scope(|scope| scope.spawn(search).join().unwrap());
    fs::set_permissions(inside.join("shut"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn braces_are_alternatives() {
    let (_folder, inside) = folder(&["gz/a.log", "names/b.log", "names/c.txt", "z{1,2}.log", "other/d.log"]);
    assert_eq!(found(inside.join("{gz,names}/*.log")), ["gz/a.log", "names/b.log"]);
    assert_eq!(found(inside.join("{names,gz,none}")), ["gz/a.log", "names/b.log", "names/c.txt"]);
    assert_eq!(found(inside.join("names/*.{log,txt}")), ["names/b.log", "names/c.txt"]);
    assert_eq!(found(inside.join("{names,nam*}/b.log")), ["names/b.log"], "a file that two match comes once");
    assert_eq!(found(inside.join("z[{]1,2}.log")), ["z{1,2}.log"]);
    assert_eq!(names(Input::paths([inside.join("z{1,2}.log")])), ["z{1,2}.log"]);
    assert!(refused(inside.join("{x,y}/*")).contains("nothing matches the pattern"));
    assert!(reason(Input::glob("{a,b")).contains("invalid pattern: a `{` has no matching `}`"));
    let store = MemoryStore::named("");
    for key in ["in/a/1", "in/b/2", "in/c/3"] {
        store::wait(store.put(key, b"x")).unwrap();
    }
    assert_eq!(found(format!("{}/in/{{a,b}}/*", store.url())), ["a/1", "b/2"]);
}

#[test]
fn shell_expansions_are_explained() {
    assert!(refused("~nobody-here/x.log").contains("only `~/` is expanded"));
    assert!(refused("$NOWHERE/x.log").contains("`$` is not expanded"));
    assert!(reason(splits(Input::paths(["~/no-such-file-of-wren"]).unwrap())).contains("does not expand `~`"));
    if let Some(home) = std::env::var_os("HOME") {
        let message = refused("~/no-such-file-of-wren");
        let path = Path::new(&home).join("no-such-file-of-wren");
        assert!(message.contains(&format!("`{}` does not exist", path.display())), "{message}");
    }
    let (_folder, inside) = folder(&["[1]/a.log"]);
    assert!(refused(inside.join("[1]")).contains("`Input::paths` takes"));
    assert_eq!(found(inside.join("[[]1]/*")), ["[1]/a.log"]);
}
