//! The Internet checksum by its definition (RFC 1071), one word after the other.

use super::{IP, TCP, UDP};

/// One's-complement sum of two words.
pub fn add(a: u16, b: u16) -> u16 {
    let sum = u32::from(a) + u32::from(b);
    ((sum & 0xFFFF) + (sum >> 16)) as u16
}

/// One's-complement sum of all words, an odd last byte padded with zero.
pub fn sum(bytes: &[u8]) -> u16 {
    bytes
        .chunks(2)
        .fold(0, |sum, pair| add(sum, u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
}

/// Sum of the pseudo-header of the IPv4 packet at the start of `packet`.
pub fn pseudo_header(packet: &[u8]) -> u16 {
    let header_len = usize::from(packet[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let mut length = (total_len - header_len) as u16;
    if packet[9] == UDP {
        length = u16::from_be_bytes([packet[header_len + 4], packet[header_len + 5]]);
    }
    add(add(sum(&packet[12..20]), u16::from(packet[9])), length)
}

/// Whether the IPv4 header checksum of a frame is right.
pub fn ip_checksum_is_right(frame: &[u8]) -> bool {
    let packet = &frame[IP..];
    sum(&packet[..usize::from(packet[0] & 15) * 4]) == 0xFFFF
}

/// Whether the TCP or UDP checksum of an IPv4 frame is right, or absent where it may be.
pub fn transport_checksum_is_right(frame: &[u8]) -> bool {
    let packet = &frame[IP..];
    let header_len = usize::from(packet[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let mut segment = &packet[header_len..total_len];
    match packet[9] {
        TCP => {}
        UDP if segment[6..8] == [0, 0] => return true,
        UDP => segment = &segment[..usize::from(u16::from_be_bytes([segment[4], segment[5]]))],
        other => panic!("protocol {other} has no checksum here"),
    }
    add(pseudo_header(packet), sum(segment)) == 0xFFFF
}
