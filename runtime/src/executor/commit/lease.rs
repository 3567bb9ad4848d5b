//! Who runs a job: one program at a time, on whatever machine.
//!
//! The leases of a job are numbered: `<job>/run/<n>`. Whoever puts the next number has the job, which only one can
//! do, since it is put if it is absent. The holder writes a new count into it again and again, and a last word at the
//! end. The next one is due when the last has that word, when its process is known to have ended, or when its count has not
//! changed for long, by the clock of whoever watches: clocks of two machines are never compared.
//!
//! A holder that was only stopped for long (SIGSTOP, a laptop's lid) goes on beside the next one. That does no harm but for
//! work done twice: results are put if they are absent, and the first one counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::codec::envelope;
use crate::error::Result;
use crate::platform::{self, Instance};
use crate::store::{Requests, event_loop, sleep};
use crate::terminal;

/// How often a holder writes that it is there, and after how long without that it is not.
const BEAT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(35);

/// How long is waited for a job without a word.
const SAY_AFTER: Duration = Duration::from_millis(500);

/// Leases that stay behind the last.
const KEPT: u64 = 8;

/// How often it is looked whether a job is free: in a store of this machine, and in one where each look costs money.
const LOOK_HERE: Duration = Duration::from_millis(20);
const LOOK_ELSEWHERE: Duration = Duration::from_secs(1);

/// What is stored under a lease's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    holder: Instance,
    /// Tells the jobs of one process apart.
    nonce: u64,
    beats: u64,
    is_over: bool,
}

/// The right to run a job, until it is dropped or given back.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Ends the beats, with the last word.
    ended: Arc<Notify>,
    beats: Option<JoinHandle<()>>,
}

/// What is seen of the job's holder.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The last lease, and since when it is as it is.
    last: Option<(u64, Record, Instant)>,
}

fn prefix(id: &str) -> String {
    format!("{id}/run/")
}

fn key(id: &str, number: u64) -> String {
    format!("{}{number:012}", prefix(id))
}

impl Lease {
    /// Waits until nobody runs the job, and takes it.
    pub(crate) async fn take(requests: &Requests, id: &str) -> Result<Self> {
        let mut watch = Watch::default();
        let (begun, mut has_said) = (Instant::now(), false);
        loop {
            match Self::try_take(requests, id, &mut watch).await? {
                Ok(lease) => return Ok(lease),
                Err(holder) if !has_said && begun.elapsed() > SAY_AFTER => {
                    has_said = true;
                    let who = match holder == *Instance::of_this_process() {
                        true => "is run by this program already".to_owned(),
                        false => format!("is run by another program (process {} on {})", holder.pid, holder.machine),
                    };
                    terminal::note(&format!("job `{id}` {who}; waiting for its end"));
                }
                Err(_) => {}
            }
            sleep(Self::pause(requests)).await?;
        }
    }

    /// How long to wait between two looks.
    pub(crate) fn pause(requests: &Requests) -> Duration {
        if requests.are_free() { LOOK_HERE } else { LOOK_ELSEWHERE }
    }

    /// Takes the job if nobody runs it, or gives who does. `watch` is of earlier looks.
    pub(crate) async fn try_take(
        requests: &Requests,
        id: &str,
        watch: &mut Watch,
    ) -> Result<std::result::Result<Self, Instance>> {
        let keys = requests.list(prefix(id)).await?;
        let number = |key: &String| key.strip_prefix(&prefix(id)).and_then(|number| number.parse::<u64>().ok());
        let last = keys.iter().filter_map(number).max().unwrap_or(0);
        if last > 0
            && let Some(sealed) = requests.find(key(id, last)).await?
            // One that cannot be read is none.
            && let Ok(record) = envelope::open::<Record>(&sealed)
            && !watch.is_due(last, &record, Instant::now())
        {
            return Ok(Err(record.holder));
        }
        let holder = Instance::of_this_process();
        let record = Record { holder: holder.clone(), nonce: crate::platform::random(), beats: 0, is_over: false };
        let next = key(id, last + 1);
        if !requests.put_if_absent(next.clone(), envelope::seal(&record)?).await? {
            return Ok(Err(holder.clone()));
        }
        let ended = Arc::new(Notify::new());
        let beats = event_loop()?.spawn(beat(requests.clone(), next, record, ended.clone()));
        let lease = Self { ended, beats: Some(beats) };
        // Some stay: whoever looked a while ago cannot put a number that was there.
        let old = keys.into_iter().filter(|key| number(key).is_some_and(|number| number + KEPT <= last)).collect();
        // What stays for longer does no harm.
        let _ = requests.remove(old).await;
        Ok(Ok(lease))
    }

    /// Removes all leases of the job, of which nothing is there any more.
    pub(crate) async fn remove(mut self, requests: &Requests, id: &str) -> Result<()> {
        if let Some(beats) = self.beats.take() {
            beats.abort();
            // None is under way that would put the lease again.
            let _ = beats.await;
        }
        requests.remove_below(prefix(id)).await
    }

    /// Whether a key is that of a lease of the job.
    pub(crate) fn is_key(id: &str, key: &str) -> bool {
        key.starts_with(&prefix(id))
    }

    /// Says that the job is free.
    pub(crate) async fn give_back(mut self) {
        self.ended.notify_one();
        if let Some(beats) = self.beats.take() {
            // Without the last word, the next one waits until this is silent for long.
            let _ = beats.await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ended.notify_one();
        self.beats.take().into_iter().for_each(platform::finish_before_exit);
    }
}

/// Writes that the holder is there, and in the end that it has gone.
async fn beat(requests: Requests, key: String, mut record: Record, ended: Arc<Notify>) {
    while !record.is_over {
        record.is_over = timeout(BEAT, ended.notified()).await.is_ok();
        record.beats += 1;
        // What fails once may not fail the next time, and at worst another takes the job.
        if let Ok(sealed) = envelope::seal(&record) {
            let _ = requests.put(key.clone(), sealed).await;
        }
    }
}

impl Watch {
    /// Whether the next lease may be put, of a job whose last is this.
    fn is_due(&mut self, number: u64, record: &Record, now: Instant) -> bool {
        let since = match &self.last {
            Some((known, last, since)) if *known == number && last == record => *since,
            _ => now,
        };
        self.last = Some((number, record.clone(), since));
        record.is_over || record.holder.has_ended() || now.duration_since(since) > SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, wait};

    fn record(beats: u64, is_over: bool) -> Record {
        Record { holder: Instance::of_this_process().clone(), nonce: 7, beats, is_over }
    }

    #[test]
    fn who_is_silent_for_long_or_says_so_has_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        assert!(!watch.is_due(1, &record(0, false), at(0)));
        assert!(!watch.is_due(1, &record(0, false), at(30)));
        assert!(!watch.is_due(1, &record(1, false), at(40)), "it was there a while ago");
        assert!(!watch.is_due(1, &record(1, false), at(70)));
        assert!(!watch.is_due(2, &record(1, false), at(80)), "another holds it now");
        assert!(watch.is_due(2, &record(1, false), at(116)));
        assert!(Watch::default().is_due(1, &record(0, true), at(0)));
    }

    #[test]
    fn a_job_has_one_holder_after_the_other() {
        wait(async {
            let requests = Requests::new(MemoryStore::named(""));
            let mut watch = Watch::default();
            let first = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
            let holder = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap_err();
            assert_eq!(holder.pid, std::process::id());
            first.give_back().await;
            let second = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
            drop(second);
            let third = Lease::take(&requests, "job").await.unwrap();
            assert_eq!(requests.list(prefix("job")).await.unwrap(), [1, 2, 3].map(|number| key("job", number)));
            third.give_back().await;
            // What is no lease holds nobody up.
            requests.put(key("job", 4), b"?".to_vec()).await.unwrap();
            Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
        });
    }
}
