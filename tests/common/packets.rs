//! Frames that no socket would send: fragments in any order, tags, unusual protocols.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader, ip_number};

use super::devices;
use super::namespace::Namespace;

/// EtherType of 802.1Q.
const VLAN: [u8; 2] = [0x81, 0x00];
/// EtherType of 802.1ad.
const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// A MAC address.
pub type Mac = [u8; 6];

/// Reads `aa:bb:cc:dd:ee:ff`.
pub fn mac(text: &str) -> Mac {
    let bytes: Vec<_> = text.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().unwrap_or_else(|_| panic!("`{text}` is no MAC address"))
}

/// A packet socket on an interface of a host.
pub fn packet_socket(host: &Namespace, interface: &str) -> UdpSocket {
    host.enter(|| devices::packet(interface)).expect("root may open packet sockets")
}

/// An Ethernet frame; `tags` are VLAN identifiers, the outermost first.
pub fn ethernet(destination: Mac, source: Mac, tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (place, tag) in tags.iter().enumerate() {
        frame.extend(if place + 1 < tags.len() { SERVICE_VLAN } else { VLAN });
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The EtherType of packets between these two.
pub fn ether_type(address: IpAddr) -> u16 {
    if address.is_ipv4() { 0x0800 } else { 0x86dd }
}

/// A UDP datagram with its header and checksum, not yet in a packet.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut header = UdpHeader::without_ipv4_checksum(source.port(), destination.port(), payload.len())
        .expect("the payload is shorter than 64 kB");
    header.checksum = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
    .expect("the payload is shorter than 64 kB");
    [&header.to_bytes()[..], payload].concat()
}

/// The packets that carry a datagram in fragments of `size` bytes, in order.
pub fn fragments(source: IpAddr, destination: IpAddr, id: u16, datagram: &[u8], size: usize) -> Vec<Vec<u8>> {
    assert_eq!(size % 8, 0, "fragments are measured in units of eight bytes");
    let count = datagram.len().div_ceil(size);
    let one = |(number, piece): (usize, &[u8])| {
        let offset =
            u16::try_from(number * size / 8).ok().and_then(|units| IpFragOffset::try_new(units).ok());
        let offset = offset.expect("the datagram is shorter than 64 kB");
        fragment(source, destination, (id, offset, number + 1 < count), piece)
    };
    datagram.chunks(size).enumerate().map(one).collect()
}

fn fragment(
    source: IpAddr,
    destination: IpAddr,
    (id, offset, more): (u16, IpFragOffset, bool),
    piece: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(piece.len()).expect("a fragment fits a frame");
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header::new(length, 64, ip_number::UDP, source.octets(), destination.octets());
            let mut header = header.expect("a fragment fits a packet");
            header.identification = id;
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = offset;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                payload_length: length + 8,
                next_header: ip_number::IPV6_FRAG,
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            let extension = Ipv6FragmentHeader::new(ip_number::UDP, offset, more, id.into());
            [&header.to_bytes()[..], &extension.to_bytes()[..]].concat()
        }
        _ => panic!("{source} and {destination} are of two families"),
    };
    packet.extend(piece);
    packet
}

/// The MAC address at which a host knows a neighbour that it has spoken with.
pub fn neighbor(host: &Namespace, address: IpAddr) -> Mac {
    let known = host.ip(&format!("neighbor show {address}"));
    let mut words = known.split_whitespace().skip_while(|word| *word != "lladdr");
    mac(words.nth(1).unwrap_or_else(|| panic!("{} does not know {address}: {known}", host.name())))
}

/// An IPv4 packet that asks for a TCP connection.
pub fn syn(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else {
        panic!("{source} and {destination} are not of IPv4")
    };
    let mut tcp = TcpHeader::new(source.port(), destination.port(), 1, 64_240);
    tcp.syn = true;
    let mut ip = Ipv4Header::new(tcp.header_len_u16(), 64, ip_number::TCP, from.octets(), to.octets())
        .expect("a header fits a packet");
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("a header is shorter than 64 kB");
    [&ip.to_bytes()[..], &tcp.to_bytes()[..]].concat()
}
