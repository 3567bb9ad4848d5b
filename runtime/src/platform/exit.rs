//! Tasks that the program waits for before it exits: a job with a shuffle removes its temporary objects, and work on
//! other machines is stopped.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

static TASKS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn tasks() -> MutexGuard<'static, Vec<JoinHandle<()>>> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes [`finish_tasks`] wait for a task.
pub(crate) fn finish_before_exit(task: JoinHandle<()>) {
    let mut tasks = tasks();
    tasks.retain(|task| !task.is_finished());
    tasks.push(task);
}

/// Waits until these tasks are finished, for at most `patience`.
pub(crate) fn finish_tasks(patience: Duration) {
    let started = Instant::now();
    while !tasks().iter().all(JoinHandle::is_finished) && started.elapsed() < patience {
        thread::sleep(Duration::from_millis(2));
    }
}
