//! Writers of the embedded storage that are killed at any moment.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::kv::Kv;

use super::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![killed_writers_leave_whole_changes, a_killed_reader_does_not_keep_the_file_growing]
}

/// Environment variable for child processes: the action, `write` or `read`, and a folder.
const ASKED: &str = "KV_TEST_CHILD";

/// If this is a child process, writes or reads until it is killed.
pub(crate) fn write_if_asked() -> Option<ExitCode> {
    let asked = std::env::var(ASKED).ok()?;
    let (what, folder) = asked.split_once(' ').unwrap();
    let kv = open(Path::new(folder));
    // Each change moves units from one number to another: no change alters the sum.
    let mut step = u64::from(std::process::id());
    loop {
        step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if what == "read" {
            kv.keys("").unwrap();
            continue;
        }
        let (from, to) = ((step >> 33) % 1_000, (step >> 43) % 1_000);
        let delta = [-1.0f64, 1.0];
        let addition = wren::kv::Addition {
            key: "units",
            place: wren::kv::Place::At(&[from as u32, to as u32]),
            delta: wren::kv::Numbers::F64(&delta),
        };
        kv.storage().add(&[addition]).unwrap();
        kv.increment("changes", 1).unwrap();
        // Keys come and go, so that the tree is split and merged.
        let key = format!("key/{}", step >> 54);
        if step & (1 << 40) == 0 {
            kv.set_bytes(&key, &vec![7; (step >> 50) as usize]).unwrap();
        } else {
            kv.delete(&key).unwrap();
        }
    }
}

fn open(folder: &Path) -> Kv {
    Kv::open(&format!("embedded:{}?map_mb=1", folder.display())).unwrap()
}

/// A process that the test kills, at the latest when it ends.
struct Doomed(Child);

impl Doomed {
    fn start(what: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(ASKED, format!("{what} {}", folder.display())).stdout(Stdio::null());
        Self(child.spawn().unwrap())
    }

    /// Kills the process, which must not have ended by itself before.
    fn kill(mut self) {
        self.0.kill().unwrap();
        let ended = self.0.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "a process ended by itself: {ended}");
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn killed_writers_leave_whole_changes() {
    let folder = tempfile::tempdir().unwrap();
    let kv = open(folder.path());
    kv.set_numbers("units", &[5.0f64; 1_000]).unwrap();
    let mut writers: Vec<_> = (0..4).map(|_| Doomed::start("write", folder.path())).collect();
    let mut before = 0;
    for round in 0..60 {
        // The writers make progress in each round, however slowly they start on a busy machine.
        let start = Instant::now();
        while kv.counter("changes").unwrap() < before + 10 {
            assert!(start.elapsed() < Duration::from_secs(60), "the writers make no changes");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(10 + round * 7 % 23));
        // Kills the oldest writer.
        writers.remove(0).kill();
        writers.push(Doomed::start("write", folder.path()));
        let sum: f64 = kv.numbers::<f64>("units").unwrap().unwrap().iter().sum();
        assert_eq!(sum, 5_000.0, "after kill {round}");
        let changes = kv.counter("changes").unwrap();
        assert!(changes >= before, "no change is lost");
        before = changes;
        for key in kv.keys("key/").unwrap() {
            let value = kv.get_bytes(&key).unwrap();
            assert!(value.is_none_or(|value| value.iter().all(|byte| *byte == 7)), "values are whole");
        }
    }
    writers.into_iter().for_each(Doomed::kill);
    // The process that held the lock is dead, and the next one gets the lock.
    assert_eq!(kv.increment("changes", 0).unwrap(), kv.counter("changes").unwrap());
}

fn a_killed_reader_does_not_keep_the_file_growing() {
    let folder = tempfile::tempdir().unwrap();
    let kv = open(folder.path());
    (0..2_000).for_each(|i| kv.set(&format!("some/{i}"), &i).unwrap());
    for _ in 0..10 {
        let reader = Doomed::start("read", folder.path());
        std::thread::sleep(Duration::from_millis(60));
        reader.kill();
    }
    // Writes a hundred times the size of the map, in values that replace each other.
    (0..1_000).for_each(|i| kv.set_bytes("large", &vec![i as u8; 100_000]).unwrap());
    let size = std::fs::metadata(folder.path().join("data.mdb")).unwrap().len();
    assert!(size < 8 << 20, "the file has {size} bytes");
}
