//! Limits of concurrent calls, and the idle instances.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::control::Version;
use super::instance::Instance;

/// Time without a call after which an instance is ended.
const IDLE: Duration = Duration::from_secs(120);

/// Concurrency that an account must leave to functions without a reservation.
const LEAST_UNRESERVED: usize = 100;

/// All idle instances, and the numbers of busy ones.
pub(super) struct Fleet {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pools: HashMap<String, Pool>,
    stopped: bool,
}

/// The instances of one function.
#[derive(Default)]
struct Pool {
    /// Ordered by the time of their last call; the most recent is the last.
    idle: Vec<Idle>,
    busy: usize,
    reserved: Option<usize>,
    /// Duration of the last call.
    duration: Duration,
}

struct Idle {
    instance: Instance,
    since: Instant,
}

/// The limit that a call would exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Full {
    Account,
    Reserved,
}

/// The right to run one call.
pub(super) struct Slot {
    fleet: Arc<Fleet>,
    name: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.fleet.state().pools.get_mut(&self.name) {
            pool.busy = pool.busy.saturating_sub(1);
        }
    }
}

impl State {
    fn reserved(&self) -> usize {
        self.pools.values().filter_map(|pool| pool.reserved).sum()
    }
}

impl Fleet {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// Returns a slot for a call of this function, or the limit that prevents it.
    pub(super) fn admit(self: &Arc<Self>, name: &str) -> Result<Slot, Full> {
        let mut state = self.state();
        if state.stopped {
            return Err(Full::Account);
        }
        let unreserved = self.limit - state.reserved().min(self.limit);
        let open: usize = state.pools.values().filter(|pool| pool.reserved.is_none()).map(|pool| pool.busy).sum();
        let pool = state.pools.entry(name.to_owned()).or_default();
        match pool.reserved {
            Some(reserved) if pool.busy >= reserved => return Err(Full::Reserved),
            None if open >= unreserved => return Err(Full::Account),
            _ => {}
        }
        pool.busy += 1;
        Ok(Slot { fleet: self.clone(), name: name.to_owned() })
    }

    /// Returns the most recently used idle instance of this version, if there is one.
    pub(super) fn warm(&self, version: &Version) -> Option<Instance> {
        let mut ended = Vec::new();
        let found = loop {
            let idle = self.state().pools.get_mut(&version.name).and_then(|pool| pool.idle.pop());
            let Some(Idle { mut instance, .. }) = idle else { break None };
            if instance.version.revision == version.revision && instance.lives() {
                break Some(instance);
            }
            ended.push(instance);
        };
        end(ended);
        found
    }

    /// Makes room for one more process, so that there are never more processes than the limit of concurrent calls.
    pub(super) fn make_room(&self) {
        let mut state = self.state();
        let all: usize = state.pools.values().map(|pool| pool.idle.len() + pool.busy).sum();
        if all <= self.limit {
            return;
        }
        let waiting = state.pools.values_mut().filter(|pool| !pool.idle.is_empty());
        let oldest = waiting.min_by_key(|pool| pool.idle[0].since).map(|pool| pool.idle.remove(0));
        drop(state);
        end(oldest.map(|idle| idle.instance).into_iter().collect());
    }

    /// Takes an instance back after a call of this duration.
    pub(super) fn take_back(&self, instance: Instance, duration: Duration) {
        let mut state = self.state();
        let stopped = state.stopped;
        match state.pools.get_mut(&instance.version.name) {
            Some(pool) if !stopped => {
                pool.duration = duration;
                pool.idle.push(Idle { instance, since: Instant::now() });
            }
            _ => {
                drop(state);
                end(vec![instance]);
            }
        }
    }

    /// Returns the duration of the function's last call, or 50 ms if it is unknown.
    pub(super) fn duration(&self, name: &str) -> Duration {
        let known = self.state().pools.get(name).map(|pool| pool.duration);
        known.filter(|duration| !duration.is_zero()).unwrap_or(Duration::from_millis(50))
    }

    pub(super) fn reserved(&self, name: &str) -> Option<usize> {
        self.state().pools.get(name)?.reserved
    }

    /// Sets the reserved concurrency of a function. The error is the concurrency that must be left to the others.
    pub(super) fn reserve(&self, name: &str, number: Option<usize>) -> Result<(), usize> {
        let mut state = self.state();
        let before = state.pools.get(name).and_then(|pool| pool.reserved).unwrap_or(0);
        let least = LEAST_UNRESERVED.min(self.limit);
        let others = state.reserved() - before;
        let taken = others.saturating_add(number.unwrap_or(0));
        if number.is_some_and(|number| number > 0) && taken.saturating_add(least) > self.limit {
            return Err(least);
        }
        state.pools.entry(name.to_owned()).or_default().reserved = number;
        Ok(())
    }

    /// Returns the concurrency of the account: in total, and not reserved by any function.
    pub(super) fn limits(&self) -> (usize, usize) {
        (self.limit, self.limit.saturating_sub(self.state().reserved()))
    }

    /// Ends the idle instances of all versions except this one. Called after the function has changed.
    pub(super) fn retire(&self, name: &str, revision: Option<&str>) {
        let mut state = self.state();
        let Some(pool) = state.pools.get_mut(name) else { return };
        let other = |idle: &mut Idle| Some(idle.instance.version.revision.as_str()) != revision;
        let ended: Vec<_> = pool.idle.extract_if(.., other).map(|idle| idle.instance).collect();
        drop(state);
        end(ended);
    }

    /// Removes a deleted function. Running calls continue.
    pub(super) fn forget(&self, name: &str) {
        self.retire(name, None);
        if let Some(pool) = self.state().pools.get_mut(name) {
            pool.reserved = None;
        }
    }

    /// Prevents new calls and ends all idle instances.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let pools = std::mem::take(&mut state.pools);
        drop(state);
        let idle: Vec<_> = pools.into_values().flat_map(|pool| pool.idle).map(|idle| idle.instance).collect();
        Instance::end_all(&idle);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends instances on a thread that may block.
fn end(instances: Vec<Instance>) {
    if !instances.is_empty() {
        drop(tokio::task::spawn_blocking(move || {
            Instance::end_all(&instances);
            drop(instances);
        }));
    }
}

/// Logs the output of idle instances every second, and ends those that were idle for too long or have exited.
pub(super) async fn sweep(fleet: Weak<Fleet>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(fleet) = fleet.upgrade() else { return };
        let mut ended = Vec::new();
        for pool in fleet.state().pools.values_mut() {
            for idle in &mut pool.idle {
                idle.instance.drain();
            }
            ended.extend(pool.idle.extract_if(.., |idle| idle.since.elapsed() > IDLE || !idle.instance.lives()));
        }
        end(ended.into_iter().map(|idle| idle.instance).collect());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited_per_account_and_function() {
        let fleet = Fleet::new(102);
        fleet.reserve("own", Some(2)).unwrap();
        assert_eq!(fleet.reserve("other", Some(1)), Err(100), "100 stay unreserved");
        assert_eq!(fleet.limits(), (102, 100));
        let own: Vec<_> = (0..2).map(|_| fleet.admit("own").unwrap()).collect();
        assert_eq!(fleet.admit("own").err(), Some(Full::Reserved));
        let others: Vec<_> = (0..100).map(|n| fleet.admit(&format!("f{}", n % 3)).unwrap()).collect();
        assert_eq!(fleet.admit("f1").err(), Some(Full::Account));
        drop((own, others));
        assert!(fleet.admit("own").is_ok() && fleet.admit("f1").is_ok());
        fleet.reserve("own", Some(0)).unwrap();
        assert_eq!(fleet.admit("own").err(), Some(Full::Reserved));
    }
}
