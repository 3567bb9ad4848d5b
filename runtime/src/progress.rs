//! The progress bar of a job: only where standard error is a terminal.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A job that is shorter than this shows no bar.
const SHOW_AFTER: Duration = Duration::from_millis(300);

fn bars() -> &'static Mutex<MultiProgress> {
    static BARS: OnceLock<Mutex<MultiProgress>> = OnceLock::new();
    // Drawn ten times a second at most.
    BARS.get_or_init(|| Mutex::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))))
}

/// Writes to the terminal without harm to the bars.
pub(crate) fn above_the_bar<T>(write: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return write();
    }
    let bars = bars().lock().unwrap_or_else(PoisonError::into_inner).clone();
    bars.suspend(write)
}

/// The bar of one job.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    enabled: bool,
    since: std::time::Instant,
    name: String,
}

impl Progress {
    pub(crate) fn new(name: &str, quiet: bool) -> Self {
        let enabled = !quiet && io::stderr().is_terminal();
        Self { bar: None, enabled, since: std::time::Instant::now(), name: name.to_owned() }
    }

    /// Shows how far the job is; `total` is `None` while it is not known.
    pub(crate) fn update(&mut self, done: u64, failed: u64, total: Option<u64>) {
        if !self.enabled || (self.bar.is_none() && self.since.elapsed() < SHOW_AFTER) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let template = "{prefix} [{bar:30}] {pos}/{len} {per_sec} {eta} {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bars().lock().unwrap_or_else(PoisonError::into_inner).add(ProgressBar::no_length());
            bar.with_style(style.progress_chars("=> ")).with_prefix(self.name.clone())
        });
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
