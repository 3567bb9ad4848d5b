//! Alignment of the clocks of remote machines with the driver's clock.
//!
//! A batch is sent before it starts, and it ends before its reply arrives. So each batch bounds the difference between
//! the two clocks from both sides. All differences `a + b * t` that no batch contradicts form a polygon. The estimate
//! is the middle of the polygon, and the polygon's extent is the possible error (Duda, Harrus, Haddad and Bernard,
//! "Estimating Global Time in Distributed Systems", ICDCS 1987).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum relative error of a clock's frequency: the tolerance of NTP's reference implementation (RFC 5905, appendix
/// A.1.1, `MAXFREQ`).
const MAX_DRIFT: f64 = 500e-6;

/// Maximum effect of rounding on a bound, in microseconds.
const ROUNDING: f64 = 1.0;

/// With more bounds than this, only those that matter are kept.
const MANY: usize = 128;

/// Number of steps of a search for a maximum. Each step keeps two thirds of the interval.
const STEPS: u32 = 100;

/// The times of one batch by two clocks, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When the batch was sent, since the start of the run, by the driver's clock.
    pub sent: u64,
    /// When the batch started, since 1970, by the machine's clock.
    pub started: u64,
    /// When the batch ended, since 1970, by the machine's clock.
    pub ended: u64,
    /// When the reply arrived, since the start of the run, by the driver's clock.
    pub received: u64,
}

/// The relation of a machine's clock to the driver's clock.
///
/// ```
/// use wren::history::{Alignment, Exchange};
///
/// // The machine's clock is 5 s ahead; messages take 1 ms to it and 3 ms back.
/// let began = 1_800_000_000_000_000;
/// let exchange = |sent| Exchange {
///     sent,
///     started: began + sent + 5_001_000,
///     ended: began + sent + 5_011_000,
///     received: sent + 14_000,
/// };
/// let known = Alignment::of(&[exchange(0), exchange(20_000)]).unwrap();
/// let started = known.driver_time(began + 5_001_000);
/// assert!(started.abs_diff(1_000) <= known.error_us && known.error_us < 5_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// Time on the machine's clock at the start of the run, in microseconds since 1970.
    pub offset_us: i64,
    /// How much faster the machine's clock runs than the driver's, in millionths.
    pub drift_ppm: f64,
    /// Maximum error of a time that is converted to the driver's clock, in microseconds. It holds for times between the
    /// start of the run and the last reply.
    pub error_us: u64,
}

impl Alignment {
    /// Estimates the clock of one machine from its exchanges. Returns `None` if there are none, or if no clock fits all
    /// of them.
    pub fn of(exchanges: &[Exchange]) -> Option<Self> {
        let mut bounds = Bounds::default();
        exchanges.iter().for_each(|exchange| bounds.add(exchange));
        bounds.middle()
    }

    /// Converts a time by the machine's clock, in microseconds since 1970, to microseconds since the start of the run
    /// by the driver's clock.
    pub fn driver_time(&self, machine_us: u64) -> u64 {
        let since = (machine_us as i64).saturating_sub(self.offset_us) as f64;
        (since / (1.0 + self.drift_ppm / 1e6)).round().max(0.0) as u64
    }
}

/// The bounds on the clocks of many machines.
#[derive(Debug, Default)]
pub(crate) struct Clocks(BTreeMap<u64, Bounds>);

impl Clocks {
    pub(crate) fn add(&mut self, instance: u64, exchange: &Exchange) {
        self.0.entry(instance).or_default().add(exchange);
    }

    /// Returns one alignment for all machines if one clock fits them all, which is the case if a service synchronizes
    /// its clocks. Such an alignment is far more precise than one per machine. Otherwise returns one per machine.
    pub(crate) fn aligned(&self) -> Vec<(Option<u64>, Alignment)> {
        let mut all = Bounds::default();
        for bounds in self.0.values() {
            all.merge(bounds);
        }
        if let Some(alignment) = all.middle() {
            return vec![(None, alignment)];
        }
        self.0.iter().filter_map(|(instance, bounds)| Some((Some(*instance), bounds.middle()?))).collect()
    }
}

/// Bounds of the difference between the machine's clock and the driver's, as functions of the driver's time. The
/// differences are relative to a base, so that an `f64` represents microseconds of fifty years precisely.
#[derive(Debug, Clone, Default)]
struct Bounds {
    base: Option<i64>,
    /// Upper bounds of the difference.
    most: Vec<(f64, f64)>,
    /// Lower bounds of the difference.
    least: Vec<(f64, f64)>,
}

impl Bounds {
    fn add(&mut self, exchange: &Exchange) {
        let difference = |machine: u64, driver: u64| (machine as i64).saturating_sub(driver as i64);
        let base = *self.base.get_or_insert(difference(exchange.started, exchange.sent));
        let relative = |machine, driver| difference(machine, driver).saturating_sub(base) as f64;
        self.most.push((exchange.sent as f64, relative(exchange.started, exchange.sent) + ROUNDING));
        self.least.push((exchange.received as f64, relative(exchange.ended, exchange.received) - ROUNDING));
        self.reduce();
    }

    fn merge(&mut self, other: &Bounds) {
        let Some(theirs) = other.base else { return };
        let base = *self.base.get_or_insert(theirs);
        let moved = |(t, bound): &(f64, f64)| (*t, bound + (theirs - base) as f64);
        self.most.extend(other.most.iter().map(moved));
        self.least.extend(other.least.iter().map(moved));
        self.reduce();
    }

    fn reduce(&mut self) {
        if self.most.len() > MANY {
            hull(&mut self.most, 1.0);
            hull(&mut self.least, -1.0);
        }
    }

    /// Returns the lower and upper bound of the difference at the start of the run, given a drift.
    fn range(&self, drift: f64) -> (f64, f64) {
        let least = self.least.iter().map(|(t, bound)| bound - drift * t).fold(f64::NEG_INFINITY, f64::max);
        let most = self.most.iter().map(|(t, bound)| bound - drift * t).fold(f64::INFINITY, f64::min);
        (least, most)
    }

    /// Returns the middle of the possible alignments, without drift if that is possible.
    fn middle(&self) -> Option<Alignment> {
        let base = self.base?;
        let width = |drift: f64| {
            let (least, most) = self.range(drift);
            most - least
        };
        let widest = highest(-MAX_DRIFT, MAX_DRIFT, width);
        let drift = if width(0.0) >= 0.0 { 0.0 } else { widest };
        if width(drift) < 0.0 {
            return None;
        }
        let (least, most) = self.range(drift);
        let offset = f64::midpoint(least, most);
        let drifts = (edge(widest, -MAX_DRIFT, width), edge(widest, MAX_DRIFT, width));
        let end = self.least.iter().map(|(t, _)| *t).fold(0.0, f64::max);
        // The range of possible differences is convex in time, so it is largest at the start or at the end.
        let error_at = |t: f64| {
            let most = |drift: f64| self.range(drift).1 + drift * t;
            let least = |drift: f64| -(self.range(drift).0 + drift * t);
            let most = most(highest(drifts.0, drifts.1, most));
            let least = -least(highest(drifts.0, drifts.1, least));
            let taken = offset + drift * t;
            (most - taken).max(taken - least)
        };
        Some(Alignment {
            offset_us: base.saturating_add(offset.round() as i64),
            drift_ppm: drift * 1e6,
            error_us: error_at(0.0).max(error_at(end)).ceil().max(0.0) as u64,
        })
    }
}

/// Returns the argument at which a concave function is highest.
fn highest(mut from: f64, mut to: f64, value: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..STEPS {
        let (a, b) = (from + (to - from) / 3.0, to - (to - from) / 3.0);
        if value(a) < value(b) { from = a } else { to = b }
    }
    f64::midpoint(from, to)
}

/// Returns where a concave function, not negative at `inside`, becomes negative on the way to `outside`.
fn edge(mut inside: f64, mut outside: f64, value: impl Fn(f64) -> f64) -> f64 {
    if value(outside) >= 0.0 {
        return outside;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(inside, outside);
        if value(middle) >= 0.0 { inside = middle } else { outside = middle }
    }
    inside
}

/// Keeps only the points that some line can touch from below (`side` 1) or above (-1), with Andrew's monotone chain
/// algorithm.
fn hull(points: &mut Vec<(f64, f64)>, side: f64) {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then((side * a.1).total_cmp(&(side * b.1))));
    points.dedup_by_key(|point| point.0);
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for point in points.drain(..) {
        while let [.., a, b] = kept[..]
            && side * ((b.0 - a.0) * (point.1 - a.1) - (b.1 - a.1) * (point.0 - a.0)) <= 0.0
        {
            kept.pop();
        }
        kept.push(point);
    }
    *points = kept;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGAN: f64 = 1.8e15;

    /// Returns exchanges with a machine whose clock is `skew` microseconds ahead and drifts by `ppm`.
    fn exchanges(seed: u64, count: usize, span_us: u64, skew: f64, ppm: f64) -> Vec<Exchange> {
        let mut random = fastrand::Rng::with_seed(seed);
        let machine = |driver: f64| (BEGAN + skew + driver * (1.0 + ppm / 1e6)).round() as u64;
        let mut one = |_| {
            let sent = random.u64(..span_us);
            let started = sent + 500 + (random.f64() * random.f64() * 80_000.0) as u64;
            let ended = started + random.u64(..200_000);
            let received = ended + 800 + (random.f64() * random.f64() * 60_000.0) as u64;
            Exchange { sent, started: machine(started as f64), ended: machine(ended as f64), received }
        };
        (0..count).map(&mut one).collect()
    }

    proptest! {
        #[test]
        fn times_are_right_within_the_reported_error(
            seed: u64,
            count in 1usize..600,
            minutes in 1u64..180,
            skew in -5e6..5e6,
            ppm in -300.0..300.0,
        ) {
            let span = minutes * 60_000_000;
            let exchanges = exchanges(seed, count, span, skew, ppm);
            let known = Alignment::of(&exchanges).unwrap();
            let last = exchanges.iter().map(|exchange| exchange.received).max().unwrap();
            for driver in [0, last / 3, last] {
                let machine = (BEGAN + skew + driver as f64 * (1.0 + ppm / 1e6)).round() as u64;
                let moved = known.driver_time(machine);
                let error = moved.abs_diff(driver);
                let allowed = known.error_us + 3;
                prop_assert!(error <= allowed, "{error} us wrong at {driver}; {allowed} are allowed");
            }
        }

        #[test]
        fn reduced_bounds_lose_nothing(seed: u64, ppm in -100.0..100.0) {
            let exchanges = exchanges(seed, MANY, 600_000_000, 1e6, ppm);
            let mut all = Bounds::default();
            exchanges.iter().for_each(|exchange| all.add(exchange));
            let mut reduced = all.clone();
            hull(&mut reduced.most, 1.0);
            hull(&mut reduced.least, -1.0);
            prop_assert!(reduced.most.len() < MANY / 2);
            let (all, reduced) = (all.middle().unwrap(), reduced.middle().unwrap());
            prop_assert!((all.offset_us - reduced.offset_us).abs() <= 1 && all.error_us.abs_diff(reduced.error_us) <= 1);
        }
    }

    #[test]
    fn many_exchanges_give_errors_below_one_message_latency() {
        let known = Alignment::of(&exchanges(3, 2_000, 60_000_000, 3e6, 40.0)).unwrap();
        assert!(known.error_us < 10_000, "{known:?}");
    }

    #[test]
    fn clocks_are_shared_unless_contradictory() {
        let mut clocks = Clocks::default();
        for instance in 0..20 {
            exchanges(instance, 5, 10_000_000, 2e6, 0.0).iter().for_each(|e| clocks.add(instance, e));
        }
        let known = clocks.aligned();
        assert!(
            matches!(known[..], [(None, alignment)] if alignment.offset_us.abs_diff(BEGAN as i64 + 2_000_000) < 2_000)
        );
        exchanges(77, 5, 10_000_000, -4e6, 0.0).iter().for_each(|e| clocks.add(77, e));
        let known = clocks.aligned();
        assert_eq!(known.len(), 21);
        let of = |instance| known.iter().find(|(known, _)| *known == Some(instance)).unwrap().1;
        assert!((of(3).offset_us - of(77).offset_us - 6_000_000).unsigned_abs() < 200_000);
    }

    #[test]
    fn impossible_times_are_not_aligned() {
        assert_eq!(Alignment::of(&[]), None);
        let good = Exchange { sent: 0, started: 1_000, ended: 2_000, received: 3_000 };
        // The batch ended after its reply arrived, whatever the clock.
        assert_eq!(Alignment::of(&[Exchange { ended: 9_000, ..good }]), None);
    }
}
