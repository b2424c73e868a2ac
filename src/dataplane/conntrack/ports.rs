//! Source ports of full NAT and outbound NAT: per worker, hard to guess, and taken only when free.
//!
//! A port is taken when some connection already uses it towards the *same* backend: what must be unique is the reply's
//! whole five-tuple, so one SNAT address carries as many connections per backend as there are ports. The table itself
//! knows what is in use, hence no second bookkeeping that could disagree with it.
//!
//! Each worker draws from ports of its own (those ≡ its number modulo the number of workers), so two workers never try
//! the same one. The walk starts at a keyed hash of the destination and goes on from there, in random steps
//! (RFC 6056 §3.3.4 with the increments of §3.3.5): a port comes back as late as possible.

use std::net::IpAddr;

use crate::dataplane::family::Pair;
use crate::tables::SnatPool;

use super::key::Secret;

/// Destinations share this many walks.
const WALKS: usize = 256;
/// Ports tried before a destination counts as exhausted.
const TRIES: u32 = 256;
/// Largest random step past a port that was taken.
const STEP: u32 = 8;

/// One worker's allocator.
#[derive(Debug)]
pub struct Ports {
    worker: u16,
    workers: u16,
    walks: Box<[u32; WALKS]>,
    random: u64,
}

impl Ports {
    /// The allocator of `worker` among `workers`.
    pub fn new(worker: u16, workers: u16, secret: &Secret) -> Self {
        Self {
            worker,
            workers: workers.max(1),
            walks: Box::new([0; WALKS]),
            random: secret.hash_word(u64::from(worker)) | 1,
        }
    }

    /// The first address and port of `pool` that `is_free` accepts, for a connection to `destination`.
    pub fn take<P: Pair>(
        &mut self,
        pool: &SnatPool,
        destination: u64,
        secret: &Secret,
        mut is_free: impl FnMut(IpAddr, u16) -> bool,
    ) -> Option<(IpAddr, u16)> {
        let addresses = P::pool_len(pool);
        if addresses == 0 {
            return None;
        }
        self.walk((pool.first_port, pool.last_port), destination, secret, |turn, port| {
            // With several addresses, a whole turn through the ports is one address.
            let address = P::pool_at(pool, turn as usize % addresses)?;
            is_free(address, port).then_some((address, port))
        })
    }

    /// The first port of `range` that `is_free` accepts, where the address is given. `seed` decides where the walk starts.
    pub fn take_port(
        &mut self,
        range: (u16, u16),
        seed: u64,
        secret: &Secret,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        self.walk(range, seed, secret, |_, port| is_free(port).then_some(port))
    }

    /// Offers ports, each with the number of turns through all of them, until one is accepted.
    fn walk<T>(
        &mut self,
        (first, last): (u16, u16),
        destination: u64,
        secret: &Secret,
        mut accept: impl FnMut(u32, u16) -> Option<T>,
    ) -> Option<T> {
        let range = u32::from(last).checked_sub(u32::from(first))? + 1;
        let (worker, workers) = (u32::from(self.worker), u32::from(self.workers));
        let mine = range.saturating_sub(worker).div_ceil(workers);
        if mine == 0 {
            return None;
        }
        let hash = secret.hash_word(destination);
        let walk = (hash >> 32) as usize % WALKS;
        let start = self.walks[walk].wrapping_add(hash as u32);
        for tried in 0..mine.min(TRIES) {
            let at = start.wrapping_add(tried);
            let port = first + (at % mine * workers + worker) as u16;
            if let Some(taken) = accept(at / mine, port) {
                self.walks[walk] = self.walks[walk].wrapping_add(tried + 1 + self.step());
                return Some(taken);
            }
        }
        // Exhausted as far as was tried; start elsewhere next time.
        self.walks[walk] = self.walks[walk].wrapping_add(mine.min(TRIES));
        None
    }

    /// 0 to STEP − 1 (xorshift64).
    fn step(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as u32 % STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::family::V4;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn pool(first_port: u16, last_port: u16) -> SnatPool {
        SnatPool::of(&[Ipv4Addr::new(198, 18, 1, 2).into()], (first_port, last_port))
    }

    #[test]
    fn every_port_is_used_before_exhaustion_and_none_twice() {
        let secret = Secret::from_seed(1);
        let mut ports = Ports::new(0, 1, &secret);
        let pool = pool(2000, 2099);
        let mut taken = HashSet::new();
        for _ in 0..100 {
            let (_, port) = ports.take::<V4>(&pool, 5, &secret, |_, port| !taken.contains(&port)).unwrap();
            assert!((2000..=2099).contains(&port));
            assert!(taken.insert(port));
        }
        assert_eq!(ports.take::<V4>(&pool, 5, &secret, |_, port| !taken.contains(&port)), None);
        taken.remove(&2042);
        assert_eq!(ports.take::<V4>(&pool, 5, &secret, |_, port| !taken.contains(&port)).unwrap().1, 2042);
    }

    #[test]
    fn workers_never_share_a_port_and_together_use_all() {
        let secret = Secret::from_seed(1);
        let pool = pool(1024, 1123);
        let mut taken = HashSet::new();
        for worker in 0..3 {
            let mut ports = Ports::new(worker, 3, &secret);
            while let Some((_, port)) = ports.take::<V4>(&pool, 9, &secret, |_, port| !taken.contains(&port))
            {
                taken.insert(port);
            }
        }
        assert_eq!(taken.len(), 100);
    }

    #[test]
    fn the_first_port_depends_on_the_secret_and_the_destination() {
        let pool = pool(1024, 32767);
        let first = |seed, destination| {
            let secret = Secret::from_seed(seed);
            Ports::new(0, 1, &secret).take::<V4>(&pool, destination, &secret, |_, _| true).unwrap().1
        };
        let firsts: HashSet<u16> =
            (0..20).map(|i| first(i, 7)).chain((0..20).map(|i| first(3, 100 + i))).collect();
        assert!(firsts.len() > 30, "{firsts:?}");
    }

    #[test]
    fn an_empty_pool_gives_nothing() {
        let secret = Secret::from_seed(1);
        let mut ports = Ports::new(0, 1, &secret);
        assert_eq!(ports.take::<V4>(&SnatPool::default(), 1, &secret, |_, _| true), None);
    }
}
