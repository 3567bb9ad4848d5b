//! The lease of a job, which lets one process at a time run the job, on any machine.
//!
//! The leases of a job are numbered: `<job>/run/<n>`. The process that puts the next number holds the job. Only one
//! process can do that, because a lease is put only if it is absent. The holder regularly writes a new count into its
//! lease, and marks the lease as over at the end. The next lease may be put if the last one is over, if its process is
//! known to have ended, or if its count has not changed for [`SILENCE`] by the clock of the waiting process: the clocks
//! of two machines are never compared.
//!
//! A holder that was only stopped for a long time (SIGSTOP, the closed lid of a laptop) continues beside the next one.
//! The only harm is that work is done twice: results are put only if they are absent, and the first one counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::codec::envelope;
use crate::error::Result;
use crate::platform::{self, ProcessIdentity};
use crate::store::{Requests, event_loop, sleep};
use crate::terminal;

/// Interval at which a holder updates its lease.
const BEAT: Duration = Duration::from_secs(10);
/// Time without an update after which the holder is considered gone.
const SILENCE: Duration = Duration::from_secs(35);

/// How long to wait for a job before printing a message.
const NOTICE_AFTER: Duration = Duration::from_millis(500);

/// Number of earlier leases that are kept.
const KEPT: u64 = 8;

/// Interval for checking whether a job is free, in a store on this machine.
const LOOK_HERE: Duration = Duration::from_millis(20);
/// Interval for checking whether a job is free, in a store where each request costs money.
const LOOK_ELSEWHERE: Duration = Duration::from_secs(1);

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseRecord {
    holder: ProcessIdentity,
    /// Distinguishes the leases of one process.
    nonce: u64,
    beats: u64,
    is_over: bool,
}

/// The right to run a job, until it is dropped or given back.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Ends the updates, with a last one that marks the lease as over.
    ended: Arc<Notify>,
    beats: Option<JoinHandle<()>>,
}

/// The findings of several checks on a job's holder.
#[derive(Debug, Default)]
pub(crate) struct HolderWatch {
    /// The number and content of the last lease, and when it last changed.
    last: Option<(u64, LeaseRecord, Instant)>,
}

fn prefix(id: &str) -> String {
    format!("{id}/run/")
}

fn key(id: &str, number: u64) -> String {
    format!("{}{number:012}", prefix(id))
}

impl Lease {
    /// Waits until no process runs the job, and takes it.
    pub(crate) async fn take(requests: &Requests, id: &str) -> Result<Self> {
        let mut watch = HolderWatch::default();
        let (started, mut is_reported) = (Instant::now(), false);
        loop {
            match Self::try_take(requests, id, &mut watch).await? {
                Ok(lease) => return Ok(lease),
                Err(holder) if !is_reported && started.elapsed() > NOTICE_AFTER => {
                    is_reported = true;
                    let place = match holder == *ProcessIdentity::of_this_process() {
                        true => "already running in this program".to_owned(),
                        false => format!("running in another program (process {} on {})", holder.pid, holder.machine),
                    };
                    terminal::note(&format!("job `{id}` is {place}; waiting for it to finish"));
                }
                Err(_) => {}
            }
            sleep(Self::pause(requests)).await?;
        }
    }

    /// Returns how long to wait between two checks.
    pub(crate) fn pause(requests: &Requests) -> Duration {
        if requests.are_free() { LOOK_HERE } else { LOOK_ELSEWHERE }
    }

    /// Takes the job if no process runs it. Otherwise returns its holder. `watch` has the findings of earlier checks.
    pub(crate) async fn try_take(
        requests: &Requests,
        id: &str,
        watch: &mut HolderWatch,
    ) -> Result<std::result::Result<Self, ProcessIdentity>> {
        let keys = requests.list(prefix(id)).await?;
        let number = |key: &String| key.strip_prefix(&prefix(id)).and_then(|number| number.parse::<u64>().ok());
        let last = keys.iter().filter_map(number).max().unwrap_or(0);
        if last > 0
            && let Some(sealed) = requests.find(key(id, last)).await?
            // A lease that cannot be read does not count.
            && let Ok(record) = envelope::open::<LeaseRecord>(&sealed)
            && !watch.is_due(last, &record, Instant::now())
        {
            return Ok(Err(record.holder));
        }
        let holder = ProcessIdentity::of_this_process();
        let record = LeaseRecord { holder: holder.clone(), nonce: crate::platform::random(), beats: 0, is_over: false };
        let next = key(id, last + 1);
        if !requests.put_if_absent(next.clone(), envelope::seal(&record)?).await? {
            // Another process was faster.
            let winner = requests.find(next).await?.and_then(|sealed| envelope::open::<LeaseRecord>(&sealed).ok());
            return Ok(Err(winner.map_or_else(|| holder.clone(), |record| record.holder)));
        }
        let ended = Arc::new(Notify::new());
        let beats = event_loop()?.spawn(renew(requests.clone(), next, record, ended.clone()));
        let lease = Self { ended, beats: Some(beats) };
        // Some leases stay, so that a process that listed them a while ago cannot put a number that already existed.
        let old = keys.into_iter().filter(|key| number(key).is_some_and(|number| number + KEPT <= last)).collect();
        // Leases that are not removed do no harm.
        let _ = requests.remove(old).await;
        Ok(Ok(lease))
    }

    /// Removes all leases of a job whose other objects are removed already.
    pub(crate) async fn remove(mut self, requests: &Requests, id: &str) -> Result<()> {
        if let Some(beats) = self.beats.take() {
            beats.abort();
            // An update that is still running would put the lease again.
            let _ = beats.await;
        }
        requests.remove_below(prefix(id)).await
    }

    /// Whether a key belongs to a lease of the job.
    pub(crate) fn is_key(id: &str, key: &str) -> bool {
        key.starts_with(&prefix(id))
    }

    /// Releases the job.
    pub(crate) async fn give_back(mut self) {
        self.ended.notify_one();
        if let Some(beats) = self.beats.take() {
            // Without the last update, the next process has to wait for [`SILENCE`].
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

/// Updates the lease regularly, and marks it as over at the end.
async fn renew(requests: Requests, key: String, mut record: LeaseRecord, ended: Arc<Notify>) {
    while !record.is_over {
        record.is_over = timeout(BEAT, ended.notified()).await.is_ok();
        record.beats += 1;
        // A failed update may succeed the next time. At worst, another process takes the job.
        if let Ok(sealed) = envelope::seal(&record) {
            let _ = requests.put(key.clone(), sealed).await;
        }
    }
}

impl HolderWatch {
    /// Whether the next lease of a job may be put, if `record` is the content of the last one.
    fn is_due(&mut self, number: u64, record: &LeaseRecord, now: Instant) -> bool {
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

    fn record(beats: u64, is_over: bool) -> LeaseRecord {
        LeaseRecord { holder: ProcessIdentity::of_this_process().clone(), nonce: 7, beats, is_over }
    }

    #[test]
    fn silent_or_departed_holders_lose_the_lease() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = HolderWatch::default();
        assert!(!watch.is_due(1, &record(0, false), at(0)));
        assert!(!watch.is_due(1, &record(0, false), at(30)));
        assert!(!watch.is_due(1, &record(1, false), at(40)), "it was updated a while ago");
        assert!(!watch.is_due(1, &record(1, false), at(70)));
        assert!(!watch.is_due(2, &record(1, false), at(80)), "another process holds it now");
        assert!(watch.is_due(2, &record(1, false), at(116)));
        assert!(HolderWatch::default().is_due(1, &record(0, true), at(0)));
    }

    #[test]
    fn a_job_has_one_holder_at_a_time() {
        wait(async {
            let requests = Requests::new(MemoryStore::named(""));
            let mut watch = HolderWatch::default();
            let first = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
            let holder = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap_err();
            assert_eq!(holder.pid, std::process::id());
            first.give_back().await;
            let second = Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
            drop(second);
            let third = Lease::take(&requests, "job").await.unwrap();
            assert_eq!(requests.list(prefix("job")).await.unwrap(), [1, 2, 3].map(|number| key("job", number)));
            third.give_back().await;
            // A lease that cannot be read does not block the job.
            requests.put(key("job", 4), b"?".to_vec()).await.unwrap();
            Lease::try_take(&requests, "job", &mut watch).await.unwrap().unwrap();
        });
    }
}
