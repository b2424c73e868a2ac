//! How many connections each client has open.
//!
//! As with [`super::clients`], eight cells of one word make a set, and memory does not grow. A cell is counted up when a
//! connection begins and down when it is over, by whichever worker sees that; one that stands at 0 is free. Where all
//! eight of a set are held by others, a client is not counted, and so not limited: its connections do not say later
//! that they were.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::huge;

/// Tries where others change the same cell. Who was outrun so often is not counted.
const TRIES: usize = 8;
const CELLS: usize = 8;
/// Low bits: the number of connections. Above: bits of the hash.
const COUNT: u64 = (1 << 24) - 1;

#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Set([AtomicU64; CELLS]);

/// The counts.
#[derive(Debug)]
pub struct Holders {
    sets: Box<[Set]>,
}

/// Whether a connection may begin, and whether it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It may, and is to be [released](Holders::release) when it is over.
    Counted,
    /// It may. There was no place to count it.
    Uncounted,
    /// The client has as many as it may.
    Enough,
}

impl Holders {
    /// Room for so many clients that have connections, rounded up to a multiple of eight. Allocates everything.
    pub fn new(clients: u32) -> Self {
        Self { sets: huge::filled((clients as usize).div_ceil(CELLS).max(1), |_| Set::default()) }
    }

    fn set(&self, hash: u64) -> &[AtomicU64; CELLS] {
        &self.sets[((u128::from(hash) * self.sets.len() as u128) >> 64) as usize].0
    }

    /// Counts a connection more of the client of this hash, unless it has `limit` already.
    pub fn acquire(&self, hash: u64, limit: u32) -> Held {
        let set = self.set(hash);
        for _ in 0..TRIES {
            let seen = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
            let mine = set.iter().find(|cell| seen(cell) & !COUNT == tag(hash));
            let Some(cell) = mine.or_else(|| set.iter().find(|cell| seen(cell) & COUNT == 0)) else {
                return Held::Uncounted;
            };
            let was = seen(cell);
            let (is_mine, count) = (was & !COUNT == tag(hash), was & COUNT);
            if is_mine && count >= u64::from(limit).min(COUNT) {
                return Held::Enough;
            }
            if !is_mine && count > 0 {
                continue;
            }
            let after = tag(hash) | (count + 1);
            if cell.compare_exchange(was, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Held::Counted;
            }
        }
        Held::Uncounted
    }

    /// Has the same count for the client of this hash as `other` has, where there is a cell that nobody has.
    pub fn copy(&self, other: &Self, hash: u64) {
        let words = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let found = other.set(hash).iter().map(words).find(|word| word & !COUNT == tag(hash));
        let free = self.set(hash).iter().find(|cell| words(cell) == 0);
        if let (Some(word), Some(free)) = (found, free) {
            free.store(word, Ordering::Relaxed);
        }
    }

    /// Counts one less: a connection that was counted is over.
    pub fn release(&self, hash: u64) {
        for cell in self.set(hash) {
            let less = |was: u64| (was & !COUNT == tag(hash) && was & COUNT > 0).then(|| was - 1);
            if cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                return;
            }
        }
    }

    /// Connections of the client of this hash.
    pub fn held(&self, hash: u64) -> u32 {
        let of_it =
            |cell: &AtomicU64| Some(cell.load(Ordering::Relaxed)).filter(|was| was & !COUNT == tag(hash));
        self.set(hash).iter().filter_map(of_it).map(|was| (was & COUNT) as u32).sum()
    }
}

fn tag(hash: u64) -> u64 {
    (hash << 24).max(1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::hash::mix;

    fn hash(client: u64) -> u64 {
        mix(client, 0x5EED)
    }

    #[test]
    fn a_client_may_have_so_many_and_another_when_one_is_over() {
        let holders = Holders::new(64);
        let tries = |client| (0..5).map(|_| holders.acquire(hash(client), 3)).collect::<Vec<_>>();
        let (counted, enough) = (Held::Counted, Held::Enough);
        assert_eq!(tries(1), [counted, counted, counted, enough, enough]);
        assert_eq!(tries(2), [counted, counted, counted, enough, enough]);
        holders.release(hash(1));
        assert_eq!((holders.acquire(hash(1), 3), holders.acquire(hash(1), 3)), (counted, enough));
        assert_eq!(holders.held(hash(1)), 3);
    }

    #[test]
    fn who_finds_no_place_is_not_limited_and_places_come_back() {
        let holders = Holders::new(8);
        let took: Vec<_> = (0..8).map(|client| holders.acquire(hash(client), 1)).collect();
        assert!(took.iter().all(|held| *held == Held::Counted));
        assert_eq!((0..3).map(|_| holders.acquire(hash(9), 1)).collect::<Vec<_>>(), [Held::Uncounted; 3]);
        (0..8).for_each(|client| holders.release(hash(client)));
        assert_eq!((holders.acquire(hash(9), 1), holders.acquire(hash(9), 1)), (Held::Counted, Held::Enough));
        holders.release(hash(5));
        assert_eq!(holders.held(hash(5)), 0, "never below none");
    }

    #[test]
    fn what_workers_count_at_once_adds_up() {
        let holders = Holders::new(8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if holders.acquire(hash(1), u32::MAX) == Held::Counted {
                            holders.release(hash(1));
                        }
                    }
                });
            }
        });
        assert_eq!(holders.held(hash(1)), 0);
    }
}
