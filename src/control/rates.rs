//! Rates: how fast the counters grow, from samples of them taken every second. Nobody who asks has to wait for a second
//! look, and all who ask in one second see the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::dataplane::{DataPlane, WorkerHandle};
use super::status::Traffic;
use crate::tables::{BackendId, DropReason, Snapshot, WorkerCounters};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// What lies closer than this to the present says little: a rate is that of the last 0.9 to 1.9 s.
const SHORTEST: Duration = Duration::from_millis(900);
/// Samples that are kept: the last one, and one old enough.
const KEPT: usize = 2;

/// How fast the traffic of a service or backend grows. Directions as in [`Traffic`]; bits with Ethernet headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Packets from clients, per second.
    pub packets_in_per_s: f64,
    /// Packets to clients, per second.
    pub packets_out_per_s: f64,
    /// Bits from clients, per second.
    pub bits_in_per_s: f64,
    /// Bits to clients, per second.
    pub bits_out_per_s: f64,
    /// Connections created, per second.
    pub connections_new_per_s: f64,
}

/// How fast the switch's counters grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwitchRates {
    /// Milliseconds that all rates of the answer are about; 0 in the first second, in which there are none.
    pub over_ms: u64,
    /// Frames taken from RX rings, per second.
    pub received_per_s: f64,
    /// Frames forwarded, per second.
    pub forwarded_per_s: f64,
    /// Frames dropped, per second.
    pub dropped_per_s: f64,
    /// Bits taken from RX rings, per second.
    pub received_bits_per_s: f64,
    /// Bits put into TX rings, per second.
    pub sent_bits_per_s: f64,
    /// Connections created, per second.
    pub connections_new_per_s: f64,
    /// Frames dropped per second, by reason; reasons that do not occur now are left out.
    pub dropped_by_reason_per_s: BTreeMap<String, f64>,
}

impl std::ops::AddAssign for Rates {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut f64, more: f64| *sum = tenths(*sum + more);
        add(&mut self.packets_in_per_s, other.packets_in_per_s);
        add(&mut self.packets_out_per_s, other.packets_out_per_s);
        add(&mut self.bits_in_per_s, other.bits_in_per_s);
        add(&mut self.bits_out_per_s, other.bits_out_per_s);
        add(&mut self.connections_new_per_s, other.connections_new_per_s);
    }
}

/// The counters of one moment.
#[derive(Debug)]
pub struct Sample {
    at: Instant,
    switch: Sums,
    backends: Box<[Traffic]>,
}

#[derive(Debug)]
struct Sums {
    received: u64,
    forwarded: u64,
    connections_new: u64,
    rx_bytes: u64,
    tx_bytes: u64,
    dropped: [u64; DropReason::COUNT],
}

impl Sums {
    fn of(workers: &[WorkerHandle]) -> Self {
        let sum = |number: &dyn Fn(&WorkerCounters) -> u64| -> u64 {
            workers.iter().map(|worker| number(&worker.counters)).sum()
        };
        Self {
            received: sum(&|worker| worker.received.get()),
            forwarded: sum(&|worker| worker.forwarded.get()),
            connections_new: sum(&|worker| worker.connections_new.get()),
            rx_bytes: sum(&|worker| worker.ports.iter().map(|port| port.rx_bytes.get()).sum()),
            tx_bytes: sum(&|worker| worker.ports.iter().map(|port| port.tx_bytes.get()).sum()),
            dropped: std::array::from_fn(|reason| sum(&|worker| worker.dropped[reason].get())),
        }
    }
}

/// What a backend row has seen. The workers count on between two readings.
pub(super) fn traffic<'a>(workers: impl Iterator<Item = &'a WorkerCounters>, row: BackendId) -> Traffic {
    let (mut sum, mut closed) = (Traffic::default(), 0);
    for counters in workers.filter_map(|worker| worker.backend(row)) {
        sum.packets_in += counters.packets_in.get();
        sum.packets_out += counters.packets_out.get();
        sum.bytes_in += counters.bytes_in.get();
        sum.bytes_out += counters.bytes_out.get();
        sum.connections_new += counters.connections_new.get();
        closed += counters.connections_closed.get();
    }
    sum.connections_active = sum.connections_new.saturating_sub(closed);
    sum
}

impl Sample {
    /// Reads the counters.
    pub fn take(dataplane: &dyn DataPlane, snapshot: &Snapshot, at: Instant) -> Self {
        let workers = dataplane.workers();
        let of = |row: usize| match snapshot.backends.get(row).and_then(Option::as_ref) {
            Some(backend) => traffic(workers.iter().map(|worker| &*worker.counters), backend.id),
            None => Traffic::default(),
        };
        Self { at, switch: Sums::of(workers), backends: (0..snapshot.backends.len()).map(of).collect() }
    }

    /// How fast all of the switch grew from this sample to `now`.
    pub fn until(&self, dataplane: &dyn DataPlane, now: Instant) -> SwitchRates {
        let (before, after) = (&self.switch, Sums::of(dataplane.workers()));
        let over = now.saturating_duration_since(self.at);
        let rate = |before, after| per_second(before, after, over);
        let dropped = DropReason::ALL.iter().zip(before.dropped.iter().zip(after.dropped));
        let dropped =
            dropped.map(|(reason, (before, after))| (reason.name().to_owned(), rate(*before, after)));
        SwitchRates {
            over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
            received_per_s: rate(before.received, after.received),
            forwarded_per_s: rate(before.forwarded, after.forwarded),
            dropped_per_s: rate(before.dropped.iter().sum(), after.dropped.iter().sum()),
            received_bits_per_s: 8.0 * rate(before.rx_bytes, after.rx_bytes),
            sent_bits_per_s: 8.0 * rate(before.tx_bytes, after.tx_bytes),
            connections_new_per_s: rate(before.connections_new, after.connections_new),
            dropped_by_reason_per_s: dropped.filter(|(_, rate)| *rate > 0.0).collect(),
        }
    }

    /// How fast a backend row grew from this sample to `now`, when it had seen `after`. Nothing of a row that is newer.
    pub fn of(&self, row: BackendId, after: &Traffic, now: Instant) -> Rates {
        let over = now.saturating_duration_since(self.at);
        let Some(before) = self.backends.get(row.index()) else { return Rates::default() };
        let rate = |number: fn(&Traffic) -> u64| per_second(number(before), number(after), over);
        Rates {
            packets_in_per_s: rate(|traffic| traffic.packets_in),
            packets_out_per_s: rate(|traffic| traffic.packets_out),
            bits_in_per_s: 8.0 * rate(|traffic| traffic.bytes_in),
            bits_out_per_s: 8.0 * rate(|traffic| traffic.bytes_out),
            connections_new_per_s: rate(|traffic| traffic.connections_new),
        }
    }
}

/// Sums of tenths are tenths.
fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

fn per_second(before: u64, after: u64, over: Duration) -> f64 {
    if over.is_zero() {
        return 0.0;
    }
    tenths(after.saturating_sub(before) as f64 / over.as_secs_f64())
}

/// The last samples.
#[derive(Debug, Clone, Default)]
pub struct Sampler(Arc<Mutex<VecDeque<Arc<Sample>>>>);

impl Sampler {
    /// Takes samples until dropped.
    pub async fn run(self, dataplane: Arc<dyn DataPlane>, snapshot: watch::Receiver<Arc<Snapshot>>) {
        let mut seconds = tokio::time::interval(INTERVAL);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            let snapshot = Arc::clone(&snapshot.borrow());
            self.keep(Sample::take(&*dataplane, &snapshot, Instant::now()));
        }
    }

    /// Keeps a sample, and forgets the oldest.
    pub fn keep(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.truncate(KEPT - 1);
        samples.push_front(Arc::new(sample));
    }

    /// The youngest that is old enough.
    pub fn before(&self, now: Instant) -> Option<Arc<Sample>> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().find(|sample| now.saturating_duration_since(sample.at) >= SHORTEST).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let second = Duration::from_secs(1);
        assert_eq!(per_second(10, 25, second), 15.0);
        assert_eq!(per_second(10, 11, 3 * second), 0.3);
        assert_eq!(per_second(25, 10, second), 0.0, "a row that another backend has now");
        assert_eq!(per_second(0, 1, Duration::ZERO), 0.0);
    }
}
