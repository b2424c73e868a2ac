//! The frames of the benchmarks: 60 bytes, the least that Ethernet carries (64 with the checksum that the NIC adds), or
//! as few as the headers need.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

/// Bytes of a frame.
pub const FRAME: usize = 60;

/// A frame that could not be built.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A whole frame with right checksums, as long as it must be; `flags` are TCP's.
pub fn shortest(
    protocol: Protocol,
    (source_mac, source): ([u8; 6], SocketAddr),
    (destination_mac, destination): ([u8; 6], SocketAddr),
    flags: Flags,
) -> Result<Vec<u8>, Error> {
    let ethernet = PacketBuilder::ethernet2(source_mac, destination_mac);
    let (ip, ip_header) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (ethernet.ipv4(source.octets(), destination.octets(), 64), 20)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (ethernet.ipv6(source.octets(), destination.octets(), 64), 40)
        }
        _ => return Err("endpoints of two families".into()),
    };
    let transport_header = if protocol == Protocol::Udp { 8 } else { 20 };
    let payload = vec![0x5A; FRAME.saturating_sub(14 + ip_header + transport_header)];
    let mut bytes = Vec::with_capacity(FRAME);
    match protocol {
        Protocol::Udp => ip.udp(source.port(), destination.port()).write(&mut bytes, &payload)?,
        Protocol::Tcp => {
            let mut tcp = ip.tcp(source.port(), destination.port(), 1, 0xFFFF);
            if flags.any(Flags::SYN) {
                tcp = tcp.syn();
            }
            if flags.any(Flags::ACK) {
                tcp = tcp.ack(2);
            }
            tcp.write(&mut bytes, &payload)?;
        }
    }
    Ok(bytes)
}
