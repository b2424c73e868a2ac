//! Clients on our own links whose MAC address was seen just now, but of whom the kernel has not told yet.
//!
//! An on-link client asks for the VIP by ARP and sends its SYN at once; the backend has answered before the kernel has
//! resolved the client and a snapshot says so. Without this the first answer would be dropped and the client would wait
//! a second for its retransmission. What is remembered counts for seconds only: then the kernel knows better.
//!
//! A small direct-mapped table that all workers share. A slot is two words; the second repeats 16 bits of the address, so
//! that halves written by two workers are not taken for one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tables::{Coarse, InterfaceId};

/// Slots: clients that can appear within the lifetime before one displaces another.
const SLOTS: usize = 4096;
/// How long a sighting counts: 47 × 64 ms ≈ 3 s.
const LIFETIME: u32 = 47;

/// Who was seen lately.
#[derive(Debug)]
pub struct Nearby {
    slots: Box<[[AtomicU64; 2]]>,
}

impl Default for Nearby {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Default::default()).collect() }
    }
}

impl Nearby {
    /// Notes that `address` on the link of `interface` has this MAC address.
    pub fn note(&self, interface: InterfaceId, address: Ipv4Addr, mac: [u8; 6], now: Coarse) {
        let [who, what] = self.slot(address);
        let [a, b, c, d, e, f] = mac;
        let bits =
            u64::from(u32::from(address) & 0xFFFF) << 48 | u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        what.store(bits, Ordering::Relaxed);
        who.store(name(interface, address) | u64::from(now.0 & 0xFF_FFFF), Ordering::Relaxed);
    }

    /// The MAC address under which `address` was seen on the link of `interface` a moment ago.
    pub fn find(&self, interface: InterfaceId, address: Ipv4Addr, now: Coarse) -> Option<[u8; 6]> {
        let [who, what] = self.slot(address);
        let (who, what) = (who.load(Ordering::Relaxed), what.load(Ordering::Relaxed));
        // Another worker's clock may be a tick ahead of this one's.
        let age = (now.0.wrapping_add(1)).wrapping_sub(who as u32) & 0xFF_FFFF;
        let same = who & !0xFF_FFFF == name(interface, address)
            && what >> 48 == u64::from(u32::from(address) & 0xFFFF)
            && what & 0xFFFF_FFFF_FFFF != 0;
        let [_, _, a, b, c, d, e, f] = what.to_be_bytes();
        (same && age <= LIFETIME + 1).then_some([a, b, c, d, e, f])
    }

    fn slot(&self, address: Ipv4Addr) -> &[AtomicU64; 2] {
        // Neighbours differ in their low bits; the high ones tell links apart.
        let bits = u32::from(address);
        &self.slots[(bits ^ bits >> 12 ^ bits >> 24) as usize % SLOTS]
    }
}

/// address | interface | 24 bits left for the time
fn name(interface: InterfaceId, address: Ipv4Addr) -> u64 {
    u64::from(u32::from(address)) << 32 | u64::from(interface.0) << 24
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
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
        let twin = Ipv4Addr::from(u32::from(CLIENT) ^ 0x0100_0001);
        assert!(std::ptr::eq(nearby.slot(CLIENT), nearby.slot(twin)));
        nearby.note(InterfaceId(0), CLIENT, MAC, Coarse(5));
        nearby.note(InterfaceId(0), twin, [9; 6], Coarse(5));
        assert_eq!(nearby.find(InterfaceId(0), CLIENT, Coarse(5)), None);
        assert_eq!(nearby.find(InterfaceId(0), twin, Coarse(5)), Some([9; 6]));
    }
}
