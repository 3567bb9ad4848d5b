//! Takes calls from the iterator, packs them into blocks and passes these to the executor, never more than a window
//! ahead of the consumed outcomes.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::Calls;
use crate::attempt::TaskBlock;
use crate::calls::{Call, of_task};
use crate::config::processors;
use crate::error::{Error, Failure, Result};
use crate::executor::{
    Executor, Outcome, OutcomeQueue, Pending, ResultCommitter, ResultPolicy, Settings, Sought, Submitted, SuppressGuard,
};
use crate::function::{Args, Limits, RemoteFn};
use crate::history::{Note, SharedLog, TaskReport};
use crate::platform;
use crate::scheduler::JobKey;
use crate::store::{BoxFuture, Requests};

/// Maximum number of tasks that are taken from the iterator and not consumed.
const WINDOW_TASKS: u64 = 256 << 10;

/// Size of waiting arguments, in bytes, above which only as many calls are taken as keep every worker busy; and maximum
/// size of waiting results.
const WINDOW_BYTES: usize = 64 << 20;

/// Size of waiting arguments, in bytes, above which only as many calls are taken as keep the processors of this machine
/// busy: keeping a thousand workers busy may need more memory than this process has.
const MOST_BYTES: usize = 1 << 30;

/// Maximum number of tasks in a block, except to complete a chunk. The first block is small, so that workers start
/// early; each following block is twice as long, up to this.
const BLOCK_TASKS: usize = 8 << 10;
/// Number of tasks in the first block.
const FIRST_BLOCK_TASKS: usize = 128;
/// Size at which a block is full, in bytes.
const BLOCK_BYTES: usize = 512 << 10;

/// How long it takes to send a block of calls to a waiting worker and to get the reply.
const ROUND_TRIP: Duration = Duration::from_micros(100);

/// In a job with a concurrency limit, calls that take less than this in total are taken ahead together.
const TOGETHER: Duration = Duration::from_millis(1);

/// Number of calls whose earlier results are requested at once: many cells of the store.
const SEEK_TASKS: usize = 1024;

/// One running job, from its iterator to its outcomes.
pub(crate) struct Feed<I> {
    calls: Option<I>,
    executor: Executor,
    outcomes: Arc<OutcomeQueue>,
    /// Opens the result committer, if the job has one.
    opening: Option<BoxFuture<'static, Result<Arc<ResultCommitter>>>>,
    /// `None` until the result committer is open.
    job: Option<JobKey>,
    id: String,
    settings: Settings,
    /// The function of the previous call, and the limits of its calls that set none themselves.
    usual: Option<(&'static RemoteFn, Limits)>,
    committer: Option<Arc<ResultCommitter>>,
    /// The block that is being filled.
    block: Option<Box<TaskBlock>>,
    /// Whether the block has the usual limits.
    block_is_usual: bool,
    /// Where the block is lent while the iterator is asked for the next call.
    pending: Arc<Pending>,
    block_tasks: usize,
    /// Number of tasks at which a block is submitted before it is full, if workers are idle.
    eager_tasks: u64,
    /// When the last block was submitted.
    submitted_at: Instant,
    /// Maximum number of tasks that are taken and not consumed, in a job with a concurrency limit.
    ahead: Option<u64>,
    taken: u64,
    /// The functions of the calls, each with its first task.
    functions: Vec<(u64, &'static str)>,
    consumed: u64,
    /// Submitted arguments: by the first task of their block, the number of tasks that are not consumed, and the size
    /// in bytes.
    waiting: BTreeMap<u64, (u64, usize)>,
    waiting_bytes: usize,
    /// Tasks whose arguments could not be encoded, and whose failures were not taken yet.
    not_encoded: HashSet<u64>,
    log: SharedLog,
    logged: bool,
    ended: bool,
}

impl<I> Feed<I> {
    pub(super) fn open(executor: Executor, calls: I, settings: Settings, keep: ResultPolicy) -> Self {
        let outcomes = Arc::new(OutcomeQueue::default());
        let id = settings.name.clone().unwrap_or_else(platform::new_id);
        let mut feed = Self {
            calls: Some(calls),
            executor,
            outcomes: outcomes.clone(),
            opening: None,
            job: None,
            id: id.clone(),
            usual: None,
            settings,
            committer: None,
            block: None,
            block_is_usual: false,
            pending: Arc::default(),
            block_tasks: FIRST_BLOCK_TASKS,
            eager_tasks: 1,
            submitted_at: Instant::now(),
            ahead: None,
            taken: 0,
            functions: Vec::new(),
            consumed: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            not_encoded: HashSet::new(),
            log: SharedLog::default(),
            logged: false,
            ended: false,
        };
        match (feed.settings.name.is_some(), keep) {
            (false, ResultPolicy::Nothing) => feed.begin(None),
            (named, keep) => {
                let requests = Requests::new(feed.executor.store());
                let on_other_build = feed.executor.reactor().config.other_build;
                feed.opening =
                    Some(Box::pin(ResultCommitter::open(requests, id, named, keep, on_other_build, outcomes)));
            }
        }
        feed
    }

    fn begin(&mut self, committer: Option<Arc<ResultCommitter>>) {
        self.committer.clone_from(&committer);
        let spec = self.settings.spec(&self.id);
        self.look_ahead(1);
        let (outcomes, pending, log) = (self.outcomes.clone(), Some(self.pending.clone()), self.log.clone());
        self.job = Some(self.executor.reactor().open_job(spec, outcomes, committer, pending, log));
    }

    /// Waits until the result committer is open, if the job has one.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Error::if_forked()?;
        if let Some(opening) = &mut self.opening {
            let opened = ready!(opening.as_mut().poll(cx));
            self.opening = None;
            self.begin(Some(opened?));
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Returns the function of a task, and the next task that may be of another function.
    pub(super) fn function_of(&self, task: u64) -> (&'static str, u64) {
        let next = self.functions.partition_point(|(first, _)| *first <= task);
        let name = next.checked_sub(1).and_then(|index| self.functions.get(index)).map_or("", |(_, name)| name);
        (name, self.functions.get(next).map_or(u64::MAX, |(first, _)| *first))
    }

    /// Returns the number of tasks taken so far. There are at least as many results.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn is_full(&self) -> bool {
        let busy = 4 * self.executor.reactor().config.workers as u64;
        let ahead = self.taken - self.consumed;
        let busy_enough = if self.waiting_bytes >= MOST_BYTES { busy.min(4 * processors() as u64) } else { busy };
        ahead >= self.ahead.unwrap_or(WINDOW_TASKS)
            || (self.waiting_bytes >= WINDOW_BYTES && ahead >= busy_enough)
            || self.outcomes.bytes() >= WINDOW_BYTES
    }

    fn submit(&mut self) {
        if let Some(block) = self.block.take() {
            self.submit_block(*block);
        }
    }

    fn submit_block(&mut self, block: TaskBlock) {
        let tasks = block.tasks();
        self.note_submitted(tasks.clone(), block.size());
        self.block_tasks = (self.block_tasks * 2).min(BLOCK_TASKS);
        self.note_pace(tasks.end - tasks.start);
        let (shared, function) = (self.executor.reactor(), block.function());
        if let Some(job) = self.job {
            shared.submit(job, block);
        }
        if self.settings.concurrency.is_some() {
            let mean = shared.estimate(function).map_or(TOGETHER, |mean| mean.max(Duration::from_nanos(1)));
            self.look_ahead((TOGETHER.as_nanos() / mean.as_nanos()).clamp(1, WINDOW_TASKS.into()) as u64);
        }
    }

    /// Limits how many calls are taken ahead in a job with a concurrency limit: for each running call, one call waits,
    /// or `together` calls if that many are submitted together.
    fn look_ahead(&mut self, together: u64) {
        let together = self.settings.chunk.map_or(together, |chunk| together.max(chunk.get() as u64));
        let ahead = |most: NonZeroUsize| (most.get() as u64).saturating_mul(2).saturating_mul(together);
        self.ahead = self.settings.concurrency.map(|most| ahead(most).min(WINDOW_TASKS));
    }

    /// Measures how many calls the iterator yields during one round trip to a worker. That many are submitted together,
    /// even if workers are idle.
    fn note_pace(&mut self, tasks: u64) {
        let now = Instant::now();
        let took = now.saturating_duration_since(std::mem::replace(&mut self.submitted_at, now));
        let together = u128::from(tasks).saturating_mul(ROUND_TRIP.as_nanos()) / took.as_nanos().max(1);
        self.eager_tasks = together.clamp(1, self.block_tasks as u128) as u64;
    }

    fn note_submitted(&mut self, tasks: Range<u64>, bytes: usize) {
        self.waiting.insert(tasks.start, (tasks.end - tasks.start, bytes));
        self.waiting_bytes += bytes;
    }

    /// Takes the next call. Meanwhile, the reactor can submit the calls that were taken before.
    #[inline]
    fn next_call(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<I::Result>>>
    where
        I: Calls,
    {
        let Some(calls) = &mut self.calls else { return Poll::Ready(None) };
        if self.committer.is_some() {
            self.pending.seeking.enter_iterator();
        }
        let next = match self.block.take() {
            None => calls.poll_next(cx),
            Some(block) => {
                self.pending.lend(block);
                let next = calls.poll_next(cx);
                self.block = self.pending.take_back();
                if self.block.is_none() {
                    self.catch_up();
                }
                next
            }
        };
        if self.committer.is_some() {
            for Submitted { tasks, bytes, sought_bytes } in self.pending.seeking.leave_iterator() {
                self.waiting_bytes -= sought_bytes;
                self.note_submitted(tasks, bytes);
            }
        }
        next
    }

    /// Records the blocks that the reactor submitted while the iterator blocked this thread.
    #[cold]
    fn catch_up(&mut self) {
        for (tasks, bytes) in self.pending.submitted() {
            self.note_submitted(tasks, bytes);
            // The iterator is slow, so its calls are submitted at once.
            self.eager_tasks = 1;
        }
    }

    /// Whether workers are idle, as far as this job knows.
    fn workers_are_idle(&self, tasks: u64) -> bool {
        let workers = self.executor.reactor().config.workers as u64;
        let at_once = self.settings.concurrency.map_or(workers, |most| workers.min(most.get() as u64));
        self.taken.saturating_sub(tasks + self.outcomes.tasks()) < at_once
    }

    /// Returns the limits of calls that set none themselves.
    fn usual_limits(&self) -> Limits {
        self.usual.map(|(_, limits)| limits).unwrap_or_default()
    }

    /// Adds a task. Its limits are the usual ones unless it has its own.
    #[inline]
    fn push(&mut self, task: u64, function: &'static RemoteFn, limits: Option<Limits>, args: Args) {
        let chunk = self.settings.chunk;
        let whole_chunks = |tasks: u64| chunk.is_none_or(|n| tasks.is_multiple_of(n.get() as u64));
        let full = |b: &TaskBlock| {
            let fits = match (&limits, self.block_is_usual) {
                (None, true) => std::ptr::eq(b.function(), function),
                (None, false) => b.accepts(function, &self.usual_limits()),
                (Some(limits), _) => b.accepts(function, limits),
            };
            !fits || b.tasks().end != task || (b.is_full(self.block_tasks, BLOCK_BYTES) && whole_chunks(b.len()))
        };
        if self.block.as_deref().is_some_and(full) {
            self.submit();
        }
        let block = match &mut self.block {
            Some(block) => block,
            none => {
                self.block_is_usual = limits.is_none();
                let limits = limits.or(self.usual.map(|(_, limits)| limits)).unwrap_or_default();
                none.insert(TaskBlock::new(function, limits, task).into())
            }
        };
        block.push(args);
        let tasks = block.len();
        if tasks >= self.eager_tasks && self.workers_are_idle(tasks) && whole_chunks(tasks) {
            self.submit();
        }
    }

    fn close_if_all_are_submitted(&mut self) {
        if let (None, true, false, Some(job)) = (&self.calls, self.pending.seeking.is_empty(), self.ended, self.job) {
            self.ended = true;
            self.executor.reactor().close(job);
        }
    }

    /// Requests the results of calls that an earlier run may have left.
    fn seek(&self) {
        if let Some(committer) = &self.committer {
            self.pending.seeking.ask(committer);
        }
    }

    /// Handles calls whose results were found, or which must be run after all (`run`). Returns whether any of their
    /// results were sought.
    fn found(&mut self, tasks: impl Iterator<Item = u64>, run: bool) -> bool {
        if self.committer.is_none() {
            return false;
        }
        let found = self.pending.seeking.take(tasks);
        let (false, Some(committer)) = (found.is_empty(), self.committer.clone()) else { return false };
        for (task, Sought { look_up, function, limits, args }) in found {
            self.waiting_bytes -= args.size() as usize;
            if run {
                committer.run_after_all(&look_up);
                self.push(task, function, Some(limits), args);
            }
        }
        if run {
            self.submit();
        }
        self.close_if_all_are_submitted();
        true
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

    /// Takes the next outcome, if one has arrived.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        loop {
            let outcome = self.outcomes.take()?;
            match &outcome {
                Outcome::Done { new, .. } => {
                    self.consumed += new.iter().map(|r| r.end - r.start).sum::<u64>();
                    for tasks in new {
                        // Calls whose results were found are not in a submitted block.
                        if !self.found(tasks.clone(), false) {
                            self.note_consumed(tasks);
                        }
                    }
                }
                Outcome::Failed { task, .. } => {
                    self.consumed += 1;
                    // Calls that were not encoded were not submitted.
                    if !self.not_encoded.remove(task) {
                        self.note_consumed(&(*task..*task + 1));
                    }
                }
                Outcome::NotKept { tasks } => {
                    self.found(tasks.iter().copied(), true);
                    continue;
                }
                Outcome::OverBudget { .. } | Outcome::Cancelled | Outcome::Broken(_) => {}
            }
            return Some(outcome);
        }
    }

    /// Whether every task was consumed, and no more follow.
    pub(super) fn is_over(&self) -> bool {
        // With a result committer, everything must be written first, including the manifest.
        self.ended && self.consumed == self.taken && (self.committer.is_none() || self.outcomes.is_over())
    }

    pub(super) fn has_outcome(&self) -> bool {
        self.outcomes.has_outcome()
    }

    /// Whether there is something to take or to do. If not, stores the waker.
    pub(super) fn is_ready_or_register(&self, waker: &Waker) -> bool {
        self.outcomes.is_ready_or_register(waker)
    }

    /// Keeps the reactor asleep until the guard is dropped, because this thread does its work.
    pub(super) fn suppress_reactor(executor: &Executor) -> SuppressGuard<'_> {
        executor.reactor().suppress_reactor()
    }

    /// Polls briefly for the next outcome, if one is expected.
    pub(super) fn watch(&self) -> bool {
        self.taken > self.consumed && self.executor.reactor().watch(|| self.outcomes.has_outcome())
    }

    /// Ends the job, and its log with the given state.
    pub(super) fn end(&mut self, state: &'static str) {
        if platform::is_forked() {
            return;
        }
        self.opening = None;
        if let Some(job) = self.job {
            self.executor.reactor().cancel(job);
        }
        if let Some(committer) = &self.committer {
            committer.hang_up();
        }
        self.log.end(state);
    }

    /// Converts an outcome that is not a result into an error, with the budget and the progress of the job.
    pub(super) fn error_of(&self, outcome: Outcome) -> Error {
        let mut error = outcome.into_error(self.consumed);
        match &mut error {
            Error::OverBudget { budget_usd, .. } => *budget_usd = self.settings.budget_usd.unwrap_or_default(),
            Error::Cancelled { done } => *done = self.consumed,
            _ => {}
        }
        error
    }
}

impl<I: Calls<Result = R>, R> Feed<I> {
    /// Takes calls and submits them, up to one block or the window. Returns whether there may be more to take now. If
    /// more calls arrive later, the task of `cx` is woken.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        let blocks = self.waiting.len();
        while self.waiting.len() == blocks {
            if self.is_full() {
                self.submit();
                self.seek();
                return Ok(false);
            }
            let next = self.next_call(cx);
            let Poll::Ready(Some(call)) = next else {
                self.submit();
                self.seek();
                if next.is_ready() {
                    self.end_calls()?;
                }
                return Ok(false);
            };
            let parts = call.into_parts();
            let (function, task) = (parts.function, self.taken);
            if self.usual.as_ref().is_none_or(|(usual, _)| !std::ptr::eq(*usual, function)) {
                self.meet(function);
            }
            parts.check_place(task, &self.executor)?;
            let limits = parts.own_limits().map(|own| own.under(&self.settings.limits));
            let Some(committer) = &self.committer else {
                self.taken += 1;
                match parts.args {
                    Ok(args) => self.push(task, function, limits, args),
                    Err(reason) => self.fail(task, function, &reason),
                }
                continue;
            };
            let limits = limits.unwrap_or_else(|| self.usual_limits());
            if self.settings.name.is_some() {
                parts.check_resumable(&limits, task)?;
            }
            let args = match parts.args {
                Ok(args) => args,
                Err(reason) => {
                    committer.note_not_encoded(function)?;
                    self.taken += 1;
                    self.fail(task, function, &reason);
                    continue;
                }
            };
            self.taken += 1;
            match committer.note(task, function, &args)? {
                None => self.push(task, function, Some(limits), args),
                Some(look_up) => {
                    self.submit();
                    self.waiting_bytes += args.size() as usize;
                    let not_asked_for = self.pending.seeking.add(task, Sought { look_up, function, limits, args });
                    if not_asked_for >= SEEK_TASKS {
                        self.seek();
                        return Ok(true);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Records a function that differs from that of the previous call.
    #[cold]
    fn meet(&mut self, function: &'static RemoteFn) {
        self.begin_log(function.id());
        if self.functions.last().is_none_or(|(_, last)| *last != function.name) {
            self.functions.push((self.taken, function.name));
        }
        self.usual = Some((function, Limits::of(function).under(&self.settings.limits)));
    }

    /// Records the failure of a task whose arguments cannot be encoded. Other tasks continue.
    fn fail(&mut self, task: u64, function: &'static RemoteFn, reason: &str) {
        self.submit();
        let failure = Failure::BadArguments { reason: of_task(reason, task) };
        let ran = TaskReport { attempt: 1, function: function.name, ..TaskReport::default() };
        self.log.note(Note::Submitted(1));
        self.log.note(Note::Failed { task, ran, failure: failure.clone(), stderr: String::new() });
        self.not_encoded.insert(task);
        let mut wakers = Vec::new();
        let outcome = Outcome::Failed { task, attempt: 1, function: function.name, failure, stderr: String::new() };
        self.outcomes.give(outcome, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn end_calls(&mut self) -> Result<()> {
        if self.calls.take().is_some() {
            if let Some(committer) = &self.committer {
                committer.ended()?;
            }
            self.close_if_all_are_submitted();
        }
        Ok(())
    }

    fn begin_log(&mut self, function: &str) {
        if self.logged {
            return;
        }
        self.logged = true;
        let tasks = self.calls.as_ref().and_then(|calls| match calls.size_hint() {
            (least, Some(most)) if least == most => (least as u64).checked_add(1),
            _ => None,
        });
        self.executor.reactor().begin_log(&self.log, &self.id, &self.settings, function, tasks, None);
    }
}

impl<I> Drop for Feed<I> {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}
