//! Takes calls from the iterator, packs them into blocks and passes these to the executor.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Feed;
use crate::attempt::TaskBlock;
use crate::calls::map::Calls;
use crate::calls::{Call, of_task};
use crate::error::{Failure, Result};
use crate::executor::{Lookup, Outcome, Submitted};
use crate::function::{Args, Limits, RemoteFn};
use crate::history::{Note, TaskReport};
use crate::terminal::Activity;

/// Maximum number of tasks in a block, except to complete a chunk. The first block is small, so that workers start
/// early; each following block is twice as long, up to this.
const BLOCK_TASKS: usize = 8 << 10;
/// Number of tasks in the first block.
pub(super) const FIRST_BLOCK_TASKS: usize = 128;
/// Size at which a block is full, in bytes.
const BLOCK_BYTES: usize = 512 << 10;

/// A first call that takes longer to encode is shown.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// How long it takes to send a block of calls to a waiting worker and to get the reply.
const ROUND_TRIP: Duration = Duration::from_micros(100);

/// Number of calls whose earlier results are requested at once: many cells of the store.
const LOOK_UP_TASKS: usize = 1024;

impl<I> Feed<I> {
    fn is_full(&self) -> bool {
        self.window.is_full(self.executor.reactor().config.workers, self.outcomes.bytes())
    }

    fn submit(&mut self) {
        if let Some(block) = self.block.take() {
            self.submit_block(*block);
        }
    }

    fn submit_block(&mut self, block: TaskBlock) {
        let tasks = block.tasks();
        self.window.note_submitted(tasks.clone(), block.size());
        self.block_tasks = (self.block_tasks * 2).min(BLOCK_TASKS);
        self.note_pace(tasks.end - tasks.start);
        let (shared, function) = (self.executor.reactor(), block.function());
        if let Some(job) = self.job {
            shared.submit(job, block);
        }
        self.submitting += self.submitted_at.elapsed();
        if self.settings.concurrency.is_some() {
            self.window.look_ahead_by(&self.settings, shared.estimate(function));
        }
    }

    /// Measures how many calls the iterator yields during one round trip to a worker. That many are submitted together,
    /// even if workers are idle.
    fn note_pace(&mut self, tasks: u64) {
        let now = Instant::now();
        let took = now.saturating_duration_since(std::mem::replace(&mut self.submitted_at, now));
        let together = u128::from(tasks).saturating_mul(ROUND_TRIP.as_nanos()) / took.as_nanos().max(1);
        self.eager_tasks = together.clamp(1, self.block_tasks as u128) as u64;
    }

    /// Takes the next call. Meanwhile, the reactor can submit the calls that were taken before.
    #[inline]
    fn next_call(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<I::Result>>>
    where
        I: Calls,
    {
        let Some(calls) = &mut self.calls else { return Poll::Ready(None) };
        if self.committer.is_some() {
            self.pending.lookups.enter_iterator();
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
            for Submitted { tasks, bytes, looked_up_bytes } in self.pending.lookups.leave_iterator() {
                self.window.forget_lookups(looked_up_bytes);
                self.window.note_submitted(tasks, bytes);
            }
        }
        next
    }

    /// Records the blocks that the reactor submitted while the iterator blocked this thread.
    #[cold]
    fn catch_up(&mut self) {
        for (tasks, bytes) in self.pending.submitted() {
            self.window.note_submitted(tasks, bytes);
            // The iterator is slow, so its calls are submitted at once.
            self.eager_tasks = 1;
        }
    }

    /// Whether workers are idle, as far as this job knows.
    fn workers_are_idle(&self, tasks: u64) -> bool {
        let workers = self.executor.reactor().config.workers as u64;
        let at_once = self.settings.concurrency.map_or(workers, |most| workers.min(most.get() as u64));
        self.window.taken.saturating_sub(tasks + self.outcomes.tasks()) < at_once
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
        if let (None, true, false, Some(job)) = (&self.calls, self.pending.lookups.is_empty(), self.ended, self.job) {
            self.ended = true;
            self.executor.reactor().close(job);
        }
    }

    /// Requests the results of calls that an earlier run may have left.
    fn seek(&self) {
        if let Some(committer) = &self.committer {
            self.pending.lookups.ask(committer);
        }
    }

    /// Handles calls whose results were found, or which must be run after all (`run`). Returns how many of their
    /// results were looked up.
    pub(super) fn found(&mut self, tasks: impl Iterator<Item = u64>, run: bool) -> u64 {
        if self.committer.is_none() {
            return 0;
        }
        let found = self.pending.lookups.take(tasks);
        let (false, Some(committer)) = (found.is_empty(), self.committer.clone()) else { return 0 };
        let count = found.len() as u64;
        for (task, Lookup { look_up, function, limits, args }) in found {
            self.window.forget_lookups(args.size() as usize);
            if run {
                committer.run_missing(&look_up);
                self.push(task, function, Some(limits), args);
            }
        }
        if run {
            self.submit();
        }
        self.close_if_all_are_submitted();
        count
    }
}

impl<I: Calls<Result = R>, R> Feed<I> {
    /// Takes calls and submits them, up to one block or the window. Returns whether there may be more to take now. If
    /// more calls arrive later, the task of `cx` is woken.
    pub(in crate::calls::map) fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        // The log, and with it the progress bar, begins with the first call.
        if !self.logged && !self.executor.reactor().is_quiet(&self.settings) {
            self.encoding = Activity::new();
            self.encoding.iter().for_each(|line| line.say("encoding inputs ...".to_owned(), SHOW_AFTER));
        }
        let filled = self.fill_timed(cx);
        self.encoding = None;
        filled
    }

    fn fill_timed(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        if self.calls.is_none() {
            return self.take_calls(cx);
        }
        let (started, submitting) = (Instant::now(), self.submitting);
        let more = self.take_calls(cx);
        self.log.encoded_for(started.elapsed().saturating_sub(self.submitting - submitting));
        more
    }

    fn take_calls(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        let blocks = self.window.blocks();
        while self.window.blocks() == blocks {
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
            let (function, task) = (parts.function, self.window.taken);
            if self.usual.as_ref().is_none_or(|(usual, _)| !std::ptr::eq(*usual, function)) {
                self.meet(function);
            }
            parts.check_place(task, &self.executor)?;
            let limits = parts.own_limits().map(|own| own.under(&self.settings.limits));
            let Some(committer) = &self.committer else {
                self.window.taken += 1;
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
                    self.window.taken += 1;
                    self.fail(task, function, &reason);
                    continue;
                }
            };
            self.window.taken += 1;
            match committer.note(task, function, &args)? {
                None => self.push(task, function, Some(limits), args),
                Some(look_up) => {
                    self.submit();
                    self.window.note_lookups(args.size() as usize);
                    let not_asked_for = self.pending.lookups.add(task, Lookup { look_up, function, limits, args });
                    if not_asked_for >= LOOK_UP_TASKS {
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
            self.functions.push((self.window.taken, function.name));
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
        self.encoding = None;
        let tasks = self.calls.as_ref().and_then(|calls| match calls.size_hint() {
            (least, Some(most)) if least == most => (least as u64).checked_add(1),
            _ => None,
        });
        self.executor.reactor().begin_log(&self.log, &self.id, &self.settings, function, tasks, None);
    }
}
