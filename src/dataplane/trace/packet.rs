//! The frame that is tried: plain headers, right checksums, as many bytes as were asked for.

use crate::tables::{InterfaceId, NextHopId, Resolution, Snapshot};
use crate::wire::ip::{self, Addresses};
use crate::wire::tcp::{self, Flags};
use crate::wire::{checksum, ethernet, ipv4, ipv6, udp};

use super::Question;

const TTL: u8 = 64;
/// In a field of flags: IPv4 must not be cut.
const DONT_FRAGMENT: u8 = 0x40;
/// Of whom nobody knows the MAC address. Locally administered.
const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 0xFE];

/// What the packet is, besides its addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// It opens a connection.
    Syn,
    /// It answers that.
    SynAck {
        /// Acknowledgment number.
        acknowledgment: u32,
    },
    /// In the middle of a connection.
    Data {
        /// Sequence number.
        sequence: u32,
        /// Acknowledgment number.
        acknowledgment: u32,
    },
    /// UDP.
    Datagram {
        /// Whether there is no connection yet.
        is_first: bool,
    },
}

/// The frame as it would come in through `ingress`. None where the addresses are of two families.
pub fn build(
    question: &Question,
    segment: Segment,
    ingress: InterfaceId,
    tables: &Snapshot,
) -> Option<Vec<u8>> {
    let interface = tables.interfaces.get(ingress.index())?;
    let addresses = Addresses::between(question.source.ip(), question.destination.ip())?;
    let packet = packet(question, segment, addresses)?;
    let neighbor = match tables.routes.resolve(question.source.ip()) {
        Resolution::NextHop(id) if id != NextHopId::NONE => tables.next_hop(id).filter(|hop| hop.resolved),
        _ => None,
    };
    let from = neighbor.and_then(|hop| hop.macs.first_chunk().copied()).unwrap_or(SOMEBODY);
    // A bridge sees what is addressed to others.
    let to = if tables.bridge { SOMEBODY } else { interface.mac };
    let ethertype = match addresses {
        Addresses::V4(_) => ethernet::IPV4,
        Addresses::V6(_) => ethernet::IPV6,
    };
    let mut frame = vec![0; interface.tags.header_len()];
    ethernet::write_header(&mut frame, &ethernet::macs(to, from), &interface.tags, ethertype);
    frame.extend_from_slice(&packet);
    Some(frame)
}

fn packet(question: &Question, segment: Segment, addresses: Addresses) -> Option<Vec<u8>> {
    let header = match addresses {
        Addresses::V4(_) => ipv4::HEADER,
        Addresses::V6(_) => ipv6::HEADER,
    };
    let (protocol, field, least) = match segment {
        Segment::Datagram { .. } => (ip::UDP, 6, udp::HEADER),
        _ => (ip::TCP, 16, tcp::HEADER),
    };
    let payload = usize::from(question.length).saturating_sub(header + least);
    let mut message = vec![0; least + payload];
    let ports = u32::from(question.source.port()) << 16 | u32::from(question.destination.port());
    message.first_chunk_mut::<4>()?.copy_from_slice(&ports.to_be_bytes());
    let length = u16::try_from(message.len()).ok()?;
    match segment {
        Segment::Datagram { .. } => message.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes()),
        segment => write_tcp(message.first_chunk_mut()?, segment),
    }
    let pseudo = match addresses {
        Addresses::V4(addresses) => checksum::pseudo_header_v4(addresses, protocol, length),
        Addresses::V6(addresses) => checksum::pseudo_header_v6(addresses, protocol, length.into()),
    };
    let checksum = match !checksum::fold(pseudo + u64::from(checksum::sum(&message))) {
        0 if protocol == ip::UDP => 0xFFFF,
        checksum => checksum,
    };
    message.get_mut(field..field + 2)?.copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0; header];
    match addresses {
        Addresses::V4(addresses) => {
            let header = packet.first_chunk_mut::<{ ipv4::HEADER }>()?;
            ipv4::write(header, addresses, protocol, length, TTL);
            header[6] |= DONT_FRAGMENT;
            ipv4::seal(header);
        }
        Addresses::V6(addresses) => {
            ipv6::write(packet.first_chunk_mut()?, addresses, protocol, length, TTL);
        }
    }
    packet.extend_from_slice(&message);
    Some(packet)
}

fn write_tcp(header: &mut [u8; tcp::HEADER], segment: Segment) {
    let (sequence, acknowledgment, flags) = match segment {
        Segment::SynAck { acknowledgment } => (0, acknowledgment, Flags::SYN.with(Flags::ACK)),
        Segment::Data { sequence, acknowledgment } => (sequence, acknowledgment, Flags::ACK),
        Segment::Syn | Segment::Datagram { .. } => (0, 0, Flags::SYN),
    };
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    (header[12], header[13]) = (5 << 4, flags.0);
    header[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
}
