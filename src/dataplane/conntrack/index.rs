//! From a flow's hash to the entries that may be it: buckets of one cache line, two choices, no lock.
//!
//! A bucket holds eight slots: a tag of 16 bits, of which one is always set, and a 32-bit reference each. A key may lie in either of
//! two buckets. A
//! lookup compares eight tags in two words at once and reads an entry only where a tag matches.
//!
//! A slot is taken by compare-and-swap on its reference and becomes visible with its tag; it is released in the
//! opposite order. So a reader sees a slot either whole or not at all, and a stale reference is harmless: the entry
//! decides whether it is the one sought.
//!
//! Where both buckets of a key are full, one of the first bucket's residents moves to its own other bucket: it is
//! entered there before it is removed here, so a reader finds it at every moment, once or twice.

use crossbeam::utils::CachePadded;

use crate::sys::{huge, prefetch};

use super::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Slots per bucket.
const SLOTS: usize = 8;
/// A new key goes to one of the first six slots of its first bucket, while there is one: lanes of the upper half that are among
/// them. From then on to the emptier of its two.
const PREFERRED: u64 = 0x8000_8000;
const LANES: u64 = 0x0001_0001_0001_0001;
const HIGH_BITS: u64 = 0x8000_8000_8000_8000;

/// What a slot holds that is vacant, and one while it is emptied: no entry is at such positions.
const VACANT: u32 = u32::MAX;
const GIVEN_UP: u32 = u32::MAX - 1;

/// A reference to one direction of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference(u32);

impl Reference {
    /// None.
    pub const NONE: Self = Self(VACANT);

    /// Direction 0 or 1 of the entry at `position` (below 2^31 − 2).
    #[inline]
    pub fn new(position: u32, direction: u32) -> Self {
        Self(position << 1 | direction)
    }

    /// Position of the entry. Of none it is one that no entry has.
    #[inline]
    pub fn position(self) -> u32 {
        self.0 >> 1
    }

    /// Whether it names the reply direction.
    #[inline]
    pub fn is_reply(self) -> bool {
        self.0 & 1 == 1
    }
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [AtomicU64; 2],
    references: [AtomicU32; SLOTS],
}

impl Default for Bucket {
    fn default() -> Self {
        Self { tags: Default::default(), references: std::array::from_fn(|_| AtomicU32::new(VACANT)) }
    }
}

/// The index of all keys.
#[derive(Debug)]
pub struct Index {
    buckets: Box<[Bucket]>,
    /// How often a resident has moved.
    moves: CachePadded<AtomicU32>,
}

impl Index {
    /// An index for `connections` connections of two keys, with `bytes_each` for them: 16 over that is its load when all exist.
    pub fn new(connections: u32, bytes_each: usize) -> Self {
        let buckets = (connections as usize * bytes_each).div_ceil(size_of::<Bucket>()).max(2);
        Self { buckets: huge::filled(buckets, |_| Bucket::default()), moves: CachePadded::default() }
    }

    #[inline]
    fn first(&self, hash: u64) -> &Bucket {
        self.at(hash as u32)
    }

    #[inline]
    fn second(&self, hash: u64) -> &Bucket {
        self.at((hash >> 32) as u32)
    }

    #[inline]
    fn at(&self, bits: u32) -> &Bucket {
        &self.buckets[self.number(bits)]
    }

    /// Maps 32 bits onto the buckets without a division.
    #[inline(always)]
    fn number(&self, bits: u32) -> usize {
        ((u64::from(bits) * self.buckets.len() as u64) >> 32) as usize
    }

    /// Asks for the bucket that most lookups of this hash end in, and says which it is.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) -> u32 {
        let number = self.number(hash as u32);
        prefetch::read(&self.buckets[number]);
        number as u32
    }

    /// The first reference under `hash` for which `accept` gives something.
    #[inline]
    pub fn find<T>(&self, hash: u64, mut accept: impl FnMut(Reference) -> Option<T>) -> Option<T> {
        let wanted = broadcast(hash);
        let moves = self.moves.load(Ordering::Acquire);
        let found = self.first(hash).find(wanted, &mut accept);
        found.or_else(|| self.second(hash).find(wanted, &mut accept)).or_else(|| {
            // It may have moved to the bucket that was looked at already, from the one that was not yet. Whoever saw a slot given
            // up by that sees that something moved.
            fence(Ordering::Acquire);
            if self.moves.load(Ordering::Relaxed) == moves { None } else { self.find_moved(hash, accept) }
        })
    }

    #[cold]
    fn find_moved<T>(&self, hash: u64, mut accept: impl FnMut(Reference) -> Option<T>) -> Option<T> {
        let wanted = broadcast(hash);
        // Once more than anything moves while a lookup lasts.
        let buckets = [self.second(hash), self.first(hash), self.second(hash), self.first(hash)];
        buckets.into_iter().find_map(|bucket| bucket.find(wanted, &mut accept))
    }

    /// Whether there is nothing like it. Quicker than [`Index::find`] where that is so; where it is not, there may be nothing all
    /// the same.
    #[inline(always)]
    pub fn is_free(&self, hash: u64) -> bool {
        let wanted = broadcast(hash);
        self.first(hash).marks(wanted) == 0 && self.second(hash).marks(wanted) == 0
    }

    /// Asks for the other bucket, which has those that found no place in the first.
    #[inline]
    pub fn prefetch_second(&self, hash: u64) {
        prefetch::read(self.second(hash));
    }

    /// The first reference whose tag fits in the first bucket, which has this number, unverified, so that its entry can be asked for ahead of the lookup.
    /// Where there is none, the second bucket is asked for, and `crowded` says whether keys like it have to go there.
    #[inline(always)]
    pub fn candidate(&self, (first, hash): (u32, u64), crowded: &mut bool) -> Option<Reference> {
        let first = &self.buckets[first as usize];
        let found = first.first_like(broadcast(hash));
        if found.is_none() {
            self.prefetch_second(hash);
            *crowded |= first.is_crowded();
        }
        found
    }

    /// The same of the second.
    #[inline]
    pub fn second_candidate(&self, hash: u64) -> Reference {
        self.second(hash).first_like(broadcast(hash)).unwrap_or(Reference::NONE)
    }

    /// Adds a reference where a key of this hash may be. False when both buckets are full and no resident can move. `hash_of`
    /// tells a resident's hash while its connection lives.
    #[inline(always)]
    pub fn insert(
        &self,
        hash: u64,
        reference: Reference,
        hash_of: impl Fn(Reference) -> Option<u64>,
    ) -> bool {
        self.first(hash).fill_preferred(tag(hash), reference) || self.insert_crowded(hash, reference, hash_of)
    }

    /// The same where the first bucket is crowded.
    #[inline(never)]
    fn insert_crowded(
        &self,
        hash: u64,
        reference: Reference,
        hash_of: impl Fn(Reference) -> Option<u64>,
    ) -> bool {
        let (first, second) = (self.first(hash), self.second(hash));
        let (one, other) = match count(first.vacant()) >= count(second.vacant()) {
            true => (first, second),
            false => (second, first),
        };
        one.insert(tag(hash), reference)
            || other.insert(tag(hash), reference)
            || (self.make_room(first, hash_of) && first.insert(tag(hash), reference))
    }

    /// Moves one resident of `bucket` to its other bucket, if one can go. Bounded by the eight there are.
    fn make_room(&self, bucket: &Bucket, hash_of: impl Fn(Reference) -> Option<u64>) -> bool {
        for resident in bucket.references.iter().map(|slot| Reference(slot.load(Ordering::Relaxed))) {
            // Of a slot that is none's at this moment, the caller knows no hash.
            let Some(hash) = hash_of(resident) else { continue };
            let (first, second) = (self.first(hash), self.second(hash));
            let other = if std::ptr::eq(first, bucket) { second } else { first };
            if std::ptr::eq(other, bucket) || !other.insert(tag(hash), resident) {
                continue;
            }
            fence(Ordering::SeqCst);
            if hash_of(resident) != Some(hash) {
                // It ended meanwhile, and whoever removed it may not have seen the copy.
                other.remove(resident);
            }
            self.moves.fetch_add(1, Ordering::Release);
            return bucket.remove(resident);
        }
        false
    }

    /// Removes a reference, wherever it is.
    pub fn remove(&self, hash: u64, reference: Reference) {
        fence(Ordering::SeqCst);
        self.first(hash).remove(reference);
        self.second(hash).remove(reference);
    }

    /// Number of references, for tests and for showing. Walks everything.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(Bucket::references).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// 15 bits that have no part in choosing the first bucket; never 0, which marks an empty slot.
#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> 32) as u16 | 1
}

#[inline]
fn broadcast(hash: u64) -> u64 {
    u64::from(tag(hash)) * LANES
}

/// Marks the 16-bit lanes of `tags` that equal those of `wanted`. A lane above a match may be marked wrongly (the borrow
/// of the subtraction); the entry's own key decides.
#[inline]
fn matches(tags: u64, wanted: u64) -> u64 {
    let difference = tags ^ wanted;
    difference.wrapping_sub(LANES) & !difference & HIGH_BITS
}

/// Marks the lanes that are 0, all of them and no other.
#[inline(always)]
fn empty(tags: u64) -> u64 {
    !(((tags & !HIGH_BITS).wrapping_add(!HIGH_BITS)) | tags) & HIGH_BITS
}

/// How many lanes are marked.
#[inline(always)]
fn count([low, high]: [u64; 2]) -> u32 {
    // The product adds up the lanes in the highest one.
    (((low >> 15) + (high >> 15)).wrapping_mul(LANES) >> 48) as u32
}

impl Bucket {
    /// The reference in the first slot whose tag fits, which is none where that is just filled or emptied.
    #[inline(always)]
    fn first_like(&self, wanted: u64) -> Option<Reference> {
        let [low, high] = &self.tags;
        let lane = |marked: u64| marked.trailing_zeros() as usize / 16 % 4;
        let marked = matches(low.load(Ordering::Acquire), wanted);
        if marked != 0 {
            return Some(Reference(self.references[lane(marked)].load(Ordering::Relaxed)));
        }
        match matches(high.load(Ordering::Acquire), wanted) {
            0 => None,
            marked => Some(Reference(self.references[4 + lane(marked)].load(Ordering::Relaxed))),
        }
    }

    #[inline(always)]
    fn find<T>(&self, wanted: u64, accept: &mut impl FnMut(Reference) -> Option<T>) -> Option<T> {
        for (half, tags) in self.tags.iter().enumerate() {
            let mut marked = matches(tags.load(Ordering::Acquire), wanted);
            while marked != 0 {
                let lane = marked.trailing_zeros() as usize / 16;
                let reference = self.references[half * 4 + lane].load(Ordering::Relaxed);
                if reference != VACANT
                    && let Some(found) = accept(Reference(reference))
                {
                    return Some(found);
                }
                marked &= marked - 1;
            }
        }
        None
    }

    fn references(&self) -> usize {
        self.references.iter().filter(|slot| slot.load(Ordering::Relaxed) != VACANT).count()
    }

    /// Not zero if a tag matches.
    #[inline(always)]
    fn marks(&self, wanted: u64) -> u64 {
        let [low, high] = &self.tags;
        matches(low.load(Ordering::Acquire), wanted) | matches(high.load(Ordering::Acquire), wanted)
    }

    /// Marks the slots that have no tag.
    #[inline(always)]
    fn vacant(&self) -> [u64; 2] {
        let [low, high] = &self.tags;
        [empty(low.load(Ordering::Relaxed)), empty(high.load(Ordering::Relaxed))]
    }

    /// Whether none of the slots is vacant that are filled first.
    #[inline(always)]
    fn is_crowded(&self) -> bool {
        let [low, high] = &self.tags;
        matches(low.load(Ordering::Relaxed), 0) == 0 && empty(high.load(Ordering::Relaxed)) & PREFERRED == 0
    }

    /// Takes a vacant slot.
    #[inline(always)]
    fn insert(&self, tag: u16, reference: Reference) -> bool {
        let [low, high] = self.vacant();
        self.fill_half(0, low, tag, reference) || self.fill_half(1, high, tag, reference)
    }

    /// Takes one of those that are filled first, if one is vacant.
    #[inline(always)]
    fn fill_preferred(&self, tag: u16, reference: Reference) -> bool {
        let [low, high] = &self.tags;
        self.fill_half(0, matches(low.load(Ordering::Relaxed), 0), tag, reference)
            || self.fill_half(1, matches(high.load(Ordering::Relaxed), 0) & PREFERRED, tag, reference)
    }

    #[inline(always)]
    fn fill_half(&self, half: usize, mut vacant: u64, tag: u16, reference: Reference) -> bool {
        while vacant != 0 {
            let lane = vacant.trailing_zeros() as usize / 16;
            // Without a tag it may be taken or given up at this moment; with one, should it be marked wrongly, it is taken.
            let held = &self.references[half * 4 + lane];
            if held.compare_exchange(VACANT, reference.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.tags[half].fetch_or(u64::from(tag) << (lane * 16), Ordering::AcqRel);
                return true;
            }
            vacant &= vacant - 1;
        }
        false
    }

    /// Of those that remove a reference at the same time, one does: whoever came late would empty a slot that is another's by then.
    /// One without a tag is only being entered: who enters it looks afterwards whether it still should.
    fn remove(&self, reference: Reference) -> bool {
        for (slot, held) in self.references.iter().enumerate() {
            let (tags, lane) = (&self.tags[slot / 4], 0xFFFF << (slot % 4 * 16));
            if held.load(Ordering::Relaxed) == reference.0
                && tags.load(Ordering::Relaxed) & lane != 0
                && held.compare_exchange(reference.0, GIVEN_UP, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                tags.fetch_and(!lane, Ordering::AcqRel);
                held.store(VACANT, Ordering::Release);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod full_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::conntrack::{FlowKey, Secret};

    fn hashes(count: u32) -> Vec<u64> {
        let secret = Secret::from_seed(3);
        (0..count).map(|i| secret.hash(FlowKey { addresses: u64::from(i), ports: 0, protocol: 6 })).collect()
    }

    #[test]
    fn what_was_inserted_is_found_and_what_was_removed_is_not() {
        let index = Index::new(1000, 25);
        let hashes = hashes(2000);
        for (i, hash) in hashes.iter().enumerate() {
            assert!(index.insert(*hash, Reference::new(i as u32, (i % 2) as u32), |_| None));
        }
        for (i, hash) in hashes.iter().enumerate() {
            let found = index.find(*hash, |r| (r.position() == i as u32).then_some(r));
            assert_eq!(found, Some(Reference::new(i as u32, (i % 2) as u32)));
        }
        for (i, hash) in hashes.iter().enumerate() {
            index.remove(*hash, Reference::new(i as u32, (i % 2) as u32));
            assert_eq!(index.find(*hash, |r| (r.position() == i as u32).then_some(r)), None);
        }
        assert!(index.is_empty());
    }

    #[test]
    fn residents_make_room_up_to_four_fifths() {
        let index = Index::new(20_000, 25);
        let hashes = hashes(20_000 * 2 * 8 / 10 * 8 / 5);
        for (i, hash) in hashes.iter().enumerate() {
            let hash_of = |r: Reference| hashes.get(r.position() as usize).copied();
            assert!(index.insert(*hash, Reference::new(i as u32, 0), hash_of), "key {i} of {}", hashes.len());
        }
        assert!(hashes.len() as f64 > 0.79 * (index.buckets.len() * SLOTS) as f64);
        for (i, hash) in hashes.iter().enumerate() {
            assert!(index.find(*hash, |r| (r.position() == i as u32).then_some(())).is_some(), "key {i}");
        }
    }

    /// What the first bucket has no room for is known ahead of the lookup all the same.
    #[test]
    fn every_key_is_a_candidate_of_one_of_its_buckets() {
        let connections = 10_000;
        let index = Index::new(connections, 25);
        let hashes = hashes(connections * 2);
        for (i, hash) in hashes.iter().enumerate() {
            let hash_of = |r: Reference| hashes.get(r.position() as usize).copied();
            assert!(index.insert(*hash, Reference::new(i as u32, 0), hash_of));
        }
        let mut second = 0;
        for (i, hash) in hashes.iter().enumerate() {
            let sought = Reference::new(i as u32, 0);
            let mut crowded = false;
            let (one, other) = (
                index.candidate((index.prefetch(*hash), *hash), &mut crowded),
                index.second_candidate(*hash),
            );
            // A tag of 15 bits may be another's.
            assert!(one == Some(sought) || other == sought || one.is_some());
            assert!(one.is_some() || crowded);
            second += u32::from(one.is_none());
        }
        // About one of ten: too many to be found the slow way.
        assert!((hashes.len() / 20..hashes.len() / 5).contains(&(second as usize)), "{second}");
    }

    #[test]
    fn a_full_pair_of_buckets_refuses() {
        let index = Index::new(1, 25);
        let hash = 0xFFFF_FFFF_0000_0001;
        let taken = (0..100).filter(|i| index.insert(hash, Reference::new(*i, 0), |_| Some(hash))).count();
        assert_eq!(taken, 2 * SLOTS);
    }

    #[test]
    fn empty_lanes_are_marked_exactly() {
        assert_eq!(empty(0), HIGH_BITS);
        assert_eq!(empty(0x8000_0001_7FFF_FFFF), 0);
        assert_eq!(empty(0x0000_0001_0000_8000), 0x8000_0000_8000_0000);
        let bucket = Bucket::default();
        for slot in 0..SLOTS as u32 {
            assert_eq!(count(bucket.vacant()), 8 - slot);
            assert!(bucket.insert(0x8000 >> slot, Reference::new(slot, 0)));
        }
        assert!(count(bucket.vacant()) == 0 && !bucket.insert(1, Reference::new(9, 0)));
        assert!(bucket.remove(Reference::new(5, 0)) && count(bucket.vacant()) == 1);
    }

    #[test]
    fn tag_lanes_match_exactly_where_it_matters() {
        let tags = 0x0005_0000_0007_0005;
        assert_eq!(matches(tags, 5 * LANES).trailing_zeros() / 16, 0);
        assert_ne!(matches(tags, 7 * LANES) & (0x8000 << 16), 0);
        assert_eq!(matches(tags, 9 * LANES), 0);
    }
}
