//! Takes calls from the iterator, packs them into blocks, hands these to the executor: never more
//! than a window ahead of what was consumed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use super::Settings;
use crate::block::{Args, Block};
use crate::call::Call;
use crate::config::processors;
use crate::error::{Error, Result};
use crate::executor::{Executor, Hushed};
use crate::job::{Keep, Kept, Outcome, Port, new_id};
use crate::scheduler::JobKey;
use crate::trace::SharedLog;

/// Tasks that may be submitted and not consumed.
const WINDOW_TASKS: u64 = 256 << 10;

/// Bytes of arguments that may be, beyond what keeps every worker busy.
const WINDOW_BYTES: usize = 64 << 20;

/// Bytes of arguments that may be where there are more workers than processors here: a thousand could
/// be busy with more than this process has memory for.
const MOST_BYTES: usize = 1 << 30;

/// The first block is small, so that workers begin early; each next one is twice as long, up to this.
const BLOCK_TASKS: usize = 8 << 10;
const FIRST_BLOCK_TASKS: usize = 128;
const BLOCK_BYTES: usize = 512 << 10;

/// One running job, from its iterator to its outcomes.
pub(crate) struct Feed<I> {
    calls: Option<I>,
    executor: Executor,
    port: Arc<Port>,
    job: JobKey,
    id: String,
    settings: Settings,
    kept: Option<Arc<Kept>>,
    block: Option<Block>,
    block_tasks: usize,
    taken: u64,
    consumed: u64,
    /// Arguments that were submitted: by first task of the block, tasks not consumed and bytes.
    waiting: BTreeMap<u64, (u64, usize)>,
    waiting_bytes: usize,
    /// Outcomes that need no execution: the store had them.
    early: Vec<Outcome>,
    log: SharedLog,
    logged: bool,
    ended: bool,
}

impl<I> Feed<I> {
    pub(super) fn open(executor: Executor, calls: I, settings: Settings, keep: Keep) -> Result<Self> {
        let port = Arc::new(Port::default());
        let id = settings.name.clone().unwrap_or_else(new_id);
        let kept = match (&settings.name, keep) {
            (None, Keep::Nothing) => None,
            (name, keep) => Some(Kept::open(executor.store(), &id, name.is_some(), keep, port.clone())?),
        };
        let log = SharedLog::default();
        let job = executor.shared().open_job(settings.spec(&id), port.clone(), kept.clone(), log.clone());
        Ok(Self {
            calls: Some(calls),
            executor,
            port,
            job,
            id,
            settings,
            kept,
            block: None,
            block_tasks: FIRST_BLOCK_TASKS,
            taken: 0,
            consumed: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            early: Vec::new(),
            log,
            logged: false,
            ended: false,
        })
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// How many results there will be at least.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn is_full(&self) -> bool {
        let busy = 4 * self.executor.shared().config.workers as u64;
        let ahead = self.taken - self.consumed;
        let busy_enough = if self.waiting_bytes >= MOST_BYTES { busy.min(4 * processors() as u64) } else { busy };
        ahead >= WINDOW_TASKS || (self.waiting_bytes >= WINDOW_BYTES && ahead >= busy_enough)
    }

    fn submit(&mut self) {
        let Some(block) = self.block.take() else { return };
        let tasks = block.tasks();
        self.waiting.insert(tasks.start, (tasks.end - tasks.start, block.size()));
        self.waiting_bytes += block.size();
        self.block_tasks = (self.block_tasks * 2).min(BLOCK_TASKS);
        self.executor.shared().submit(self.job, block);
    }

    fn push(&mut self, function: &'static crate::registry::RemoteFn, limits: crate::Limits, args: Args) {
        let chunk = self.settings.chunk.map_or(1, |chunk| chunk.get() as u64);
        let full = |b: &Block| {
            let tasks = b.tasks();
            let whole_chunks = (tasks.end - tasks.start).is_multiple_of(chunk);
            !b.accepts(function, &limits) || (whole_chunks && b.is_full(self.block_tasks, BLOCK_BYTES))
        };
        if self.block.as_ref().is_some_and(full) {
            self.submit();
        }
        let first = self.taken;
        self.block.get_or_insert_with(|| Block::new(function, limits, first)).push(args);
        self.taken += 1;
    }

    fn note_consumed(&mut self, tasks: &Range<u64>) {
        let mut next = tasks.start;
        while next < tasks.end {
            let Some((first, (left, bytes))) = self.waiting.range_mut(..=next).next_back() else { break };
            let first = *first;
            let count = (tasks.end - next).min(*left);
            *left -= count;
            next += count.max(1);
            if *left == 0 {
                self.waiting_bytes -= *bytes;
                self.waiting.remove(&first);
            }
        }
    }

    /// The next outcome that has come.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        let outcome = self.early.pop().or_else(|| self.port.take())?;
        match &outcome {
            Outcome::Done { new, .. } => {
                self.consumed += new.iter().map(|r| r.end - r.start).sum::<u64>();
                for tasks in new {
                    self.note_consumed(tasks);
                }
            }
            Outcome::Failed { task, .. } => {
                self.consumed += 1;
                self.note_consumed(&(*task..*task + 1));
            }
            Outcome::OverBudget { .. } | Outcome::Cancelled | Outcome::Broken(_) => {}
        }
        Some(outcome)
    }

    /// Whether every task was consumed, and no more come.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.consumed == self.taken
    }

    /// Whether there is something to take or to do; if not, the waker is kept.
    pub(super) fn is_ready_or_register(&self, waker: &Waker) -> bool {
        !self.early.is_empty() || self.port.is_ready_or_register(waker)
    }

    /// Does the reactor's work from this thread until the guard is dropped.
    pub(super) fn in_the_reactors_place(executor: &Executor) -> Hushed<'_> {
        executor.shared().in_the_reactors_place()
    }

    /// Watches for a moment for the next outcome, if one is likely.
    pub(super) fn watch(&self) -> bool {
        self.taken > self.consumed && self.executor.shared().watch(|| self.port.has_outcome())
    }

    /// Ends the job's log in the given state, and with it the job.
    pub(super) fn end(&mut self, state: &'static str) {
        let shared = self.executor.shared();
        shared.cancel(self.job);
        if let Some(kept) = &self.kept {
            kept.hang_up();
        }
        self.log.end(state);
    }

    /// The error of an outcome that is one, with what is known of the job.
    pub(super) fn error_of(&self, outcome: Outcome) -> Error {
        let mut error = outcome.into_error(self.consumed);
        if let Error::OverBudget { budget_usd, .. } = &mut error {
            *budget_usd = self.settings.budget_usd.unwrap_or_default();
        }
        error
    }
}

impl<I: Iterator<Item = Call<R>>, R> Feed<I> {
    /// Takes calls and submits them, up to one block or the window. Gives whether there may be more
    /// to take now.
    pub(super) fn fill(&mut self) -> Result<bool> {
        let blocks = self.waiting.len();
        while self.waiting.len() == blocks {
            if self.is_full() {
                self.submit();
                return Ok(false);
            }
            let Some(call) = self.calls.as_mut().and_then(Iterator::next) else {
                self.submit();
                self.close();
                return Ok(false);
            };
            let (function, limits, args) = call.into_parts()?;
            self.begin_log(function.name);
            match self.kept.as_ref().map_or(Ok(None), |kept| kept.look_up(self.taken, function, &args))? {
                Some(outcome) => {
                    self.submit();
                    self.taken += 1;
                    self.early.push(outcome);
                    return Ok(true);
                }
                None => self.push(function, limits, args),
            }
        }
        Ok(true)
    }

    fn begin_log(&mut self, function: &str) {
        if self.logged {
            return;
        }
        self.logged = true;
        let tasks = self.calls.as_ref().and_then(|calls| match calls.size_hint() {
            (least, Some(most)) if least == most => Some(least as u64 + 1),
            _ => None,
        });
        self.executor.shared().begin_log(&self.log, &self.id, &self.settings, function, tasks, None);
    }

    fn close(&mut self) {
        if !self.ended {
            self.ended = true;
            self.calls = None;
            self.executor.shared().close(self.job);
        }
    }
}

impl<I> Drop for Feed<I> {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}
