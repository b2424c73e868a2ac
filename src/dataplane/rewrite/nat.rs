//! NAT in all its forms: both ends of the flow are written from the connection, whichever of them changed.

use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::{Direction, Hit};
use crate::dataplane::family::Pair;
use crate::dataplane::parse::{ICMP, ICMPV6, TCP, UDP};
use crate::wire::checksum::Delta;
use crate::wire::{icmp, tcp, udp};

/// Rewrites addresses, ports and checksums, and takes one from the TTL where `routed`.
#[inline]
pub fn apply<P: Pair>(frame: &mut [u8], meta: &Meta, hit: &Hit<P>, routed: bool) {
    // Ports and checksum are in the first piece of a datagram alone.
    if meta.parsed.fragment_offset == 0
        && let Some(segment) = frame.get_mut(usize::from(meta.parsed.transport)..)
    {
        match P::key(meta).protocol {
            TCP => tcp::rewrite(segment, hit.ports, hit.transport_delta),
            UDP => udp::rewrite(segment, hit.ports, hit.transport_delta),
            ICMP | ICMPV6 => ping(frame, meta, hit),
            _ => {}
        }
    }
    if let Some(packet) = frame.get_mut(usize::from(meta.parsed.ip)..) {
        if routed {
            hit.addresses.rewrite(packet, hit.address_delta);
        } else {
            hit.addresses.rewrite_addresses(packet, hit.address_delta);
        }
    }
}

/// A ping has its identifier where others have the port of who asks.
#[cold]
fn ping<P: Pair>(frame: &mut [u8], meta: &Meta, hit: &Hit<P>) {
    let Some(message) = frame.get_mut(meta.parsed.payload()) else { return };
    let id = match hit.direction {
        Direction::Request => (hit.ports >> 16) as u16,
        Direction::Reply => hit.ports as u16,
    };
    // Over IPv4 the checksum does not cover the addresses.
    let addresses = if P::key(meta).protocol == ICMPV6 { hit.address_delta } else { Delta::default() };
    icmp::rewrite_id(message, id, addresses);
}
