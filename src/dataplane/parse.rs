//! Stage 1: headers. One pass over each frame, every length checked once.

use crate::tables::{DropReason, Snapshot};
use crate::wire::checksum::{self, Verified};
use crate::wire::tcp::Flags;
use crate::wire::{ethernet, ipv4, tcp, udp};

use super::batch::{Batch, Meta};
use super::conntrack::{FlowKey, FlowTable};
use super::verdict::Verdict;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// Offset of the IP header in an untagged frame.
pub const IP: usize = ethernet::HEADER;

/// What kind of frame it is, as far as the pipeline tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that concerns the switch.
    Other,
    /// ARP.
    Arp,
    /// TCP or UDP over IPv4, whole.
    Flow,
    /// A piece of an IPv4 datagram.
    Fragment,
}

/// What the headers say.
#[derive(Debug, Clone, Copy)]
pub struct Parsed {
    /// Kind of frame.
    pub kind: Kind,
    /// TCP control bits.
    pub flags: Flags,
    /// Offset of the TCP or UDP header in the frame.
    pub transport: u8,
    /// Time to live.
    pub ttl: u8,
    /// Length of the IP packet; behind it the frame is padding.
    pub ip_len: u16,
    /// The TCP or UDP checksum as it stands.
    pub checksum: u16,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
}

impl Parsed {
    /// Of a frame that was not looked at yet.
    pub const NOTHING: Self = Self {
        kind: Kind::Other,
        flags: Flags(0),
        transport: 0,
        ttl: 0,
        ip_len: 0,
        checksum: 0,
        sequence: 0,
        acknowledgment: 0,
    };
}

/// Reads the headers of every frame, names its flow and asks for the memory that the next stage will read.
pub fn run(batch: &mut Batch, tables: &Snapshot, flows: &FlowTable) {
    let (entries, _) = batch.parts();
    for (frame, meta) in entries {
        match headers(frame.bytes(), meta, tables) {
            Ok(()) if meta.parsed.kind == Kind::Flow => {
                meta.hash = flows.secret().hash(meta.key);
                flows.prefetch_bucket(meta.hash);
            }
            Ok(()) => {}
            Err(reason) => meta.verdict = Some(Verdict::Drop(reason)),
        }
    }
}

fn headers(frame: &[u8], meta: &mut Meta, tables: &Snapshot) -> Result<(), DropReason> {
    let Some((header, packet)) = frame.split_first_chunk::<{ ethernet::HEADER }>() else {
        return Err(DropReason::Malformed);
    };
    match u16::from_be_bytes([header[12], header[13]]) {
        ethernet::IPV4 => {
            // Routing is for frames that were sent to us; what a capture or a bridge shows besides is not ours.
            let to_us = tables.interfaces.get(meta.ingress.index()).is_some_and(|i| header[..6] == i.mac);
            if to_us { ipv4_packet(packet, meta) } else { Ok(()) }
        }
        ethernet::ARP => {
            meta.parsed.kind = Kind::Arp;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn ipv4_packet(packet: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let header = ipv4::Header::parse(packet).map_err(|error| match error {
        ipv4::Error::Malformed => DropReason::Malformed,
        ipv4::Error::Checksum => DropReason::IpChecksum,
    })?;
    let parsed = &mut meta.parsed;
    parsed.ttl = header.ttl;
    parsed.ip_len = header.total_len;
    parsed.transport = IP as u8 + header.header_len;
    meta.key.addresses = header.addresses;
    meta.key.protocol = header.protocol;
    if header.fragment {
        parsed.kind = Kind::Fragment;
        return Ok(());
    }
    let segment = packet
        .get(usize::from(header.header_len)..usize::from(header.total_len))
        .ok_or(DropReason::Malformed)?;
    match header.protocol {
        TCP => {
            let header = tcp::Header::parse(segment).ok_or(DropReason::Malformed)?;
            meta.key.ports = header.ports;
            (parsed.flags, parsed.checksum) = (header.flags, header.checksum);
            (parsed.sequence, parsed.acknowledgment) = (header.sequence, header.acknowledgment);
            parsed.kind = Kind::Flow;
        }
        UDP => {
            let header = udp::Header::parse(segment).ok_or(DropReason::Malformed)?;
            meta.key.ports = header.ports;
            parsed.checksum = header.checksum;
            parsed.kind = Kind::Flow;
        }
        _ => {}
    }
    Ok(())
}

/// Verifies the TCP or UDP checksum of a whole frame. Reads all of its payload.
pub fn verify(frame: &[u8], parsed: &Parsed, key: &FlowKey) -> Result<(), DropReason> {
    if key.protocol == UDP && parsed.checksum == 0 {
        return Ok(());
    }
    let end = IP + usize::from(parsed.ip_len);
    let segment = frame.get(usize::from(parsed.transport)..end).ok_or(DropReason::Malformed)?;
    let segment = match key.protocol {
        UDP => udp::Header::parse(segment).and_then(|header| segment.get(..usize::from(header.length))),
        _ => Some(segment),
    }
    .ok_or(DropReason::Malformed)?;
    match checksum::verify_v4(key.addresses, key.protocol, segment, parsed.checksum) {
        Verified::Right => Ok(()),
        Verified::Wrong => Err(DropReason::L4Checksum),
        Verified::LeftToOffload => Err(DropReason::ChecksumOffload),
    }
}
