//! The first so many of a walk, in an order: memory for those alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use super::Sort;
use crate::tables::exact::address_bits;
use crate::tables::{SeenConnection, Snapshot};

/// Where something stands in the order; of equals, the client decides.
type Key = (u128, u16, u128, u16);

#[derive(Debug)]
struct Ranked {
    key: Key,
    seen: SeenConnection,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Ranked {}

/// The best so far.
#[derive(Debug)]
pub(super) struct Best<'a> {
    sort: Sort,
    limit: usize,
    snapshot: &'a Snapshot,
    /// The worst of them on top.
    heap: BinaryHeap<Ranked>,
}

impl<'a> Best<'a> {
    /// None yet, and never more than `limit`.
    pub fn new(sort: Sort, limit: usize, snapshot: &'a Snapshot) -> Self {
        Self { sort, limit, snapshot, heap: BinaryHeap::new() }
    }

    /// Whether more would change nothing.
    pub fn is_full(&self) -> bool {
        self.heap.len() >= self.limit && (self.sort == Sort::Any || self.limit == 0)
    }

    /// Keeps it, if it is one of the best.
    pub fn add(&mut self, seen: SeenConnection) {
        if self.is_full() {
            return;
        }
        let key = self.key(&seen);
        if self.heap.len() < self.limit {
            self.heap.push(Ranked { key, seen });
        } else if let Some(mut worst) = self.heap.peek_mut()
            && key < worst.key
        {
            *worst = Ranked { key, seen };
        }
    }

    /// All of them, the first first.
    pub fn into_sorted(self) -> impl Iterator<Item = SeenConnection> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.seen)
    }

    fn key(&self, seen: &SeenConnection) -> Key {
        let whole = |address: SocketAddr| (address_bits(address.ip()), address.port());
        let backend = || self.snapshot.backend(seen.backend).map(|backend| backend.address);
        let (first, second) = match self.sort {
            Sort::Any | Sort::Client => whole(seen.client),
            Sort::Backend => backend().map_or((u128::MAX, u16::MAX), whole),
            Sort::Service => whole(seen.destination),
            Sort::State => (u128::from(seen.state), 0),
            Sort::Idle => (u128::MAX - u128::from(seen.idle_ms), 0),
            Sort::Recent => (u128::from(seen.idle_ms), 0),
        };
        let (client, port) = whole(seen.client);
        (first, second, client, port)
    }
}
