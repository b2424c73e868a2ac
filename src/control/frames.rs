//! The frames that the control plane itself sends: announcements of our addresses, and questions about others'.

use std::net::IpAddr;

use crate::wire::arp;
use crate::wire::ethernet::{self, Tags};

/// Announces that `address` is at `mac` (RFC 5227 §2.3 for ARP, RFC 4861 §7.2.6 for neighbour discovery).
pub fn announcement(address: IpAddr, mac: [u8; 6], tags: &Tags) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => tagged(&arp::announcement(v4.to_bits(), mac), tags),
        IpAddr::V6(v6) => tagged(&ndp::unsolicited(v6.to_bits(), mac, false), tags),
    }
}

/// Asks everybody for the MAC address of `target`. `source` is who wants to know, of the same family; without one it is
/// nobody for ARP, as in a probe (RFC 5227 §2.1.1), and the link-local address that belongs to `mac` for neighbour
/// discovery, where answers to nobody would go to all.
pub fn question(target: IpAddr, source: Option<IpAddr>, mac: [u8; 6], tags: &Tags) -> Vec<u8> {
    match (target, source) {
        (IpAddr::V4(target), source) => {
            let source = match source {
                Some(IpAddr::V4(v4)) => v4.to_bits(),
                _ => 0,
            };
            // An announcement is a request whose sender is its target: only the sender differs.
            let mut frame = arp::announcement(target.to_bits(), mac);
            let sender = ethernet::HEADER + 14;
            frame[sender..sender + 4].copy_from_slice(&source.to_be_bytes());
            tagged(&frame, tags)
        }
        (IpAddr::V6(target), Some(IpAddr::V6(source))) => {
            tagged(&ndp::solicitation(target.to_bits(), source.to_bits(), mac), tags)
        }
        (IpAddr::V6(target), _) => tagged(&ndp::solicitation(target.to_bits(), link_local(mac), mac), tags),
    }
}

/// The address that an interface gives itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> u128 {
    u128::from_be_bytes([0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f])
}

/// The frame with tags behind its MAC addresses.
fn tagged(frame: &[u8], tags: &Tags) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    [macs, tags.bytes(), rest].concat()
}

/// Neighbour discovery (RFC 4861).
mod ndp {
    use crate::wire::ethernet::{self, HEADER, IPV6};

    /// Ethernet and IPv6 headers, the message and one option: 14 + 40 + 24 + 8.
    const FRAME: usize = 86;
    const ALL_NODES: u128 = (0xFF02 << 112) | 1;
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    const ROUTER: u8 = 0x80;

    /// Tells all nodes that `target` is at `mac`.
    pub fn unsolicited(target: u128, mac: [u8; 6], router: bool) -> [u8; FRAME] {
        let flags = OVERRIDE | if router { ROUTER } else { 0 };
        frame([target, ALL_NODES], [ADVERTISEMENT, flags, 2], target, mac)
    }

    /// Asks for the MAC address of `target`.
    pub fn solicitation(target: u128, source: u128, mac: [u8; 6]) -> [u8; FRAME] {
        let solicited_node = (0xFF02 << 112) | (0x1_FF00_0000) | (target & 0xFF_FFFF);
        frame([source, solicited_node], [SOLICITATION, 0, 1], target, mac)
    }

    fn frame(
        [source, destination]: [u128; 2],
        [kind, flags, option]: [u8; 3],
        target: u128,
        mac: [u8; 6],
    ) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        let [.., a, b, c, d] = destination.to_be_bytes();
        ethernet::set_macs(&mut frame, &ethernet::macs([0x33, 0x33, a, b, c, d], mac));
        frame[12..HEADER].copy_from_slice(&IPV6.to_be_bytes());
        // Version 6, payload 32 bytes, ICMPv6, hop limit 255.
        frame[HEADER..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 32, 58, 255]);
        frame[22..38].copy_from_slice(&source.to_be_bytes());
        frame[38..54].copy_from_slice(&destination.to_be_bytes());
        frame[54] = kind;
        frame[58] = flags;
        frame[62..78].copy_from_slice(&target.to_be_bytes());
        frame[78..80].copy_from_slice(&[option, 1]);
        frame[80..].copy_from_slice(&mac);
        let checksum = checksum(&frame[22..]);
        frame[56..58].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    /// Over both addresses and the message, with length and protocol of the pseudo-header (RFC 4443 §2.3).
    fn checksum(addresses_and_message: &[u8]) -> u16 {
        let words = addresses_and_message
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum = words.sum::<u32>() + 32 + 58;
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ip;
    use super::*;
    use crate::wire::arp::Request;
    use crate::wire::ethernet::BROADCAST;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// The frame's IPv6 source and destination, and its ICMPv6 type; its checksum is right.
    fn icmpv6(frame: &[u8]) -> (IpAddr, IpAddr, u8) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = sliced.net else { panic!("no IPv6") };
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("no ICMPv6") };
        assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
        assert_eq!(ip.header().hop_limit(), 255);
        (ip.header().source_addr().into(), ip.header().destination_addr().into(), icmp.type_u8())
    }

    #[test]
    fn an_ipv6_address_is_announced_to_all_nodes() {
        let frame = announcement(ip("2001:db8::100"), MAC, &Tags::none());
        assert_eq!(frame[..12], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(icmpv6(&frame), (ip("2001:db8::100"), ip("ff02::1"), 136));
        assert_eq!((&frame[58..62], &frame[78..]), (&[0x20, 0, 0, 0][..], &[2, 1, 2, 0, 0, 0, 0, 1][..]));
    }

    #[test]
    fn a_neighbour_is_asked_at_its_solicited_node_address() {
        let frame = question(ip("2001:db8::ab:cdef"), Some(ip("2001:db8::2")), MAC, &Tags::none());
        assert_eq!(frame[..6], [0x33, 0x33, 0xFF, 0xAB, 0xCD, 0xEF]);
        assert_eq!(icmpv6(&frame), (ip("2001:db8::2"), ip("ff02::1:ffab:cdef"), 135));
        let frame = question(ip("2001:db8::ab:cdef"), None, MAC, &Tags::none());
        assert_eq!(icmpv6(&frame).0, ip("fe80::ff:fe00:1"));
    }

    #[test]
    fn arp_asks_for_the_target_with_or_without_a_sender() {
        for (source, sender) in [(Some(ip("198.18.0.2")), 0xC612_0002), (None, 0)] {
            let frame = question(ip("198.18.0.9"), source, MAC, &Tags::none());
            let request = Request::parse(&frame[14..]).unwrap();
            assert_eq!((request.sender, request.target, request.sender_mac), (sender, 0xC612_0009, MAC));
            assert_eq!(frame[..6], BROADCAST);
        }
    }

    #[test]
    fn tags_stand_behind_the_mac_addresses() {
        let frame = announcement(ip("198.18.0.100"), MAC, &Tags::double(200, 100));
        assert_eq!(frame[12..22], [0x88, 0xA8, 0, 200, 0x81, 0, 0, 100, 8, 6]);
        assert_eq!(frame.len(), arp::FRAME + 8);
    }
}
