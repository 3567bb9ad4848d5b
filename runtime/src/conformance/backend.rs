//! The test suite for backends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attempt::{Batch, BatchId, Decoded, Reply, TaskBlock, decode_result};
use crate::backend::{self, Backend, BackendContext};
use crate::calls::Call;
use crate::error::{Error, Failure, Result};
use crate::function::Limits;
use crate::function::framed::Pieces;
use crate::platform::Notifier;

/// An operation that takes longer counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks that a backend keeps every promise of [`Backend`]. For tests of backends; takes some seconds.
///
/// `url` selects the backend, as in [`Builder::backend`](crate::Builder::backend). `probe` is a remote function of the
/// program under test, because workers can only run functions of their own program:
///
/// ```
/// /// Sleeps for `ms` milliseconds, then returns twice the length of `bytes`. Fails if `bytes` is empty.
/// #[wren::remote]
/// fn probe(ms: u64, bytes: &[u8]) -> Result<u64, String> {
///     std::thread::sleep(std::time::Duration::from_millis(ms));
///     if bytes.is_empty() { Err("no bytes".to_owned()) } else { Ok(2 * bytes.len() as u64) }
/// }
///
/// wren::conformance::backend("inline", probe)?;
/// # Ok::<(), wren::Error>(())
/// ```
///
/// # Errors
/// If the backend cannot be opened.
///
/// # Panics
/// If the backend breaks a promise; the message names the promise.
pub fn backend(url: &str, probe: fn(u64, &[u8]) -> Call<u64>) -> Result<()> {
    let notifier = Notifier::new().map_err(|e| Error::Backend(format!("cannot create a pipe: {e}")))?;
    let backend = backend::open(url, &BackendContext::new(2, notifier.clone(), 1))?;
    let mut suite = Suite { backend, notifier, probe, clock: Instant::now(), batches: 0 };
    suite.every_task_is_accounted_for();
    suite.large_arguments_arrive();
    suite.a_failure_affects_one_task();
    suite.returned_tasks_did_not_run();
    suite.a_cancelled_batch_frees_its_place();
    Ok(())
}

struct Suite {
    backend: Box<dyn Backend>,
    notifier: Notifier,
    probe: fn(u64, &[u8]) -> Call<u64>,
    clock: Instant,
    batches: BatchId,
}

/// The outcomes of the tasks of some batches.
#[derive(Default)]
struct Account {
    results: BTreeMap<u64, std::result::Result<u64, Failure>>,
    returned: Vec<u64>,
}

impl Account {
    fn known(&self) -> usize {
        self.results.len() + self.returned.len()
    }

    fn add(&mut self, reply: Reply) {
        match reply {
            Reply::Done { tasks, results, timing, .. } => {
                assert!(timing.compute < PATIENCE, "`compute` is the time of the tasks only: {timing:?}");
                let results = results.into_packed();
                assert_eq!(Pieces(&results).count() as u64, tasks.end - tasks.start, "one result for each task");
                for (task, result) in tasks.zip(Pieces(&results)) {
                    let value =
                        decode_result(result, &Decoded { function: "", task, attempt: 1 }).expect("results decode");
                    assert!(self.results.insert(task, Ok(value)).is_none(), "task {task} is accounted for once");
                }
            }
            Reply::Failed { task, failure, .. } => {
                assert!(self.results.insert(task, Err(failure)).is_none(), "task {task} is accounted for once");
            }
            Reply::Returned { tasks, .. } => self.returned.extend(tasks),
            Reply::Throttled { message, .. } => panic!("a backend accepts every batch within its slots: {message}"),
        }
    }
}

impl Suite {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Starts a batch of consecutive calls, the first of which is task `first`.
    fn invoke(&mut self, first: u64, calls: &[(u64, &[u8])], account: &mut Account) -> BatchId {
        let function = (self.probe)(0, b"-").into_parts().function;
        let mut block = TaskBlock::new(function, Limits::default(), first);
        for (ms, bytes) in calls {
            block.push((self.probe)(*ms, bytes).into_parts().args.expect("the probe's arguments encode"));
        }
        self.batches += 1;
        let tasks = block.tasks();
        let batch = Batch { id: self.batches, job_run: None, tasks, attempt: 1, block: Arc::new(block) };
        let mut replies = Vec::new();
        let before = Instant::now();
        self.backend.invoke(batch, self.now(), &mut replies);
        assert!(before.elapsed() < Duration::from_secs(2), "`invoke` does not block");
        replies.into_iter().for_each(|reply| account.add(reply));
        self.batches
    }

    /// Polls as an executor does, after a notification or when the backend asked for it, until `tasks` tasks are
    /// accounted for.
    fn until(&mut self, tasks: usize, account: &mut Account) {
        let patience = Instant::now() + PATIENCE;
        let mut replies = Vec::new();
        loop {
            self.notifier.set_asleep();
            let again = self.backend.poll(self.now(), &mut replies);
            replies.drain(..).for_each(|reply| account.add(reply));
            if account.known() >= tasks {
                return;
            }
            assert!(Instant::now() < patience, "{} of {tasks} tasks are never accounted for", tasks - account.known());
            self.notifier.sleep(Some(again.unwrap_or(PATIENCE)));
        }
    }

    fn every_task_is_accounted_for(&mut self) {
        let bytes = [7; 3_000];
        let mut account = Account::default();
        let mut tasks = 0;
        for batch_id in 0..self.backend.slots().min(8) {
            let calls: Vec<_> = (0..10 * batch_id + 1).map(|i| (0, &bytes[..=i])).collect();
            self.invoke(tasks as u64, &calls, &mut account);
            tasks += calls.len();
        }
        self.until(tasks, &mut account);
        assert!(account.returned.len() < tasks, "at least one task runs");
        let mut task = 0;
        for batch_id in 0..self.backend.slots().min(8) as u64 {
            for i in 0..10 * batch_id + 1 {
                if !account.returned.contains(&task) {
                    assert_eq!(account.results.get(&task), Some(&Ok(2 * (i + 1))), "the result of task {task}");
                }
                task += 1;
            }
        }
    }

    fn large_arguments_arrive(&mut self) {
        let bytes = vec![1; 20 << 20];
        let mut account = Account::default();
        self.invoke(5, &[(0, &bytes), (0, &bytes[1..]), (0, &bytes)], &mut account);
        self.until(3, &mut account);
        let length = |task| account.results[&task].clone().map(|n| n as usize / 2);
        assert_eq!([length(5), length(6), length(7)], [20 << 20, (20 << 20) - 1, 20 << 20].map(Ok));
    }

    fn a_failure_affects_one_task(&mut self) {
        let mut account = Account::default();
        let calls: [(u64, &[u8]); 5] = [(0, b"a"), (0, b""), (0, b"abc"), (0, b""), (0, b"ab")];
        self.invoke(0, &calls, &mut account);
        self.until(5, &mut account);
        for (task, (_, bytes)) in (0..).zip(calls) {
            match &account.results[&task] {
                Ok(value) => assert_eq!(*value, 2 * bytes.len() as u64),
                Err(Failure::Returned { message, .. }) => assert!(bytes.is_empty() && message == "no bytes"),
                Err(other) => panic!("an `Err` is reported as `Failure::Returned`, not as {other:?}"),
            }
        }
    }

    fn returned_tasks_did_not_run(&mut self) {
        let mut account = Account::default();
        let calls = [(20, &b"abc"[..]); 50];
        let batch_id = self.invoke(0, &calls, &mut account);
        self.until(1, &mut account);
        let mut replies = Vec::new();
        self.backend.reclaim(batch_id, &mut replies);
        replies.into_iter().for_each(|reply| account.add(reply));
        self.until(50, &mut account);
        let both = account.returned.iter().find(|task| account.results.contains_key(task));
        assert_eq!(both, None, "a returned task did not run");
    }

    fn a_cancelled_batch_frees_its_place(&mut self) {
        let mut account = Account::default();
        for place in 0..self.backend.workers().min(4) as u64 - 1 {
            let batch_id = self.invoke(place, &[(1_000, b"a")], &mut account);
            self.backend.cancel(batch_id, self.now());
        }
        // A cancelled batch needs no reply, and delays other batches no longer than it runs.
        let mut after = Account::default();
        self.invoke(100, &[(0, b"abc")], &mut after);
        let start = Instant::now();
        while !after.results.contains_key(&100) {
            assert!(start.elapsed() < PATIENCE, "a cancelled batch delays another one");
            let mut all = Account::default();
            self.until(1, &mut all);
            after.results.append(&mut all.results);
        }
        assert_eq!(after.results[&100], Ok(6));
    }
}
