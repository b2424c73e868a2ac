//! What the XDP program must know to tell our frames from the kernel's: plain data, computed with the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::wire::ethernet::Tags;

use super::Protocol;

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Port ranges (first and last, both included) of one address: sorted, apart from each other, and at most
/// [`PortRanges::MOST`] of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRanges(Vec<(u16, u16)>);

impl PortRanges {
    /// What the XDP program looks through.
    pub const MOST: usize = 4;

    /// Only this range.
    pub fn of(first: u16, last: u16) -> Self {
        let mut ranges = Self::default();
        ranges.insert(first, last);
        ranges
    }

    /// Adds a range. Ranges that touch become one; so do, where there would be too many, the two with the smallest gap.
    pub fn insert(&mut self, first: u16, last: u16) {
        if first > last {
            return;
        }
        self.0.push((first, last));
        self.0.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match merged.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        while merged.len() > Self::MOST {
            let gap = |at: &usize| merged[at + 1].0 - merged[*at].1;
            let Some(at) = (0..merged.len() - 1).min_by_key(gap) else { break };
            merged[at].1 = merged[at + 1].1;
            merged.remove(at + 1);
        }
        self.0 = merged;
    }

    /// The ranges, lowest first.
    pub fn as_slice(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// What both contain.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Self::default();
        for (first, last) in &self.0 {
            for (other_first, other_last) in &other.0 {
                common.insert(*first.max(other_first), *last.min(other_last));
            }
        }
        common
    }
}

/// Content of the maps of `steer.bpf.c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    /// Frames to these are redirected; the value is the headroom in bytes that the program makes in front, none or 8 to 60.
    pub services: BTreeMap<Endpoint, u16>,
    /// Frames from these are redirected, unless they are addressed to the switch itself.
    pub replies: BTreeSet<Endpoint>,
    /// Frames to these addresses and ports (or echo identifiers) are redirected.
    pub snat: BTreeMap<IpAddr, PortRanges>,
    /// Inside prefixes of outbound source NAT: frames from there to anywhere but the switch itself, a VIP or another inside
    /// prefix are redirected.
    pub inside: BTreeSet<(IpAddr, u8)>,
    /// Further destinations to which frames from inside are not redirected.
    pub not_outside: BTreeSet<(IpAddr, u8)>,
    /// VIPs: their fragments and ICMP errors are redirected, too.
    pub vips: BTreeSet<IpAddr>,
    /// VIPs that the kernel does not own: everything sent to them is redirected.
    pub hosts: BTreeSet<IpAddr>,
    /// Far ends of tunnels, with the UDP port of GUE or none for IP in IP: ICMP errors about packets to there are
    /// redirected.
    pub tunnels: BTreeSet<(IpAddr, Option<u16>)>,
    /// Frames that nobody claims leave through the other interface instead of going to the kernel.
    pub bridge: bool,
    /// ARP requests and neighbour solicitations for these are redirected.
    pub announced: BTreeSet<IpAddr>,
    /// The switch's own addresses.
    pub locals: BTreeSet<IpAddr>,
    /// By [`super::InterfaceId`]: frames to other MAC addresses are not for the switch.
    pub macs: Vec<[u8; 6]>,
    /// By [`super::InterfaceId`]: frames with other VLAN tags are not for the switch.
    pub tags: Vec<Tags>,
}

#[cfg(test)]
mod tests {
    use super::PortRanges;

    fn ranges(list: &[(u16, u16)]) -> PortRanges {
        let mut ranges = PortRanges::default();
        list.iter().for_each(|(first, last)| ranges.insert(*first, *last));
        ranges
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(ranges(&[(30, 40), (10, 19), (20, 25), (24, 31)]).as_slice(), [(10, 40)]);
        assert_eq!(ranges(&[(0, 65535), (7, 7)]).as_slice(), [(0, 65535)]);
        assert_eq!(ranges(&[(9, 8)]).as_slice(), []);
    }

    #[test]
    fn of_too_many_ranges_the_nearest_become_one() {
        let five = ranges(&[(10, 20), (100, 200), (203, 300), (1000, 1001), (5000, 5001)]);
        assert_eq!(five.as_slice(), [(10, 20), (100, 300), (1000, 1001), (5000, 5001)]);
    }

    #[test]
    fn an_intersection_holds_what_both_contain() {
        let common = ranges(&[(10, 20), (50, 60)]).intersection(&ranges(&[(15, 55), (70, 80)]));
        assert_eq!(common.as_slice(), [(15, 20), (50, 55)]);
    }
}
