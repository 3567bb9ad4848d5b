//! Asynchronous invocations: a queue for each function, retries, and injected faults.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::fleet::Slot;
use super::{Lambda, count};

/// Delays before the first and the second retry. AWS waits one minute and two minutes.
const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Default number of retries.
const RETRIES: u32 = 2;

/// Default age at which an event is dropped, in seconds.
const OLDEST: u32 = 21_600;

#[derive(Clone)]
struct Event {
    id: String,
    payload: Bytes,
    accepted: Instant,
    attempts: u32,
}

/// Events that wait for a slot of their function.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<String, VecDeque<Event>>>);

impl Queues {
    fn push(&self, name: &str, event: Event) {
        self.lock().entry(name.to_owned()).or_default().push_back(event);
    }

    fn waiting(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn is_empty(&self, name: &str) -> bool {
        !self.lock().contains_key(name)
    }

    fn pop(&self, name: &str) -> Option<Event> {
        let mut queues = self.lock();
        let queue = queues.get_mut(name)?;
        let event = queue.pop_front();
        if queue.is_empty() {
            queues.remove(name);
        }
        event
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lambda {
    /// Accepts an event. It may be delivered twice or never if such faults are enabled.
    pub(super) fn accept(self: &Arc<Self>, name: &str, id: String, payload: Bytes) {
        let event = Event { id, payload, accepted: Instant::now(), attempts: 0 };
        // Half of the lost events are never delivered. For the other half, the instance is killed.
        if self.place.faults.loses_half() {
            count(&self.counts.lost);
            return;
        }
        if self.place.faults.duplicates() {
            self.events.push(name, event.clone());
        }
        self.events.push(name, event);
        self.pump(name);
    }

    /// Starts waiting events of all functions that may run. Called after a slot has become free.
    pub(super) fn pump_all(self: &Arc<Self>) {
        for name in self.events.waiting() {
            self.pump(&name);
        }
    }

    fn pump(self: &Arc<Self>, name: &str) {
        while !self.events.is_empty(name) {
            let Ok(slot) = self.fleet.admit(name) else { return };
            let Some(event) = self.events.pop(name) else { return };
            let lambda = self.clone();
            let name = name.to_owned();
            tokio::spawn(async move { lambda.deliver(&name, slot, event).await });
        }
    }

    async fn deliver(self: Arc<Self>, name: &str, slot: Slot, mut event: Event) {
        let found = self.with(name, |function| Ok((function.serving()?, function.events.clone())));
        // The function was deleted in the meantime.
        let Ok((version, config)) = found else { return drop(slot) };
        let config = config.unwrap_or_default();
        let oldest = Duration::from_secs(config.maximum_event_age_in_seconds.unwrap_or(OLDEST).into());
        if event.accepted.elapsed() > oldest {
            return drop(slot);
        }
        let lose = self.place.faults.loses_half();
        let outcome = self.clone().run(slot, version, event.id.clone(), event.payload.clone(), lose).await;
        if !outcome.failed || event.attempts >= config.maximum_retry_attempts.unwrap_or(RETRIES) {
            return;
        }
        let delay = DELAYS[(event.attempts as usize).min(DELAYS.len() - 1)];
        event.attempts += 1;
        tokio::time::sleep(delay).await;
        if self.with(name, |_| Ok(())).is_ok() {
            self.events.push(name, event);
            self.pump(name);
        }
    }
}
