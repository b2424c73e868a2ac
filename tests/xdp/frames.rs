//! Frames: headers by etherparse, and what it does not build by hand. Checksums above IP are left out, the program reads
//! none.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader};

use crate::bench::{OTHER, OWN, ip};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;
const FRAGMENT: u8 = 44;

/// Ethernet around a payload; tags are (TPID, TCI).
pub fn ethernet(destination: [u8; 6], tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination, OTHER].concat();
    for (tpid, tci) in tags {
        frame.extend([tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IP packet.
#[derive(Debug, Clone)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub payload: Vec<u8>,
    /// Identification, offset in bytes, more to come.
    fragment: Option<(u32, u16, bool)>,
    /// Kind and length of IPv6 extension headers.
    extensions: Vec<(u8, usize)>,
    options: Vec<u8>,
}

pub fn packet(protocol: u8, source: &str, destination: &str, payload: Vec<u8>) -> Ip {
    let (source, destination) = (ip(source), ip(destination));
    Ip { source, destination, protocol, payload, fragment: None, extensions: vec![], options: vec![] }
}

pub fn tcp(from: (&str, u16), to: (&str, u16)) -> Ip {
    packet(TCP, from.0, to.0, TcpHeader::new(from.1, to.1, 1, 1024).to_bytes().to_vec())
}

pub fn udp(from: (&str, u16), to: (&str, u16)) -> Ip {
    let header = UdpHeader { source_port: from.1, destination_port: to.1, length: 20, checksum: 0 };
    packet(UDP, from.0, to.0, [&header.to_bytes()[..], b"a question?!"].concat())
}

/// An ICMP message of the right family.
fn icmp(kind: u8, source: &str, destination: &str, rest: &[u8]) -> Ip {
    let protocol = if ip(source).is_ipv4() { ICMP } else { ICMPV6 };
    packet(protocol, source, destination, [&[kind, 0, 0, 0], rest].concat())
}

pub fn echo_request(source: &str, destination: &str, id: u16) -> Ip {
    let kind = if ip(source).is_ipv4() { 8 } else { 128 };
    icmp(kind, source, destination, &[id.to_be_bytes(), [0, 1]].concat())
}

pub fn echo_reply(source: &str, destination: &str, id: u16) -> Ip {
    let kind = if ip(source).is_ipv4() { 0 } else { 129 };
    icmp(kind, source, destination, &[id.to_be_bytes(), [0, 1]].concat())
}

/// An ICMP error about `quoted`: the header and eight bytes of it.
pub fn error(kind: u8, source: &str, destination: &str, quoted: &Ip) -> Ip {
    let mut bytes = quoted.bytes();
    bytes.truncate(bytes.len() - quoted.payload.len() + 8);
    icmp(kind, source, destination, &[&[0; 4], &bytes[..]].concat())
}

/// Destination unreachable.
pub fn unreachable(source: &str, destination: &str, quoted: &Ip) -> Ip {
    error(if ip(source).is_ipv4() { 3 } else { 1 }, source, destination, quoted)
}

impl Ip {
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub fn extensions(self, extensions: &[(u8, usize)]) -> Self {
        Self { extensions: extensions.to_vec(), ..self }
    }

    pub fn fragment(self, id: u32, offset: u16, more: bool) -> Self {
        Self { fragment: Some((id, offset, more)), ..self }
    }

    pub fn with_payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// The IP packet.
    pub fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (id, offset, more) = self.fragment.unwrap_or_default();
                let mut header =
                    Ipv4Header::new(0, 64, IpNumber(self.protocol), source.octets(), destination.octets())
                        .expect("a header");
                header.identification = id as u16;
                header.fragment_offset = IpFragOffset::try_new(offset / 8).expect("an offset");
                header.more_fragments = more;
                header.options = Ipv4Options::try_from(&self.options[..]).expect("options");
                header.total_len = (header.header_len() + self.payload.len()) as u16;
                header.header_checksum = header.calc_header_checksum();
                [&header.to_bytes()[..], &self.payload].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (first, rest) = self.chain();
                let header = Ipv6Header {
                    payload_length: rest.len() as u16,
                    next_header: IpNumber(first),
                    hop_limit: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Default::default()
                };
                [&header.to_bytes()[..], &rest].concat()
            }
            _ => panic!("one family"),
        }
    }

    /// Extension headers and payload, with the kind of the first.
    fn chain(&self) -> (u8, Vec<u8>) {
        let (mut next, mut bytes) = (self.protocol, self.payload.clone());
        if let Some((id, offset, more)) = self.fragment {
            let field = (offset & !7) | u16::from(more);
            bytes.splice(0..0, [&[next, 0], &field.to_be_bytes()[..], &id.to_be_bytes()].concat());
            next = FRAGMENT;
        }
        for (kind, length) in self.extensions.iter().rev() {
            let mut header = vec![0; *length];
            header[0] = next;
            header[1] = if *kind == AUTHENTICATION { length / 4 - 2 } else { length / 8 - 1 } as u8;
            bytes.splice(0..0, header);
            next = *kind;
        }
        (next, bytes)
    }

    fn ethertype(&self) -> u16 {
        if self.source.is_ipv4() { 0x0800 } else { 0x86DD }
    }

    /// In a frame to the interface.
    pub fn frame(&self) -> Vec<u8> {
        self.frame_to(OWN)
    }

    pub fn frame_to(&self, destination: [u8; 6]) -> Vec<u8> {
        self.tagged(destination, &[])
    }

    pub fn tagged(&self, destination: [u8; 6], tags: &[(u16, u16)]) -> Vec<u8> {
        ethernet(destination, tags, self.ethertype(), &self.bytes())
    }
}
