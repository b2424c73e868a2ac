//! The connection table that all workers share.
//!
//! After NAT a reply hashes to any RX queue, so any worker may see either direction. Every worker therefore reads
//! every entry, without a lock. An entry belongs to one worker, its *owner*, which alone arms its timer and frees it; any
//! worker may mark it as seen, move its state, take it out of service or, where the table is full, put another connection in
//! the place of one that is not confirmed. See docs/design/0003 and 0031.

use crate::dataplane::family::{Pair, V4};
use crate::sys::{huge, prefetch};
use crate::tables::BackendId;

use super::entry::{Connection, Ended, Entry, Held, Hit, Moment};
use super::index::{Index, Reference};
use super::key::{FlowKey, Secret};
use super::splice;
use super::sync::{AtomicU32, Chains, Ordering, fence};
use super::tcp::{Direction, State};
use super::wheel::Links;

/// Free entries change hands between workers in chains of this many.
pub(super) const CHAIN: u32 = if cfg!(all(test, feature = "models")) { 2 } else { 64 };
pub(super) const NONE: u32 = u32::MAX;

/// Why a connection could not be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All entries are in use.
    TableFull,
    /// Both buckets of a key are full.
    BucketFull,
    /// Another live connection has the same reply key.
    Conflict,
    /// Another worker entered the same connection at the same moment: look it up.
    Raced,
}

/// A connection that could not be entered.
#[derive(Debug)]
pub(super) struct Withdrawn {
    pub why: Refused,
    /// The state in which it was taken back. None where another worker had found and ended it meanwhile.
    pub state: Option<State>,
}

/// The connections of one family, shared by all workers.
#[derive(Debug)]
pub struct FlowTable<P: Pair = V4> {
    entries: Box<[Entry<P>]>,
    index: Index,
    secret: Secret,
    /// By entry, what a SYN cookie left between the ends of its connection.
    splices: Box<[splice::Cell]>,
    /// Heads of chains of free entries.
    chains: Chains,
    shared: bool,
}

impl<P: Pair> Links for FlowTable<P> {
    #[inline]
    fn link(&self, position: u32) -> &AtomicU32 {
        &self.entries[position as usize].next
    }

    #[inline]
    fn prefetch(&self, position: u32) {
        self.entries.get(position as usize).into_iter().for_each(prefetch::read);
    }
}

impl<P: Pair> FlowTable<P> {
    /// A table for `max_connections` (rounded up to a multiple of 64) and so many `workers`. Allocates everything.
    pub fn new(max_connections: u32, workers: u16, secret: Secret) -> Self {
        let chains = max_connections.div_ceil(CHAIN).max(u32::from(workers));
        let entries = huge::filled((chains * CHAIN) as usize, |_| Entry::<P>::default());
        let queue = Chains::new(chains as usize);
        for chain in 0..chains {
            for position in chain * CHAIN..(chain + 1) * CHAIN {
                let last = (position + 1) % CHAIN == 0;
                entries[position as usize]
                    .next
                    .store(if last { NONE } else { position + 1 }, Ordering::Relaxed);
            }
            // The queue was made to hold every chain.
            let _ = queue.push(chain * CHAIN);
        }
        Self {
            index: Index::new(chains * CHAIN, P::INDEX_BYTES),
            splices: huge::zeroed(entries.len()),
            entries,
            secret,
            chains: queue,
            shared: workers > 1,
        }
    }

    /// Number of entries.
    pub fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The secret under which flows are hashed.
    #[inline]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The entry at a position that the table itself gave out.
    #[inline]
    pub fn entry(&self, position: u32) -> &Entry<P> {
        &self.entries[position as usize]
    }

    /// What a SYN cookie left beside the entry at a position that the table itself gave out.
    pub(super) fn splice(&self, position: u32) -> &splice::Cell {
        &self.splices[position as usize]
    }

    /// Asks for the bucket of a hash, and says which it is.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: u64) -> u32 {
        self.index.prefetch(hash)
    }

    /// Asks for the entry that a hash most likely leads to, whose bucket has this number, and says which it is. Where the first bucket does not know it, the
    /// second is asked for. If it is likely to, `missed` says so: then it is to be looked at by [`FlowTable::prefetch_second`].
    #[inline(always)]
    pub fn prefetch_entry(&self, bucket_and_hash: (u32, u64), missed: &mut bool) -> Reference {
        let Some(reference) = self.index.candidate(bucket_and_hash, missed) else { return Reference::NONE };
        self.referred(reference).into_iter().for_each(prefetch::read);
        reference
    }

    /// The same by the second bucket.
    #[inline]
    pub fn prefetch_second(&self, hash: u64) -> Reference {
        let reference = self.index.second_candidate(hash);
        self.referred(reference).into_iter().for_each(prefetch::read);
        reference
    }

    /// Asks for all that [`FlowTable::take_out`] touches besides the entry.
    pub(super) fn prefetch_keys(&self, position: u32) {
        let entry = self.entry(position);
        for key in [entry.key(false), entry.key(true)].into_iter().flatten() {
            let hash = self.secret.hash(key);
            self.index.prefetch(hash);
            self.index.prefetch_second(hash);
        }
    }

    /// All entries.
    #[inline]
    pub fn entries(&self) -> &[Entry<P>] {
        &self.entries
    }

    /// The entry that a reference names, should there be one.
    #[inline(always)]
    pub fn referred(&self, reference: Reference) -> Option<&Entry<P>> {
        self.entries.get(reference.position() as usize)
    }

    /// The connection of a frame.
    #[inline]
    pub fn find(&self, key: FlowKey<P>, hash: u64) -> Option<Hit<P>> {
        self.index.find(hash, |reference| {
            let direction = if reference.is_reply() { Direction::Reply } else { Direction::Request };
            self.entries.get(reference.position() as usize)?.read(reference.position(), key, direction)
        })
    }

    /// Whether some frame with this key has a connection.
    #[inline(always)]
    pub fn has(&self, key: FlowKey<P>, hash: u64) -> bool {
        !self.index.is_free(hash) && self.has_one(key.addresses, key.ports, key.protocol, hash)
    }

    /// In parts, so that keys need not lie in memory for the sake of this call.
    #[cold]
    fn has_one(&self, addresses: P, ports: u32, protocol: u8, hash: u64) -> bool {
        let key = FlowKey { addresses, ports, protocol };
        let is_it = |reference: Reference| {
            let direction = if reference.is_reply() { Direction::Reply } else { Direction::Request };
            self.referred(reference)?.glance(key, direction).map(|_| ())
        };
        self.index.find(hash, is_it).is_some()
    }

    /// Enters `connection`, whose request has this hash, at `position`, where `entry` is, which is free or was [vacated](FlowTable::vacate)
    /// by the caller. On refusal the position is free again, unless another worker is just ending what was entered (no `state`): then
    /// it is soon. `make_way` is called once nothing but the index can refuse it. `deltas` are [`Connection::deltas`].
    #[inline(always)]
    pub(super) fn enter(
        &self,
        (position, entry): (u32, &Entry<P>),
        owner: u16,
        (connection, request_hash, deltas): (&Connection<P>, u64, u32),
        now: Moment,
        make_way: impl FnOnce(),
    ) -> Result<(), Withdrawn> {
        let one_way = connection.kind.one_way();
        let reply_hash = if one_way { 0 } else { self.secret.hash(connection.reply) };
        if !one_way && self.has(connection.reply, reply_hash) {
            entry.bury();
            return Err(Withdrawn { why: Refused::Conflict, state: Some(connection.state) });
        }
        make_way();
        let held = entry.fill(owner, connection, deltas, now);
        let request = Reference::new(position, 0);
        if !self.insert(request_hash, request) {
            return Err(self.withdraw(position, held, None));
        }
        if !one_way && !self.insert(reply_hash, Reference::new(position, 1)) {
            return Err(self.withdraw(position, held, Some(request_hash)));
        }
        if self.shared {
            let Connection { request, reply, .. } = *connection;
            self.settle_race((position, held), [(request, request_hash), (reply, reply_hash)], one_way)?;
        }
        Ok(())
    }

    /// Takes back an entry for which the index has no room. It may have its request key already, of this hash.
    #[cold]
    fn withdraw(&self, position: u32, held: Held, request_hash: Option<u64>) -> Withdrawn {
        let entry = self.entry(position);
        let state = entry.kill(held, |_| true).map(|ended| ended.state);
        if let Some(hash) = request_hash {
            self.index.remove(hash, Reference::new(position, 0));
        }
        if state.is_some() {
            // Else who ended it does, and must not do so to a successor.
            entry.bury();
        }
        Withdrawn { why: Refused::BucketFull, state }
    }

    /// Looks whether another worker was as fast, with the request or the reply.
    #[inline(never)]
    fn settle_race(
        &self,
        (position, held): (u32, Held),
        keys: [(FlowKey<P>, u64); 2],
        one_way: bool,
    ) -> Result<(), Withdrawn> {
        let gives_way = self.lost_race(position, keys, one_way);
        if gives_way && let Some(ended) = self.take_out(position, held) {
            return Err(Withdrawn { why: Refused::Raced, state: Some(ended.state) });
        }
        if !self.entry(position).holds(held) {
            // Another worker found it by its first key and ended it before it had its second. That was counted as the end of a
            // connection that existed; what remains is to leave no key behind.
            let [(_, request_hash), (_, reply_hash)] = keys;
            self.index.remove(request_hash, Reference::new(position, 0));
            self.index.remove(reply_hash, Reference::new(position, 1));
        }
        Ok(())
    }

    #[inline(always)]
    fn insert(&self, hash: u64, reference: Reference) -> bool {
        self.index.insert(hash, reference, |other| self.hash_of(other))
    }

    /// The hash of what is referred to, while it lives.
    fn hash_of(&self, reference: Reference) -> Option<u64> {
        let key = self.referred(reference)?.key(reference.is_reply())?;
        Some(self.secret.hash(key))
    }

    /// Whether another worker entered one of the keys at the same time.
    ///
    /// Both publish, then both look, so at least one sees the other, and whoever sees another gives way. Where both do,
    /// the client's retransmission finds the keys free: rare, and better than two connections with one reply key.
    fn lost_race(&self, position: u32, [request, reply]: [(FlowKey<P>, u64); 2], one_way: bool) -> bool {
        fence(Ordering::SeqCst);
        let rival = |(key, hash), direction| {
            let is_one = |reference: Reference| {
                let other = reference.position();
                let entry = self.entries.get(other as usize).filter(|_| other != position)?;
                entry.read(other, key, direction).map(|_| ())
            };
            self.index.find(hash, is_one).is_some()
        };
        rival(request, Direction::Request) || (!one_way && rival(reply, Direction::Reply))
    }

    /// Takes the connection `held` out of service. For the one caller that did, what it was. The owner's wheel frees the entry.
    pub(super) fn take_out(&self, position: u32, held: Held) -> Option<Ended<P>> {
        let ended = self.vacate(position, held, |_| true)?;
        self.entry(position).bury();
        Some(ended)
    }

    /// The same while its state is one that `may_end`, and the entry is not freed: the caller enters another connection there.
    pub(super) fn vacate(
        &self,
        position: u32,
        held: Held,
        may_end: impl Fn(State) -> bool,
    ) -> Option<Ended<P>> {
        let ended = self.entry(position).kill(held, may_end)?;
        self.index.remove(self.secret.hash(ended.request), Reference::new(position, 0));
        if !ended.kind.one_way() {
            self.index.remove(self.secret.hash(ended.reply), Reference::new(position, 1));
        }
        Some(ended)
    }

    /// The first of a chain of free entries, which belongs to the caller from now on, if there is one.
    pub(super) fn take_chain(&self) -> Option<u32> {
        self.chains.pop()
    }

    /// The first entry of a chain and the rest, which is asked for: it is written next.
    #[inline(always)]
    pub(super) fn split_chain(&self, head: u32) -> Option<(u32, u32)> {
        if head == NONE {
            return None;
        }
        let rest = self.entry(head).next.load(Ordering::Relaxed);
        self.prefetch(rest);
        Some((head, rest))
    }

    /// Gives one chain back from the end of `free`.
    pub(super) fn give_chain(&self, free: &mut Vec<u32>) {
        let mut head = NONE;
        for _ in 0..CHAIN {
            let Some(position) = free.pop() else { break };
            self.entry(position).next.store(head, Ordering::Relaxed);
            head = position;
        }
        if head != NONE && self.chains.push(head).is_err() {
            // Cannot be: there are never more whole chains than were made. Kept rather than lost, all the same.
            self.recover(head, free);
        }
    }

    fn recover(&self, mut head: u32, free: &mut Vec<u32>) {
        while let Some((position, rest)) = self.split_chain(head) {
            free.push(position);
            head = rest;
        }
    }

    /// Whether all entries are in use or kept by workers, which have up to 256 free ones each.
    pub fn is_scarce(&self) -> bool {
        self.chains.is_empty()
    }

    /// References in the index, for tests.
    pub fn references(&self) -> usize {
        self.index.len()
    }

    /// Connections that are counted at their clients and not finished, one by one, for tests.
    pub fn counted(&self) -> usize {
        let is_counted = |entry: &&Entry<P>| {
            let held = entry.held();
            held.is_live() && entry.is_counted() && !held.state().is_finished(entry.kind())
        };
        self.entries.iter().filter(is_counted).count()
    }

    /// Connections of a backend that are not finished, one by one, for tests.
    pub fn unfinished(&self, backend: BackendId) -> usize {
        let of_backend = |entry: &&Entry<P>| {
            let (held, (_, whose)) = (entry.held(), entry.age());
            held.is_live() && whose == backend && !held.state().is_finished(entry.kind())
        };
        self.entries.iter().filter(of_backend).count()
    }
}
