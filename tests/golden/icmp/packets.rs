//! Packets of both families: headers by etherparse, ICMP checksums by the plain definition.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};

use crate::frames::{Mac, SEQUENCE, check};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// What an ICMP message says, in the words of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Echo { reply: bool, id: u16, sequence: u16 },
    TooBig(u32),
    TimeExceeded,
    PortUnreachable,
    HostUnreachable,
    NetUnreachable,
    UnknownProtocol(u32),
}

impl Says {
    /// Type, code, and the second word.
    fn fields(self, v4: bool) -> (u8, u8, u32) {
        match (self, v4) {
            (Self::Echo { reply, id, sequence }, true) => {
                (if reply { 0 } else { 8 }, 0, u32::from(id) << 16 | u32::from(sequence))
            }
            (Self::Echo { reply, id, sequence }, false) => {
                (if reply { 129 } else { 128 }, 0, u32::from(id) << 16 | u32::from(sequence))
            }
            (Self::TooBig(mtu), true) => (3, 4, mtu),
            (Self::TooBig(mtu), false) => (2, 0, mtu),
            (Self::TimeExceeded, true) => (11, 0, 0),
            (Self::TimeExceeded, false) => (3, 0, 0),
            (Self::PortUnreachable, true) => (3, 3, 0),
            (Self::PortUnreachable, false) => (1, 4, 0),
            (Self::HostUnreachable, true) => (3, 1, 0),
            (Self::HostUnreachable, false) => (1, 3, 0),
            (Self::NetUnreachable, true) => (3, 0, 0),
            (Self::NetUnreachable, false) => (1, 0, 0),
            (Self::UnknownProtocol(_), true) => (3, 2, 0),
            (Self::UnknownProtocol(pointer), false) => (4, 1, pointer),
        }
    }
}

/// Addresses, TTL and identification of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub id: u16,
    pub tos: u8,
    pub dont_fragment: bool,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn head(source: IpAddr, destination: IpAddr) -> Head {
    Head { source, destination, ttl: 64, id: 0x1234, tos: 0, dont_fragment: true }
}

impl Head {
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// A packet of this protocol around `payload`.
    pub fn around(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header::new(
                    payload.len() as u16,
                    self.ttl,
                    IpNumber(protocol),
                    source.octets(),
                    destination.octets(),
                )
                .unwrap();
                header.identification = self.id;
                header.dont_fragment = self.dont_fragment;
                header.dscp = (self.tos >> 2).try_into().unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.write(&mut packet).unwrap();
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => Ipv6Header {
                traffic_class: self.tos,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: payload.len() as u16,
                next_header: IpNumber(protocol),
                hop_limit: self.ttl,
                source: source.octets(),
                destination: destination.octets(),
            }
            .write(&mut packet)
            .unwrap(),
            _ => panic!("two families in one packet"),
        }
        packet.extend_from_slice(payload);
        packet
    }

    /// An ICMP message with `body` behind its header.
    pub fn icmp(self, says: Says, body: &[u8]) -> Vec<u8> {
        let v4 = self.source.is_ipv4();
        let (kind, code, word) = says.fields(v4);
        let mut message = vec![kind, code, 0, 0];
        message.extend_from_slice(&word.to_be_bytes());
        message.extend_from_slice(body);
        let protocol = if v4 { ICMP } else { ICMPV6 };
        let pseudo = if v4 { 0 } else { self.pseudo_header(ICMPV6, message.len()) };
        let checksum = !check::add(pseudo, check::sum(&message));
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        self.around(protocol, &message)
    }

    pub fn pseudo_header(self, protocol: u8, length: usize) -> u16 {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let rest = check::add(u16::from(protocol), length as u16);
        check::add(check::sum(&[octets(self.source), octets(self.destination)].concat()), rest)
    }
}

/// A TCP segment (of `flags`) or UDP datagram between two endpoints.
pub fn flow(
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
    ttl: u8,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (from, to) = (source.port(), destination.port());
    let builder = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), ttl)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), ttl)
        }
        _ => panic!("two families in one packet"),
    };
    let mut packet = Vec::new();
    if protocol == UDP {
        builder.udp(from, to).write(&mut packet, payload).unwrap();
        return packet;
    }
    let mut step = builder.tcp(from, to, SEQUENCE, 64_000);
    for (flag, set) in [
        (0x01, etherparse::PacketBuilderStep::<etherparse::TcpHeader>::fin as fn(_) -> _),
        (0x02, |step: etherparse::PacketBuilderStep<etherparse::TcpHeader>| step.syn()),
        (0x04, |step| step.rst()),
        (0x10, |step| step.ack(SEQUENCE + 1)),
    ] {
        if flags & flag != 0 {
            step = set(step);
        }
    }
    step.write(&mut packet, payload).unwrap();
    packet
}

/// `packet` in a frame.
pub fn frame(from: Mac, to: Mac, packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xDD] };
    [&to[..], &from, &ethertype, packet].concat()
}

/// Asserts that every checksum of a frame is right: IP, TCP, UDP, ICMP, and those of quoted packets that are whole.
pub fn assert_checksums(frame: &[u8]) {
    assert_packet(&frame[14..], "outside");
}

fn assert_packet(packet: &[u8], place: &str) {
    let v4 = packet[0] >> 4 == 4;
    let (header, protocol, length) = if v4 {
        (20, packet[9], usize::from(u16::from_be_bytes([packet[2], packet[3]])))
    } else {
        (40, packet[6], usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40)
    };
    if v4 {
        assert_eq!(check::sum(&packet[..20]), 0xFFFF, "{place}: IP checksum");
    }
    if packet.len() < length {
        return;
    }
    let payload = &packet[header..length];
    let addresses = if v4 { &packet[12..20] } else { &packet[8..40] };
    let rest = check::add(u16::from(protocol), payload.len() as u16);
    let pseudo = if protocol == ICMP { 0 } else { check::add(check::sum(addresses), rest) };
    if [ICMP, TCP, UDP, ICMPV6].contains(&protocol) {
        assert_eq!(
            check::add(pseudo, check::sum(payload)),
            0xFFFF,
            "{place}: checksum of protocol {protocol}"
        );
    }
    let is_error = match protocol {
        ICMP => [3, 11, 12].contains(&payload[0]),
        ICMPV6 => payload[0] < 128,
        _ => false,
    };
    if is_error {
        assert_packet(&payload[8..], "quote");
    }
}
