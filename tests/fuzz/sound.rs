//! Whether a frame is fit to leave, whatever it was made from: lengths and checksums on every level, by definition.
//! Quick, since millions are asked about; `frames::strict` tells more.

use crate::frames::{TCP, UDP, check};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const GUE_PORT: u16 = 6080;

/// Where the packet begins in a frame, and its EtherType.
pub fn link(frame: &[u8]) -> Option<(usize, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = 12;
    while matches!(word(at)?, 0x8100 | 0x88A8 | 0x9100) && at < 20 {
        at += 4;
    }
    Some((at + 2, word(at)?))
}

/// An IP packet: what it carries and where.
pub struct Packet<'a> {
    pub protocol: u8,
    pub payload: &'a [u8],
    /// Sum over both addresses.
    addresses: u16,
    pub is_piece: bool,
    v4: bool,
}

/// Reads the headers of `packet`; panics where they are not right.
pub fn packet(packet: &[u8]) -> Packet<'_> {
    if packet[0] >> 4 == 4 {
        let (header, total) = (usize::from(packet[0] & 15) * 4, word(packet, 2));
        assert!(header >= 20 && usize::from(total) <= packet.len(), "IPv4 lengths");
        assert_eq!(check::sum(&packet[..header]), 0xFFFF, "IPv4 header checksum");
        return Packet {
            protocol: packet[9],
            payload: &packet[header..usize::from(total)],
            addresses: check::sum(&packet[12..20]),
            is_piece: word(packet, 6) & 0x3FFF != 0,
            v4: true,
        };
    }
    assert_eq!(packet[0] >> 4, 6, "an IP version");
    let end = 40 + usize::from(word(packet, 4));
    assert!(end <= packet.len(), "IPv6 length");
    let (mut protocol, mut at, mut is_piece) = (packet[6], 40, false);
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) && !is_piece {
        let units = usize::from(packet[at + 1]);
        let length = match protocol {
            44 => {
                is_piece = word(packet, at + 2) & 0xFFF9 != 0;
                8
            }
            51 => units * 4 + 8,
            _ => units * 8 + 8,
        };
        (protocol, at) = (packet[at], at + length);
    }
    let (payload, addresses) = (&packet[at..end], check::sum(&packet[8..40]));
    Packet { protocol, payload, addresses, is_piece, v4: false }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Panics where anything in `frame` is not right.
pub fn assert_sound(frame: &[u8]) {
    let (at, ethertype) = link(frame).expect("an Ethernet header");
    match ethertype {
        0x0806 => assert!(frame.len() >= at + 28, "ARP"),
        0x0800 | 0x86DD => {
            assert_eq!(frame[at] >> 4, if ethertype == 0x0800 { 4 } else { 6 }, "EtherType and version");
            assert_packet(&frame[at..]);
        }
        other => panic!("EtherType {other:04x}"),
    }
}

fn assert_packet(bytes: &[u8]) {
    let packet = packet(bytes);
    if packet.is_piece {
        return;
    }
    let mut segment = packet.payload;
    if packet.protocol == UDP {
        let length = usize::from(word(segment, 4));
        assert!((8..=segment.len()).contains(&length), "UDP length");
        segment = &segment[..length];
        if packet.v4 && segment[6..8] == [0, 0] {
            return assert_gue(segment);
        }
    }
    let rest = check::add(u16::from(packet.protocol), segment.len() as u16);
    let pseudo = if packet.protocol == ICMP { 0 } else { check::add(packet.addresses, rest) };
    match packet.protocol {
        TCP | UDP | ICMP | ICMPV6 => {
            assert_eq!(check::add(pseudo, check::sum(segment)), 0xFFFF, "checksum of {}", packet.protocol);
        }
        4 | 41 => return assert_packet(segment),
        other => panic!("protocol {other} leaves"),
    }
    if packet.protocol == UDP {
        assert_gue(segment);
    }
}

/// What the switch itself sends to the GUE port has a packet inside. No service has that port.
fn assert_gue(datagram: &[u8]) {
    if word(datagram, 2) == GUE_PORT {
        assert_eq!((datagram[8], datagram[10], datagram[11]), (0, 0, 0), "GUE header");
        assert_packet(&datagram[12..]);
    }
}
