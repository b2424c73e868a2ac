//! Whole packets with which a client begins, and what comes back: for checks that take the way of a service's packets.

use super::checksum::{self, Verified};
use super::icmp::{self, Kind, Message, Quote};
use super::ip::{self, Addresses};
use super::{ipv4, ipv6, tcp, udp};

/// TTL or hop limit, as most clients have it.
const TTL: u8 = 64;
/// The option of a SYN that no client leaves out: the largest segment that it takes. Nothing of the kind ever comes.
const MAXIMUM_SEGMENT_SIZE: [u8; 4] = [2, 4, 0x05, 0xA0];
/// Room for as much as a client sends on a local network.
const WINDOW: u16 = 64_240;
/// Types of pings.
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;

/// What a client sends. Ports are its own in the high half, the server's in the low half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// TCP: opens a connection.
    Syn {
        /// Ports.
        ports: u32,
        /// Sequence number.
        sequence: u32,
    },
    /// TCP: forgets it again.
    Reset {
        /// Ports.
        ports: u32,
        /// Sequence number: the one that the server expects next.
        sequence: u32,
    },
    /// UDP.
    Datagram {
        /// Ports.
        ports: u32,
        /// What it carries.
        payload: &'a [u8],
    },
    /// A ping.
    Echo {
        /// Which ping.
        id: u16,
        /// Which packet of the ping.
        sequence: u16,
        /// What is to come back.
        data: &'a [u8],
    },
}

impl Question<'_> {
    /// The IP packet that says it, all checksums in place; none where it is too long for one.
    pub fn packet(&self, addresses: Addresses) -> Option<Vec<u8>> {
        let (protocol, field, mut message) = match (*self, addresses) {
            (Self::Syn { ports, sequence }, _) => {
                let options = &MAXIMUM_SEGMENT_SIZE;
                (ip::TCP, 16, segment(ports, sequence, tcp::Flags::SYN, WINDOW, options))
            }
            (Self::Reset { ports, sequence }, _) => {
                (ip::TCP, 16, segment(ports, sequence, tcp::Flags::RST, 0, &[]))
            }
            (Self::Datagram { ports, payload }, _) => (ip::UDP, 6, datagram(ports, payload)?),
            (Self::Echo { id, sequence, data }, Addresses::V4(_)) => {
                (ip::ICMP, 2, echo(ECHO_V4, id, sequence, data))
            }
            (Self::Echo { id, sequence, data }, Addresses::V6(_)) => {
                (ip::ICMPV6, 2, echo(ECHO_V6, id, sequence, data))
            }
        };
        let length = u16::try_from(message.len()).ok()?;
        let pseudo = match addresses {
            Addresses::V4(_) if protocol == ip::ICMP => 0,
            Addresses::V4(addresses) => checksum::pseudo_header_v4(addresses, protocol, length),
            Addresses::V6(addresses) => checksum::pseudo_header_v6(addresses, protocol, length.into()),
        };
        let checksum = match !checksum::fold(pseudo + u64::from(checksum::sum(&message))) {
            0 if protocol == ip::UDP => 0xFFFF,
            checksum => checksum,
        };
        message.get_mut(field..field + 2)?.copy_from_slice(&checksum.to_be_bytes());
        match addresses {
            Addresses::V4(addresses) => {
                length.checked_add(ipv4::HEADER as u16)?;
                let mut header = [0; ipv4::HEADER];
                ipv4::write(&mut header, addresses, protocol, length, TTL);
                Some([&header, message.as_slice()].concat())
            }
            Addresses::V6(addresses) => {
                let mut header = [0; ipv6::HEADER];
                ipv6::write(&mut header, addresses, protocol, length, TTL);
                Some([&header, message.as_slice()].concat())
            }
        }
    }
}

/// A segment without data; its checksum is 0.
fn segment(ports: u32, sequence: u32, flags: tcp::Flags, window: u16, options: &[u8]) -> Vec<u8> {
    let words = (tcp::HEADER + options.len()) / 4;
    let [high, low] = window.to_be_bytes();
    let end = [(words as u8) << 4, flags.0, high, low, 0, 0, 0, 0];
    [&ports.to_be_bytes()[..], &sequence.to_be_bytes(), &[0; 4], &end, options].concat()
}

/// A datagram; its checksum is 0.
fn datagram(ports: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(udp::HEADER + payload.len()).ok()?;
    Some([&ports.to_be_bytes()[..], &length.to_be_bytes(), &[0; 2], payload].concat())
}

/// A ping; its checksum is 0.
fn echo(kind: u8, id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &id.to_be_bytes(), &sequence.to_be_bytes(), data].concat()
}

/// What came back, its checksums verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// From whom, to whom.
    pub addresses: Addresses,
    /// What it is.
    pub said: Said<'a>,
}

/// What may answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// A TCP segment.
    Segment(tcp::Header),
    /// A UDP datagram.
    Datagram {
        /// Its ports, source first.
        ports: u32,
        /// What it carries.
        payload: &'a [u8],
    },
    /// The answer to a ping.
    Echo {
        /// Which ping.
        id: u16,
        /// Which packet of the ping.
        sequence: u16,
        /// What came back.
        data: &'a [u8],
    },
    /// Somebody complains.
    Error {
        /// About what.
        kind: Kind,
        /// The beginning of the packet that it is about.
        quote: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    /// Reads a packet; none where it is damaged, a piece, or can be no answer.
    ///
    /// A checksum that its sender left to an offload counts as right: where backend and switch share a machine, no adapter
    /// in between computes it, and the kernel takes such packets, too.
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        let (addresses, protocol, message) = payload(packet)?;
        let is_whole = |segment: &[u8], field: u16| {
            let verified = match addresses {
                Addresses::V4(addresses) => checksum::verify_v4(addresses, protocol, segment, field),
                Addresses::V6(addresses) => checksum::verify_v6(addresses, protocol, segment, field),
            };
            verified != Verified::Wrong
        };
        let said = match protocol {
            ip::TCP => {
                let header = tcp::Header::parse(message)?;
                is_whole(message, header.checksum).then_some(Said::Segment(header))?
            }
            ip::UDP => {
                let header = udp::Header::parse(message)?;
                let datagram = message.get(..usize::from(header.length))?;
                let absent = header.checksum == 0 && matches!(addresses, Addresses::V4(_));
                let payload = datagram.get(udp::HEADER..)?;
                (absent || is_whole(datagram, header.checksum))
                    .then_some(Said::Datagram { ports: header.ports, payload })?
            }
            protocol => of_icmp(addresses, protocol, message)?,
        };
        Some(Self { addresses, said })
    }
}

/// Addresses, protocol, and what the IP packet carries.
fn payload(packet: &[u8]) -> Option<(Addresses, u8, &[u8])> {
    let (addresses, protocol, range, piece) = match ip::Family::of_packet(packet)? {
        ip::Family::V4 => {
            let header = ipv4::Header::parse(packet).ok()?;
            let range = usize::from(header.header_len)..usize::from(header.total_len);
            (Addresses::V4(header.addresses), header.protocol, range, header.fragment)
        }
        ip::Family::V6 => {
            let header = ipv6::Header::parse(packet).ok()?;
            let range = usize::from(header.header_len)..usize::from(header.total_len);
            (Addresses::V6(header.addresses), header.protocol, range, header.fragment.is_some())
        }
    };
    let message = packet.get(range)?;
    (!piece).then_some((addresses, protocol, message))
}

fn of_icmp(addresses: Addresses, protocol: u8, message: &[u8]) -> Option<Said<'_>> {
    let read = match (addresses, protocol) {
        (Addresses::V4(_), ip::ICMP) => icmp::v4::parse(message),
        (Addresses::V6(addresses), ip::ICMPV6) => icmp::v6::parse(addresses, message),
        _ => return None,
    };
    match read.ok()? {
        Message::EchoReply { id, sequence } => {
            Some(Said::Echo { id, sequence, data: message.get(icmp::HEADER..)? })
        }
        Message::Error { kind, quoted, quoted_len } => {
            let quote = message.get(usize::from(quoted)..)?.get(..usize::from(quoted_len))?;
            Some(Said::Error { kind, quote })
        }
        Message::EchoRequest { .. } | Message::Other => None,
    }
}

/// How much of what an IP packet carries identifies it: every error quotes that much (RFC 792).
pub const HEAD: usize = 8;

/// Addresses and protocol of a packet, which may be cut short, and the first bytes behind its IP header; none where those
/// are not there.
pub fn head(packet: &[u8]) -> Option<(Addresses, u8, [u8; HEAD])> {
    let read = Quote::parse(packet).filter(|read| read.fragment_offset == 0)?;
    let head = *packet.get(usize::from(read.header_len)..)?.first_chunk()?;
    Some((read.addresses, read.protocol, head))
}

#[cfg(test)]
mod tests;
