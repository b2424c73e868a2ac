//! Maglev consistent hashing ("Maglev: A Fast and Reliable Software Network Load Balancer", NSDI '16, §3.4).
//!
//! Every backend has a permutation of the table's slots, seeded from its identity; the backends take turns
//! in claiming the next slot of theirs that is free. Two switches with the same backends build the same
//! table, whatever order the configuration lists them in, because members are sorted by identity first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::below;
use super::classes::Class;
use crate::tables::{BackendId, hash::identity_hash};

/// 65,537: prime, and more than 100 slots for each of up to 655 backends keeps shares within 1 %.
pub const DEFAULT_TABLE_SIZE: u32 = 65_537;

/// One backend as Maglev sees it.
#[derive(Debug, Clone)]
pub struct MaglevMember {
    /// What the table yields.
    pub id: BackendId,
    /// What places the backend: its address and port in text. Never its position in a list.
    pub identity: String,
    /// Relative share; 0 claims no slots.
    pub weight: u32,
}

/// The slot table.
#[derive(Debug, Clone, Default)]
pub struct Maglev {
    slots: Box<[u16]>,
    members: Box<[BackendId]>,
}

/// In a slot that is still free.
const NOBODY: u16 = u16::MAX;

/// The order in which a backend claims slots.
struct Permutation {
    next: u32,
    skip: u32,
}

impl Permutation {
    fn of(identity: &[u8], size: u32) -> Self {
        Self {
            next: (identity_hash(identity, 1) % u64::from(size)) as u32,
            skip: (identity_hash(identity, 2) % u64::from(size - 1)) as u32 + 1,
        }
    }

    /// The next slot that is free. One must be: `size` is prime, so `skip` visits every slot.
    fn claim(&mut self, slots: &[u16]) -> usize {
        while slots[self.next as usize] != NOBODY {
            let next = u64::from(self.next) + u64::from(self.skip);
            self.next = next.checked_sub(slots.len() as u64).unwrap_or(next) as u32;
        }
        self.next as usize
    }
}

/// Who claims next: the first of the heap.
///
/// A backend of weight w claims its slots at the times 1/w, 2/w, 3/w …, so equal weights claim once per round, which is the
/// paper's table; and when another backend leaves or its weight changes, these times stay what they were.
#[derive(Debug, PartialEq, Eq)]
struct Claim(Class);

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        // Times as fractions, multiplied crosswise; at most 2^32 slots times a weight of 32 bits. The earlier is greater.
        let (own, others) = ((self.0.laps + 1) * other.0.weight, (other.0.laps + 1) * self.0.weight);
        others.cmp(&own).then_with(|| other.0.head().cmp(&self.0.head()))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Maglev {
    /// Fills a table of `size` slots (a prime) with `members`, of which at most 65,535 can take part.
    pub fn build(size: u32, mut members: Vec<MaglevMember>) -> Self {
        members.retain(|member| member.weight > 0);
        members.sort_by(|a, b| a.identity.cmp(&b.identity));
        members.truncate(usize::from(NOBODY));
        if members.is_empty() || size < 2 {
            return Self::default();
        }
        let mut permutations: Vec<Permutation> =
            members.iter().map(|member| Permutation::of(member.identity.as_bytes(), size)).collect();
        let classes = Class::of(members.iter().map(|member| u64::from(member.weight)));
        let mut claims: BinaryHeap<_> = classes.into_iter().map(Claim).collect();
        let mut slots = vec![NOBODY; size as usize];
        for _ in 0..size {
            // There is one: members of weight 0 are gone.
            let Some(mut claim) = claims.peek_mut() else { break };
            let member = claim.0.head();
            let slot = permutations[member as usize].claim(&slots);
            slots[slot] = member as u16;
            claim.0.advance();
        }
        Self { slots: slots.into(), members: members.into_iter().map(|member| member.id).collect() }
    }

    /// The backend of a flow with this hash; none where no backend has a weight.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<BackendId> {
        let slot = below(hash, self.slots.len() as u64);
        self.slots.get(slot as usize).and_then(|member| self.members.get(usize::from(*member))).copied()
    }

    /// Whether no backend owns a slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The backend that owns each slot, for tests and for showing.
    pub fn owners(&self) -> impl Iterator<Item = BackendId> + '_ {
        self.slots.iter().filter_map(|member| self.members.get(usize::from(*member)).copied())
    }
}

/// Whether `number` is prime; a table of any other size would not be filled evenly, or at all.
pub fn is_prime(number: u32) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn members(count: u32) -> Vec<MaglevMember> {
        (0..count)
            .map(|i| MaglevMember {
                id: BackendId(i),
                identity: format!("10.0.{}.{}:80", i / 256, i % 256),
                weight: 1,
            })
            .collect()
    }

    fn shares(table: &Maglev) -> HashMap<BackendId, usize> {
        let mut shares = HashMap::new();
        for owner in table.owners() {
            *shares.entry(owner).or_default() += 1;
        }
        shares
    }

    #[test]
    fn a_hundred_backends_are_within_one_percent_of_equal() {
        let shares = shares(&Maglev::build(DEFAULT_TABLE_SIZE, members(100)));
        let equal = f64::from(DEFAULT_TABLE_SIZE) / 100.0;
        assert!(shares.values().all(|n| (*n as f64 - equal).abs() <= equal * 0.01), "{shares:?}");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let forward = Maglev::build(5003, members(30));
        let mut reversed = members(30);
        reversed.reverse();
        let backward = Maglev::build(5003, reversed);
        assert!(forward.owners().eq(backward.owners()));
    }

    #[test]
    fn one_backend_leaving_moves_less_than_one_percent_of_the_others() {
        let before = Maglev::build(DEFAULT_TABLE_SIZE, members(100));
        let after = Maglev::build(
            DEFAULT_TABLE_SIZE,
            members(100).into_iter().filter(|member| member.id != BackendId(40)).collect(),
        );
        let moved =
            before.owners().zip(after.owners()).filter(|(b, a)| *b != BackendId(40) && b != a).count();
        assert!(moved as f64 / f64::from(DEFAULT_TABLE_SIZE) <= 0.01, "{moved} slots moved");
    }

    #[test]
    fn weights_are_shares() {
        let mut weighted = members(3);
        for (member, weight) in weighted.iter_mut().zip([2, 3, 5]) {
            member.weight = weight;
        }
        let shares = shares(&Maglev::build(DEFAULT_TABLE_SIZE, weighted));
        for (id, share) in [(0, 0.2), (1, 0.3), (2, 0.5)] {
            let got = shares[&BackendId(id)] as f64 / f64::from(DEFAULT_TABLE_SIZE);
            assert!((got - share).abs() < 0.002, "backend {id}: {got}");
        }
    }

    #[test]
    fn no_weight_means_no_backend() {
        let mut idle = members(2);
        idle.iter_mut().for_each(|member| member.weight = 0);
        assert_eq!(Maglev::build(5003, idle).pick(12345), None);
        assert_eq!(Maglev::default().pick(0), None);
    }

    #[test]
    fn every_hash_finds_a_backend() {
        let table = Maglev::build(5003, members(7));
        for hash in [0, 1, u64::MAX, u64::MAX / 2] {
            assert!(table.pick(hash).is_some());
        }
    }

    #[test]
    fn primes() {
        let found: Vec<u32> = (0..30).filter(|n| is_prime(*n)).collect();
        assert_eq!(found, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(DEFAULT_TABLE_SIZE));
    }
}
