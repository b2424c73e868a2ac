//! An exact-match map that is built once by the control plane and only read by the workers.
//!
//! Open addressing at no more than half load in one flat allocation: a hit is one cache miss as a rule.
//! It is part of an immutable snapshot, so it has no removal and needs no synchronisation.

use std::net::IpAddr;

/// Key of an [`ExactMap`]: an address and 32 bits whose meaning the owner of the map chooses
/// (port and protocol for services, the interface for neighbours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactKey {
    address: u128,
    rest: u32,
}

impl ExactKey {
    /// Key of `address` (IPv4 as its IPv4-mapped IPv6 form, so the families never collide) and `rest`.
    #[inline]
    pub fn new(address: IpAddr, rest: u32) -> Self {
        Self { address: address_bits(address), rest }
    }

    #[inline]
    fn hash(self) -> u64 {
        // The keys come from the configuration or the kernel, not from packets, so an unkeyed
        // multiply-and-fold mix is enough: nobody outside can choose colliding keys.
        let folded = (self.address as u64) ^ ((self.address >> 64) as u64).rotate_left(32);
        crate::tables::hash::mix(folded ^ (u64::from(self.rest) << 32), 0x9E37_79B9_7F4A_7C15)
    }
}

/// An address as 128 bits; IPv4 becomes `::ffff:a.b.c.d`.
#[inline]
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => 0xFFFF_0000_0000 | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// Immutable map from [`ExactKey`] to a small value.
#[derive(Debug, Clone)]
pub struct ExactMap<V> {
    slots: Box<[Option<(ExactKey, V)>]>,
    mask: usize,
    len: usize,
}

impl<V: Copy> ExactMap<V> {
    /// Builds the map; of two entries with one key the later stays.
    pub fn build(entries: impl IntoIterator<Item = (ExactKey, V)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let capacity = (entries.len() * 2).next_power_of_two().max(4);
        let mut map = Self { slots: vec![None; capacity].into_boxed_slice(), mask: capacity - 1, len: 0 };
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }

    fn insert(&mut self, key: ExactKey, value: V) {
        let mut at = key.hash() as usize & self.mask;
        loop {
            match self.slots[at] {
                None => {
                    self.len += 1;
                    break;
                }
                Some((found, _)) if found == key => break,
                Some(_) => at = (at + 1) & self.mask,
            }
        }
        self.slots[at] = Some((key, value));
    }

    /// The value of `key`.
    #[inline]
    pub fn get(&self, key: ExactKey) -> Option<V> {
        let mut at = key.hash() as usize & self.mask;
        // Ends: at least half of the slots are empty.
        while let Some((found, value)) = self.slots[at] {
            if found == key {
                return Some(value);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ExactKey, V)> + '_ {
        self.slots.iter().filter_map(|slot| *slot)
    }
}

impl<V: Copy> Default for ExactMap<V> {
    fn default() -> Self {
        Self::build([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn key(address: u32, rest: u32) -> ExactKey {
        ExactKey::new(IpAddr::V4(Ipv4Addr::from(address)), rest)
    }

    #[test]
    fn agrees_with_a_std_map() {
        let map = ExactMap::build((0..5000u32).map(|i| (key(i.wrapping_mul(7919), i % 3), i)));
        for i in 0..5000u32 {
            assert_eq!(map.get(key(i.wrapping_mul(7919), i % 3)), Some(i));
            assert_eq!(map.get(key(i.wrapping_mul(7919), 9)), None);
        }
        assert_eq!(map.len(), 5000);
    }

    #[test]
    fn later_entry_wins_and_is_counted_once() {
        let map = ExactMap::build([(key(1, 1), 10), (key(1, 1), 20)]);
        assert_eq!((map.get(key(1, 1)), map.len()), (Some(20), 1));
    }

    #[test]
    fn the_families_do_not_collide() {
        let v4 = ExactKey::new(IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)), 0);
        let v6 = ExactKey::new(IpAddr::V6(Ipv6Addr::from(u128::from(0x0102_0304u32))), 0);
        assert_ne!(v4, v6);
    }
}
