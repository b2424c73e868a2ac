//! Ways to damage a frame. Half of the damaged ones get their checksums repaired, so that the damage is believed.

use crate::frames::{IP, TCP, UDP, check};
use crate::random::Random;
use crate::sound;

/// Longest frame that is made: a chunk, less the room in front of frames.
pub const LONGEST: usize = 4096 - 64;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Damages `frame`; `other` is a frame to take parts from.
pub fn damage(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        match random.below(9) {
            0 => flip_bits(frame, random),
            1 => frame.truncate(random.below(frame.len() + 1)),
            2 => extend(frame, random),
            3 if is_v6(frame) => lie_about_v6(frame, random),
            3 => lie_about_length(frame, random),
            4 => splice(frame, other, random),
            5 => overwrite(frame, random),
            6 => borrow_field(frame, other, random),
            7 => edge_of_a_byte(frame, random),
            _ => another_port(frame, random),
        }
    }
    frame.truncate(LONGEST);
    if random.one_in(2) {
        repair(frame);
    }
}

fn flip_bits(frame: &mut [u8], random: &mut Random) {
    let headers = frame.len().min(80);
    for _ in 0..=random.below(4) {
        if headers > 0 {
            frame[random.below(headers)] ^= 1 << random.below(8);
        }
    }
}

fn extend(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(40) {
        frame.push(random.byte());
    }
}

/// Where the packet begins, behind tags.
fn packet_at(frame: &[u8]) -> usize {
    sound::link(frame).map_or(IP, |(at, _)| at)
}

fn is_v6(frame: &[u8]) -> bool {
    frame.get(packet_at(frame)).is_some_and(|first| first >> 4 == 6)
}

/// Payload length, next header, or what stands behind the header: an extension header's number and length, ports.
fn lie_about_v6(frame: &mut [u8], random: &mut Random) {
    let at = packet_at(frame);
    let number = *random.pick(&[0u8, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 135]);
    let near = (frame.len() as u16).wrapping_sub(at as u16 + 40).wrapping_add(random.below(5) as u16);
    match random.below(5) {
        0 => set(frame, at + 4, &near.wrapping_sub(2).to_be_bytes()),
        1 => set(frame, at + 4, &random.pick(&[0u16, 1, 7, 8, 1280, 0x7FFF, 0xFFFF]).to_be_bytes()),
        2 => set(frame, at + 6, &[number]),
        3 => set(frame, at + 40, &[number, random.byte() & 3]),
        _ => set(frame, at + 42, &random.pick(&[0u16, 1, 8, 9, 0xFFF8]).to_be_bytes()),
    }
}

/// Header length, total length, fragment field, data offset or UDP length.
fn lie_about_length(frame: &mut [u8], random: &mut Random) {
    let at = packet_at(frame);
    let value = *random.pick(&[0u16, 1, 5, 7, 8, 19, 20, 21, 28, 39, 40, 60, 1500, 2048, 0x7FFF, 0xFFFF]);
    let near = (frame.len() as u16).wrapping_sub(14).wrapping_add(random.below(5) as u16).wrapping_sub(2);
    let value = if random.one_in(3) { near } else { value };
    match random.below(5) {
        0 => set(frame, at, &[0x40 | random.byte() & 15]),
        1 => set(frame, at + 2, &value.to_be_bytes()),
        2 => set(frame, at + 6, &random.pick(&[0u16, 0x2000, 0x4000, 0x1FFF, 1]).to_be_bytes()),
        3 => set(frame, at + 32, &[random.byte() & 0xF0]),
        _ => set(frame, at + 24, &value.to_be_bytes()),
    }
}

fn splice(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    frame.truncate(random.below(frame.len() + 1));
    frame.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

fn overwrite(frame: &mut [u8], random: &mut Random) {
    let start = random.below(frame.len() + 1);
    for byte in frame[start..].iter_mut().take(random.below(8)) {
        *byte = random.byte();
    }
}

/// A whole header field of another frame: addresses, ports, protocol, flags, MAC addresses.
fn borrow_field(frame: &mut [u8], other: &[u8], random: &mut Random) {
    let fields = [0..6, 6..12, 12..14, 23..24, 26..30, 30..34, 26..34, 34..38, 47..48];
    let field = random.pick(&fields).clone();
    if let (Some(to), Some(from)) = (frame.get_mut(field.clone()), other.get(field)) {
        to.copy_from_slice(from);
    }
}

fn edge_of_a_byte(frame: &mut [u8], random: &mut Random) {
    if !frame.is_empty() {
        let at = random.below(frame.len().min(64));
        frame[at] = *random.pick(&[0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]);
    }
}

/// Opens room for connections that the corpus does not have.
fn another_port(frame: &mut [u8], random: &mut Random) {
    let at = packet_at(frame) + if is_v6(frame) { 40 } else { 20 };
    set(frame, at, &[0x30 | random.byte() & 1, random.byte()]);
}

fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Makes the checksums right as far as the lengths make sense.
pub fn repair(frame: &mut [u8]) {
    let at = packet_at(frame);
    match frame.get_mut(at..) {
        Some(packet) if packet.len() >= 40 && packet[0] >> 4 == 6 => repair_v6(packet),
        Some(packet) if packet.len() >= 20 => repair_v4(packet),
        _ => {}
    }
}

fn repair_v4(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if header_len < 20 || header_len > packet.len() {
        return;
    }
    packet[10..12].fill(0);
    let checksum = !check::sum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    if total_len > packet.len() || total_len < header_len + 20 {
        return;
    }
    let (protocol, addresses) = (packet[9], check::sum(&packet[12..20]));
    repair_segment(&mut packet[header_len..total_len], protocol, addresses);
}

fn repair_v6(packet: &mut [u8]) {
    let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let (mut protocol, mut at) = (packet[6], 40);
    while matches!(protocol, 0 | 43 | 44 | 60) && at + 8 <= packet.len() {
        let units = if protocol == 44 { 0 } else { usize::from(packet[at + 1]) };
        (protocol, at) = (packet[at], at + 8 + units * 8);
    }
    if at + 8 <= end && end <= packet.len() {
        let addresses = check::sum(&packet[8..40]);
        repair_segment(&mut packet[at..end], protocol, addresses);
    }
}

/// `addresses` is the sum over both.
fn repair_segment(segment: &mut [u8], protocol: u8, addresses: u16) {
    let (at, end) = match protocol {
        TCP => (16, segment.len()),
        UDP => (6, usize::from(u16::from_be_bytes([segment[4], segment[5]]))),
        ICMP | ICMPV6 => (2, segment.len()),
        _ => return,
    };
    if at + 2 > end || end > segment.len() {
        return;
    }
    segment[at..at + 2].fill(0);
    let rest = check::add(u16::from(protocol), end as u16);
    let pseudo = if protocol == ICMP { 0 } else { check::add(addresses, rest) };
    let checksum = match !check::add(pseudo, check::sum(&segment[..end])) {
        0 if protocol == UDP => 0xFFFF,
        checksum => checksum,
    };
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
