//! Connections: found by either direction, created by whoever sees the first frame, forgotten when idle.
//!
//! | file | holds |
//! |---|---|
//! | [`key`] | one direction of a flow, and its keyed hash |
//! | [`mapping`] | what outbound NAT remembers besides connections |
//! | [`tcp`] | the states and what moves between them |
//! | [`entry`] | one connection, 64 bytes, read without a lock |
//! | [`glance`] | what is read of it for a frame |
//! | [`belief`] | which segments may move it |
//! | [`index`] | from hash to entries |
//! | [`table`] | the two together, shared by all workers |
//! | [`splice`] | what lies between the ends of a connection that a SYN cookie opened |
//! | [`side`] | one worker's hold on the connections of one family |
//! | [`sync`] | the atomics that all of this shares, which models replace |
//! | [`wheel`] | when to look at which again |
//! | [`walk`] | looking through all of it, for those who only look |
//! | [`ports`] | source ports of full NAT and outbound NAT |
//! | [`nearby`] | on-link clients that the kernel does not know yet |
//! | [`path`] | what the paths to tunnel backends carry |
//! | [`affinity`] | which client had which server |
//! | [`limiter`] | how much ICMP a worker originates |
//!
//! [`Flows`] is one worker's hold on all of it.

pub mod affinity;
pub mod belief;
pub mod entry;
pub mod glance;
pub mod index;
pub mod key;
pub mod limiter;
pub mod mapping;
pub mod nearby;
pub mod path;
pub mod ports;
mod route;
pub mod side;
pub mod splice;
pub mod sync;
pub mod table;
pub mod tcp;
pub mod walk;
pub mod wheel;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use entry::{Connection, Entry, Hit, Kind, Marks, Seen, Segment};
pub use glance::Glance;
pub use index::Reference;
pub use key::{FlowKey, Secret};
pub use side::Side;
pub use table::{FlowTable, Refused};
pub use tcp::{Direction, State};

use super::cookies::cookie::{Baker, VALID_MS};
use super::cookies::pressure::{Meter, PERIOD_MS};
use super::family::{Pair, V4, V6};
use super::fragments::Datagrams;
use super::limits::{ClientPrefixes, Left};
use super::sweep::Sweep;
use crate::tables::counters::MAX_SERVICES;
use crate::tables::{Coarse, Loads, ServiceId, Snapshot, Tick, Timeouts, WorkerCounters};
use affinity::Affinities;
use entry::Moment;
use limiter::Limiter;
use nearby::Nearby;
use path::PathMtus;
use ports::Ports;
use splice::{Promise, Spliced, Stage};

/// Entries looked at per turn of the poll loop, at the most: 192 × ~70 ns (a cache miss each) ≈ 13 µs.
pub const EXPIRY_BUDGET: usize = 192;

/// Backend rows that are followed where nobody says how many there are: in tests.
const FEW_BACKENDS: usize = 1 << 10;
/// Likewise clients that return to the server that they had.
const FEW_AFFINITIES: u32 = 1 << 10;
/// Likewise clients whose rates are limited.
const FEW_CLIENTS: u32 = 1 << 10;

/// Everything that all workers share: the connections of both families, and who was seen nearby.
#[derive(Debug)]
pub struct FlowTables {
    /// IPv4 connections.
    pub v4: Arc<FlowTable<V4>>,
    /// IPv6 connections.
    pub v6: Arc<FlowTable<V6>>,
    /// On-link clients that were seen just now.
    pub nearby: Nearby,
    /// What the paths to tunnel backends carry.
    pub paths: PathMtus,
    /// Datagrams of which fragments were seen.
    pub fragments: Datagrams,
    /// What is known of the backends.
    pub loads: Arc<Loads>,
    /// Which client had which server.
    pub affinities: Affinities,
    /// What is left of everything that is limited.
    pub limits: Arc<Left>,
    /// Makes SYN cookies and knows them again.
    pub baker: Baker,
    /// By service, when a SYN cookie was last made for it: [`Coarse`] + 1; 0 is never.
    baked: Box<[AtomicU32]>,
    /// By worker: where each service's round stands there.
    cursors: Box<[Cursors]>,
    secret: Secret,
    workers: AtomicU32,
}

/// Where each service's round stands at one worker, which alone moves it.
type Cursors = Arc<[AtomicU32]>;

fn cursors() -> Cursors {
    (0..MAX_SERVICES).map(|_| AtomicU32::new(0)).collect()
}

impl FlowTables {
    /// Tables for so many connections of each family (rounded up to a multiple of 64), so many datagrams in fragments and
    /// so many `workers`. Allocates everything.
    pub fn new(max_v4: u32, max_v6: u32, max_fragmented: u32, workers: u16, secret: Secret) -> Self {
        Self {
            v4: Arc::new(FlowTable::new(max_v4, workers, secret)),
            v6: Arc::new(FlowTable::new(max_v6, workers, secret)),
            nearby: Nearby::default(),
            paths: PathMtus::default(),
            fragments: Datagrams::new(max_fragmented),
            loads: Arc::new(Loads::new(workers, FEW_BACKENDS)),
            affinities: Affinities::new(FEW_AFFINITIES),
            limits: Arc::new(Left::new(FEW_CLIENTS, ClientPrefixes::default(), secret)),
            baker: Baker::new(&secret),
            baked: (0..MAX_SERVICES).map(|_| AtomicU32::new(0)).collect(),
            cursors: (0..workers.max(1)).map(|_| cursors()).collect(),
            secret,
            workers: AtomicU32::new(0),
        }
    }

    /// With these loads, which the control plane reads as well.
    #[must_use]
    pub fn with_loads(self, loads: Arc<Loads>) -> Self {
        Self { loads, ..self }
    }

    /// With room for so many clients that return to the server that they had.
    #[must_use]
    pub fn with_affinities(self, clients: u32) -> Self {
        Self { affinities: Affinities::new(clients), ..self }
    }

    /// With room for so many clients whose rates and connections are limited, told apart by these prefixes.
    #[must_use]
    pub fn with_clients(self, clients: u32, prefixes: ClientPrefixes) -> Self {
        Self { limits: Arc::new(Left::new(clients, prefixes, self.secret)), ..self }
    }

    /// With this much left of what is limited.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Left>) -> Self {
        Self { limits, ..self }
    }

    /// The secret under which flows are hashed.
    #[inline]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Notes that a SYN cookie was made for a service.
    pub fn note_baked(&self, service: ServiceId, now: Coarse) {
        if let Some(cell) = self.baked.get(service.index())
            && cell.load(Ordering::Relaxed) != now.0.wrapping_add(1)
        {
            cell.store(now.0.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Whether one was made within the last period of its meters.
    pub(super) fn was_pressed(&self, service: ServiceId, now: Tick) -> bool {
        self.baked_within(service, now.coarse(), PERIOD_MS)
    }

    /// What is known between the ends of the connection of `hit`, which a SYN cookie opened.
    #[inline]
    pub(super) fn stage<P: Pair>(&self, hit: &Hit<P>) -> Option<Stage> {
        if hit.kind != Kind::Spliced {
            return None;
        }
        splice::stage(P::table(self).splice(hit.entry), hit.generation())
    }

    /// Whether a SYN cookie that was made for a service may still come back.
    pub fn may_come_back(&self, service: ServiceId, now: Coarse) -> bool {
        self.baked_within(service, now, VALID_MS)
    }

    fn baked_within(&self, service: ServiceId, now: Coarse, milliseconds: u64) -> bool {
        let baked = self.baked.get(service.index()).map_or(0, |cell| cell.load(Ordering::Relaxed));
        // Another worker's clock may be a little ahead.
        baked != 0 && now.0.wrapping_sub(baked).wrapping_add(2) <= (milliseconds >> Coarse::SHIFT) as u32 + 2
    }

    /// Workers that have a place here.
    pub fn workers(&self) -> usize {
        self.cursors.len()
    }

    /// Where the round of a service stands at a worker.
    pub fn cursor(&self, worker: usize, service: ServiceId) -> u32 {
        let cursor = self.cursors.get(worker).and_then(|cursors| cursors.get(service.index()));
        cursor.map_or(0, |cursor| cursor.load(Ordering::Relaxed))
    }

    /// References in both indexes, for tests.
    pub fn references(&self) -> usize {
        self.v4.references() + self.v6.references()
    }
}

/// A worker's own reference to what all share. It is counted for every batch who holds it, on a cache line that no other
/// worker writes to.
#[derive(Debug)]
#[repr(align(128))]
pub struct Hold(Arc<FlowTables>);

impl Deref for Hold {
    type Target = FlowTables;

    #[inline(always)]
    fn deref(&self) -> &FlowTables {
        &self.0
    }
}

/// One worker's hold on the connections: what it shares with the others, and what is its own.
#[derive(Debug)]
pub struct Flows {
    tables: Arc<Hold>,
    /// IPv4 connections.
    pub v4: Side<V4>,
    /// IPv6 connections.
    pub v6: Side<V6>,
    /// The allocator of source ports.
    ports: Ports,
    /// Where each service's round stands.
    cursors: Cursors,
    /// The number of this worker, and of how many.
    pub worker: u16,
    pub(super) workers: u16,
    /// Microseconds of an arbitrary clock, wrapping, that the driver sets before each batch: how long backends take to
    /// answer is shorter than a [`Tick`].
    pub clock_us: u32,
    /// What the worker may still say of its own accord.
    pub limiter: Limiter,
    /// By service, the handshakes that did not complete.
    meters: Box<[Meter]>,
    /// Where the search for clients that must be told stands.
    pub(super) sweep: Sweep,
    /// The last IP identification given out, and from one to the next: each worker has its own.
    id: u16,
    id_step: u16,
}

impl Flows {
    /// Joins `tables` as the next of `workers`.
    pub fn join(tables: Arc<FlowTables>, workers: u16, now: Tick) -> Self {
        let worker = tables.workers.fetch_add(1, Ordering::Relaxed) as u16;
        let shared = || (Arc::clone(&tables.loads), Arc::clone(&tables.limits));
        Self {
            v4: Side::new(Arc::clone(&tables.v4), shared(), (worker, workers), now),
            v6: Side::new(Arc::clone(&tables.v6), shared(), (worker, workers), now),
            ports: Ports::new(worker, workers, tables.secret()),
            cursors: tables.cursors.get(usize::from(worker)).cloned().unwrap_or_else(cursors),
            limiter: Limiter::default(),
            worker,
            workers: workers.max(1),
            sweep: Sweep::default(),
            meters: vec![Meter::default(); MAX_SERVICES].into(),
            clock_us: 0,
            id: worker,
            id_step: workers.max(1).next_power_of_two(),
            tables: Arc::new(Hold(tables)),
        }
    }

    /// The same, to be held on to while this is changed.
    #[inline]
    pub fn shared(&self) -> Arc<Hold> {
        Arc::clone(&self.tables)
    }

    /// What all workers share.
    #[inline]
    pub fn tables(&self) -> &FlowTables {
        &self.tables
    }

    /// The allocator of source ports, with what it needs to know which are taken.
    #[inline]
    pub fn allocator<P: Pair>(&mut self) -> (&mut Ports, &Secret, &FlowTable<P>) {
        let table = P::table(&self.tables);
        (&mut self.ports, &self.tables.secret, table)
    }

    /// An identification for an IP packet that may be fragmented: as long as possible no worker uses it again (RFC 6864).
    #[inline]
    pub fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(self.id_step);
        self.id
    }

    /// The connection of a frame.
    #[inline]
    pub fn find<P: Pair>(&self, key: FlowKey<P>, hash: u64) -> Option<Hit<P>> {
        P::side(self).table().find(key, hash)
    }

    /// The connection of a flow whose hash was not computed yet.
    pub fn look_up<P: Pair>(&self, key: FlowKey<P>) -> Option<Hit<P>> {
        self.find(key, self.tables.secret.hash(key))
    }

    /// The entry at a position that the table itself gave out.
    #[inline]
    pub fn entry<P: Pair>(&self, position: u32) -> &Entry<P> {
        P::side(self).table().entry(position)
    }

    /// What a scheduler needs: where the round of a service stands, which only this worker may move, and what is known of the
    /// backends.
    #[inline]
    pub fn scheduling(&self, service: ServiceId) -> Option<(&AtomicU32, &Loads)> {
        Some((self.cursors.get(service.index())?, &self.tables.loads))
    }

    /// The handshakes with a service that did not complete.
    pub(super) fn meter(&mut self, service: ServiceId) -> Option<&mut Meter> {
        self.meters.get_mut(service.index())
    }

    /// This worker's share of what all may have, 1 at the least.
    pub(super) fn share_of(&self, all: u32) -> u32 {
        (all / u32::from(self.workers)).max(1)
    }

    /// What is known between the ends of the connection of `hit`, which a SYN cookie opened.
    #[inline]
    pub(super) fn stage<P: Pair>(&self, hit: &Hit<P>) -> Option<Stage> {
        self.tables.stage(hit)
    }

    /// Notes that of a copy.
    pub(super) fn restage<P: Pair>(&self, hit: &Hit<P>, stage: &Stage) {
        match stage {
            Stage::Opening(promise) => self.promise(hit, *promise),
            Stage::Open(spliced) => self.splice(hit, spliced),
        }
    }

    /// Notes what the client of such a connection was promised.
    pub(super) fn promise<P: Pair>(&self, hit: &Hit<P>, promise: Promise) {
        splice::promise(P::side(self).table().splice(hit.entry), hit.generation(), promise);
    }

    /// Notes that its backend has answered.
    pub(super) fn splice<P: Pair>(&self, hit: &Hit<P>, spliced: &Spliced) {
        splice::open(P::side(self).table().splice(hit.entry), hit.generation(), spliced);
    }

    /// Creates a connection: see [`Side::create`].
    pub fn create<P: Pair>(
        &mut self,
        connection: &Connection<P>,
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
    ) -> Result<Hit<P>, Refused> {
        let hash = self.tables.secret.hash(connection.request);
        self.replace((connection, hash), None, now, timeouts, counters)
    }

    /// Creates a connection, whose request has this hash, in place of one that it has lost, if any: see [`Side::create`].
    pub fn replace<P: Pair>(
        &mut self,
        (connection, request_hash): (&Connection<P>, u64),
        lost: Option<&Hit<P>>,
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
    ) -> Result<Hit<P>, Refused> {
        let now = self.moment(now);
        let side = P::side_mut(self);
        let new = (connection, request_hash, connection.deltas());
        let position = side.create(new, lost, now, timeouts, counters)?;
        side::count_at_backend(connection, counters);
        let entry = side.table().entry(position);
        entry.read(position, connection.request, Direction::Request).ok_or(Refused::Raced)
    }

    /// Creates a connection, whose request has this hash and whose [`Connection::deltas`] are these, and reads nothing of it: see
    /// [`Side::create`].
    #[inline(always)]
    pub fn open<P: Pair>(
        &mut self,
        new: (&Connection<P>, u64, u32),
        now: Tick,
        timeouts: &Timeouts,
        counters: &WorkerCounters,
    ) -> Result<u32, Refused> {
        let now = self.moment(now);
        P::side_mut(self).create(new, None, now, timeouts, counters)
    }

    #[inline]
    fn moment(&self, now: Tick) -> Moment {
        Moment { coarse: now.coarse(), clock_us: self.clock_us }
    }

    /// Whether there may be clients who must be told that their connection is over.
    pub fn has_to_tell(&self, tables: &Snapshot) -> bool {
        self.sweep.is_due(tables)
    }

    /// Moves the connection of `hit` as [`Entry::transition`] does, and counts that.
    #[inline]
    pub fn transition<P: Pair>(
        &self,
        hit: &Hit<P>,
        next: impl Fn(State) -> State,
        segment: Segment,
    ) -> Option<(State, State)> {
        let entry = self.entry::<P>(hit.entry);
        // Read before, as afterwards the connection may be gone.
        let request = hit.marks.has(Marks::COUNTED).then(|| entry.key(false)).flatten();
        let states = entry.transition(hit, next, segment)?;
        P::side(self).count_moved(hit, request.unwrap_or_default(), states);
        Some(states)
    }

    /// Ends a connection before its time, whoever owns it (a SYN starts over). Its owner frees the entry.
    pub fn end<P: Pair>(&self, hit: &Hit<P>, counters: &WorkerCounters) {
        P::side(self).end(hit, counters);
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
        // A quarter is kept for IPv6, so that many short IPv4 connections do not keep it waiting.
        let mut looked = self.v4.expire(now, timeouts, counters, budget - budget / 4);
        looked += self.v6.expire(now, timeouts, counters, budget - looked);
        looked + self.v4.expire(now, timeouts, counters, budget - looked)
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
