//! Outputs in local folders and in stores: those of one job are never mixed with those of another.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Outputs;
use super::on_disk::{LEFT, LOCK, OVER, names, stage};
use crate::error::Result;
use crate::mapreduce::{FileSink, ReduceResult, Shuffle};
use crate::store::{self, Requests, wait};

fn reduced(files: &[(PathBuf, u64)]) -> Vec<ReduceResult<()>> {
    let one = |(path, bytes): &(PathBuf, u64)| ReduceResult {
        collected: Vec::new(),
        records: 1,
        file: Some((path.display().to_string(), *bytes)),
    };
    files.iter().map(one).collect()
}

/// Writes files as tasks do, and commits them.
fn write(folder: &Path, job: &str, parts: usize) -> Result<bool> {
    wait(async {
        let outputs = Outputs::of(job, false, folder.to_str().unwrap()).await?;
        let files: Vec<_> =
            (0..parts).map(|part| Path::new(outputs.target()).join(format!("part-{part:05}"))).collect();
        files.iter().for_each(|file| fs::write(file, job).unwrap());
        fs::write(Path::new(outputs.target()).join(".left"), "half").unwrap();
        let mut reduced = reduced(&files.into_iter().map(|file| (file, job.len() as u64)).collect::<Vec<_>>());
        let committed = outputs.commit(&mut reduced).await?;
        assert!(reduced.iter().all(|r| r.file.as_ref().unwrap().0.starts_with(folder.to_str().unwrap())));
        Ok(committed)
    })
}

#[test]
fn a_folder_holds_the_last_jobs_output() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("deep/out");
    for (job, parts) in [("first", 4), ("second", 2), ("third", 0), ("fourth", 1)] {
        assert!(write(&folder, job, parts).unwrap());
        assert_eq!(names(&folder).unwrap().len(), parts, "{job}");
        let texts = names(&folder).unwrap().into_iter().map(|name| fs::read_to_string(folder.join(name)).unwrap());
        assert!(texts.into_iter().all(|text| text == job));
    }
    assert_eq!(names(&root.path().join("deep")).unwrap(), ["out"], "nothing is left beside it");
    fs::write(folder.join(".gitignore"), "*").unwrap();
    assert!(write(&folder, "fifth", 1).unwrap());
    assert!(folder.join(".gitignore").exists(), "hidden files stay");
    fs::write(folder.join("README"), "mine").unwrap();
    let refused = write(&folder, "sixth", 1).unwrap_err().to_string();
    assert!(refused.contains("`README` in it is not an output"), "{refused}");
}

#[test]
fn late_writes_of_a_task_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("out");
    for committed in [false, true, true] {
        let outputs = wait(Outputs::of("job", false, folder.to_str().unwrap())).unwrap();
        let target = PathBuf::from(outputs.target());
        fs::write(target.join("part-00000"), "a").unwrap();
        let late = std::thread::spawn({
            let target = target.clone();
            // A new name each time, like the unfinished file of an attempt.
            move || (0..).take_while(|n| fs::write(target.join(format!(".{n}")), "half").is_ok()).count()
        });
        // The job is over when the task has written some files, and still writes.
        while !target.join(".99").exists() {
            assert!(!late.is_finished(), "the task cannot write");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if committed {
            let file = (target.join("part-00000"), 1);
            assert!(wait(outputs.commit(&mut reduced(&[file]))).unwrap());
        } else {
            outputs.discard();
        }
        assert!(late.join().unwrap() > 99);
        let (beside, within) = (names(root.path()).unwrap(), names(&folder).unwrap());
        assert_eq!((beside.len(), within.len()), (usize::from(committed), usize::from(committed)), "{beside:?}");
    }
}

#[test]
fn store_folders_are_marked_until_complete() {
    let url = "memory:outputs-test";
    wait(async {
        let store = Requests::new(store::open(url).unwrap());
        let executor = crate::Executor::builder().backend("inline").build().unwrap();
        let outputs = Outputs::of("first", false, url).await.unwrap();
        for part in ["part-00000", "part-00001"] {
            store.put(part.to_owned(), b"a\n".to_vec()).await.unwrap();
        }
        let found = |pattern: &str| {
            let input = crate::Input::glob(pattern).unwrap().on(&executor);
            async move { input.splits().await.map(|splits| splits.len()) }
        };
        for pattern in [url.to_owned(), format!("{url}/*"), format!("{url}/part-00001")] {
            let error = found(&pattern).await.unwrap_err().to_string();
            assert!(error.contains("job first") && error.contains("_incomplete"), "{error}");
        }
        let files = [(PathBuf::from(format!("{url}/part-00000")), 2)];
        assert!(!outputs.commit(&mut reduced(&[(files[0].0.clone(), 3)])).await.unwrap());
        assert!(outputs.commit(&mut reduced(&files)).await.unwrap());
        assert_eq!(store.list(String::new()).await.unwrap(), ["part-00000"]);
        assert_eq!(found(&format!("{url}/*")).await.unwrap(), 1);
    });
}

#[test]
fn jobs_sharing_a_store_folder_are_not_mixed() {
    let root = tempfile::tempdir().unwrap();
    let url = format!("file:{}/out", root.path().display());
    let executor = crate::Executor::builder().backend("inline").build().unwrap();
    let splits = |pattern: String| wait(crate::Input::glob(&pattern).unwrap().on(&executor).splits());
    let write = |outputs: &Outputs, job: &str| -> Result<(PathBuf, u64)> {
        let (store, prefix) = ("memory:".to_owned(), format!("{job}/shuffle/"));
        let shuffle = Shuffle { store, prefix, compress: false, memory_mb: 64 };
        let mut sink = FileSink::create(outputs.target(), "part-00000", &shuffle)?;
        io::Write::write_all(&mut sink, b"line\n").unwrap();
        sink.finish().map(|(file, bytes)| (file.into(), bytes))
    };
    let commit = |outputs: &Outputs, file: &(PathBuf, u64)| {
        wait(outputs.commit(&mut reduced(std::slice::from_ref(file)))).map_err(|e| e.to_string())
    };
    let slow = wait(Outputs::of("slow", false, &url)).unwrap();
    let of_slow = write(&slow, "slow").unwrap();
    // The values of a `file:` store are also found as files.
    for pattern in [url.clone(), format!("{url}/*"), url.replace("file:", ""), format!("{url}/part-00000")] {
        let error = splits(pattern).unwrap_err().to_string();
        assert!(error.contains("job slow is still writing them"), "{error}");
    }
    let quick = wait(Outputs::of("quick", false, &url)).unwrap();
    let of_quick = write(&quick, "quick").unwrap();
    let refused = write(&slow, "slow").unwrap_err().to_string();
    assert!(refused.contains("job quick is writing its outputs to file:"), "{refused}");
    assert!(commit(&slow, &of_slow).unwrap_err().contains("job quick"));
    assert_eq!(commit(&quick, &of_quick), Ok(true));
    let refused = write(&slow, "slow").unwrap_err().to_string();
    assert!(refused.contains("another job has written its outputs"), "{refused}");
    assert!(commit(&slow, &of_slow).is_err());
    assert_eq!(splits(url).unwrap().len(), 1);
    let left: Vec<_> = names(&root.path().join("out/.tmp")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn leftovers_of_killed_drivers_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("out");
    let dead = crate::platform::new_id();
    let paths = [dead.clone(), format!("{}{OVER}", crate::platform::new_id()), "named".to_owned()];
    let paths = paths.map(|job| root.path().join(format!(".out.{job}")));
    paths.iter().for_each(|path| drop(stage(path).unwrap()));
    fs::remove_file(paths[1].join(LOCK)).unwrap();
    let is_there = || paths.each_ref().map(|path| path.exists());
    assert!(write(&folder, "first", 1).unwrap());
    assert_eq!(is_there(), [true; 3], "their drivers may be about to lock them");
    let long_ago = std::time::SystemTime::now() - 2 * LEFT;
    paths.iter().for_each(|path| File::open(path).unwrap().set_modified(long_ago).unwrap());
    let lock = File::options().write(true).open(paths[0].join(LOCK)).unwrap();
    lock.lock().unwrap();
    assert!(write(&folder, "second", 1).unwrap());
    assert_eq!(is_there(), [true, false, true], "one is locked, and a named job resumes with its own");
    drop(lock);
    assert!(write(&folder, "third", 1).unwrap());
    assert_eq!(is_there(), [false, false, true]);
}

#[test]
fn missing_files_are_noticed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("out");
    let commit = |len| {
        wait(async {
            let outputs = Outputs::of("job", false, folder.to_str().unwrap()).await.unwrap();
            outputs.commit(&mut reduced(&[(Path::new(outputs.target()).join("part-00000"), len)])).await.unwrap()
        })
    };
    assert!(write(&folder, "job", 1).unwrap());
    assert!(commit(3), "an earlier run put it there");
    assert!(!commit(4), "it is another file");
    fs::remove_dir_all(&folder).unwrap();
    assert!(!commit(3));
}
