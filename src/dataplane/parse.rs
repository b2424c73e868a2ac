//! Stage 1: headers. One pass over each frame, every length checked once.

use crate::tables::{DropReason, Interface, Snapshot};
use crate::wire::checksum::{self, Verified};
use crate::wire::plain::{self, Named};
use crate::wire::tcp::Flags;
use crate::wire::tunnel::Family;
use crate::wire::{ethernet, ipv4, ipv6, tcp, udp};

use super::batch::{Batch, Lane, Meta, Slot};
use super::conntrack::{Direction, FlowKey, FlowTables};
use super::family::Pair;
use super::fragments;
use super::verdict::Verdict;

pub use crate::wire::ip::{ICMP, ICMPV6, TCP, UDP};

/// What kind of frame it is, as far as the pipeline tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that concerns the switch.
    Other,
    /// ARP.
    Arp,
    /// TCP or UDP, whole.
    Flow,
    /// A piece of an IP datagram.
    Fragment,
    /// ICMP or ICMPv6, whole.
    Icmp,
    /// Another protocol over IP.
    Packet,
}

/// What the headers say.
#[derive(Debug, Clone, Copy)]
pub struct Parsed {
    /// Kind of frame.
    pub kind: Kind,
    /// Version of the IP packet.
    pub family: Family,
    /// TCP control bits.
    pub flags: Flags,
    /// Offset of the IP header in the frame: behind the VLAN tags.
    pub ip: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Offset of the header behind the IP header, its options and extensions.
    pub transport: u16,
    /// Length of the IP packet; behind it the frame is padding.
    pub ip_len: u16,
    /// The TCP or UDP checksum as it stands.
    pub checksum: u16,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
    /// Of a ping: whether it is the request or the reply. Its identifier stands among the ports.
    pub echo: Option<Direction>,
    /// Whether routers must not fragment it: IPv4 with DF, and all of IPv6.
    pub dont_fragment: bool,
    /// Where a fragment belongs, in bytes.
    pub fragment_offset: u16,
    /// Whether more fragments follow behind this one.
    pub more_fragments: bool,
    /// The datagram that a fragment belongs to.
    pub fragment_id: u32,
}

impl Parsed {
    /// Of a frame that was not looked at yet.
    pub const NOTHING: Self = Self {
        kind: Kind::Other,
        family: Family::V4,
        flags: Flags(0),
        ip: 0,
        ttl: 0,
        transport: 0,
        ip_len: 0,
        checksum: 0,
        sequence: 0,
        acknowledgment: 0,
        echo: None,
        dont_fragment: false,
        fragment_offset: 0,
        more_fragments: false,
        fragment_id: 0,
    };

    /// Where the IP packet lies in the frame.
    #[inline]
    pub fn packet(&self) -> std::ops::Range<usize> {
        usize::from(self.ip)..usize::from(self.ip) + usize::from(self.ip_len)
    }

    /// Where what the IP packet carries lies in the frame.
    #[inline]
    pub fn payload(&self) -> std::ops::Range<usize> {
        usize::from(self.transport)..usize::from(self.ip) + usize::from(self.ip_len)
    }
}

/// Reads the headers of every frame, names its flow and asks for the memory that the next stage will read. Whether all of them
/// are plain IPv4.
pub fn run(batch: &mut Batch, tables: &Snapshot, shared: &FlowTables) -> bool {
    let (secret, v4, v6) = (*shared.secret(), &*shared.v4, &*shared.v6);
    let mut all_v4 = true;
    for Slot { meta, frame } in batch.parts().0 {
        let (bytes, station) = (frame.bytes(), tables.ways.station(meta.ingress));
        if let Some(Named { addresses, ports, protocol }) = plain::ipv4(bytes, station) {
            meta.v4 = FlowKey { addresses, ports, protocol };
            (meta.lane, meta.hash) = (Lane::V4, secret.hash(meta.v4));
            meta.bucket = v4.prefetch_bucket(meta.hash);
            continue;
        }
        all_v4 = false;
        if let Some(Named { addresses, ports, protocol }) = plain::ipv6(bytes, station) {
            meta.v6 = FlowKey { addresses, ports, protocol };
            (meta.lane, meta.hash) = (Lane::V6, secret.hash(meta.v6));
            meta.bucket = v6.prefetch_bucket(meta.hash);
        } else {
            full(bytes, meta, tables, shared);
        }
    }
    all_v4
}

#[inline(never)]
fn full(bytes: &[u8], meta: &mut Meta, tables: &Snapshot, shared: &FlowTables) {
    match headers(bytes, meta, tables) {
        Ok(()) if has_flow(meta, tables) => name_flow(meta, shared),
        Ok(()) => {}
        Err(reason) => meta.verdict = Some(Verdict::Drop(reason)),
    }
}

/// Reads of a frame that was read as plain what the other tiers want to know besides its flow.
#[inline]
pub fn complete(frame: &[u8], meta: &mut Meta) {
    let (details, transport, family) = match meta.lane {
        Lane::Full => return,
        Lane::V4 => (plain::details_v4(frame, meta.v4.protocol), plain::TRANSPORT_V4, Family::V4),
        Lane::V6 => (plain::details_v6(frame, meta.v6.protocol), plain::TRANSPORT_V6, Family::V6),
    };
    meta.lane = Lane::Full;
    meta.parsed = Parsed {
        kind: Kind::Flow,
        family,
        flags: details.flags,
        ip: plain::IP as u8,
        ttl: details.ttl,
        transport: transport as u16,
        ip_len: details.ip_len,
        checksum: details.checksum,
        sequence: details.sequence,
        acknowledgment: details.acknowledgment,
        dont_fragment: details.dont_fragment,
        ..Parsed::NOTHING
    };
}

/// Whether a frame may belong to a connection: TCP, UDP and, where there is outbound NAT, pings.
#[inline]
pub fn has_flow(meta: &Meta, tables: &Snapshot) -> bool {
    match meta.parsed.kind {
        Kind::Flow => true,
        Kind::Icmp => meta.parsed.echo.is_some() && !tables.snat_rules.is_empty(),
        _ => false,
    }
}

/// Hashes the flow and asks for its bucket.
fn name_flow(meta: &mut Meta, shared: &FlowTables) {
    match meta.parsed.family {
        Family::V4 => {
            meta.hash = shared.secret().hash(meta.v4);
            shared.v4.prefetch_bucket(meta.hash);
        }
        Family::V6 => {
            meta.hash = shared.secret().hash(meta.v6);
            shared.v6.prefetch_bucket(meta.hash);
        }
    }
}

fn headers(frame: &[u8], meta: &mut Meta, tables: &Snapshot) -> Result<(), DropReason> {
    if frame.len() < ethernet::HEADER {
        return Err(DropReason::Malformed);
    }
    let Some(link) = ethernet::header(frame) else { return Ok(()) };
    let Some(interface) = tables.interfaces.get(meta.ingress.index()) else { return Ok(()) };
    if link.tags != interface.tags {
        return Ok(());
    }
    meta.parsed.ip = link.header_len;
    let packet = frame.get(usize::from(link.header_len)..).unwrap_or_default();
    match link.ethertype {
        ethernet::ARP => {
            meta.parsed.kind = Kind::Arp;
            Ok(())
        }
        ethernet::IPV4 if is_ours(frame, interface, tables) => ipv4_packet(packet, meta),
        ethernet::IPV6 if is_ours(frame, interface, tables) || frame.starts_with(&[0x33, 0x33]) => {
            ipv6_packet(packet, meta)
        }
        _ => Ok(()),
    }
}

/// Routing is for frames that were sent to us; what a capture or a flooding bridge shows besides is not ours. A bridge
/// takes what is for others, too.
#[inline]
fn is_ours(frame: &[u8], interface: &Interface, tables: &Snapshot) -> bool {
    frame.starts_with(&interface.mac) || (tables.bridge && frame.first().is_some_and(|first| first & 1 == 0))
}

fn ipv4_packet(packet: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let header = ipv4::Header::parse(packet).map_err(|error| match error {
        ipv4::Error::Malformed => DropReason::Malformed,
        ipv4::Error::Checksum => DropReason::IpChecksum,
    })?;
    let parsed = &mut meta.parsed;
    parsed.family = Family::V4;
    parsed.ttl = header.ttl;
    parsed.ip_len = header.total_len;
    parsed.transport = u16::from(parsed.ip) + u16::from(header.header_len);
    parsed.dont_fragment = header.dont_fragment;
    meta.v4.addresses = header.addresses;
    meta.v4.protocol = header.protocol;
    let payload = packet
        .get(usize::from(header.header_len)..usize::from(header.total_len))
        .ok_or(DropReason::Malformed)?;
    if header.fragment {
        parsed.kind = Kind::Fragment;
        parsed.fragment_offset = header.fragment_offset;
        parsed.more_fragments = header.more_fragments;
        parsed.fragment_id = u32::from(header.id);
        let before = u16::from(header.header_len);
        meta.v4.ports = fragments::header::read(payload, before, header.protocol, parsed)?;
        return Ok(());
    }
    meta.v4.ports = transport(payload, header.protocol, parsed)?;
    Ok(())
}

fn ipv6_packet(packet: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let header = ipv6::Header::parse(packet).map_err(|_| blame_v6(packet))?;
    let parsed = &mut meta.parsed;
    parsed.family = Family::V6;
    parsed.ttl = header.hop_limit;
    parsed.ip_len = header.total_len;
    parsed.transport = u16::from(parsed.ip) + header.header_len;
    parsed.dont_fragment = true;
    meta.v6.addresses = header.addresses;
    meta.v6.protocol = header.protocol;
    let payload = packet
        .get(usize::from(header.header_len)..usize::from(header.total_len))
        .ok_or(DropReason::Malformed)?;
    match header.fragment {
        // An atomic fragment (RFC 6946) is a whole packet with a needless header.
        Some(fragment) if fragment.more || fragment.offset != 0 => {
            parsed.kind = Kind::Fragment;
            parsed.fragment_offset = fragment.offset;
            parsed.more_fragments = fragment.more;
            parsed.fragment_id = fragment.id;
            meta.v6.ports = fragments::header::read(payload, 0, header.protocol, parsed)?;
        }
        _ => meta.v6.ports = transport(payload, header.protocol, parsed)?,
    }
    Ok(())
}

/// Why an IPv6 packet was refused: a piece that is whole in itself, but can be no piece, has a reason of its own.
#[cold]
fn blame_v6(packet: &[u8]) -> DropReason {
    match ipv6::Header::parse_cut(packet) {
        Ok(header) if header.fragment.is_some() && usize::from(header.total_len) <= packet.len() => {
            DropReason::FragmentAbsurd
        }
        _ => DropReason::Malformed,
    }
}

/// Reads the TCP, UDP or ICMP header and returns the ports: source in the high half. ICMP queries have their identifier
/// as the port of who asks.
fn transport(payload: &[u8], protocol: u8, parsed: &mut Parsed) -> Result<u32, DropReason> {
    match protocol {
        TCP => {
            let header = tcp::Header::parse(payload).ok_or(DropReason::Malformed)?;
            (parsed.flags, parsed.checksum) = (header.flags, header.checksum);
            (parsed.sequence, parsed.acknowledgment) = (header.sequence, header.acknowledgment);
            parsed.kind = Kind::Flow;
            Ok(header.ports)
        }
        UDP => {
            let header = udp::Header::parse(payload).ok_or(DropReason::Malformed)?;
            parsed.checksum = header.checksum;
            parsed.kind = Kind::Flow;
            Ok(header.ports)
        }
        ICMP | ICMPV6 => {
            let [kind, code, high, low, identifier @ ..] =
                payload.first_chunk::<6>().ok_or(DropReason::Malformed)?;
            parsed.checksum = u16::from_be_bytes([*high, *low]);
            parsed.kind = Kind::Icmp;
            let (echo, ports) = ping(protocol, *kind, *code, u16::from_be_bytes(*identifier));
            parsed.echo = echo;
            Ok(ports)
        }
        _ => {
            parsed.kind = Kind::Packet;
            Ok(0)
        }
    }
}

/// Whether an ICMP message is a ping, and what it has for ports: its identifier is that of who asks.
pub fn ping(protocol: u8, kind: u8, code: u8, identifier: u16) -> (Option<Direction>, u32) {
    let identifier = u32::from(identifier);
    match (protocol, kind, code) {
        (ICMP, 8, 0) | (ICMPV6, 128, 0) => (Some(Direction::Request), identifier << 16),
        (ICMP, 0, 0) | (ICMPV6, 129, 0) => (Some(Direction::Reply), identifier),
        _ => (None, 0),
    }
}

/// Verifies the TCP, UDP or ICMP checksum of a frame. Reads all of its payload. That of a fragment is of the whole datagram, which
/// is nowhere in one piece: it is kept as right or wrong as it is.
pub fn verify<P: Pair>(frame: &[u8], parsed: &Parsed, key: &FlowKey<P>) -> Result<(), DropReason> {
    let is_absent = key.protocol == UDP && parsed.checksum == 0 && P::CHECKSUM_OPTIONAL;
    if is_absent || parsed.kind == Kind::Fragment {
        return Ok(());
    }
    let segment = frame.get(parsed.payload()).ok_or(DropReason::Malformed)?;
    let segment = match key.protocol {
        UDP => udp::Header::parse(segment).and_then(|header| segment.get(..usize::from(header.length))),
        _ => Some(segment),
    }
    .ok_or(DropReason::Malformed)?;
    if key.protocol == ICMP {
        // Over IPv4 it covers the message alone.
        return if checksum::sum(segment) == 0xFFFF { Ok(()) } else { Err(DropReason::IcmpChecksum) };
    }
    match key.addresses.verify(key.protocol, segment, parsed.checksum) {
        Verified::Right => Ok(()),
        _ if key.protocol == ICMPV6 => Err(DropReason::IcmpChecksum),
        Verified::Wrong => Err(DropReason::L4Checksum),
        Verified::LeftToOffload => Err(DropReason::ChecksumOffload),
    }
}
