//! NAT in all its forms: both ends of the flow are written from the connection, whichever of them changed.

use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::Hit;
use crate::dataplane::family::Pair;
use crate::dataplane::parse::{TCP, UDP};
use crate::wire::{tcp, udp};

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
