//! Frames of a run: built once per size, then only what differs is written into each.

use std::net::{IpAddr, SocketAddr};

use super::order::Order;
use super::sizes::Sizes;
use super::stamp::{STAMP, Stamp};
use super::tuples::{Range, Tuples};
use crate::tables::Protocol;
use crate::wire::ip::{Addresses, Family};
use crate::wire::tcp::Flags;
use crate::wire::{checksum, ethernet, ipv4, ipv6, tcp, udp};

/// Room for the longest headers: Ethernet, IPv6 and TCP have 74 bytes.
pub const HEADERS: usize = 80;
const TTL: u8 = 64;
/// Sequence number, and acknowledgment number where there is one.
const SEQUENCE: [u32; 2] = [1, 2];
/// Offsets of checksums: IPv4's in the frame, the others in their header.
const IPV4_CHECKSUM: usize = ethernet::HEADER + 10;
const UDP_CHECKSUM: usize = 6;
const TCP_CHECKSUM: usize = 16;

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// MAC address of the next hop or receiver.
    pub to: [u8; 6],
    /// MAC address of the sender.
    pub from: [u8; 6],
    /// Flows.
    pub tuples: Tuples,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Control bits of TCP; with [`Flags::SYN`] the acknowledgment number is 0 and what fills the shortest frame is padding.
    pub flags: Flags,
    /// Sizes.
    pub sizes: Sizes,
    /// Order of flows.
    pub order: Order,
    /// The run that stamps name; none = no stamps. Where one of the sizes has no room for a stamp, there are none either.
    pub stamp: Option<u16>,
}

/// Frames that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "frames of {size} bytes are too short for {protocol} over {family}: its headers have {headers} (--size {headers} or more, and 18 more for a stamp)"
)]
pub struct TooShort {
    size: u16,
    headers: usize,
    protocol: &'static str,
    family: &'static str,
}

/// Frames of one size: all headers, with the last 32 bits of addresses, ports and stamp 0 and checksums right for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Headers; what is behind them is 0.
    pub header: [u8; HEADERS],
    /// Bytes of the frame.
    pub length: u16,
    /// Whether it carries a stamp.
    pub is_stamped: bool,
}

/// All that the frames of a run have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// One per size.
    pub shapes: Vec<Shape>,
    /// Shapes in the order in which they are sent.
    pub pattern: Vec<u8>,
    tuples: Tuples,
    family: Family,
    protocol: Protocol,
}

impl Template {
    /// The frames of `profile`.
    pub fn new(profile: &Profile) -> Result<Self, TooShort> {
        let family = profile.tuples.source.family();
        let shapes = profile.sizes.all().iter().map(|(size, _)| shape(profile, family, *size));
        let mut shapes: Vec<Shape> = shapes.collect::<Result<_, _>>()?;
        // All or none: a sink would take frames without for lost.
        if shapes.iter().any(|shape| !shape.is_stamped) {
            shapes.iter_mut().for_each(|shape| shape.is_stamped = false);
        }
        Ok(Self {
            shapes,
            pattern: profile.sizes.pattern(),
            tuples: profile.tuples,
            family,
            protocol: profile.protocol,
        })
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether frames are stamped: where that is wanted and every size has room.
    pub fn is_stamped(&self) -> bool {
        self.shapes.iter().all(|shape| shape.is_stamped)
    }

    /// Writes all headers of a frame of `flow`, and its stamp where it has one. `frame` has as many bytes as the shape, and
    /// zeros behind headers and stamp.
    pub fn write(&self, shape: &Shape, flow: u32, stamp: &Stamp, frame: &mut [u8]) {
        let (source, destination) = self.tuples.flow(flow);
        let (l4, length) = lengths(self.family, self.protocol);
        let (from, to, last) = match self.family {
            Family::V4 => (26, 30, 0),
            Family::V6 => (22, 38, 12),
        };
        if frame.len() < length {
            return;
        }
        frame[..length].copy_from_slice(&shape.header[..length]);
        let (low_source, low_destination) = (low_bits(source.ip()), low_bits(destination.ip()));
        frame[from + last..from + last + 4].copy_from_slice(&low_source.to_be_bytes());
        frame[to + last..to + last + 4].copy_from_slice(&low_destination.to_be_bytes());
        let mut sum = u64::from(low_source) + u64::from(low_destination);
        if self.family == Family::V4 {
            add(frame, IPV4_CHECKSUM, sum);
        }
        frame[l4..l4 + 2].copy_from_slice(&source.port().to_be_bytes());
        frame[l4 + 2..l4 + 4].copy_from_slice(&destination.port().to_be_bytes());
        sum += u64::from(source.port()) + u64::from(destination.port());
        if shape.is_stamped
            && let Some(room) = frame.get_mut(length..length + STAMP)
        {
            let bytes = stamp.bytes();
            room.copy_from_slice(&bytes);
            sum += u64::from(checksum::sum(&bytes));
        }
        match self.protocol {
            Protocol::Tcp => add(frame, l4 + TCP_CHECKSUM, sum),
            Protocol::Udp => {
                add(frame, l4 + UDP_CHECKSUM, sum);
                absent_is_no_value(&mut frame[l4 + UDP_CHECKSUM..]);
            }
        }
    }
}

/// Where the header of TCP or UDP begins and where it ends.
fn lengths(family: Family, protocol: Protocol) -> (usize, usize) {
    let l4 = ethernet::HEADER + if family == Family::V4 { ipv4::HEADER } else { ipv6::HEADER };
    (l4, l4 + if protocol == Protocol::Udp { udp::HEADER } else { tcp::HEADER })
}

fn low_bits(address: IpAddr) -> u32 {
    Range::single(address, 0).low_bits()
}

/// The checksum at `at` after words that were 0 became others whose sum this is (RFC 1624).
fn add(frame: &mut [u8], at: usize, sum: u64) {
    let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let new = !checksum::fold(u64::from(!old) + sum);
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

/// A UDP checksum of 0 would say that there is none (RFC 768).
fn absent_is_no_value(field: &mut [u8]) {
    if field[..2] == [0, 0] {
        field[..2].fill(0xFF);
    }
}

fn shape(profile: &Profile, family: Family, size: u16) -> Result<Shape, TooShort> {
    let (l4, headers) = lengths(family, profile.protocol);
    let length = usize::from(size);
    if length < headers {
        return Err(TooShort {
            size,
            headers,
            protocol: if profile.protocol == Protocol::Udp { "UDP" } else { "TCP" },
            family: if family == Family::V4 { "IPv4" } else { "IPv6" },
        });
    }
    let opens = profile.protocol == Protocol::Tcp && profile.flags.any(Flags::SYN);
    let is_padding = opens && size == super::sizes::SHORTEST;
    let payload = if is_padding { 0 } else { length - headers };
    let is_stamped = profile.stamp.is_some() && payload >= STAMP;
    let mut header = [0; HEADERS];
    let ethertype = if family == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 };
    let macs = ethernet::macs(profile.to, profile.from);
    ethernet::write_header(&mut header, &macs, &ethernet::Tags::none(), ethertype);
    let upper = (headers - l4 + payload) as u16;
    let pseudo = network(&mut header, &profile.tuples, profile.protocol, upper);
    match profile.protocol {
        Protocol::Udp => header[l4 + 4..l4 + 6].copy_from_slice(&upper.to_be_bytes()),
        Protocol::Tcp => {
            let acknowledgment = if profile.flags.any(Flags::ACK) { SEQUENCE[1] } else { 0 };
            header[l4 + 4..l4 + 8].copy_from_slice(&SEQUENCE[0].to_be_bytes());
            header[l4 + 8..l4 + 12].copy_from_slice(&acknowledgment.to_be_bytes());
            header[l4 + 12..l4 + 16].copy_from_slice(&[5 << 4, profile.flags.0, 0xFF, 0xFF]);
        }
    }
    // The payload is zeros.
    let sum = !checksum::fold(pseudo + u64::from(checksum::sum(&header[l4..headers])));
    let field = l4 + if profile.protocol == Protocol::Udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    header[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(Shape { header, length: size, is_stamped })
}

/// Writes the IP header, with the last 32 bits of both addresses 0; the sum of the pseudo-header.
fn network(header: &mut [u8; HEADERS], tuples: &Tuples, protocol: Protocol, upper: u16) -> u64 {
    let number = protocol as u8;
    let ends = [tuples.source, tuples.destination].map(|range| range.prefix().0);
    match Addresses::between(ends[0], ends[1]) {
        Some(Addresses::V6(addresses)) => {
            let addresses = addresses.map(|address| address >> 32 << 32);
            let mut ip = [0; ipv6::HEADER];
            ipv6::write(&mut ip, addresses, number, upper, TTL);
            header[ethernet::HEADER..ethernet::HEADER + ipv6::HEADER].copy_from_slice(&ip);
            checksum::pseudo_header_v6(addresses, number, upper.into())
        }
        _ => {
            let mut ip = [0; ipv4::HEADER];
            ipv4::write(&mut ip, 0, number, upper, TTL);
            header[ethernet::HEADER..ethernet::HEADER + ipv4::HEADER].copy_from_slice(&ip);
            checksum::pseudo_header_v4(0, number, upper)
        }
    }
}

/// Builds whole frames one by one, for tests and for those who need a frame of a flow.
pub fn frame(profile: &Profile, endpoints: (SocketAddr, SocketAddr)) -> Option<Vec<u8>> {
    let (source, destination) = endpoints;
    let [source, destination] = [source, destination].map(|end| Range::single(end.ip(), end.port()));
    let tuples = Tuples::new(source, destination, 1).ok()?;
    let template = Template::new(&Profile { tuples, ..profile.clone() }).ok()?;
    let shape = template.shapes.first()?;
    let mut frame = vec![0; usize::from(shape.length)];
    let stamp = Stamp { run: profile.stamp.unwrap_or(0), round: 0, sequence: 0, time_ns: 0 };
    template.write(shape, 0, &stamp, &mut frame);
    Some(frame)
}

#[cfg(test)]
mod tests;
