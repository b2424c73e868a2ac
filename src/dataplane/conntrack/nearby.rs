//! Clients on our own links whose MAC address was seen just now, but of whom the kernel has not told yet.
//!
//! An on-link client asks for the VIP by ARP and sends its SYN at once; the backend has answered before the kernel has
//! resolved the client and a snapshot says so. Without this the first answer would be dropped and the client would wait
//! a second for its retransmission. What is remembered counts for seconds only: then the kernel knows better.
//!
//! A small direct-mapped table that all workers share. A slot is four words; a check of all of them stands in the last,
//! so that parts written by two workers are not taken for one.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tables::exact::address_bits;
use crate::tables::hash::mix;
use crate::tables::{Coarse, InterfaceId};

/// Slots: clients that can appear within the lifetime before one displaces another.
const SLOTS: usize = 4096;
/// How long a sighting counts: 47 × 64 ms ≈ 3 s.
const LIFETIME: u32 = 47;

/// Who was seen lately.
#[derive(Debug)]
pub struct Nearby {
    slots: Box<[[AtomicU64; 4]]>,
}

impl Default for Nearby {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Default::default()).collect() }
    }
}

impl Nearby {
    /// Notes that `address` on the link of `interface` has this MAC address.
    pub fn note(&self, interface: InterfaceId, address: IpAddr, mac: [u8; 6], now: Coarse) {
        let [a, b, c, d, e, f] = mac;
        let bits = address_bits(address);
        let words = [
            (bits >> 64) as u64,
            bits as u64,
            u64::from_be_bytes([0, interface.0, a, b, c, d, e, f]),
            u64::from(now.0),
        ];
        let words = [words[0], words[1], words[2], words[3] | check(words) << 32];
        for (slot, word) in self.slot(bits).iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The MAC address under which `address` was seen on the link of `interface` a moment ago.
    pub fn find(&self, interface: InterfaceId, address: IpAddr, now: Coarse) -> Option<[u8; 6]> {
        let bits = address_bits(address);
        let [high, low, what, last] = self.slot(bits).each_ref().map(|word| word.load(Ordering::Relaxed));
        let seen = u64::from(last as u32);
        // Another worker's clock may be a tick ahead of this one's.
        let age = now.0.wrapping_add(1).wrapping_sub(seen as u32);
        let [_, link, a, b, c, d, e, f] = what.to_be_bytes();
        let same = high == (bits >> 64) as u64
            && low == bits as u64
            && link == interface.0
            && last >> 32 == check([high, low, what, seen])
            && [a, b, c, d, e, f] != [0; 6];
        (same && age <= LIFETIME + 1).then_some([a, b, c, d, e, f])
    }

    fn slot(&self, bits: u128) -> &[AtomicU64; 4] {
        // Neighbours differ in their low bits; the high ones tell links apart.
        let bits = (bits as u64) ^ (bits >> 64) as u64;
        let bits = (bits as u32) ^ if bits >> 48 == 0 { 0 } else { (bits >> 32) as u32 };
        &self.slots[(bits ^ bits >> 12 ^ bits >> 24) as usize % SLOTS]
    }
}

fn check([high, low, what, seen]: [u64; 4]) -> u64 {
    mix(mix(high, low), mix(what, seen)) & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 10));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 10];

    #[test]
    fn a_sighting_counts_for_seconds_and_on_its_own_link() {
        let nearby = Nearby::default();
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(0)), None);
        nearby.note(InterfaceId(0), CLIENT, MAC, Coarse(100));
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(100)), Some(MAC));
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(100 + LIFETIME)), Some(MAC));
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(101 + LIFETIME)), None);
        assert_eq!(nearby.find(InterfaceId(1), CLIENT, Coarse(100)), None);
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(99)), Some(MAC), "another worker's clock");
    }

    #[test]
    fn a_newer_sighting_in_the_same_slot_displaces() {
        let nearby = Nearby::default();
        let bits = 0xC612_000A ^ 0x0100_0001;
        let twin = IpAddr::V4(Ipv4Addr::from(bits));
        assert!(std::ptr::eq(nearby.slot(address_bits(CLIENT)), nearby.slot(address_bits(twin))));
        nearby.note(InterfaceId(0), CLIENT, MAC, Coarse(5));
        nearby.note(InterfaceId(0), twin, [9; 6], Coarse(5));
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(5)), None);
        assert_eq!(nearby.find(InterfaceId(0), twin, Coarse(5)), Some([9; 6]));
    }
}
