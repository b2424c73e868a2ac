//! What both versions of IP share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Delta;
use super::ethernet;
use super::ipv4;
use super::ipv6::Pair;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IPv4 in IP.
pub const IPV4: u8 = 4;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of IPv6 in IP.
pub const IPV6: u8 = 41;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// The version of IP that a packet or an address is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family that the first four bits of `packet` name; none where they name neither.
    #[inline]
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The EtherType of a packet of this family.
    #[inline(always)]
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => ethernet::IPV4,
            Self::V6 => ethernet::IPV6,
        }
    }

    /// The protocol number of a packet of this family inside another.
    #[inline]
    pub const fn as_payload(self) -> u8 {
        match self {
            Self::V4 => IPV4,
            Self::V6 => IPV6,
        }
    }
}

/// Source and destination of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Source in the high half, destination in the low half.
    V4(u64),
    /// Source, then destination.
    V6(Pair),
}

impl Addresses {
    /// Those of a packet from `source` to `destination`; none across families.
    pub fn between(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(Self::V4(u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits())))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(Self::V6([source.to_bits(), destination.to_bits()]))
            }
            _ => None,
        }
    }

    /// The source.
    pub fn source(self) -> IpAddr {
        match self {
            Self::V4(addresses) => IpAddr::V4(Ipv4Addr::from_bits((addresses >> 32) as u32)),
            Self::V6([source, _]) => IpAddr::V6(Ipv6Addr::from_bits(source)),
        }
    }

    /// The same with source and destination exchanged.
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::V4(addresses) => Self::V4(addresses.rotate_left(32)),
            Self::V6([source, destination]) => Self::V6([destination, source]),
        }
    }

    /// The change of a checksum over these addresses when `new` takes their place; none across families.
    #[inline]
    pub fn delta(self, new: Self) -> Option<Delta> {
        match (self, new) {
            (Self::V4(old), Self::V4(new)) => Some(Delta::of_u64(old, new)),
            (Self::V6(old), Self::V6(new)) => Some(Delta::of_pair(old, new)),
            _ => None,
        }
    }
}

/// Writes the differentiated services code point `dscp`, of six bits, into a packet (RFC 2474 §3). What says whether the way is
/// congested (RFC 3168) stays, and the checksum is right afterwards.
pub fn set_dscp(packet: &mut [u8], dscp: u8) {
    let Some(family) = Family::of_packet(packet) else { return };
    let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    let old = u16::from_be_bytes([header[0], header[1]]);
    let dscp = u16::from(dscp & 0x3F);
    let new = match family {
        Family::V4 => old & 0xFF03 | dscp << 2,
        Family::V6 => old & 0xF03F | dscp << 6,
    };
    [header[0], header[1]] = new.to_be_bytes();
    if family == Family::V4 {
        ipv4::change_checksum(header, Delta::of_u16(old, new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversing_twice_is_where_one_began() {
        assert_eq!(Addresses::V4(1 << 32 | 2).reversed(), Addresses::V4(2 << 32 | 1));
        assert_eq!(Addresses::V6([1, 2]).reversed(), Addresses::V6([2, 1]));
    }

    #[test]
    fn both_ends_of_a_packet_are_of_one_family() {
        let [four, six]: [IpAddr; 2] = ["198.18.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(Addresses::between(four, four), Some(Addresses::V4(0xC612_0001_C612_0001)));
        assert_eq!(Addresses::between(four, six), None);
        for address in [four, six] {
            assert_eq!(Addresses::between(address, address).map(Addresses::source), Some(address));
        }
    }

    #[test]
    fn a_mark_replaces_the_code_point_alone() {
        let mut header =
            etherparse::Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, [198, 18, 0, 1], [198, 18, 0, 100])
                .unwrap();
        header.ecn = etherparse::IpEcn::try_new(2).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut packet = header.to_bytes().to_vec();
        for dscp in [46, 0, 63] {
            set_dscp(&mut packet, dscp);
            let read = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
            assert_eq!((read.dscp.value(), read.ecn.value()), (dscp, 2));
            assert_eq!(read.header_checksum, read.calc_header_checksum());
        }
        let mut packet = vec![0x6A, 0xB5, 0x67, 0x89];
        packet.resize(40, 0);
        set_dscp(&mut packet, 46);
        // Traffic class 0xAB had ECN 3, which stays, as do version and flow label.
        assert_eq!(packet[..4], [0x6B, 0xB5, 0x67, 0x89]);
        set_dscp(&mut packet[..10], 1);
        assert_eq!(packet[0], 0x6B, "no header, nothing written");
    }

    #[test]
    fn the_first_four_bits_name_the_family() {
        assert_eq!(Family::of_packet(&[0x45]), Some(Family::V4));
        assert_eq!(Family::of_packet(&[0x60]), Some(Family::V6));
        assert_eq!(Family::of_packet(&[0x55]), None);
        assert_eq!(Family::of_packet(&[]), None);
    }
}
