//! What differs between the two versions of IP where the switch has something to say.

use std::net::IpAddr;

use crate::dataplane::family::{Pair, V4, V6};
use crate::wire::checksum::{fold, pseudo_header_v4, pseudo_header_v6};
use crate::wire::icmp::{self, Message};
use crate::wire::ip::{self, Addresses};
use crate::wire::{ipv4, ipv6, tcp};

/// TTL or hop limit of what the switch sends itself.
const TTL: u8 = 64;

/// What the switch has to say about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataplane) enum Complaint {
    /// TTL or hop limit at an end.
    TimeExceeded,
    /// Longer than `mtu`, and not to be cut.
    TooBig { mtu: u16 },
    /// Nobody listens.
    PortUnreachable,
    /// Nobody speaks that protocol.
    ProtocolUnreachable,
    /// The host does not answer.
    HostUnreachable,
    /// No route.
    NetUnreachable,
}

/// A version of IP, with its ICMP.
pub(in crate::dataplane) trait Version: Pair {
    /// Protocol number of ICMP.
    const PROTOCOL: u8;
    /// The most that [`Version::complain`] ever writes.
    const ROOM: usize;
    /// Length of an IP header without options.
    const HEADER: usize;
    /// The smallest MTU that a link may have, and so that a true "too big" may say.
    const SMALLEST_MTU: u32;

    /// As `wire` has them.
    fn pack(self) -> Addresses;
    /// From what `wire` has; none where they are of the other family.
    fn unpack(addresses: Addresses) -> Option<Self>;
    /// Reads and verifies an ICMP message between these addresses.
    fn parse(self, message: &[u8]) -> Result<Message, icmp::Error>;
    /// Whether ICMP messages of this type are errors, which quote a packet.
    fn is_error(kind: u8) -> bool;
    /// Turns an echo request into its reply.
    fn echo_reply(packet: &mut [u8]) -> bool;
    /// Whether an error may be sent about `packet`.
    fn may_answer(packet: &[u8]) -> bool;
    /// Turns `length` bytes of packet into an error about it; returns the length of the error.
    fn complain(packet: &mut [u8], length: usize, source: IpAddr, what: Complaint, id: u16) -> Option<usize>;
    /// Sum of the pseudo-header.
    fn pseudo_header(self, protocol: u8, length: u16) -> u64;
    /// Writes an IP header between these addresses in front of `payload` bytes.
    fn write_header(self, packet: &mut [u8], protocol: u8, payload: u16);
    /// What to say about a packet of `length` bytes that does not fit `mtu`; none where it would be of no use.
    fn too_big(mtu: u16, length: u16) -> Option<Complaint>;

    /// Writes a reset in place of the segment of `header`, which was sent from the first of these addresses to the second
    /// and takes up `length` sequence numbers. Returns the length of the packet.
    fn write_reset(self, packet: &mut [u8], header: &tcp::Header, length: u32) -> Option<usize> {
        self.reversed().write_segment(packet, tcp::reset(header, length))
    }

    /// Writes a packet between these addresses that carries this segment alone, whose checksum is still to be computed.
    /// Returns its length.
    fn write_segment(self, packet: &mut [u8], mut segment: [u8; tcp::HEADER]) -> Option<usize> {
        self.write_tcp(packet, &mut segment)
    }

    /// The same of a segment of any length.
    fn write_tcp(self, packet: &mut [u8], segment: &mut [u8]) -> Option<usize> {
        let (length, total) = (segment.len() as u16, Self::HEADER + segment.len());
        let sum = u64::from(crate::wire::checksum::sum(segment));
        tcp::set_checksum(segment, !fold(self.pseudo_header(ip::TCP, length) + sum));
        packet.get_mut(Self::HEADER..total)?.copy_from_slice(segment);
        self.write_header(packet, ip::TCP, length);
        Some(total)
    }
}

impl Version for V4 {
    const PROTOCOL: u8 = ip::ICMP;
    const ROOM: usize = icmp::v4::ROOM;
    const HEADER: usize = ipv4::HEADER;
    const SMALLEST_MTU: u32 = 68;

    fn pack(self) -> Addresses {
        Addresses::V4(self)
    }

    fn unpack(addresses: Addresses) -> Option<Self> {
        match addresses {
            Addresses::V4(addresses) => Some(addresses),
            Addresses::V6(_) => None,
        }
    }

    fn parse(self, message: &[u8]) -> Result<Message, icmp::Error> {
        icmp::v4::parse(message)
    }

    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    fn echo_reply(packet: &mut [u8]) -> bool {
        ipv4::Header::parse(packet).is_ok_and(|header| icmp::v4::echo_reply(packet, &header))
    }

    fn may_answer(packet: &[u8]) -> bool {
        ipv4::Header::parse(packet).is_ok_and(|header| icmp::v4::may_answer(packet, &header))
    }

    fn complain(packet: &mut [u8], length: usize, source: IpAddr, what: Complaint, id: u16) -> Option<usize> {
        use icmp::v4::Complaint as Said;
        let IpAddr::V4(source) = source else { return None };
        let what = match what {
            Complaint::TimeExceeded => Said::TimeExceeded,
            Complaint::TooBig { mtu } => Said::FragmentationNeeded { mtu },
            Complaint::PortUnreachable => Said::PortUnreachable,
            Complaint::ProtocolUnreachable => Said::ProtocolUnreachable,
            Complaint::HostUnreachable => Said::HostUnreachable,
            Complaint::NetUnreachable => Said::NetUnreachable,
        };
        icmp::v4::build(packet, length, source.into(), what, id)
    }

    fn pseudo_header(self, protocol: u8, length: u16) -> u64 {
        pseudo_header_v4(self, protocol, length)
    }

    fn write_header(self, packet: &mut [u8], protocol: u8, payload: u16) {
        if let Some(header) = packet.first_chunk_mut() {
            ipv4::write(header, self, protocol, payload, TTL);
        }
    }

    fn too_big(mtu: u16, _: u16) -> Option<Complaint> {
        (mtu > 0).then_some(Complaint::TooBig { mtu })
    }
}

impl Version for V6 {
    const PROTOCOL: u8 = ip::ICMPV6;
    const ROOM: usize = icmp::v6::ROOM;
    const HEADER: usize = ipv6::HEADER;
    const SMALLEST_MTU: u32 = ipv6::MINIMUM_MTU as u32;

    fn pack(self) -> Addresses {
        Addresses::V6(self)
    }

    fn unpack(addresses: Addresses) -> Option<Self> {
        match addresses {
            Addresses::V6(addresses) => Some(addresses),
            Addresses::V4(_) => None,
        }
    }

    fn parse(self, message: &[u8]) -> Result<Message, icmp::Error> {
        icmp::v6::parse(self, message)
    }

    fn is_error(kind: u8) -> bool {
        kind < 128
    }

    fn echo_reply(packet: &mut [u8]) -> bool {
        ipv6::Header::parse(packet).is_ok_and(|header| icmp::v6::echo_reply(packet, &header))
    }

    fn may_answer(packet: &[u8]) -> bool {
        ipv6::Header::parse(packet).is_ok_and(|header| icmp::v6::may_answer(packet, &header))
    }

    fn complain(packet: &mut [u8], length: usize, source: IpAddr, what: Complaint, _: u16) -> Option<usize> {
        use icmp::v6::Complaint as Said;
        let IpAddr::V6(source) = source else { return None };
        let what = match what {
            Complaint::TimeExceeded => Said::TimeExceeded,
            Complaint::TooBig { mtu } => Said::PacketTooBig { mtu: mtu.into() },
            Complaint::PortUnreachable => Said::PortUnreachable,
            Complaint::ProtocolUnreachable => {
                Said::UnknownNextHeader { pointer: ipv6::upper_layer_field(packet) as u32 }
            }
            Complaint::HostUnreachable => Said::AddressUnreachable,
            Complaint::NetUnreachable => Said::NoRoute,
        };
        icmp::v6::build(packet, length, source.into(), what)
    }

    fn pseudo_header(self, protocol: u8, length: u16) -> u64 {
        pseudo_header_v6(self, protocol, length.into())
    }

    fn write_header(self, packet: &mut [u8], protocol: u8, payload: u16) {
        if let Some(header) = packet.first_chunk_mut() {
            ipv6::write(header, self, protocol, payload, TTL);
        }
    }

    /// Hosts need not go below 1280 bytes, and ignore who asks them to (RFC 8201 §4). Where a tunnel leaves less than that
    /// (RFC 2473 §7.1) they are told 1280, and what is not larger is dropped without a word: none would help.
    fn too_big(mtu: u16, length: u16) -> Option<Complaint> {
        let mtu = mtu.max(ipv6::MINIMUM_MTU);
        (length > mtu).then_some(Complaint::TooBig { mtu })
    }
}
