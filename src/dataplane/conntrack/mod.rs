//! Connections: found by either direction, created by whoever sees the first frame, forgotten when idle.
//!
//! | file | holds |
//! |---|---|
//! | [`key`] | one direction of a flow, and its keyed hash |
//! | [`tcp`] | the states and what moves between them |
//! | [`entry`] | one connection, 64 bytes, read without a lock |
//! | [`index`] | from hash to entries |
//! | [`table`] | the two together, shared by all workers |
//! | [`wheel`] | when to look at which again |
//! | [`ports`] | source ports of full NAT |
//! | [`nearby`] | on-link clients that the kernel does not know yet |
//!
//! [`Flows`] is one worker's hold on all of it.

pub mod entry;
pub mod index;
pub mod key;
pub mod nearby;
pub mod ports;
pub mod table;
pub mod tcp;
pub mod wheel;

use std::sync::Arc;

pub use entry::{Connection, Entry, Hit};
pub use key::{FlowKey, Secret};
pub use table::{FlowTable, Refused};
pub use tcp::{Direction, State};

use crate::tables::counters::MAX_SERVICES;
use crate::tables::{Coarse, ServiceId, Tick, Timeouts, WorkerCounters};
use ports::Ports;
use table::CHAIN;
use wheel::Wheel;

/// Entries looked at per turn of the poll loop, at the most: 192 × ~70 ns (a cache miss each) ≈ 13 µs.
pub const EXPIRY_BUDGET: usize = 192;
/// Entries that a full table examines for one that is over, per refused connection.
const RECLAIM_BUDGET: u32 = 32;

/// One worker's hold on the connection table: what it shares with the others, and what is its own.
#[derive(Debug)]
pub struct Flows {
    table: Arc<FlowTable>,
    worker: u16,
    /// Free entries at hand.
    free: Vec<u32>,
    wheel: Wheel,
    ports: Ports,
    /// Where each service's round stands.
    cursors: Box<[u32]>,
    /// Where the search for an entry to reclaim stands.
    hand: u32,
}

impl Flows {
    /// Joins `table` as the next of `workers`.
    pub fn join(table: Arc<FlowTable>, workers: u16, now: Tick) -> Self {
        let worker = table.join();
        let ports = Ports::new(worker, workers, table.secret());
        Self {
            worker,
            free: Vec::with_capacity(table.capacity() as usize),
            wheel: Wheel::new(now.coarse()),
            ports,
            cursors: vec![0; MAX_SERVICES].into_boxed_slice(),
            hand: 0,
            table,
        }
    }

    /// The table.
    #[inline]
    pub fn table(&self) -> &FlowTable {
        &self.table
    }

    /// Where the round of a service stands, to be moved by the scheduler.
    #[inline]
    pub fn cursor(&mut self, service: ServiceId) -> Option<&mut u32> {
        self.cursors.get_mut(service.index())
    }

    /// The allocator of full-NAT source ports, with the table that knows which are taken.
    #[inline]
    pub fn ports(&mut self) -> (&mut Ports, &FlowTable) {
        (&mut self.ports, &self.table)
    }

    /// Creates a connection.
    ///
    /// A full table takes back a connection that is over, if one is near; otherwise it refuses. It never touches one
    /// that is not over.
    pub fn create(
        &mut self,
        connection: &Connection,
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
    ) -> Result<Hit, Refused> {
        let now = now.coarse();
        let (position, armed) = match self.free_entry() {
            Some(position) => (position, false),
            None => (self.reclaim(counters).ok_or(Refused::TableFull)?, true),
        };
        let entered = self.table.enter(position, self.worker, connection, now);
        if !armed {
            match entered {
                Ok(()) => {
                    let delay = connection.state.timeout(timeouts);
                    self.wheel.arm(self.table.as_ref(), position, now, delay);
                }
                Err(_) => self.free.push(position),
            }
        }
        entered?;
        counters.connections_new.add(1);
        if !armed {
            counters.connections_active.add(1);
        }
        if let Some(backend) = counters.backend(connection.backend) {
            backend.connections_new.add(1);
        }
        let entry = self.table.entry(position);
        entry.read(position, connection.request, Direction::Request).ok_or(Refused::Raced)
    }

    /// Ends a connection before its time, whoever owns it (a SYN starts over). Its owner frees the entry.
    pub fn end(&self, hit: &Hit, counters: &WorkerCounters) {
        if self.table.take_out(hit.entry) {
            count_closed(counters, hit.backend);
        }
    }

    /// Looks at connections that are due and forgets those that were idle for too long. Bounded per call.
    /// Returns how many it looked at.
    pub fn expire(
        &mut self,
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
        budget: usize,
    ) -> usize {
        let now = now.coarse();
        for looked in 0..budget {
            let Some(position) = self.wheel.next_due(self.table.as_ref(), now) else { return looked };
            self.visit(position, now, timeouts, counters);
        }
        budget
    }

    fn visit(&mut self, position: u32, now: Coarse, timeouts: &Timeouts, counters: &WorkerCounters) {
        let entry = self.table.entry(position);
        let (state, last_seen, backend) = entry.age();
        if entry.is_live() {
            let timeout = state.timeout(timeouts);
            let idle = now.since(last_seen);
            // A frame handled by another worker may be newer than this worker's clock.
            if idle > u32::MAX / 2 || idle < timeout {
                let rest = timeout.saturating_sub(if idle > u32::MAX / 2 { 0 } else { idle });
                self.wheel.arm(self.table.as_ref(), position, now, rest);
                return;
            }
            if self.table.take_out(position) {
                count_closed(counters, backend);
            }
        }
        if self.table.entry(position).is_free() {
            counters.connections_active.set(counters.connections_active.get().saturating_sub(1));
            self.release(position);
        } else {
            // Another worker is taking it out right now.
            self.wheel.arm(self.table.as_ref(), position, now, 0);
        }
    }

    fn free_entry(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            self.table.take_chain(&mut self.free);
        }
        self.free.pop()
    }

    fn release(&mut self, position: u32) {
        self.free.push(position);
        if self.free.len() >= 3 * CHAIN as usize {
            self.table.give_chain(&mut self.free);
        }
    }

    /// Takes out one of this worker's connections that is over. Its place in the wheel goes to the successor.
    fn reclaim(&mut self, counters: &WorkerCounters) -> Option<u32> {
        for _ in 0..RECLAIM_BUDGET {
            self.hand = (self.hand + 1) % self.table.capacity();
            let entry = self.table.entry(self.hand);
            let (state, _, backend) = entry.age();
            if entry.is_live()
                && entry.owner() == self.worker
                && state.is_over()
                && self.table.take_out(self.hand)
            {
                count_closed(counters, backend);
                counters.connections_reclaimed.add(1);
                return Some(self.hand);
            }
        }
        None
    }
}

fn count_closed(counters: &WorkerCounters, backend: crate::tables::BackendId) {
    counters.connections_closed.add(1);
    if let Some(backend) = counters.backend(backend) {
        backend.connections_closed.add(1);
    }
}

#[cfg(test)]
mod tests;
