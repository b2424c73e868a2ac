//! The quote in an ICMP error: the beginning of the packet that it is about, cut anywhere.

use std::ops::Range;

use crate::wire::ip::{self, Addresses, Family};
use crate::wire::ipv6;

/// What the quote shows of the transport header: that much identifies a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP: source port in the high half, destination port in the low half.
    Ports(u32),
    /// A ping.
    Echo {
        /// Its identifier.
        id: u16,
        /// Whether the quoted packet is the request (else the reply).
        request: bool,
    },
    /// Another protocol, a piece that is not the first, or cut away.
    Unseen,
}

/// A quoted packet, as far as it is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Source and destination of the quoted packet.
    pub addresses: Addresses,
    /// Its upper-layer protocol.
    pub protocol: u8,
    /// Offset of the transport header in the quote: length of the IP header with options or extension headers.
    pub header_len: u16,
    /// Length that the quoted packet says it had. Routers are known to garble it.
    pub total_len: u16,
    /// Where the quoted piece belongs, in bytes; 0 also where the packet was whole.
    pub fragment_offset: u16,
    /// What identifies the flow.
    pub transport: Transport,
    /// Offset of the transport checksum in the quote; none where it was cut away.
    pub checksum: Option<u16>,
}

impl Quote {
    /// Reads the packet that begins `quote`; none where not even its IP header is there.
    ///
    /// The quoted header checksum is not verified: the routers before the one that complains have changed the TTL, not all
    /// of them well.
    pub fn parse(quote: &[u8]) -> Option<Self> {
        let mut read = match Family::of_packet(quote)? {
            Family::V4 => Self::parse_v4(quote)?,
            Family::V6 => Self::parse_v6(quote)?,
        };
        // Behind the end of a short packet there may be padding, or what the router appends (RFC 4884).
        let end = if read.total_len >= read.header_len {
            quote.len().min(read.total_len.into())
        } else {
            quote.len()
        };
        if read.fragment_offset == 0 {
            let transport = quote.get(usize::from(read.header_len)..end).unwrap_or_default();
            (read.transport, read.checksum) = read.look_into(transport);
        }
        Some(read)
    }

    fn parse_v4(quote: &[u8]) -> Option<Self> {
        let header = quote.first_chunk::<20>()?;
        let header_len = u16::from(header[0] & 0xF) * 4;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let addresses = u64::from_be_bytes(*header[12..].first_chunk()?);
        (header_len >= 20 && usize::from(header_len) <= quote.len()).then_some(Self {
            addresses: Addresses::V4(addresses),
            protocol: header[9],
            header_len,
            total_len: word(2),
            fragment_offset: (word(6) & 0x1FFF) << 3,
            transport: Transport::Unseen,
            checksum: None,
        })
    }

    fn parse_v6(quote: &[u8]) -> Option<Self> {
        let header = ipv6::Header::parse_cut(quote).ok()?;
        Some(Self {
            addresses: Addresses::V6(header.addresses),
            protocol: header.protocol,
            header_len: header.header_len,
            total_len: header.total_len,
            fragment_offset: header.fragment.map_or(0, |fragment| fragment.offset),
            transport: Transport::Unseen,
            checksum: None,
        })
    }

    /// What `transport`, cut anywhere, shows. Less than the eight bytes that RFC 792 promises show nothing.
    fn look_into(&self, transport: &[u8]) -> (Transport, Option<u16>) {
        let Some(first) = transport.first_chunk::<8>() else { return (Transport::Unseen, None) };
        let checksum = |at: usize| (transport.len() >= at + 2).then_some(self.header_len + at as u16);
        let echo = |request| Transport::Echo { id: u16::from_be_bytes([first[4], first[5]]), request };
        match (self.protocol, first[0]) {
            (ip::TCP, _) => (Transport::Ports(ports(first)), checksum(16)),
            (ip::UDP, _) => (Transport::Ports(ports(first)), checksum(6)),
            (ip::ICMP, 8) | (ip::ICMPV6, 128) => (echo(true), checksum(2)),
            (ip::ICMP, 0) | (ip::ICMPV6, 129) => (echo(false), checksum(2)),
            _ => (Transport::Unseen, None),
        }
    }

    /// Where the checksum stands in the quote.
    pub(super) fn checksum_range(&self) -> Option<Range<usize>> {
        self.checksum.map(|at| usize::from(at)..usize::from(at) + 2)
    }
}

fn ports(first: &[u8; 8]) -> u32 {
    u32::from_be_bytes([first[0], first[1], first[2], first[3]])
}
