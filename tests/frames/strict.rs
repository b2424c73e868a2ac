//! A strict reader of what leaves: every length, every checksum and every layer, tunnels opened, by etherparse and by
//! the plain definition of the checksum. It shares nothing with the code that it judges.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, TcpSlice, UdpSlice};

use super::{TCP, UDP, check};

/// Where the backends listen for GUE.
pub const GUE_PORT: u16 = 6080;

/// One IP packet of those in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// What it carries.
    pub protocol: u8,
    pub ttl: u8,
    pub traffic_class: u8,
    /// UDP without a checksum.
    pub unchecked: bool,
    /// Its bytes.
    pub packet: Vec<u8>,
}

/// The Ethernet header of a frame: the tags' control words and the offset of the packet.
pub fn link(frame: &[u8]) -> (Vec<u16>, usize) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (mut tags, mut at) = (Vec::new(), 12);
    while matches!(word(at), 0x8100 | 0x88A8 | 0x9100) {
        tags.push(word(at + 2));
        at += 4;
    }
    let version = frame[at + 2] >> 4;
    assert_eq!(word(at), if version == 4 { 0x0800 } else { 0x86DD }, "its EtherType is that of IPv{version}");
    (tags, at + 2)
}

/// The packets in a frame, the outermost first, after everything in them was found right.
pub fn layers(frame: &[u8]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let (_, at) = link(frame);
    let mut next = Some(frame[at..].to_vec());
    while let Some(packet) = next {
        let (layer, inner) = if packet[0] >> 4 == 4 { ipv4(&packet) } else { ipv6(&packet) };
        layers.push(layer);
        next = inner;
    }
    layers
}

type Read = (Layer, Option<Vec<u8>>);

fn ipv4(packet: &[u8]) -> Read {
    let slice = Ipv4HeaderSlice::from_slice(packet).expect("an IPv4 header");
    let header = slice.to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 header checksum");
    assert_eq!(check::sum(slice.slice()), 0xFFFF, "IPv4 header checksum by definition");
    let total = usize::from(slice.total_len());
    let payload = &packet[slice.slice().len()..total];
    let class = header.dscp.value() << 2 | header.ecn.value();
    let ends = [IpAddr::from(header.source), IpAddr::from(header.destination)];
    let layer = Layer { ttl: header.time_to_live, traffic_class: class, ..layer(ends, &packet[..total]) };
    if header.is_fragmenting_payload() {
        return (Layer { protocol: header.protocol.0, ..layer }, None);
    }
    transport(layer, header.protocol, payload)
}

fn ipv6(packet: &[u8]) -> Read {
    let slice = Ipv6HeaderSlice::from_slice(packet).expect("an IPv6 header");
    let header = slice.to_header();
    let total = 40 + usize::from(header.payload_length);
    let (extensions, protocol, payload) =
        Ipv6ExtensionsSlice::from_slice(header.next_header, &packet[40..total]).expect("extension headers");
    let ends = [IpAddr::from(header.source), IpAddr::from(header.destination)];
    let layer =
        Layer { ttl: header.hop_limit, traffic_class: header.traffic_class, ..layer(ends, &packet[..total]) };
    if extensions.is_fragmenting_payload() {
        return (Layer { protocol: protocol.0, ..layer }, None);
    }
    transport(layer, protocol, payload)
}

fn layer([source, destination]: [IpAddr; 2], packet: &[u8]) -> Layer {
    Layer {
        source: SocketAddr::new(source, 0),
        destination: SocketAddr::new(destination, 0),
        protocol: 0,
        ttl: 0,
        traffic_class: 0,
        unchecked: false,
        packet: packet.to_vec(),
    }
}

fn transport(mut layer: Layer, protocol: IpNumber, payload: &[u8]) -> Read {
    layer.protocol = protocol.0;
    let mut inner = None;
    match protocol.0 {
        TCP => {
            let segment = TcpSlice::from_slice(payload).expect("a TCP header");
            let ports = [segment.source_port(), segment.destination_port()];
            set_ports(&mut layer, ports);
            assert_eq!(definition(&layer, payload), 0xFFFF, "TCP checksum");
        }
        UDP => {
            let datagram = UdpSlice::from_slice(payload).expect("a UDP header");
            set_ports(&mut layer, [datagram.source_port(), datagram.destination_port()]);
            let length = usize::from(u16::from_be_bytes([payload[4], payload[5]]));
            assert_eq!(length, payload.len(), "UDP length");
            layer.unchecked = datagram.checksum() == 0;
            assert!(!layer.unchecked || layer.source.is_ipv4(), "UDP over IPv6 has a checksum");
            assert!(layer.unchecked || definition(&layer, payload) == 0xFFFF, "UDP checksum");
            if datagram.destination_port() == GUE_PORT {
                let header = payload[8..12].to_vec();
                inner = Some(payload[12..].to_vec());
                let number = if payload[12] >> 4 == 4 { 4 } else { 41 };
                assert_eq!(header, [0, number, 0, 0], "GUE header: variant 0, no options, what is inside");
            }
        }
        4 | 41 => {
            assert_eq!(payload[0] >> 4, if protocol.0 == 4 { 4 } else { 6 }, "what is inside");
            inner = Some(payload.to_vec());
        }
        _ => {}
    }
    (layer, inner)
}

fn set_ports(layer: &mut Layer, [source, destination]: [u16; 2]) {
    layer.source.set_port(source);
    layer.destination.set_port(destination);
}

/// Sum over pseudo-header and segment (RFC 9293 §3.1, RFC 8200 §8.1).
fn definition(layer: &Layer, segment: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = [octets(layer.source.ip()), octets(layer.destination.ip())].concat();
    let rest = check::add(u16::from(layer.protocol), segment.len() as u16);
    check::add(check::add(check::sum(&addresses), rest), check::sum(segment))
}
