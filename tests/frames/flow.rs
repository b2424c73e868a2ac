//! TCP and UDP packets of both families, with everything that may stand around them: VLAN tags, IPv4 options, IPv6
//! extension headers, outer headers of tunnels. Headers and checksums are etherparse's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, TcpHeader,
    UdpHeader,
};

use super::{ACK, FIN, Mac, PSH, RST, SEQUENCE, SYN, TCP, UDP};

/// EtherTypes of tags.
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88A8;

/// What a packet is like besides its endpoints.
#[derive(Debug, Clone)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub protocol: u8,
    pub flags: u8,
    pub head: Head,
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
    /// UDP over IPv4 without a checksum.
    pub unchecked: bool,
}

/// What an IP header says besides addresses and lengths.
#[derive(Debug, Clone)]
pub struct Head {
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// IPv4 only.
    pub id: u16,
    pub dont_fragment: bool,
    pub options: Vec<u8>,
    /// IPv6 only.
    pub flow_label: u32,
    /// Numbers of the extension headers with their bytes; the first byte of each is set to what follows it.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl Head {
    /// As the first router on the way sees it: DF and an ID that means nothing.
    pub fn new() -> Self {
        Self {
            ttl: 64,
            traffic_class: 0,
            id: 0x1234,
            dont_fragment: true,
            options: Vec::new(),
            flow_label: 0x5_4321,
            extensions: Vec::new(),
        }
    }

    /// A packet of this protocol around `payload`.
    pub fn around(&self, source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header {
                    dscp: IpDscp::try_new(self.traffic_class >> 2).unwrap(),
                    ecn: IpEcn::try_new(self.traffic_class & 3).unwrap(),
                    identification: self.id,
                    dont_fragment: self.dont_fragment,
                    fragment_offset: IpFragOffset::ZERO,
                    time_to_live: self.ttl,
                    protocol: IpNumber(protocol),
                    source: source.octets(),
                    destination: destination.octets(),
                    options: Ipv4Options::try_from(&self.options[..]).unwrap(),
                    ..Ipv4Header::default()
                };
                header.set_payload_len(payload.len()).unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.write(&mut packet).unwrap();
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let extensions = self.chain(protocol);
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(self.flow_label).unwrap(),
                    payload_length: (extensions.len() + payload.len()) as u16,
                    next_header: IpNumber(self.extensions.first().map_or(protocol, |(number, _)| *number)),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                header.write(&mut packet).unwrap();
                packet.extend(extensions);
            }
            _ => panic!("two families in one packet"),
        }
        packet.extend_from_slice(payload);
        packet
    }

    /// The extension headers, each naming what follows it.
    fn chain(&self, protocol: u8) -> Vec<u8> {
        let numbers = self.extensions.iter().skip(1).map(|(number, _)| *number).chain([protocol]);
        let linked = self.extensions.iter().zip(numbers).map(|((_, bytes), next)| {
            let mut bytes = bytes.clone();
            bytes[0] = next;
            bytes
        });
        linked.flatten().collect()
    }
}

/// A packet between two endpoints, of either family.
pub fn flow(protocol: u8, source: SocketAddr, destination: SocketAddr, flags: u8) -> Flow {
    let payload = if protocol == UDP { b"a question?".to_vec() } else { Vec::new() };
    Flow {
        source,
        destination,
        protocol,
        flags,
        head: Head::new(),
        tcp_options: Vec::new(),
        payload,
        unchecked: false,
    }
}

impl Flow {
    /// One hop further.
    pub fn routed(mut self) -> Self {
        self.head.ttl -= 1;
        self
    }

    /// With another header.
    pub fn head(mut self, change: impl FnOnce(&mut Head)) -> Self {
        change(&mut self.head);
        self
    }

    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// With these options in the TCP header: a multiple of four bytes.
    pub fn tcp_options(self, options: &[u8]) -> Self {
        Self { tcp_options: options.to_vec(), ..self }
    }

    pub fn unchecked(self) -> Self {
        Self { unchecked: true, ..self }
    }

    /// Between other endpoints.
    pub fn between(self, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { source, destination, ..self }
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        if self.protocol == TCP {
            self.tcp().write(&mut segment).unwrap();
        } else {
            self.udp().write(&mut segment).unwrap();
        }
        segment.extend_from_slice(&self.payload);
        self.head.around(self.source.ip(), self.destination.ip(), self.protocol, &segment)
    }

    /// The frame, untagged.
    pub fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        frame(from, to, &[], &self.packet())
    }

    fn tcp(&self) -> TcpHeader {
        let has = |flag| self.flags & flag != 0;
        let mut header = TcpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            sequence_number: SEQUENCE,
            acknowledgment_number: if has(ACK) { SEQUENCE + 1 } else { 0 },
            fin: has(FIN),
            syn: has(SYN),
            rst: has(RST),
            psh: has(PSH),
            ack: has(ACK),
            window_size: 64_000,
            ..TcpHeader::default()
        };
        header.set_options_raw(&self.tcp_options).unwrap();
        header.checksum = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
            }
            _ => panic!("two families in one packet"),
        }
        .unwrap();
        header
    }

    fn udp(&self) -> UdpHeader {
        let ends = [self.source, self.destination];
        let mut header = udp_header(ends, &self.payload);
        if self.unchecked {
            header.checksum = 0;
        }
        header
    }
}

fn udp_header([source, destination]: [SocketAddr; 2], payload: &[u8]) -> UdpHeader {
    let (from, to) = (source.port(), destination.port());
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (UdpHeader::LEN + payload.len()) as u16;
            let mut header =
                UdpHeader { source_port: from, destination_port: to, length, ..UdpHeader::default() };
            let (source, destination) = (source.octets(), destination.octets());
            header.checksum = header.calc_checksum_ipv4_raw(source, destination, payload).unwrap();
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = UdpHeader { source_port: from, destination_port: to, length: 0, checksum: 0 };
            header.length = (UdpHeader::LEN + payload.len()) as u16;
            let (source, destination) = (source.octets(), destination.octets());
            header.checksum = header.calc_checksum_ipv6_raw(source, destination, payload).unwrap();
            header
        }
        _ => panic!("two families in one packet"),
    }
}

/// `packet` in a frame, behind VLAN tags: their control words, outermost first.
pub fn frame(from: Mac, to: Mac, tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    for (number, tag) in tags.iter().enumerate() {
        let ethertype = if number + 1 < tags.len() { SERVICE_TAG } else { CUSTOMER_TAG };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xDD] });
    frame.extend_from_slice(packet);
    frame
}

/// `inner` in an IP packet.
pub fn in_ip(head: &Head, source: IpAddr, destination: IpAddr, inner: &[u8]) -> Vec<u8> {
    head.around(source, destination, number_of(inner), inner)
}

/// `inner` behind UDP and a GUE header of variant 0 without options. Over IPv4 the UDP checksum is absent.
pub fn in_gue(head: &Head, source: SocketAddr, destination: SocketAddr, inner: &[u8]) -> Vec<u8> {
    let payload = [&[0, number_of(inner), 0, 0], inner].concat();
    let mut header = udp_header([source, destination], &payload);
    if source.is_ipv4() {
        header.checksum = 0;
    }
    let mut datagram = Vec::new();
    header.write(&mut datagram).unwrap();
    datagram.extend(payload);
    head.around(source.ip(), destination.ip(), UDP, &datagram)
}

/// IP's number for packets of this family inside others.
fn number_of(inner: &[u8]) -> u8 {
    if inner[0] >> 4 == 4 { 4 } else { 41 }
}
