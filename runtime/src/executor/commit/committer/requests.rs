//! The requests of the result committer to the store: writing the results of a cell, and reading those of earlier runs.

use std::collections::{BTreeSet, HashMap};
use std::mem;

use super::{LookUp, ResultCommitter, ResultPolicy};
use crate::attempt::Results;
use crate::codec::{self, envelope};
use crate::error::Result;
use crate::executor::Outcome;
use crate::executor::commit::manifest::{other_call, other_kind};
use crate::executor::commit::record::{
    CallHash, Done, FailedRecord, Kind, Record, bit, cancel_key, cell_key, done_key, failed_key, forget,
};
use crate::function::{attached, framed};
use crate::store::{Ref, find_size, put_bytes, put_once};

/// The result of a request.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) outcomes: Vec<Outcome>,
    /// A cell's first task, and the tasks in the cell's own object, as bits.
    pub(super) decided: Option<(u64, u64)>,
}

impl Report {
    pub(super) fn of(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes, decided: None }
    }

    fn of_cell(self, cell: u64, tasks: u64) -> Self {
        Self { decided: Some((cell, tasks)), ..self }
    }
}

impl ResultCommitter {
    fn kind(&self) -> Kind {
        if self.keep == ResultPolicy::AsRefs { Kind::Ref } else { Kind::Value }
    }

    /// Rejects a stored result that a different call left under the key of a task, or that is of a different kind.
    fn check(&self, kind: Kind, found: &Done, call: &CallHash, function: &str) -> Result<()> {
        let store = || self.requests.store().url();
        if found.call != *call {
            return Err(other_call(&self.id, &store(), found.task, function));
        }
        if kind != self.kind() {
            return Err(other_kind(&self.id, &store(), found.task));
        }
        Ok(())
    }

    /// Commits results of one cell. `decided` has the tasks in the cell's own object, if that object is known to exist.
    /// Returns these tasks and the committed results: the given ones, or earlier ones.
    pub(super) async fn commit(&self, cell: u64, decided: Option<u64>, mut held: Vec<Done>) -> Result<Report> {
        if self.keep == ResultPolicy::AsRefs {
            self.store_as_refs(&mut held).await?;
        }
        if !self.commits {
            return Ok(Report::of(self.outcomes(held)));
        }
        if decided.is_none() {
            let record = Record { kind: self.kind(), done: held };
            if self.requests.put_if_absent(cell_key(&self.id, cell), record.seal()?).await? {
                let tasks = record.tasks();
                return Ok(Report::of(self.outcomes(record.done)).of_cell(cell, tasks));
            }
            // Another process that runs the same job, or an earlier run, was first.
            held = record.done;
        }
        let mut committed = Vec::new();
        let decided = match decided {
            Some(tasks) if held.iter().all(|done| tasks & bit(done.task) == 0) => tasks,
            _ => {
                let id = self.id.clone();
                let earlier = self.requests.make(move |store| Record::read_cell(store, &id, cell)).await?;
                let tasks = earlier.tasks();
                let late: HashMap<u64, CallHash> = held
                    .extract_if(.., |done| tasks & bit(done.task) != 0)
                    .map(|done| (done.task, done.call))
                    .collect();
                for found in earlier.done {
                    if let Some(call) = late.get(&found.task) {
                        committed.push(self.adopt(earlier.kind, found, call)?);
                    }
                }
                tasks
            }
        };
        let (id, kind) = (self.id.clone(), self.kind());
        let sealed = held.into_iter().map(|done| {
            let record = Record { kind, done: vec![done] };
            Ok((record.seal()?, record.done))
        });
        let sealed = sealed.collect::<Result<Vec<_>>>()?;
        let put = self.requests.for_each(sealed, move |store, (sealed, done)| {
            let task = done.first().map_or(0, |done| done.task);
            let earlier = match put_once(store, &done_key(&id, task), &sealed)? {
                true => None,
                false => Some(Record::read_one(store, &id, task)?),
            };
            Ok((done, earlier))
        });
        for (mine, earlier) in put.await? {
            for done in mine {
                committed.push(match &earlier {
                    None => done,
                    Some((kind, found)) => self.adopt(*kind, found.clone(), &done.call)?,
                });
            }
        }
        committed.sort_unstable_by_key(|done| done.task);
        Ok(Report::of(self.outcomes(committed)).of_cell(cell, decided))
    }

    /// Puts results into the store as blobs, and `Ref`s in their place.
    async fn store_as_refs(&self, held: &mut [Done]) -> Result<()> {
        let results: Vec<Vec<u8>> = held.iter_mut().map(|done| mem::take(&mut done.result)).collect();
        let refs = self.requests.for_each(results, |store, result| put_bytes::<()>(store, &result)).await?;
        for (done, value) in held.iter_mut().zip(refs) {
            done.result = codec::encode(&value)?;
        }
        // The encoding may have attached the values, which is only for arguments.
        attached::forget();
        Ok(())
    }

    /// Accepts the result that was committed first, in place of this run's own.
    fn adopt(&self, kind: Kind, found: Done, call: &CallHash) -> Result<Done> {
        let function = self.calls().identity.function().to_owned();
        self.check(kind, &found, call, &function)?;
        Ok(found)
    }

    /// Converts committed results to outcomes, in the order of their tasks.
    fn outcomes(&self, done: Vec<Done>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut rest = &done[..];
        while let Some(first) = rest.first() {
            let count = (first.task..).zip(rest).take_while(|(task, done)| *task == done.task).count();
            let (some, others) = rest.split_at(count);
            rest = others;
            let mut packed = Vec::new();
            for done in some {
                let result: &[u8] = if self.keep == ResultPolicy::Only { &[] } else { &done.result };
                framed::push(result, &mut packed);
            }
            let tasks = first.task..first.task + count as u64;
            outcomes.push(Outcome::Done {
                new: vec![tasks.clone()],
                tasks,
                results: Results::packed(packed),
                attempt: 1,
            });
        }
        outcomes
    }

    /// Reads the results of calls in one cell that an earlier run may have left.
    pub(super) async fn look(&self, cell: u64, calls: Vec<LookUp>) -> Result<Report> {
        let objects = self.objects.of_cell(cell);
        let mut read = objects.read(&self.requests, &self.id, |kind, done| (kind, done)).await?;
        let (mut done, mut missing) = (Vec::new(), Vec::new());
        for LookUp { task, call, function } in calls {
            match read.done.remove(&task) {
                Some((kind, found)) => {
                    self.check(kind, &found, &call, function)?;
                    done.push(found);
                }
                None => missing.push(task),
            }
        }
        if self.keep == ResultPolicy::AsRefs {
            let gone = self.without_values(&done).await?;
            if !gone.is_empty() {
                done.retain(|done| !gone.contains(&done.task));
                missing.extend(&gone);
                missing.sort_unstable();
                match forget(&self.requests, &self.id, cell, &gone).await? {
                    0 => drop(read.decided.remove(&cell)),
                    tasks => drop(read.decided.insert(cell, tasks)),
                }
            }
        }
        let mut outcomes = self.outcomes(done);
        if !missing.is_empty() {
            outcomes.push(Outcome::MissingResult { tasks: missing });
        }
        let report = Report::of(outcomes);
        Ok(match read.decided.get(&cell) {
            Some(tasks) => report.of_cell(cell, *tasks),
            None => report,
        })
    }

    /// Returns the tasks whose values are no longer in the store, which may remove old values.
    async fn without_values(&self, done: &[Done]) -> Result<BTreeSet<u64>> {
        let keys = done.iter().map(|done| {
            let value: Ref<()> = codec::decode(&done.result)?;
            Ok((done.task, value.key()))
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let gone = self.requests.for_each(keys, |store, (task, key)| {
            let is_gone = find_size(store, &key)?.is_none();
            Ok(is_gone.then_some(task))
        });
        Ok(gone.await?.into_iter().flatten().collect())
    }

    /// Records an outcome that is not a result in the store, if other processes need it.
    pub(super) async fn record_other(&self, outcome: Outcome) -> Result<Report> {
        match &outcome {
            Outcome::Failed { task, attempt, function, failure, stderr } if self.keep == ResultPolicy::Only => {
                let (function, failure, stderr) = ((*function).to_owned(), failure.clone(), stderr.clone());
                let record = FailedRecord { attempt: *attempt, function, failure, stderr };
                self.requests.put(failed_key(&self.id, *task), envelope::seal(&record)?).await?;
            }
            // Like [`crate::calls::job::Job::cancel`]: a process that waits for the job elsewhere checks this key.
            Outcome::Cancelled if self.keep == ResultPolicy::Only => {
                self.requests.put(cancel_key(&self.id), Vec::new()).await?;
            }
            _ => {}
        }
        Ok(Report::of(vec![outcome]))
    }
}
