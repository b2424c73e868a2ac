//! ICMP over IPv4 (RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3).

use super::{Error, HEADER, Kind, Message, OWN_TTL, echo, error};
use crate::wire::checksum::{self, Delta};
use crate::wire::{ip, ipv4};

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// Code of "unreachable": the packet is too big, and may not be cut.
const FRAGMENTATION_NEEDED: u8 = 4;

/// An error is at most this long, IP header included (RFC 1812 §4.3.2.3: every host can put together that much).
const LONGEST: usize = 576;
/// Internetwork control, as routers send their errors (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xC0;

/// Reads and verifies `message`.
#[inline]
pub fn parse(message: &[u8]) -> Result<Message, Error> {
    let header = message.first_chunk::<HEADER>().ok_or(Error::Malformed)?;
    if checksum::sum(message) != 0xFFFF {
        return Err(Error::Checksum);
    }
    let (id, sequence) = echo(header);
    let kind = match (header[0], header[1]) {
        (ECHO_REQUEST, 0) => return Ok(Message::EchoRequest { id, sequence }),
        (ECHO_REPLY, 0) => return Ok(Message::EchoReply { id, sequence }),
        (UNREACHABLE, FRAGMENTATION_NEEDED) => Kind::TooBig { mtu: u32::from(sequence) },
        (UNREACHABLE, code) => Kind::Unreachable { code },
        (TIME_EXCEEDED, code) => Kind::TimeExceeded { code },
        (PARAMETER_PROBLEM, code) => Kind::ParameterProblem { code },
        _ => return Ok(Message::Other),
    };
    // Length of the quote in 32-bit words (RFC 4884 §4).
    Ok(error(kind, message.len(), usize::from(header[5]) * 4))
}

/// Turns the echo request that is `packet` (of `header`, not a piece) into its reply, in place. False where it is cut short.
///
/// Options go back as they came, as does the TOS; a caller that does not like that refuses requests with options.
pub fn echo_reply(packet: &mut [u8], header: &ipv4::Header) -> bool {
    let header_len = usize::from(header.header_len);
    let Some((bytes, message)) = packet
        .get_mut(..usize::from(header.total_len))
        .and_then(|packet| packet.split_at_mut_checked(header_len))
    else {
        return false;
    };
    if bytes.len() < ipv4::HEADER || message.len() < HEADER {
        return false;
    }
    bytes[8] = OWN_TTL;
    bytes[12..20].copy_from_slice(&header.addresses.rotate_left(32).to_be_bytes());
    ipv4::seal(bytes);
    message[0] = ECHO_REPLY;
    super::update_checksum(message, Delta::of_u16(u16::from(ECHO_REQUEST) << 8, u16::from(ECHO_REPLY) << 8));
    true
}

/// What the switch may have to say about a packet that it does not forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// TTL at an end.
    TimeExceeded,
    /// Longer than `mtu` and not to be cut (RFC 1191).
    FragmentationNeeded {
        /// What would pass.
        mtu: u16,
    },
    /// Nobody listens.
    PortUnreachable,
    /// The host does not answer.
    HostUnreachable,
    /// No route.
    NetUnreachable,
    /// Forbidden by rule (RFC 1812 §5.2.7.1).
    AdminProhibited,
    /// Nobody speaks that protocol.
    ProtocolUnreachable,
}

impl Complaint {
    /// Type, code, and MTU where there is one.
    fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::NetUnreachable => (UNREACHABLE, 0, 0),
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            Self::ProtocolUnreachable => (UNREACHABLE, 2, 0),
            Self::PortUnreachable => (UNREACHABLE, 3, 0),
            Self::FragmentationNeeded { mtu } => (UNREACHABLE, FRAGMENTATION_NEEDED, mtu),
            Self::AdminProhibited => (UNREACHABLE, 13, 0),
        }
    }
}

/// Length of the headers that [`build`] puts in front of the quote.
const IN_FRONT: usize = ipv4::HEADER + HEADER;

/// The most that [`build`] ever writes: this much room in `packet` is always enough.
pub const ROOM: usize = LONGEST;

/// Turns the packet at the start of `packet`, `offending_len` bytes long, into an error about it, from `source` to its
/// sender, in the same place; returns the length of the error.
///
/// The packet must be as it came in: a sender recognises it by what is quoted. `id` is the IP identification, since the
/// error may be cut into pieces on its way. None, and nothing changed, where `packet` has no room or is no IPv4 packet.
pub fn build(
    packet: &mut [u8],
    offending_len: usize,
    source: u32,
    complaint: Complaint,
    id: u16,
) -> Option<usize> {
    let quoted = offending_len.min(LONGEST - IN_FRONT);
    let total = IN_FRONT + quoted;
    if quoted < ipv4::HEADER || packet.len() < total || packet[0] >> 4 != 4 {
        return None;
    }
    let (kind, code, mtu) = complaint.fields();
    packet.copy_within(..quoted, IN_FRONT);
    let (header, message) = packet[..total].split_at_mut(ipv4::HEADER);
    message[..HEADER].fill(0);
    (message[0], message[1]) = (kind, code);
    message[6..8].copy_from_slice(&mtu.to_be_bytes());
    let checksum = !checksum::sum(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    header.fill(0);
    (header[0], header[1]) = (0x45, TOS);
    header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    (header[8], header[9]) = (OWN_TTL, ip::ICMP);
    header[12..16].copy_from_slice(&source.to_be_bytes());
    // To who sent the quoted packet.
    header[16..20].copy_from_slice(&message[HEADER + 12..HEADER + 16]);
    ipv4::seal(header);
    Some(total)
}

/// Whether an error may be sent about `packet` (of `header`), by RFC 1122 §3.2.2: not about an error, a piece that is not
/// the first, or a packet to or from what is no single host. That a frame was a broadcast, and that an address is the
/// broadcast address of a subnet, is for the caller to know.
pub fn may_answer(packet: &[u8], header: &ipv4::Header) -> bool {
    let (source, destination) = ((header.addresses >> 32) as u32, header.addresses as u32);
    let error = header.protocol == ip::ICMP
        && packet.get(usize::from(header.header_len)).is_none_or(|kind| {
            matches!(*kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
        });
    !error && header.fragment_offset == 0 && is_host(source) && destination >> 28 < 0xE
}

/// Neither "this network" (0/8), nor loopback (127/8), nor multicast, nor reserved, nor broadcast.
const fn is_host(address: u32) -> bool {
    let network = (address >> 24) as u8;
    network != 0 && network != 127 && network < 224
}

/// The MTU that a "fragmentation needed" `message` says; 0 where a router does not say it.
pub fn mtu(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(6..)?.first_chunk()?))
}

/// Writes the MTU of a "fragmentation needed" `message`, checksum with it.
pub fn set_mtu(message: &mut [u8], mtu: u16) {
    super::set_mtu(message, u32::from(mtu).to_be_bytes(), 6);
}
