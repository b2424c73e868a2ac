//! The bound `max_connections` must be reachable, and stay so: where all connections exist, every key finds a place.

use super::*;
use crate::dataplane::conntrack::{FlowKey, Secret};
use crate::dataplane::family::{Pair, V4, V6};

/// Keys of a table that is full. Which key each position has changes.
struct Keys {
    secret: Secret,
    index: Index,
    of_position: Vec<u32>,
}

impl Keys {
    fn hash(&self, position: u32) -> Option<u64> {
        let addresses = u64::from(*self.of_position.get(position as usize)?);
        Some(self.secret.hash(FlowKey { addresses, ports: 0, protocol: 6 }))
    }

    fn enter(&self, position: u32) -> bool {
        let hash_of = |resident: Reference| self.hash(resident.position());
        self.hash(position).is_some_and(|hash| self.index.insert(hash, Reference::new(position, 0), hash_of))
    }

    fn replace(&mut self, position: u32, key: u32) -> bool {
        self.index.remove(self.hash(position).unwrap(), Reference::new(position, 0));
        self.of_position[position as usize] = key;
        self.enter(position)
    }

    fn is_found(&self, position: u32) -> bool {
        let is_it = |r: Reference| (r.position() == position).then_some(());
        self.index.find(self.hash(position).unwrap(), is_it).is_some()
    }
}

/// Fills an index for so many connections, then replaces as many as there are, in no order: what is refused or not found is an
/// error. Where connections come and go, more keys are in their second bucket than after the first filling.
fn fill_and_replace(bytes_each: usize, connections: u32, seed: u64) {
    let all = connections * 2;
    let what = format!("{bytes_each} bytes each, {connections} connections, seed {seed}");
    let index = Index::new(connections, bytes_each);
    let mut keys = Keys { secret: Secret::from_seed(seed), index, of_position: (0..all).collect() };
    for position in 0..all {
        assert!(keys.enter(position), "{what}: filling, {position}");
    }
    let mut random = seed;
    for key in all..2 * all {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let position = (((random >> 32) * u64::from(all)) >> 32) as u32;
        assert!(keys.replace(position, key), "{what}: replacing, {position}");
    }
    assert_eq!(keys.index.len(), all as usize, "{what}");
    assert!((0..all).all(|position| keys.is_found(position)), "{what}");
}

#[test]
fn a_full_table_has_room_for_every_key() {
    for bytes_each in [V4::INDEX_BYTES, V6::INDEX_BYTES] {
        for (connections, seeds) in [(64, 200), (1024, 20), (200_000, 2)] {
            (0..seeds).for_each(|seed| fill_and_replace(bytes_each, connections, seed));
        }
    }
}

#[test]
#[ignore = "half a minute, and half a gigabyte"]
fn a_full_table_of_ten_million_has_room_for_every_key() {
    for bytes_each in [V4::INDEX_BYTES, V6::INDEX_BYTES] {
        (0..2).for_each(|seed| fill_and_replace(bytes_each, 10_000_000, seed));
    }
}
