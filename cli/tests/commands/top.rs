//! The live view, in a pseudo-terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::wren_command;

/// Time after which a test gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a terminal shows instead of the shell's lines, and how it goes back to these.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// The command in a pseudo-terminal of 80×24.
struct Session {
    child: Child,
    keyboard: File,
    /// The side of the terminal that programs use, to read its modes.
    terminal: File,
    before: libc::termios,
    written: Arc<Mutex<Vec<u8>>>,
}

fn modes(terminal: &File) -> libc::termios {
    // SAFETY: zeros are a valid value of this structure of integers.
    let mut modes = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `modes` outlives the call.
    assert_eq!(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes) }, 0);
    modes
}

impl Session {
    fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let (mut ours, mut theirs) = (-1, -1);
        let mut size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let (no_name, no_modes) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: all pointers are null or outlive the call.
        let made = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, no_name, no_modes, &raw mut size) };
        assert_eq!(made, 0);
        // SAFETY: both descriptors were just opened and belong to nothing else.
        let (keyboard, terminal) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let (keyboard, terminal) = (File::from(keyboard), File::from(terminal));
        let before = modes(&terminal);
        let side = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = wren_command(folder, &["top"]);
        command.stdin(side()).stdout(side()).stderr(side()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command.envs(variables.iter().copied()).spawn().unwrap();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (mut screen, to) = (keyboard.try_clone().unwrap(), written.clone());
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count) = screen.read(&mut some) {
                to.lock().unwrap().extend_from_slice(&some[..count]);
            }
        });
        Self { child, keyboard, terminal, before, written }
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    fn until(&self, condition: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !condition(&self.written()) {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.written());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn ended(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "{:?}", self.written());
            thread::sleep(Duration::from_millis(20));
        };
        self.until(|written| written.contains(LEAVE));
        let after = modes(&self.terminal);
        let flags = |modes: &libc::termios| (modes.c_iflag, modes.c_oflag, modes.c_lflag);
        assert_eq!(flags(&after), flags(&self.before));
        (status, self.written())
    }
}

/// Writes the log of a job whose driver lives until the file is closed.
fn running(folder: &Path) -> (PathBuf, File) {
    let job = folder.join(".wren/jobs/made7up");
    fs::create_dir_all(&job).unwrap();
    let mut log = File::create(job.join("events.jsonl")).unwrap();
    flock(&log, FlockOperation::LockExclusive).unwrap();
    let begin = r#"{"event":"job","id":"made7up","name":"sweep","function":"demo::f","tasks":8,"backend":"local","workers":2,"started_unix_ms":1,"pid":1,"wren":"0"}"#;
    let failed =
        r#"{"event":"failed","t":1.0,"task":3,"attempt":1,"class":"panicked","message":"oh no","compute_us":9}"#;
    writeln!(log, "{begin}\n{failed}").unwrap();
    (job, log)
}

#[test]
fn the_view_draws_jobs_cancels_one_and_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let (job, mut log) = running(folder.path());
    let mut session = Session::start(folder.path(), &[]);
    session.until(|written| written.contains(ENTER) && written.contains("sweep") && written.contains("oh no"));
    // Lines that are written while the view is open appear.
    let done =
        r#"{"event":"done","t":2.0,"first":0,"count":3,"new":3,"attempt":1,"compute_us":1,"bytes_out":1,"peak_mb":77}"#;
    writeln!(log, "{done}").unwrap();
    session.until(|written| written.contains("77"));
    assert!(!job.join("cancel").exists());
    session.press("c");
    session.until(|written| written.contains("never"));
    session.press("y");
    session.until(|_| job.join("cancel").exists());
    session.press("q");
    let (status, written) = session.ended();
    assert!(status.success(), "{status}");
    assert!(written.contains("\u{1b}[38;5;"), "{written:?}");
}

#[test]
fn signals_and_ctrl_c_give_the_terminal_back_and_no_color_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _log) = running(folder.path());
    for (signal, code) in [(Some(Signal::TERM), 143), (Some(Signal::HUP), 129), (None, 0)] {
        let mut session = Session::start(folder.path(), &[("NO_COLOR", "1")]);
        session.until(|written| written.contains("oh no"));
        match signal {
            Some(signal) => session.signal(signal),
            None => session.press("\u{3}"),
        }
        let (status, written) = session.ended();
        assert_eq!(status.code(), Some(code), "{signal:?}");
        assert!(!written.contains("\u{1b}[38;5;"), "{written:?}");
    }
}
