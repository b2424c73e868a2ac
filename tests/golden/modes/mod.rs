//! Every forwarding mode, TCP and UDP, IPv4 and IPv6, and what may stand around a packet.

mod bridge;
mod clamp;
mod forwarding;
mod headers;
mod sizes;
mod vlan;

use crate::frames::modes as world;

/// Everything that left in these tests, for second opinions.
pub fn left() -> Vec<(String, Vec<u8>)> {
    [forwarding::left(), headers::left(), vlan::left(), bridge::left(), clamp::left(), sizes::left()].concat()
}
