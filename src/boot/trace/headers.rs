//! What stands in the headers of the frame that was tried.

use std::net::SocketAddr;

use crate::control::trace::{Headers, OuterStep, RewriteStep};
use crate::dataplane::Verdict;
use crate::dataplane::trace::Answer;
use crate::wire::ip::{Addresses, Family};
use crate::wire::tunnel::{Decapsulated, Encapsulation, decapsulate};
use crate::wire::{ethernet, ipv4, ipv6};

/// The frame before and after, if it left.
pub(super) fn rewrite(answer: &Answer) -> Option<RewriteStep> {
    if !matches!(answer.verdict, Verdict::Forward(_)) {
        return None;
    }
    let outer = outer(answer);
    let before = read(&answer.before)?;
    let after = match &outer {
        Some((found, link)) => read_at(&answer.after, link + usize::from(found.offset))?,
        None => read(&answer.after)?,
    };
    Some(RewriteStep {
        source_port_is_open: before.source != after.source && answer.existing.is_none(),
        source_ports_free: answer.ports,
        outer: outer.and_then(|(found, _)| outer_step(&found)),
        before,
        after,
    })
}

/// The outer headers that were put around the packet, and where they begin.
fn outer(answer: &Answer) -> Option<(Decapsulated, usize)> {
    let link = usize::from(ethernet::header(&answer.after)?.header_len);
    let (came, left) = (read(&answer.before)?, answer.after.get(link..)?);
    let found = decapsulate(left)?;
    let inner = read_at(&answer.after, link + usize::from(found.offset))?;
    // A client may talk to a service through a tunnel of its own.
    let is_ours = (inner.source, inner.destination) == (came.source, came.destination);
    is_ours.then_some((found, link))
}

fn outer_step(found: &Decapsulated) -> Option<OuterStep> {
    let (encapsulation, port) = match found.encapsulation {
        Encapsulation::Ipip => ("ipip", None),
        Encapsulation::Gue { port } => ("gue", Some(port)),
    };
    let (source, destination) = (found.outer.source(), found.outer.reversed().source());
    Some(OuterStep { encapsulation: encapsulation.into(), source, destination, port })
}

/// The addresses of a frame.
pub(super) fn read(frame: &[u8]) -> Option<Headers> {
    read_at(frame, usize::from(ethernet::header(frame)?.header_len))
}

/// The same where the IP header begins elsewhere.
fn read_at(frame: &[u8], at: usize) -> Option<Headers> {
    let macs = frame.first_chunk::<12>()?;
    let (addresses, transport, ttl) = ip(frame.get(at..)?)?;
    let [a, b, c, d] = *frame.get(at + transport..)?.first_chunk::<4>()?;
    let vlan = ethernet::header(frame)?.tags.vids().into_iter().flatten().collect();
    Some(Headers {
        destination_mac: mac(*macs.first_chunk()?),
        source_mac: mac(*macs.last_chunk()?),
        vlan,
        source: SocketAddr::new(addresses.source(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(addresses.reversed().source(), u16::from_be_bytes([c, d])),
        ttl,
    })
}

/// Addresses, length of the headers, time to live.
fn ip(packet: &[u8]) -> Option<(Addresses, usize, u8)> {
    Some(match Family::of_packet(packet)? {
        Family::V4 => {
            let header = ipv4::Header::parse(packet).ok()?;
            (Addresses::V4(header.addresses), usize::from(header.header_len), header.ttl)
        }
        Family::V6 => {
            let header = ipv6::Header::parse(packet).ok()?;
            (Addresses::V6(header.addresses), usize::from(header.header_len), header.hop_limit)
        }
    })
}

/// Bytes of the IP packet in a frame.
pub(super) fn ip_length(frame: &[u8]) -> u16 {
    let link = ethernet::header(frame).map_or(0, |link| usize::from(link.header_len));
    u16::try_from(frame.len().saturating_sub(link)).unwrap_or(u16::MAX)
}

/// A MAC address in writing.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
