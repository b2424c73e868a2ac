//! An exact-match map that is built once by the control plane and only read by the workers.
//!
//! Open addressing at no more than half load in one flat allocation: a hit is one cache miss as a rule.
//! It is part of an immutable snapshot, so it has no removal and needs no synchronisation.

use std::net::IpAddr;

/// Key of an [`ExactMap`]: an address and 32 bits whose meaning the owner of the map chooses
/// (port and protocol for services, the interface for neighbours). The families never collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactKey {
    /// An IPv4 address in the high half, the rest in the low half.
    V4(u64),
    /// An IPv6 address, and the rest.
    V6(u128, u32),
}

impl ExactKey {
    /// Key of `address` and `rest`.
    #[inline(always)]
    pub fn new(address: IpAddr, rest: u32) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(u64::from(u32::from(v4)) << 32 | u64::from(rest)),
            IpAddr::V6(v6) => Self::V6(v6.into(), rest),
        }
    }
}

/// What a map of one family is looked up by. The keys come from the configuration or the kernel, not from packets, so an
/// unkeyed mix is enough: nobody outside can choose colliding keys.
trait Key: Copy + PartialEq {
    fn hash(self) -> u64;
}

impl Key for u64 {
    #[inline(always)]
    fn hash(self) -> u64 {
        let product = u128::from(self) * u128::from(0x9E37_79B9_7F4A_7C15u64);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

impl Key for (u128, u32) {
    #[inline(always)]
    fn hash(self) -> u64 {
        let folded = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(32);
        super::hash::mix(folded ^ (u64::from(self.1) << 32), 0x9E37_79B9_7F4A_7C15)
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

/// The keys of one family: open addressing.
#[derive(Debug, Clone)]
struct Slots<K, V> {
    slots: Box<[Option<(K, V)>]>,
    len: usize,
}

impl<K: Key, V: Copy> Slots<K, V> {
    fn build(entries: &[(K, V)]) -> Self {
        let capacity = (entries.len() * 2).next_power_of_two().max(2);
        let mut map = Self { slots: vec![None; capacity].into_boxed_slice(), len: 0 };
        for (key, value) in entries {
            map.insert(*key, *value);
        }
        map
    }

    fn insert(&mut self, key: K, value: V) {
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        loop {
            match self.slots[at] {
                None => {
                    self.len += 1;
                    break;
                }
                Some((found, _)) if found == key => break,
                Some(_) => at = (at + 1) & mask,
            }
        }
        self.slots[at] = Some((key, value));
    }

    #[inline(always)]
    fn find(&self, key: K) -> Option<&V> {
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        // Ends: at least half of the slots are empty.
        while let Some((found, value)) = self.slots.get(at)? {
            if *found == key {
                return Some(value);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

/// Immutable map from [`ExactKey`] to a small value.
#[derive(Debug, Clone)]
pub struct ExactMap<V> {
    v4: Slots<u64, V>,
    v6: Slots<(u128, u32), V>,
}

impl<V: Copy> ExactMap<V> {
    /// Builds the map; of two entries with one key the later stays.
    pub fn build(entries: impl IntoIterator<Item = (ExactKey, V)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            match key {
                ExactKey::V4(key) => v4.push((key, value)),
                ExactKey::V6(address, rest) => v6.push(((address, rest), value)),
            }
        }
        Self { v4: Slots::build(&v4), v6: Slots::build(&v6) }
    }

    /// The value of `key`.
    #[inline(always)]
    pub fn get(&self, key: ExactKey) -> Option<V> {
        self.find(key).copied()
    }

    /// The same where it lies.
    #[inline(always)]
    pub fn find(&self, key: ExactKey) -> Option<&V> {
        match key {
            ExactKey::V4(key) => self.v4.find(key),
            ExactKey::V6(address, rest) => self.v6.find((address, rest)),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.v4.len + self.v6.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ExactKey, V)> + '_ {
        let v4 = self.v4.slots.iter().flatten().map(|(key, value)| (ExactKey::V4(*key), *value));
        let v6 = self.v6.slots.iter().flatten();
        v4.chain(v6.map(|((address, rest), value)| (ExactKey::V6(*address, *rest), *value)))
    }
}

impl<V: Copy> Default for ExactMap<V> {
    fn default() -> Self {
        Self::build([])
    }
}

/// A set of addresses for who asks about those that are not in it, as a rule: most of them are told by one bit.
#[derive(Debug, Clone, Default)]
pub struct AddressSet {
    addresses: ExactMap<()>,
    /// By the low bits of an address: whether any in the set has the same.
    marks: [u64; 16],
}

impl AddressSet {
    /// The set of these.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut marks = [0; 16];
        let entries = addresses.into_iter().inspect(|address| {
            let (word, bit) = Self::mark(*address);
            marks[word] |= 1 << bit;
        });
        Self { addresses: ExactMap::build(entries.map(|address| (ExactKey::new(address, 0), ()))), marks }
    }

    /// Whether `address` is one of them.
    #[inline(always)]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (word, bit) = Self::mark(address);
        self.marks[word] >> bit & 1 != 0 && self.contains_marked(address)
    }

    #[inline(never)]
    fn contains_marked(&self, address: IpAddr) -> bool {
        self.addresses.find(ExactKey::new(address, 0)).is_some()
    }

    #[inline(always)]
    fn mark(address: IpAddr) -> (usize, u32) {
        let low = match address {
            IpAddr::V4(v4) => u32::from(v4),
            IpAddr::V6(v6) => u128::from(v6) as u32,
        };
        ((low >> 6) as usize % 16, low % 64)
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
    fn a_set_has_its_addresses_and_none_that_are_marked_alike() {
        let texts = ["198.18.0.100", "198.18.1.1", "2001:db8::64", "2001:db8::ffff"];
        let set = AddressSet::of(texts.iter().map(|text| text.parse::<IpAddr>().unwrap()));
        for text in texts {
            assert!(set.contains(text.parse().unwrap()), "{text}");
        }
        // The first has the low bits of one in the set, the others have not.
        for text in ["198.19.0.100", "198.18.0.101", "::1", "2001:db8:1::64"] {
            assert!(!set.contains(text.parse().unwrap()), "{text}");
        }
        assert!(!AddressSet::default().contains(texts[0].parse().unwrap()));
    }

    #[test]
    fn the_families_do_not_collide() {
        let v4 = ExactKey::new(IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)), 0);
        let v6 = ExactKey::new(IpAddr::V6(Ipv6Addr::from(u128::from(0x0102_0304u32))), 0);
        assert_ne!(v4, v6);
    }
}
