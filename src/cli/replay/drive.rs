//! The place of a worker's poll loop when frames come from captures.
//!
//! A batch holds frames of one capture that bear the same time stamp, at most 64: what could have lain in a ring
//! together. A frame that answers another has a later time stamp, so the two never share a batch and each meets the
//! connection that the other left. Before every batch connections are expired up to its time, as a worker whose loop
//! turns all the while would have done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::ReplayError;
use super::merge::Merge;
use super::output::{Output, OutputError};
use super::summary::{Numbers, Summary};
use crate::control::status::Limits;
use crate::dataplane::conntrack::EXPIRY_BUDGET;
use crate::dataplane::fragments::{LOOKS, waiting::WAITING};
use crate::dataplane::limits::ClientPrefixes;
use crate::dataplane::turn::SPARES;
use crate::dataplane::{BATCH, Batch, FlowTables, Flows, Secret, Verdict, process, settle};
use crate::tables::{DropReason, Event, InterfaceId, Loads, Snapshot, Tick, WorkerCounters};
use crate::xsk::memory::Arena;

/// Neighbours without a MAC address that are named in the summary, at most.
const NAMED: usize = 16;
const MILLISECOND_NS: u64 = 1_000_000;

/// What the data path is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What the secret of the connection table follows from.
    pub seed: u64,
    /// Size of the connection table.
    pub max_connections: u32,
    /// Bound of the IPv6 connection table.
    pub max_connections_ipv6: u32,
    /// Datagrams in fragments that are tracked at once.
    pub max_fragmented: u32,
    /// Clients that are remembered for affinity.
    pub max_affinities: u32,
    /// Clients whose rates are limited, and what makes one.
    pub clients: (u32, ClientPrefixes),
}

/// One data path over captures.
pub struct Replay {
    snapshot: Snapshot,
    settings: Settings,
    flows: Flows,
    counters: Arc<WorkerCounters>,
    arena: Arena,
    batch: Batch,
    /// By interface.
    outputs: Vec<Option<Output>>,
    clock: Clock,
    numbers: Numbers,
    /// Whose MAC address frames would have needed.
    unresolved: BTreeSet<(InterfaceId, IpAddr)>,
}

impl Replay {
    /// A data path with an empty connection table.
    pub fn new(snapshot: Snapshot, settings: Settings, outputs: Vec<Option<Output>>) -> Self {
        let secret = Secret::from_seed(settings.seed);
        let (v4, v6) = (settings.max_connections, settings.max_connections_ipv6);
        let loads = Arc::new(Loads::new(1, snapshot.backends.len()));
        let table = FlowTables::new(v4, v6, settings.max_fragmented, 1, secret).with_loads(loads);
        let (clients, prefixes) = settings.clients;
        let table = table.with_affinities(settings.max_affinities).with_clients(clients, prefixes);
        let table = Arc::new(table);
        Self {
            flows: Flows::join(table, 1, Tick::default()),
            counters: WorkerCounters::with_capacity(snapshot.services.len(), snapshot.backends.len()),
            arena: Arena::new(BATCH + SPARES + WAITING),
            batch: Batch::new(true),
            numbers: Numbers::default(),
            clock: Clock::default(),
            unresolved: BTreeSet::new(),
            snapshot,
            settings,
            outputs,
        }
    }

    /// Sends every frame of `input` through.
    pub fn run(mut self, mut input: Merge) -> Result<Summary, ReplayError> {
        let fed = self.feed(&mut input);
        self.give_back();
        fed?;
        let summary = self.finish()?;
        input.finish()?;
        Ok(summary)
    }

    fn feed(&mut self, input: &mut Merge) -> Result<(), OutputError> {
        while let Some((ingress, time_ns)) = self.fill(input) {
            if self.batch.is_empty() {
                continue;
            }
            let now = self.clock.reach(time_ns);
            let timeouts = &self.snapshot.timeouts;
            while self.flows.expire(now, timeouts, &self.counters, EXPIRY_BUDGET) == EXPIRY_BUDGET {}
            if let Some(port) = self.counters.port(ingress) {
                port.rx_frames.add(self.batch.len() as u64);
            }
            self.forward(now, time_ns)?;
            // A worker comes back for fragments that wait before anything else happens.
            for _ in 0..self.batch.waiting().div_ceil(LOOKS) {
                self.forward(now, time_ns)?;
            }
        }
        Ok(())
    }

    /// Sends the batch through the pipeline, and its frames to wherever they go.
    fn forward(&mut self, now: Tick, time_ns: u64) -> Result<(), OutputError> {
        let arena = &mut self.arena;
        self.batch.lend(|| arena.frame(&[]));
        self.flows.clock_us = (time_ns / 1000) as u32;
        process(&mut self.batch, &self.snapshot, &mut self.flows, now, &self.counters);
        self.dispatch(time_ns)
    }

    /// Takes back what the batch holds at the end of the captures. The first of what still waits did not come.
    fn give_back(&mut self) {
        for frame in self.batch.take_back() {
            self.arena.give_back(frame);
        }
        for frame in self.batch.take_waiting() {
            self.arena.give_back(frame);
            settle(Verdict::Drop(DropReason::FragmentTimeout), &self.counters);
        }
        self.counters.held.set(0);
    }

    /// Fills the batch with what arrives next. None at the end of all captures.
    fn fill(&mut self, input: &mut Merge) -> Option<(InterfaceId, u64)> {
        let (ingress, first) = input.peek()?;
        let time_ns = first.time_ns;
        while self.batch.room() > 0
            && let Some((interface, captured)) = input.peek()
            && (interface, captured.time_ns) == (ingress, time_ns)
        {
            if !captured.whole {
                self.numbers.skipped_cut += 1;
            } else if let Some(frame) = self.arena.frame(&captured.bytes) {
                // There is room: the loop looked.
                if let Err(frame) = self.batch.push(frame, ingress) {
                    self.arena.give_back(frame);
                }
            } else {
                self.numbers.skipped_large += 1;
            }
            input.advance();
        }
        Some((ingress, time_ns))
    }

    /// Writes what leaves and counts every verdict.
    fn dispatch(&mut self, time_ns: u64) -> Result<(), OutputError> {
        let mut failed = None;
        for (frame, verdict) in self.batch.drain() {
            let verdict = verdict.unwrap_or(Verdict::ToKernel);
            if let Verdict::Forward(egress) | Verdict::Reply(egress) = verdict {
                if let Some(port) = self.counters.port(egress) {
                    port.tx_frames.add(1);
                }
                if let Some(Some(output)) = self.outputs.get_mut(egress.index()) {
                    failed = output.write(time_ns, frame.bytes()).err().or(failed);
                }
            }
            self.arena.give_back(frame);
            settle(verdict, &self.counters);
        }
        for event in self.batch.drain_events() {
            if let Event::Resolve { interface, address } = event
                && self.unresolved.len() < NAMED
            {
                self.unresolved.insert((interface, address));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn finish(mut self) -> Result<Summary, OutputError> {
        let written: Vec<bool> = self.outputs.iter().map(Option::is_some).collect();
        for output in self.outputs.drain(..).flatten() {
            output.finish()?;
        }
        self.numbers.duration_ns = self.clock.elapsed_ns();
        Ok(Summary::new(
            self.snapshot,
            Limits { v4: self.settings.max_connections, v6: self.settings.max_connections_ipv6 },
            (self.counters, Arc::clone(&self.flows.tables().loads)),
            &written,
            self.numbers,
            &self.unresolved,
        ))
    }
}

/// The captures' time, from their earliest frame on. It never goes back.
#[derive(Debug, Default)]
struct Clock {
    origin_ns: Option<u64>,
    latest_ns: u64,
}

impl Clock {
    fn reach(&mut self, time_ns: u64) -> Tick {
        self.origin_ns.get_or_insert(time_ns);
        self.latest_ns = self.latest_ns.max(time_ns);
        Tick(self.elapsed_ns() / MILLISECOND_NS)
    }

    fn elapsed_ns(&self) -> u64 {
        self.latest_ns - self.origin_ns.unwrap_or(self.latest_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_with_the_first_frame_and_never_goes_back() {
        let mut clock = Clock::default();
        let ticks = [5_000_000, 6_999_999, 6_000_000, 1_000_000, 9_000_000].map(|time| clock.reach(time).0);
        assert_eq!(ticks, [0, 1, 1, 1, 4]);
        assert_eq!(clock.elapsed_ns(), 4_000_000);
    }
}
