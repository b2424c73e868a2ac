//! Token buckets of clients: as many as come, in memory that does not grow.
//!
//! A set of eight cells of one word is one cache line. A cell says whose it is, by some bits of the hash, and when its bucket
//! is full again. A bucket that is full says nothing, so its cell may go to another client without loss; where a set
//! has none, the one goes that is nearest to it, and its client is forgiven what is left. So many clients at once that this
//! happens are a flood, of which each source by itself sends little.
//!
//! | bits | hold |
//! |---|---|
//! | 44..64 | tag: bits of the hash, never 0. Two clients of a set that have the same, once in a million, share a bucket |
//! | 0..44 | when it is full, in sixteenths of a microsecond, modulo 12.7 days |

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::huge;
use crate::tables::Tick;
use crate::tables::limits::{LONGEST_BURST_MS, Rate};

/// Tries where others change the same cell. Who was outrun so often is let through.
const TRIES: usize = 4;
const CELLS: usize = 8;
const TAG: u32 = 44;
const TIMES: u64 = 1 << TAG;
/// Sixteenths of a microsecond: a bucket of a million per second moves on by sixteen.
const SECOND: u64 = 16_000_000;
/// Whose bucket is full later than that: nobody's. It is a time of 12.7 days ago.
const FARTHEST: u64 = SECOND * 2 * (LONGEST_BURST_MS as u64 / 1000 + 1);

#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Set([AtomicU64; CELLS]);

/// The buckets.
#[derive(Debug)]
pub struct Clients {
    sets: Box<[Set]>,
}

/// One cell, as it was read.
#[derive(Clone, Copy)]
struct Cell(u64);

impl Cell {
    fn new(hash: u64, full_at: u64) -> Self {
        Self(tag(hash) << TAG | (full_at % TIMES))
    }

    /// For how long the bucket is not full.
    fn ahead(self, now: u64) -> u64 {
        let ahead = self.0.wrapping_sub(now) % TIMES;
        if self.0 == 0 || ahead > FARTHEST { 0 } else { ahead }
    }
}

fn tag(hash: u64) -> u64 {
    (hash % (1 << 20)).max(1)
}

impl Clients {
    /// Room for so many buckets that are not full, rounded up to a multiple of eight. Allocates everything.
    pub fn new(clients: u32) -> Self {
        Self { sets: huge::filled((clients as usize).div_ceil(CELLS).max(1), |_| Set::default()) }
    }

    fn set(&self, hash: u64) -> &[AtomicU64; CELLS] {
        &self.sets[((u128::from(hash) * self.sets.len() as u128) >> 64) as usize].0
    }

    /// Has the same left for the client of this hash as `other` has, where there is a cell that nobody has.
    pub fn copy(&self, other: &Self, hash: u64) {
        let words = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let found = other.set(hash).iter().map(words).find(|word| word >> TAG == tag(hash));
        let free = self.set(hash).iter().find(|cell| words(cell) == 0);
        if let (Some(word), Some(free)) = (found, free) {
            free.store(word, Ordering::Relaxed);
        }
    }

    /// Takes one from the bucket of the client of this hash. False where there is none left.
    #[inline]
    pub fn take(&self, hash: u64, rate: &Rate, now: Tick) -> bool {
        let now = now.0.wrapping_mul(SECOND / 1000);
        let cost = rate.time(1, SECOND);
        let room = rate.burst(SECOND).max(cost);
        let set = self.set(hash);
        for _ in 0..TRIES {
            let (cell, seen) = place(set, tag(hash), now);
            let ahead = if seen.0 >> TAG == tag(hash) { seen.ahead(now) } else { 0 };
            if ahead + cost > room {
                return false;
            }
            let after = Cell::new(hash, now.wrapping_add(ahead + cost));
            if cell.compare_exchange(seen.0, after.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        true
    }
}

/// The cell of a client, or else that which is given up for it.
#[inline]
fn place(set: &[AtomicU64; CELLS], tag: u64, now: u64) -> (&AtomicU64, Cell) {
    let mut given_up = (&set[0], Cell(set[0].load(Ordering::Relaxed)));
    for cell in set {
        let seen = Cell(cell.load(Ordering::Relaxed));
        if seen.0 >> TAG == tag {
            return (cell, seen);
        }
        if seen.ahead(now) < given_up.1.ahead(now) {
            given_up = (cell, seen);
        }
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::hash::mix;

    fn hash(client: u64) -> u64 {
        mix(client, 0x5EED)
    }

    fn taken(clients: &Clients, client: u64, rate: &Rate, now: u64) -> usize {
        (0..1000).filter(|_| clients.take(hash(client), rate, Tick(now))).count()
    }

    #[test]
    fn each_client_has_its_own() {
        let (clients, rate) = (Clients::new(1024), Rate::of(20, 1000).unwrap());
        for client in 1..=10 {
            assert_eq!(taken(&clients, client, &rate, 5), 20, "client {client}");
        }
        assert_eq!(taken(&clients, 3, &rate, 55), 1, "one each 50 ms");
        assert_eq!(taken(&clients, 4, &rate, 10_000), 20);
    }

    #[test]
    fn a_crowd_that_does_not_fit_leaves_the_busiest_limited() {
        let (clients, rate) = (Clients::new(64), Rate::of(10, 1000).unwrap());
        assert_eq!(taken(&clients, 1, &rate, 0), 10);
        for client in 100..2000 {
            assert!(clients.take(hash(client), &rate, Tick(1)), "a source that comes once passes");
        }
        assert_eq!(taken(&clients, 1, &rate, 1), 0, "who took most is the last to be forgotten");
    }

    #[test]
    fn times_wrap_and_what_is_long_past_is_full() {
        let (clients, rate) = (Clients::new(8), Rate::of(10, 1000).unwrap());
        let wrap_ms = TIMES / (SECOND / 1000);
        assert_eq!(taken(&clients, 1, &rate, wrap_ms - 1), 10);
        assert_eq!(taken(&clients, 1, &rate, wrap_ms + 99), 1, "100 ms later, beyond the wrap");
        assert_eq!(taken(&clients, 1, &rate, wrap_ms * 3 / 2), 10, "six days later");
    }

    #[test]
    fn two_rates_differ_in_what_passes() {
        let clients = Clients::new(8);
        let (slow, fast) = (Rate::of(1, 1000).unwrap(), Rate::of(1_000_000, 1).unwrap());
        assert_eq!((taken(&clients, 1, &slow, 5), taken(&clients, 2, &fast, 5)), (1, 1000));
    }
}
