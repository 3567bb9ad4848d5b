//! The task of the result committer: decides when the results of a cell are written, and runs the requests.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::requests::Report;
use super::{LookUp, Message, ResultCommitter};
use crate::attempt::Results;
use crate::error::{Error, Result};
use crate::executor::commit::lease::Lease;
use crate::executor::commit::record::{CallHash, Done, cell_of};
use crate::executor::{Outcome, OutcomeQueue};
use crate::function::framed::Pieces;
use crate::store::SIDE_BY_SIDE;

/// How long a result waits for other results of its cell whose calls are still running.
const HOLD: Duration = Duration::from_millis(10);

/// Size of a cell's results, in bytes, above which they are written without waiting for others.
const LARGE: usize = 1 << 20;

/// Results of one cell that are not committed yet.
#[derive(Debug, Default)]
struct Cell {
    /// The tasks in the cell's own object, as bits, once they are known.
    decided: Option<u64>,
    /// Whether some of the cell's results are being written. Others are not written meanwhile, because it must first be
    /// known which results are in the cell's own object.
    is_writing: bool,
    /// Whether the held results must be written as soon as possible.
    is_ready: bool,
    held: Vec<Done>,
    bytes: usize,
}

/// The task of the result committer: takes outcomes, commits them and passes them on.
pub(super) struct CommitTask {
    committer: Arc<ResultCommitter>,
    outcomes: Arc<OutcomeQueue>,
    /// The right to run the job, if its results are committed.
    lease: Option<Lease>,
    cells: HashMap<u64, Cell>,
    /// Cells that hold results, and when these have waited long enough.
    held: VecDeque<(Instant, u64)>,
    /// Cells that are ready to be written.
    ready: VecDeque<u64>,
    /// Cells whose earlier results are to be read.
    looks: VecDeque<(u64, Vec<LookUp>)>,
    /// Running requests.
    under_way: JoinSet<(Work, Result<Report>)>,
    /// Number of running requests that write results.
    writing: usize,
    /// Number of running requests that read earlier results.
    looking: usize,
    wakers: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Writes results: the first task of their cell, and their size in bytes.
    Write(u64, usize),
    Look,
    Other,
}

enum Event {
    Message(Message),
    /// The sender is gone: no more messages follow.
    HungUp,
    Ended(Work, Result<Report>),
    /// Held results have waited long enough.
    Due,
}

impl CommitTask {
    /// Creates the task. `decided` has the tasks in the cells' own objects that were read, by the cell's first task.
    pub(super) fn new(
        committer: Arc<ResultCommitter>,
        outcomes: Arc<OutcomeQueue>,
        lease: Option<Lease>,
        decided: HashMap<u64, u64>,
    ) -> Self {
        let cells = decided.into_iter().map(|(cell, tasks)| (cell, Cell { decided: Some(tasks), ..Cell::default() }));
        Self {
            committer,
            outcomes,
            lease,
            cells: cells.collect(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            looks: VecDeque::new(),
            under_way: JoinSet::new(),
            writing: 0,
            looking: 0,
            wakers: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut receiver: UnboundedReceiver<Message>) {
        let (mut finishing, mut hung_up) = (false, false);
        loop {
            match self.event(&mut receiver, hung_up).await {
                Event::Message(Message::Outcome(Outcome::Done { tasks, new, results, .. })) => {
                    self.hold(tasks, &new, results);
                }
                Event::Message(Message::Outcome(outcome)) => {
                    self.spawn(Work::Other, async move |committer| committer.record_other(outcome).await);
                }
                Event::Message(Message::Look { cell, calls }) => self.looks.push_back((cell, calls)),
                Event::Message(Message::Ended(manifest)) => self.spawn(Work::Other, async move |committer| {
                    manifest.register(&committer.requests, &committer.id).await.map(|_| Report::of(Vec::new()))
                }),
                Event::Message(Message::Finish) => finishing = true,
                Event::HungUp => {
                    hung_up = true;
                    self.looks.clear();
                }
                Event::Ended(work, report) => self.ended(work, report),
                Event::Due => {}
            }
            let over = finishing || hung_up;
            self.release(if over { None } else { Some(Instant::now()) });
            self.begin();
            let is_idle = self.under_way.is_empty() && self.held.is_empty();
            if is_idle && finishing {
                if let Some(lease) = self.lease.take() {
                    lease.give_back().await;
                }
                self.outcomes.finish(&mut self.wakers);
            }
            self.wakers.drain(..).for_each(Waker::wake);
            if is_idle && over {
                return self.committer.close();
            }
        }
    }

    async fn event(&mut self, receiver: &mut UnboundedReceiver<Message>, hung_up: bool) -> Event {
        let under_way = &mut self.under_way;
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(ended)) = under_way.poll_join_next(cx) {
                let broken = |e| Err(Error::Job(format!("a commit ended early: {e}; this is a bug in wren")));
                let (work, report) = ended.unwrap_or_else(|e| (Work::Other, broken(e)));
                return Poll::Ready(Event::Ended(work, report));
            }
            if hung_up {
                return Poll::Pending;
            }
            receiver.poll_recv(cx).map(|message| message.map_or(Event::HungUp, Event::Message))
        });
        match self.held.front() {
            Some((due, _)) => timeout_at(*due, next).await.unwrap_or(Event::Due),
            None => next.await,
        }
    }

    fn spawn<F>(&mut self, work: Work, act: impl FnOnce(Arc<ResultCommitter>) -> F)
    where
        F: Future<Output = Result<Report>> + Send + 'static,
    {
        let report = act(self.committer.clone());
        self.under_way.spawn(async move { (work, report.await) });
    }

    fn give(&mut self, outcome: Outcome) {
        self.outcomes.give(outcome, &mut self.wakers);
    }

    /// Holds the results of the tasks in `new`, until they are committed.
    fn hold(&mut self, tasks: Range<u64>, new: &[Range<u64>], results: Results) {
        let committer = self.committer.clone();
        let mut passed_by = results.size();
        let packed = results.into_packed();
        let is_new = |task: u64| new.iter().any(|range| range.contains(&task));
        if Pieces(&packed).count() as u64 != tasks.end.saturating_sub(tasks.start) {
            let lost = format!("cannot read the results of tasks {tasks:?}; run the job again");
            return self.give(Outcome::Broken(Error::Job(lost)));
        }
        let mut calls = committer.calls();
        for (task, result) in tasks.zip(Pieces(&packed)).filter(|(task, _)| is_new(*task)) {
            let call = if committer.commits { calls.end(task) } else { Some(CallHash::default()) };
            let Some(call) = call else {
                let lost = format!("task {task} was run without being recorded; this is a bug in wren");
                self.give(Outcome::Broken(Error::Job(lost)));
                continue;
            };
            let first = cell_of(task);
            let cell = self.cells.entry(first).or_default();
            if cell.held.is_empty() {
                self.held.push_back((Instant::now() + HOLD, first));
            }
            cell.bytes += result.len();
            passed_by -= result.len();
            cell.held.push(Done { task, call, result: result.to_vec() });
            // Waiting gains nothing if no other call of the cell is running.
            if !calls.of_cell.contains_key(&first) || cell.bytes > LARGE {
                cell.make_ready(first, &mut self.ready);
            }
        }
        committer.bytes.fetch_sub(passed_by, Ordering::AcqRel);
    }

    /// Makes the cells ready whose results have waited until `now`; without `now`, all cells.
    fn release(&mut self, now: Option<Instant>) {
        while let Some((due, first)) = self.held.front()
            && now.is_none_or(|now| *due <= now)
        {
            if let Some(cell) = self.cells.get_mut(first).filter(|cell| !cell.held.is_empty()) {
                cell.make_ready(*first, &mut self.ready);
            }
            self.held.pop_front();
        }
    }

    /// Starts as many requests as are allowed at once.
    fn begin(&mut self) {
        while self.writing < SIDE_BY_SIDE
            && let Some(first) = self.ready.pop_front()
        {
            let Some(cell) = self.cells.get_mut(&first).filter(|cell| !cell.is_writing) else { continue };
            (cell.is_writing, cell.is_ready) = (true, false);
            let (held, bytes, decided) = (mem::take(&mut cell.held), mem::take(&mut cell.bytes), cell.decided);
            self.writing += 1;
            self.spawn(Work::Write(first, bytes), async move |committer| committer.commit(first, decided, held).await);
        }
        while self.looking < SIDE_BY_SIDE
            && let Some((cell, calls)) = self.looks.pop_front()
        {
            self.looking += 1;
            self.spawn(Work::Look, async move |committer| committer.look(cell, calls).await);
        }
    }

    fn ended(&mut self, work: Work, report: Result<Report>) {
        match report {
            Ok(Report { outcomes, decided }) => {
                if let Some((first, tasks)) = decided {
                    self.cells.entry(first).or_default().decided = Some(tasks);
                }
                outcomes.into_iter().for_each(|outcome| self.give(outcome));
            }
            Err(error) => self.give(Outcome::Broken(error)),
        }
        match work {
            Work::Write(first, bytes) => {
                self.writing -= 1;
                self.committer.bytes.fetch_sub(bytes, Ordering::AcqRel);
                if let Some(cell) = self.cells.get_mut(&first) {
                    cell.is_writing = false;
                    if cell.is_ready {
                        self.ready.push_back(first);
                    } else if cell.held.is_empty() && (!self.committer.commits || cell.decided == Some(u64::MAX)) {
                        // No more results of this cell follow.
                        self.cells.remove(&first);
                    }
                }
            }
            Work::Look => self.looking -= 1,
            Work::Other => {}
        }
    }
}

impl Cell {
    fn make_ready(&mut self, first: u64, ready: &mut VecDeque<u64>) {
        if !mem::replace(&mut self.is_ready, true) && !self.is_writing {
            ready.push_back(first);
        }
    }
}
