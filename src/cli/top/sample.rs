//! Rates: what counters grew by from one status to the next, and how that was lately.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::control::status::{PortTraffic, Status, Traffic};

/// Samples that are remembered of each thing: as many as the widest trend shows.
const HISTORY: usize = 64;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The switch as a whole.
    Total,
    /// A service, by name.
    Service(String),
    /// A backend of a service.
    Backend(String, SocketAddr),
    /// A worker.
    Worker(usize),
    /// A reason to drop frames.
    Drop(String),
    /// A client.
    Client(String),
}

/// Counters of one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    packets: u64,
    bytes: u64,
    new: u64,
    dropped: u64,
    lost: u64,
    turns: u64,
    busy: u64,
}

/// The same per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Packets: both ways at services and backends, received ones elsewhere.
    pub packets: f64,
    /// Bits of those.
    pub bits: f64,
    /// New connections.
    pub new: f64,
    /// Frames dropped; at services those of refused connections and beyond limits, at backends failures.
    pub dropped: f64,
    /// Frames lost in rings.
    pub lost: f64,
    /// Percent of turns that found something to do.
    pub busy: f64,
}

/// Statuses one after the other.
#[derive(Debug, Default)]
pub struct Series {
    last: Option<(Instant, Status)>,
    counts: HashMap<Key, Counts>,
    rates: HashMap<Key, Rates>,
    history: HashMap<Key, VecDeque<f64>>,
}

impl Series {
    /// Adds the next one. Whether the switch is another process than before, so that everything begins anew.
    pub fn add(&mut self, at: Instant, status: Status) -> bool {
        let restarted = self.last.as_ref().is_some_and(|(_, last)| last.pid != status.pid);
        if restarted {
            *self = Self::default();
        }
        let counts = count(&status);
        if let Some((before, _)) = &self.last {
            let seconds = at.saturating_duration_since(*before).as_secs_f64();
            self.rates = counts
                .iter()
                .filter_map(|(key, now)| Some((key.clone(), rate(self.counts.get(key)?, now, seconds))))
                .collect();
            self.history.retain(|key, _| counts.contains_key(key));
            for (key, rates) in &self.rates {
                let history = self.history.entry(key.clone()).or_default();
                if history.len() == HISTORY {
                    history.pop_front();
                }
                history.push_back(if matches!(key, Key::Drop(_)) { rates.dropped } else { rates.packets });
            }
        }
        self.counts = counts;
        self.last = Some((at, status));
        restarted
    }

    /// The newest.
    pub fn status(&self) -> Option<&Status> {
        self.last.as_ref().map(|(_, status)| status)
    }

    /// When that came.
    pub fn at(&self) -> Option<Instant> {
        self.last.as_ref().map(|(at, _)| *at)
    }

    /// What something does per second: nothing, before there are two statuses that know it.
    pub fn rates(&self, key: &Key) -> Rates {
        self.rates.get(key).copied().unwrap_or_default()
    }

    /// How it was lately, in bars of the height of the highest; the newest is at the end.
    pub fn trend(&self, key: &Key, width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let Some(history) = self.history.get(key) else { return String::new() };
        let shown: Vec<f64> = history.iter().skip(history.len().saturating_sub(width)).copied().collect();
        let highest = shown.iter().fold(0.0, |highest: f64, value| highest.max(*value));
        let bar = |value: &f64| match value / highest {
            _ if *value <= 0.0 => ' ',
            part => BARS[((part * 8.0).ceil() as usize).clamp(1, 8) - 1],
        };
        let bars: String = shown.iter().map(bar).collect();
        format!("{bars:>width$}")
    }
}

fn rate(before: &Counts, now: &Counts, seconds: f64) -> Rates {
    let grown = |count: fn(&Counts) -> u64| count(now).saturating_sub(count(before)) as f64;
    let per_second = |count| if seconds > 0.0 { grown(count) / seconds } else { 0.0 };
    let turns = grown(|counts| counts.turns);
    Rates {
        packets: per_second(|counts| counts.packets),
        bits: per_second(|counts| counts.bytes) * 8.0,
        new: per_second(|counts| counts.new),
        dropped: per_second(|counts| counts.dropped),
        lost: per_second(|counts| counts.lost),
        busy: if turns > 0.0 { 100.0 * grown(|counts| counts.busy) / turns } else { 0.0 },
    }
}

fn count(status: &Status) -> HashMap<Key, Counts> {
    let mut counts = HashMap::new();
    let mut bytes = 0;
    for worker in &status.workers {
        let sum = |count: fn(&PortTraffic) -> u64| worker.ports.iter().map(count).sum::<u64>();
        bytes += sum(|port| port.rx_bytes);
        let of_worker = Counts {
            packets: worker.totals.received,
            bytes: sum(|port| port.rx_bytes),
            new: worker.connections_new,
            dropped: worker.totals.dropped_total,
            lost: sum(lost),
            turns: worker.turns,
            busy: worker.busy_turns,
        };
        counts.insert(Key::Worker(worker.worker), of_worker);
    }
    let (packets, dropped) = (status.totals.received, status.totals.dropped_total);
    let total = Counts { packets, bytes, new: status.connections.new, dropped, ..Counts::default() };
    counts.insert(Key::Total, total);
    for (reason, dropped) in &status.dropped {
        counts.insert(Key::Drop(reason.clone()), Counts { dropped: *dropped, ..Counts::default() });
    }
    for service in &status.services {
        let name = || service.name.clone();
        counts.insert(Key::Service(name()), traffic(&service.traffic, service.refused + service.limited));
        for backend in &service.backends {
            let failures = &backend.failures;
            let failed = u64::from(failures.refused)
                + u64::from(failures.unanswered)
                + u64::from(failures.unreachable);
            counts.insert(Key::Backend(name(), backend.address), traffic(&backend.traffic, failed));
        }
    }
    counts
}

fn traffic(traffic: &Traffic, dropped: u64) -> Counts {
    Counts {
        packets: traffic.packets_in + traffic.packets_out,
        bytes: traffic.bytes_in + traffic.bytes_out,
        new: traffic.connections_new,
        dropped,
        ..Counts::default()
    }
}

/// Frames that a ring had no room for.
fn lost(port: &PortTraffic) -> u64 {
    port.rx_ring_full + port.rx_fill_empty + port.rx_dropped + port.rx_jumbo_lost + port.tx_lost
}

/// A number in at most five characters.
pub fn short(value: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let (mut value, mut unit) = (value.max(0.0), 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let unit_name = UNITS[unit];
    match value {
        _ if unit == 0 && (value >= 9.5 || value.fract() == 0.0) => format!("{value:.0}"),
        _ if value < 9.95 => format!("{value:.1}{unit_name}"),
        _ => format!("{value:.0}{unit_name}"),
    }
}
