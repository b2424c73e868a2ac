//! Datagrams in pieces, taken apart and put together again by the definition (RFC 791 §3.2, RFC 8200 §4.5).
//!
//! Frames have an Ethernet header and no tags; IPv6 ones no extension headers but that of a fragment.

use super::{IP, UDP, check};

const V6_HEADER: usize = 40;
const V6_FRAGMENT: usize = 8;

fn is_v6(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xDD]
}

fn header_len(frame: &[u8]) -> usize {
    if is_v6(frame) { V6_HEADER } else { usize::from(frame[IP] & 15) * 4 }
}

fn seal(frame: &mut [u8]) {
    let header = IP..IP + header_len(frame);
    frame[IP + 10..IP + 12].fill(0);
    let sum = !check::sum(&frame[header]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
}

/// The same frame with this identification, and such that it may be cut. IPv6 frames stay as they are.
pub fn fragmentable(mut frame: Vec<u8>, id: u16) -> Vec<u8> {
    if !is_v6(&frame) {
        frame[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
        frame[IP + 6..IP + 8].fill(0);
        seal(&mut frame);
    }
    frame
}

/// The piece of a whole `frame` that holds the bytes `from..to` of what its IP packet carries.
pub fn piece(frame: &[u8], id: u16, from: usize, to: usize) -> Vec<u8> {
    let payload = &frame[IP + header_len(frame)..];
    let more = to < payload.len();
    let mut piece = frame[..IP + header_len(frame)].to_vec();
    if is_v6(frame) {
        let length = (to - from + V6_FRAGMENT) as u16;
        piece[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
        let protocol = std::mem::replace(&mut piece[IP + 6], 44);
        piece.extend([protocol, 0]);
        piece.extend((from as u16 | u16::from(more)).to_be_bytes());
        piece.extend(u32::from(id).to_be_bytes());
    } else {
        let length = (header_len(frame) + to - from) as u16;
        let word = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        piece[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
        piece[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
        piece[IP + 6..IP + 8].copy_from_slice(&word.to_be_bytes());
        seal(&mut piece);
    }
    piece.extend(&payload[from..to]);
    piece
}

/// A whole `frame` in pieces that carry `size` bytes each, a multiple of eight.
pub fn split(frame: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let length = frame.len() - IP - header_len(frame);
    (0..length).step_by(size).map(|from| piece(frame, id, from, length.min(from + size))).collect()
}

/// Where a piece belongs, whether more follow, and what it carries.
fn read(frame: &[u8]) -> (usize, bool, &[u8]) {
    if is_v6(frame) {
        let at = IP + V6_HEADER;
        assert_eq!(frame[IP + 6], 44, "a fragment header");
        let word = u16::from_be_bytes([frame[at + 2], frame[at + 3]]);
        (usize::from(word & !7), word & 1 != 0, &frame[at + V6_FRAGMENT..])
    } else {
        let word = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]);
        assert!(check::ip_checksum_is_right(frame), "its IP checksum");
        let end = IP + usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
        (usize::from(word & 0x1FFF) * 8, word & 0x2000 != 0, &frame[IP + header_len(frame)..end])
    }
}

/// Which bytes of its datagram a piece carries.
pub fn range(frame: &[u8]) -> std::ops::Range<usize> {
    let (from, _, payload) = read(frame);
    from..from + payload.len()
}

/// The datagram that the pieces make, as a receiver has it that wants every byte exactly once.
pub fn join(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut parts: Vec<_> = pieces.iter().map(|piece| (read(piece), piece)).collect();
    parts.sort_by_key(|((from, _, _), _)| *from);
    let first = parts[0].1;
    let mut whole = first[..IP + header_len(first)].to_vec();
    let start = whole.len();
    for (number, ((from, more, payload), piece)) in parts.iter().enumerate() {
        assert_eq!(whole.len() - start, *from, "neither a hole nor an overlap");
        assert_eq!(*more, number + 1 < parts.len(), "the last says that it is");
        assert_eq!(piece[..14], first[..14], "the Ethernet headers are equal");
        whole.extend(*payload);
    }
    if is_v6(first) {
        whole[IP + 6] = first[IP + V6_HEADER];
        let length = (whole.len() - IP - V6_HEADER) as u16;
        whole[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    } else {
        let length = (whole.len() - IP) as u16;
        whole[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
        whole[IP + 6..IP + 8].fill(0);
        seal(&mut whole);
    }
    whole
}

/// The IPv6 frame of a UDP datagram.
pub fn udp_v6(macs: [[u8; 6]; 2], source: &str, destination: &str, hops: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (std::net::SocketAddrV6, std::net::SocketAddrV6) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let step = etherparse::PacketBuilder::ethernet2(macs[0], macs[1])
        .ipv6(source.ip().octets(), destination.ip().octets(), hops)
        .udp(source.port(), destination.port());
    let mut frame = Vec::new();
    step.write(&mut frame, payload).unwrap();
    assert_eq!(frame[IP + 6], UDP);
    frame
}
