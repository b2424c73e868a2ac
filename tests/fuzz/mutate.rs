//! Ways to damage a frame. Half of the damaged ones get their checksums repaired, so that the damage is believed.

use crate::frames::{IP, TCP, UDP, check};
use crate::random::Random;

/// Longest frame that is made.
const LONGEST: usize = 2048;

/// Damages `frame`; `other` is a frame to take parts from.
pub fn damage(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        match random.below(9) {
            0 => flip_bits(frame, random),
            1 => frame.truncate(random.below(frame.len() + 1)),
            2 => extend(frame, random),
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

/// Header length, total length, fragment field, data offset or UDP length.
fn lie_about_length(frame: &mut [u8], random: &mut Random) {
    let value = *random.pick(&[0u16, 1, 5, 7, 8, 19, 20, 21, 28, 39, 40, 60, 1500, 2048, 0x7FFF, 0xFFFF]);
    let near = (frame.len() as u16).wrapping_sub(14).wrapping_add(random.below(5) as u16).wrapping_sub(2);
    let value = if random.one_in(3) { near } else { value };
    match random.below(5) {
        0 => set(frame, IP, &[0x40 | random.byte() & 15]),
        1 => set(frame, IP + 2, &value.to_be_bytes()),
        2 => set(frame, IP + 6, &random.pick(&[0u16, 0x2000, 0x4000, 0x1FFF, 1]).to_be_bytes()),
        3 => set(frame, IP + 32, &[random.byte() & 0xF0]),
        _ => set(frame, IP + 24, &value.to_be_bytes()),
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
    set(frame, IP + 20, &[0x30 | random.byte() & 1, random.byte()]);
}

fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Makes the checksums right as far as the lengths make sense.
pub fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(IP..).filter(|packet| packet.len() >= 20) else { return };
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
    let (at, end) = match packet[9] {
        TCP => (header_len + 16, total_len),
        UDP => {
            let length = u16::from_be_bytes([packet[header_len + 4], packet[header_len + 5]]);
            (header_len + 6, header_len + usize::from(length))
        }
        _ => return,
    };
    if at + 2 > end || end > total_len {
        return;
    }
    packet[at..at + 2].fill(0);
    let sum = check::add(check::pseudo_header(packet), check::sum(&packet[header_len..end]));
    packet[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
}
