//! The frames that the control plane itself sends: announcements of our addresses, and questions about others'.

use std::net::IpAddr;

use crate::wire::ethernet::{self, Tags};
use crate::wire::{arp, ndp};

/// Announces that `address` is at `mac` (RFC 5227 §2.3 for ARP, RFC 4861 §7.2.6 for neighbour discovery).
pub fn announcement(address: IpAddr, mac: [u8; 6], tags: &Tags) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => ethernet::tagged(&arp::announcement(v4.to_bits(), mac), tags),
        IpAddr::V6(v6) => ethernet::tagged(&ndp::unsolicited(v6.to_bits(), mac, false), tags),
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
            ethernet::tagged(&frame, tags)
        }
        (IpAddr::V6(target), Some(IpAddr::V6(source))) => {
            ethernet::tagged(&ndp::solicitation(target.to_bits(), source.to_bits(), mac), tags)
        }
        (IpAddr::V6(target), _) => {
            ethernet::tagged(&ndp::solicitation(target.to_bits(), link_local(mac), mac), tags)
        }
    }
}

/// The address that an interface gives itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> u128 {
    u128::from_be_bytes([0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f])
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
