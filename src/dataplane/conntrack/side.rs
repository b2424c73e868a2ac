//! One worker's hold on the connections of one family: the entries that it owns, and when to look at them.

use std::sync::Arc;

use super::entry::{Connection, Ended, Hit, Kind, Marks, Moment};
use super::key::FlowKey;
use super::mapping;
use super::table::{CHAIN, FlowTable, NONE, Refused};
use super::tcp::State;
use super::wheel::{HORIZON, Wheel};
use crate::dataplane::family::Pair;
use crate::dataplane::limits::Left;
use crate::tables::{BackendId, Coarse, Counter, Loads, Tick, Timeouts, WorkerCounters};

/// Entries that a full table examines for one that is over, per refused connection.
const RECLAIM_BUDGET: u32 = 32;
/// Free entries from which a worker gives some to the others.
const KEPT: usize = 3 * CHAIN as usize;
/// Entries that are looked at together, so that their cache misses overlap.
const TOGETHER: usize = 16;

/// One worker's hold on the connections of one family.
#[derive(Debug)]
pub struct Side<P: Pair> {
    table: Arc<FlowTable<P>>,
    loads: Arc<Loads>,
    limits: Arc<Left>,
    worker: u16,
    /// Free entries at hand.
    free: Vec<u32>,
    /// The first of a chain of more.
    chain: u32,
    wheel: Wheel,
    /// Where the search for an entry to reclaim stands.
    hand: u32,
    /// When connections were last looked at, and when that was last taken up again after a standstill.
    looked: Coarse,
    resumed: Coarse,
}

impl<P: Pair> Side<P> {
    /// The hold of `worker`, one of so many.
    pub(super) fn new(
        table: Arc<FlowTable<P>>,
        (loads, limits): (Arc<Loads>, Arc<Left>),
        (worker, workers): (u16, u16),
        now: Tick,
    ) -> Self {
        let free = Vec::with_capacity(KEPT + CHAIN as usize);
        let now = now.coarse();
        // Hands that follow each other closely would find nothing: the one in front took it.
        let share = table.capacity() / u32::from(workers.max(1));
        Self {
            table,
            loads,
            limits,
            worker,
            free,
            chain: NONE,
            wheel: Wheel::new(now),
            hand: u32::from(worker) * share,
            looked: now,
            resumed: now,
        }
    }

    /// The table.
    #[inline]
    pub fn table(&self) -> &FlowTable<P> {
        &self.table
    }

    /// Creates a connection, whose request has this hash and whose [`Connection::deltas`] are these: where its entry is. The caller counts
    /// it at its backend, where it counts more.
    ///
    /// A full table takes back a connection that is over, or not confirmed, if one is near; otherwise it refuses. It
    /// never touches any other, but `lost`, whose request key the new one has: that ends as soon as there is an entry for the new
    /// one and its reply key is free. So it is gone without a successor only where a bucket is full, or another worker was faster.
    #[inline(always)]
    pub fn create(
        &mut self,
        (connection, request_hash, deltas): (&Connection<P>, u64, u32),
        lost: Option<&Hit<P>>,
        now: Moment,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
    ) -> Result<u32, Refused> {
        let (position, owner, armed) = match self.free_entry() {
            Some(position) => (position, self.worker, false),
            None => {
                let position = self.reclaim(counters).ok_or(Refused::TableFull)?;
                (position, self.table.entry(position).owner(), true)
            }
        };
        let table = &*self.table;
        let entry = table.entry(position);
        // Counted before anybody can find it, and end it.
        if !connection.state.is_finished(connection.kind) {
            self.loads.opened(self.worker, connection.backend);
        }
        let make_way = || {
            if let Some(lost) = lost {
                self.end(lost, counters);
            }
        };
        let new = (connection, request_hash, deltas);
        match table.enter((position, entry), owner, new, now, make_way) {
            Ok(()) => {
                if !armed {
                    let delay = timeout(connection.kind, connection.state, timeouts);
                    self.wheel.arm_link(&entry.next, position, now.coarse, delay);
                    count_active::<P>(counters);
                }
                count_created(connection, counters);
                Ok(position)
            }
            Err(withdrawn) => {
                match withdrawn.state {
                    Some(state) => {
                        if !armed {
                            self.free.push(position);
                        }
                        let whose = (connection.backend, connection.marks, connection.request);
                        self.count_ended(connection.kind, whose, state);
                    }
                    None => {
                        // One that another worker ended has existed, and is free once that is done with it: the wheel looks.
                        if !armed {
                            let delay = timeout(connection.kind, connection.state, timeouts);
                            self.wheel.arm(self.table.as_ref(), position, now.coarse, delay);
                            count_active::<P>(counters);
                        }
                        count_created(connection, counters);
                        count_at_backend(connection, counters);
                    }
                }
                Err(withdrawn.why)
            }
        }
    }

    /// Ends a connection before its time. False where it had ended already.
    #[inline(never)]
    pub(super) fn end(&self, hit: &Hit<P>, counters: &WorkerCounters) -> bool {
        let Some(ended) = self.table.take_out(hit.entry, hit.held()) else { return false };
        self.count_closed(counters, &ended);
        true
    }

    /// Counts a connection, of which `request` is the key, that this worker has moved from one state to another.
    #[inline]
    pub(super) fn count_moved(&self, hit: &Hit<P>, request: FlowKey<P>, (from, to): (State, State)) {
        if to.is_finished(hit.kind) {
            self.count_ended(hit.kind, (hit.backend, hit.marks, request), from);
        }
    }

    /// Counts that this worker has brought a connection to its end, which was in `state` before.
    fn count_ended(
        &self,
        kind: Kind,
        (backend, marks, request): (BackendId, Marks, FlowKey<P>),
        state: State,
    ) {
        if !state.is_finished(kind) {
            self.loads.closed(self.worker, backend);
            if marks.has(Marks::COUNTED) {
                self.limits.release(request);
            }
        }
    }

    fn count_closed(&self, counters: &WorkerCounters, ended: &Ended<P>) {
        let Ended { state, kind, marks, request, backend, .. } = *ended;
        if kind == Kind::Mapping {
            return;
        }
        self.count_ended(kind, (backend, marks, request), state);
        counters.connections_closed.add(1);
        if let Some(backend) = counters.backend(backend) {
            backend.connections_closed.add(1);
        }
    }

    /// Forgets connections that were idle for too long, looking at `budget` of them at the most. Returns at how many.
    pub(super) fn expire(
        &mut self,
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
        budget: usize,
    ) -> usize {
        let now = now.coarse();
        if now.since(self.looked) > HORIZON {
            self.resumed = now;
        }
        self.looked = now;
        let mut looked = 0;
        while looked < budget {
            let (mut due, mut count) = ([NONE; TOGETHER], 0);
            for place in due.iter_mut().take(budget - looked) {
                let Some(position) = self.wheel.next_due(self.table.as_ref(), now) else { break };
                (*place, count) = (position, count + 1);
            }
            let due = due.get(..count).unwrap_or_default();
            for position in due {
                if self.is_idle(*position, now, timeouts) {
                    self.table.prefetch_keys(*position);
                }
            }
            due.iter().for_each(|position| self.visit(*position, now, timeouts, counters));
            looked += count;
            if count < TOGETHER {
                break;
            }
        }
        looked
    }

    /// Whether a visit most likely ends what the entry holds.
    fn is_idle(&self, position: u32, now: Coarse, timeouts: &Timeouts) -> bool {
        let entry = self.table.entry(position);
        let (held, (last_seen, _)) = (entry.held(), entry.age());
        let idle = now.since(last_seen);
        held.is_live() && idle >= timeout(entry.kind(), held.state(), timeouts) && idle <= u32::MAX / 2
    }

    fn visit(&mut self, position: u32, now: Coarse, timeouts: &Timeouts, counters: &WorkerCounters) {
        let entry = self.table.entry(position);
        let held = entry.held();
        let ((last_seen, _), kind) = (entry.age(), entry.kind());
        if held.is_live() {
            let timeout = timeout(kind, held.state(), timeouts);
            let mut idle = now.since(last_seen);
            if kind == Kind::Mapping && idle < u32::MAX / 2 {
                // Nobody could say that it was still there while nobody looked.
                idle = idle.min(now.since(self.resumed));
            }
            // A frame handled by another worker may be newer than this worker's clock.
            if idle > u32::MAX / 2 || idle < timeout {
                let rest = timeout.saturating_sub(if idle > u32::MAX / 2 { 0 } else { idle });
                if let (Kind::Snat, Some(request), Some(reply)) = (kind, entry.key(false), entry.key(true)) {
                    mapping::keep(&self.table, request, reply, now);
                }
                self.wheel.arm(self.table.as_ref(), position, now, rest);
                return;
            }
            if let Some(ended) = self.table.take_out(position, held) {
                self.count_closed(counters, &ended);
            }
        }
        if self.table.entry(position).is_free() {
            let one_less = |count: &Counter| count.set(count.get().saturating_sub(1));
            one_less(&counters.connections_active);
            if !P::IS_V4 {
                one_less(&counters.connections_active_ipv6);
            }
            self.release(position);
        } else {
            // Another worker is taking it out right now, or has put another connection here.
            self.wheel.arm(self.table.as_ref(), position, now, 0);
        }
    }

    #[inline(always)]
    fn free_entry(&mut self) -> Option<u32> {
        if let Some(position) = self.free.pop() {
            return Some(position);
        }
        if self.chain == NONE {
            self.chain = self.table.take_chain()?;
        }
        let (position, rest) = self.table.split_chain(self.chain)?;
        self.chain = rest;
        Some(position)
    }

    fn release(&mut self, position: u32) {
        self.free.push(position);
        if self.free.len() >= KEPT {
            self.table.give_chain(&mut self.free);
        }
    }

    /// Takes out a connection that is over, or not confirmed, whoever owns it: where many begin and nobody goes on, the
    /// oldest give way, as the hand comes to them in the order in which the table was filled. Its entry is the caller's to
    /// fill; its place in its owner's wheel goes to the successor.
    #[cold]
    fn reclaim(&mut self, counters: &WorkerCounters) -> Option<u32> {
        for _ in 0..RECLAIM_BUDGET {
            self.hand = (self.hand + 1) % self.table.capacity();
            let entry = self.table.entry(self.hand);
            let held = entry.held();
            let may_end = |state: State| state.is_over() || entry.is_unconfirmed(state);
            if held.is_live()
                && may_end(held.state())
                && let Some(ended) = self.table.vacate(self.hand, held, may_end)
            {
                self.count_closed(counters, &ended);
                match ended.state.is_over() {
                    true => counters.connections_reclaimed.add(1),
                    false => counters.connections_displaced.add(1),
                }
                return Some(self.hand);
            }
        }
        None
    }
}

/// Counts an entry more in use.
#[inline(always)]
fn count_active<P: Pair>(counters: &WorkerCounters) {
    counters.connections_active.add(1);
    if !P::IS_V4 {
        counters.connections_active_ipv6.add(1);
    }
}

#[inline]
fn count_created<P>(connection: &Connection<P>, counters: &WorkerCounters) {
    if connection.kind != Kind::Mapping {
        counters.connections_new.add(1);
    }
}

/// Counts a connection that was created at its backend.
#[inline]
pub(super) fn count_at_backend<P>(connection: &Connection<P>, counters: &WorkerCounters) {
    if let Some(backend) = counters.backend(connection.backend) {
        backend.connections_new.add(1);
    }
}

/// How long what an entry holds may stay idle.
#[inline]
pub(super) fn timeout(kind: Kind, state: State, timeouts: &Timeouts) -> u32 {
    if kind == Kind::Mapping { mapping::LINGERS } else { state.timeout(timeouts) }
}
