//! The frames of the benchmarks: 60 bytes, the least that Ethernet carries (64 with the checksum that the NIC adds).

use std::net::SocketAddrV4;

use etherparse::PacketBuilder;
use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

/// Bytes of a frame.
pub const FRAME: usize = 60;
/// Ethernet, IPv4 and UDP or TCP header.
const UDP_HEADERS: usize = 14 + 20 + 8;
const TCP_HEADERS: usize = 14 + 20 + 20;

/// A frame that could not be built.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Who sends a frame to whom.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// MAC address and endpoint of the sender.
    pub from: ([u8; 6], SocketAddrV4),
    /// MAC address and endpoint of the receiver.
    pub to: ([u8; 6], SocketAddrV4),
}

/// A whole frame with right checksums; `flags` are TCP's.
pub fn build(protocol: Protocol, path: &Path, flags: Flags) -> Result<[u8; FRAME], Error> {
    let ((source_mac, source), (destination_mac, destination)) = (path.from, path.to);
    let ip = PacketBuilder::ethernet2(source_mac, destination_mac).ipv4(
        source.ip().octets(),
        destination.ip().octets(),
        64,
    );
    let mut bytes = Vec::with_capacity(FRAME);
    match protocol {
        Protocol::Udp => {
            ip.udp(source.port(), destination.port()).write(&mut bytes, &[0x5A; FRAME - UDP_HEADERS])?
        }
        Protocol::Tcp => {
            let mut tcp = ip.tcp(source.port(), destination.port(), 1, 0xFFFF);
            if flags.any(Flags::SYN) {
                tcp = tcp.syn();
            }
            if flags.any(Flags::ACK) {
                tcp = tcp.ack(2);
            }
            tcp.write(&mut bytes, &[0x5A; FRAME - TCP_HEADERS])?;
        }
    }
    bytes.try_into().map_err(|_| "a frame of another length than planned".into())
}
