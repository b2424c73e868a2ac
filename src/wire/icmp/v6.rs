//! ICMPv6 (RFC 4443).

use super::{Error, HEADER, Kind, Message, OWN_TTL, echo, error};
use crate::wire::checksum::{self, Delta};
use crate::wire::ip;
use crate::wire::ipv6::{self, Pair};

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
/// Types below are errors, known or not (RFC 4443 §2.1).
const FIRST_INFORMATIONAL: u8 = 128;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const REDIRECT: u8 = 137;

/// An error is at most this long, IP header included (RFC 4443 §2.4 c): it passes every link.
const LONGEST: usize = ipv6::MINIMUM_MTU as usize;

/// Reads `message` and verifies it under the pseudo-header of `addresses`.
#[inline]
pub fn parse(addresses: Pair, message: &[u8]) -> Result<Message, Error> {
    let header = message.first_chunk::<HEADER>().ok_or(Error::Malformed)?;
    let pseudo = checksum::pseudo_header_v6(addresses, ip::ICMPV6, message.len() as u32);
    if checksum::fold(pseudo + u64::from(checksum::sum(message))) != 0xFFFF {
        return Err(Error::Checksum);
    }
    let (id, sequence) = echo(header);
    let mut said = usize::from(header[4]) * 8;
    let kind = match (header[0], header[1]) {
        (ECHO_REQUEST, 0) => return Ok(Message::EchoRequest { id, sequence }),
        (ECHO_REPLY, 0) => return Ok(Message::EchoReply { id, sequence }),
        (PACKET_TOO_BIG, _) => Kind::TooBig { mtu: u32::from(id) << 16 | u32::from(sequence) },
        (UNREACHABLE, code) => Kind::Unreachable { code },
        (TIME_EXCEEDED, code) => Kind::TimeExceeded { code },
        (PARAMETER_PROBLEM, code) => Kind::ParameterProblem { code },
        _ => return Ok(Message::Other),
    };
    // Only these two have the length of the quote, in 64-bit words (RFC 4884 §4); the others have other fields there.
    if !matches!(header[0], UNREACHABLE | TIME_EXCEEDED) {
        said = 0;
    }
    Ok(error(kind, message.len(), said))
}

/// Turns the echo request that is `packet` (of `header`, not a piece) into its reply, in place. False where it is cut short.
///
/// Extension headers go back as they came. The flow label does not: it is its sender's (RFC 6437 §2).
pub fn echo_reply(packet: &mut [u8], header: &ipv6::Header) -> bool {
    let Some((front, message)) = packet
        .get_mut(..usize::from(header.total_len))
        .and_then(|packet| packet.split_at_mut_checked(usize::from(header.header_len)))
    else {
        return false;
    };
    if front.len() < ipv6::HEADER || message.len() < HEADER {
        return false;
    }
    let [source, destination] = header.addresses;
    ipv6::rewrite_addresses(front, [destination, source]);
    front[1] &= 0xF0;
    front[2..4].fill(0);
    front[7] = OWN_TTL;
    message[0] = ECHO_REPLY;
    // Exchanging the addresses leaves their sum as it was.
    super::update_checksum(message, Delta::of_u16(u16::from(ECHO_REQUEST) << 8, u16::from(ECHO_REPLY) << 8));
    true
}

/// What the switch may have to say about a packet that it does not forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Hop limit at an end.
    TimeExceeded,
    /// Longer than `mtu`.
    PacketTooBig {
        /// What would pass: at least 1280 (RFC 8200 §5).
        mtu: u32,
    },
    /// Nobody listens.
    PortUnreachable,
    /// The host does not answer.
    AddressUnreachable,
    /// No route.
    NoRoute,
    /// Forbidden by rule.
    AdminProhibited,
    /// Nobody speaks the protocol that the byte at this offset of the packet names (RFC 4443 §3.4).
    UnknownNextHeader {
        /// Where it stands.
        pointer: u32,
    },
}

impl Complaint {
    /// Type, code, and MTU or pointer where there is one.
    fn fields(self) -> (u8, u8, u32) {
        match self {
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            Self::NoRoute => (UNREACHABLE, 0, 0),
            Self::AdminProhibited => (UNREACHABLE, 1, 0),
            Self::AddressUnreachable => (UNREACHABLE, 3, 0),
            Self::PortUnreachable => (UNREACHABLE, 4, 0),
            Self::UnknownNextHeader { pointer } => (PARAMETER_PROBLEM, 1, pointer),
        }
    }
}

/// Length of the headers that [`build`] puts in front of the quote.
const IN_FRONT: usize = ipv6::HEADER + HEADER;

/// The most that [`build`] ever writes: this much room in `packet` is always enough.
pub const ROOM: usize = LONGEST;

/// Turns the packet at the start of `packet`, `offending_len` bytes long, into an error about it, from `source` to its
/// sender, in the same place; returns the length of the error.
///
/// The packet must be as it came in: a sender recognises it by what is quoted. None, and nothing changed, where `packet`
/// has no room or is no IPv6 packet.
pub fn build(packet: &mut [u8], offending_len: usize, source: u128, complaint: Complaint) -> Option<usize> {
    let quoted = offending_len.min(LONGEST - IN_FRONT);
    let total = IN_FRONT + quoted;
    if quoted < ipv6::HEADER || packet.len() < total || packet[0] >> 4 != 6 {
        return None;
    }
    let (kind, code, word) = complaint.fields();
    packet.copy_within(..quoted, IN_FRONT);
    let (header, message) = packet[..total].split_at_mut(ipv6::HEADER);
    // To who sent the quoted packet.
    let sender = message[HEADER + 8..].first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    let addresses = [source, sender];
    message[..4].copy_from_slice(&[kind, code, 0, 0]);
    message[4..HEADER].copy_from_slice(&word.to_be_bytes());
    seal(addresses, message);
    if let Some(header) = header.first_chunk_mut() {
        ipv6::write(header, addresses, ip::ICMPV6, (total - ipv6::HEADER) as u16, OWN_TTL);
    }
    Some(total)
}

/// Computes the checksum of `message` anew. For messages that are new themselves.
pub fn seal(addresses: Pair, message: &mut [u8]) {
    if message.len() < 4 {
        return;
    }
    message[2..4].fill(0);
    let pseudo = checksum::pseudo_header_v6(addresses, ip::ICMPV6, message.len() as u32);
    let checksum = !checksum::fold(pseudo + u64::from(checksum::sum(message)));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether an error may be sent about `packet` (of `header`), by RFC 4443 §2.4 e: not about an error or a redirect, or a
/// packet to or from what is no single host. Nor about a piece that is not the first: the first will do.
pub fn may_answer(packet: &[u8], header: &ipv6::Header) -> bool {
    let [source, destination] = header.addresses;
    let error = header.protocol == ip::ICMPV6
        && packet
            .get(usize::from(header.header_len))
            .is_none_or(|kind| *kind < FIRST_INFORMATIONAL || *kind == REDIRECT);
    let later = header.fragment.is_some_and(|fragment| fragment.offset > 0);
    // Neither unspecified (::) nor loopback (::1) nor multicast (ff00::/8).
    !error && !later && source > 1 && source >> 120 != 0xFF && destination >> 120 != 0xFF
}

/// The MTU that a "packet too big" `message` says.
pub fn mtu(message: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*message.get(4..)?.first_chunk()?))
}

/// Writes the MTU of a "packet too big" `message`, checksum with it.
pub fn set_mtu(message: &mut [u8], mtu: u32) {
    super::set_mtu(message, mtu.to_be_bytes(), 4);
}
