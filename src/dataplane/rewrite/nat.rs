//! NAT and full NAT: both ends of the flow are written from the connection, whichever of them changed.

use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::Hit;
use crate::dataplane::parse::{IP, TCP};
use crate::tables::NextHop;
use crate::wire::{ethernet, ipv4, tcp, udp};

/// Rewrites addresses, ports, TTL, checksums and MAC addresses.
#[inline]
pub fn apply(frame: &mut [u8], meta: &Meta, hit: &Hit, next_hop: &NextHop) {
    ethernet::set_macs(frame, &next_hop.macs);
    if let Some(segment) = frame.get_mut(usize::from(meta.parsed.transport)..) {
        if meta.key.protocol == TCP {
            tcp::rewrite(segment, hit.ports, hit.transport_delta);
        } else {
            udp::rewrite(segment, hit.ports, hit.transport_delta);
        }
    }
    if let Some(packet) = frame.get_mut(IP..) {
        ipv4::rewrite(packet, hit.addresses, hit.address_delta);
    }
}
