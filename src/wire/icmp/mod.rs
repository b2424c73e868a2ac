//! ICMP (RFC 792) and ICMPv6 (RFC 4443): pings, errors, and errors as they pass a translator (RFC 5508).
//!
//! A *message* is what the IP packet carries: the ICMP header and all behind it. A *quote* is the beginning of the packet
//! that an error is about, which stands in the message.

mod quote;
mod translate;
pub mod v4;
pub mod v6;

pub use quote::{Quote, Transport};
pub use translate::{Translation, move_sequence, translate};

use super::checksum::{self, Delta};

/// Length of the header of pings and errors, before data or quote.
pub const HEADER: usize = 8;
const CHECKSUM: usize = 2;
const ID: usize = 4;
/// TTL or hop limit of what the switch sends itself.
const OWN_TTL: u8 = 64;

/// What a message is, as far as forwarding cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Somebody pings.
    EchoRequest {
        /// Which ping, among all of a host.
        id: u16,
        /// Which packet of the ping.
        sequence: u16,
    },
    /// The answer to a ping.
    EchoReply {
        /// As in the request.
        id: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Something went wrong with a packet.
    Error {
        /// What went wrong.
        kind: Kind,
        /// Offset of the quote in the message.
        quoted: u16,
        /// Length of the quote: up to the end of the message, or to where its extensions begin (RFC 4884).
        quoted_len: u16,
    },
    /// Anything else: neighbour discovery, timestamps, redirects, what is not yet invented.
    Other,
}

/// What went wrong with the packet that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Destination unreachable, for the reason `code` that both protocols number in their own way.
    Unreachable {
        /// The code as it stands.
        code: u8,
    },
    /// Too big for a link: fragmentation needed (RFC 1191), packet too big. `mtu` is 0 where a router does not say it.
    TooBig {
        /// MTU of the link.
        mtu: u32,
    },
    /// TTL or hop limit at an end, or not all pieces came.
    TimeExceeded {
        /// 0: on the way; 1: while waiting for pieces.
        code: u8,
    },
    /// Something in a header is wrong.
    ParameterProblem {
        /// The code as it stands.
        code: u8,
    },
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Cut short.
    Malformed,
    /// The checksum is wrong.
    Checksum,
}

/// Writes the identifier of an echo request or reply; `address_delta` is the change of the addresses in the pseudo-header
/// (ICMP over IPv4 has none: [`Delta::default`]).
#[inline]
pub fn rewrite_id(message: &mut [u8], id: u16, address_delta: Delta) {
    let Some(header) = message.first_chunk_mut::<HEADER>() else { return };
    let old = u16::from_be_bytes([header[ID], header[ID + 1]]);
    header[ID..ID + 2].copy_from_slice(&id.to_be_bytes());
    update_checksum(message, Delta::of_u16(old, id).and(address_delta));
}

/// Updates the checksum by `delta`, after the change.
///
/// RFC 1624 never arrives at 0xFFFF, which is right for all data that is not zero throughout. An echo reply can be, with an
/// identifier and a sequence number of zero: then a checksum of 0 would be wrong.
#[inline]
fn update_checksum(message: &mut [u8], delta: Delta) {
    let Some(field) = message.get(CHECKSUM..CHECKSUM + 2) else { return };
    let mut checksum = checksum::update(u16::from_be_bytes([field[0], field[1]]), delta);
    message[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    if checksum == 0 && message[0] == 0 && checksum::sum(message) == 0 {
        checksum = 0xFFFF;
        message[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Identifier and sequence number.
#[inline]
fn echo(header: &[u8; HEADER]) -> (u16, u16) {
    (u16::from_be_bytes([header[4], header[5]]), u16::from_be_bytes([header[6], header[7]]))
}

/// The quote of a message of `length` bytes whose RFC 4884 length field says `said` bytes (0: no extensions).
#[inline]
fn error(kind: Kind, length: usize, said: usize) -> Message {
    let there = length - HEADER;
    let quoted_len = if said == 0 { there } else { said.min(there) };
    Message::Error { kind, quoted: HEADER as u16, quoted_len: quoted_len.min(usize::from(u16::MAX)) as u16 }
}

/// Writes `mtu` into the last 32 bits of the header (of which IPv4 uses the lower half), checksum with it.
fn set_mtu(message: &mut [u8], mtu: [u8; 4], from: usize) {
    let Some(old) = message.first_chunk::<HEADER>().copied() else { return };
    message[from..HEADER].copy_from_slice(&mtu[from - 4..]);
    let delta = Delta::of_bytes(&old[from..], &mtu[from - 4..]);
    update_checksum(message, delta);
}

#[cfg(test)]
mod tests;
