//! Cutting IPv4 packets into pieces (RFC 791 §3.2). Only senders cut IPv6 packets.

use super::ipv4::{self, Header};

const TOTAL_LENGTH: usize = 2;
const FLAGS: usize = 6;
const MORE_FRAGMENTS: u16 = 0x2000;
/// The bit of an option's type that says that every piece has it, not the first alone (RFC 791 §3.1).
const COPIED: u8 = 0x80;
/// Options of one byte: end of the list, and filler.
const END: u8 = 0;
const FILLER: u8 = 1;

/// Lengths of the two packets that one became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// Of the first, which fits the MTU.
    pub first: u16,
    /// Of the rest, which may be cut once more.
    pub rest: u16,
}

/// Shortens the IPv4 packet at the start of `packet` to what fits `mtu`, and writes the rest of it as a packet of its own
/// into `rest`. The packet may itself be a piece.
///
/// None, and `packet` unchanged, where it fits already, is malformed, may not be cut (DF), or where `mtu` or the room in
/// `rest` (which the packet's own length always satisfies) is too small.
pub fn cut(packet: &mut [u8], mtu: u16, rest: &mut [u8]) -> Option<Pieces> {
    let header = Header::parse(packet).ok()?;
    if header.dont_fragment || header.total_len <= mtu {
        return None;
    }
    let header_len = usize::from(header.header_len);
    let kept = usize::from(mtu.checked_sub(u16::from(header.header_len))?) & !7;
    let moved = usize::from(header.total_len) - header_len - kept;
    // A piece that reaches beyond the longest datagram would have an offset that no field holds.
    let offset = usize::from(header.fragment_offset) + kept;
    if kept == 0 || offset + moved > usize::from(u16::MAX) {
        return None;
    }
    let rest_header_len = later_header(packet.get(..header_len)?, rest)?;
    let payload = packet.get(header_len + kept..usize::from(header.total_len))?;
    rest.get_mut(rest_header_len..rest_header_len + moved)?.copy_from_slice(payload);
    let pieces = Pieces { first: (header_len + kept) as u16, rest: (rest_header_len + moved) as u16 };
    let more = if header.more_fragments { MORE_FRAGMENTS } else { 0 };
    finish(&mut rest[..rest_header_len], pieces.rest, more | (offset / 8) as u16);
    finish(&mut packet[..header_len], pieces.first, MORE_FRAGMENTS | (header.fragment_offset / 8));
    Some(pieces)
}

/// Writes the length, the flags with the offset, and the checksum.
fn finish(header: &mut [u8], total_len: u16, flags_and_offset: u16) {
    header[TOTAL_LENGTH..TOTAL_LENGTH + 2].copy_from_slice(&total_len.to_be_bytes());
    header[FLAGS..FLAGS + 2].copy_from_slice(&flags_and_offset.to_be_bytes());
    ipv4::seal(header);
}

/// Writes the header of a later piece, with those options of `header` that are to be copied; returns its length.
fn later_header(header: &[u8], into: &mut [u8]) -> Option<usize> {
    // The copy is never longer than the header: at most 60 bytes.
    into.get_mut(..header.len())?.fill(END);
    into[..ipv4::HEADER].copy_from_slice(&header[..ipv4::HEADER]);
    let (mut at, mut end) = (ipv4::HEADER, ipv4::HEADER);
    while let Some(&kind) = header.get(at) {
        let length = match kind {
            END => break,
            FILLER => 1,
            _ => usize::from(*header.get(at + 1)?).max(2),
        };
        let option = header.get(at..at + length)?;
        if kind & COPIED != 0 {
            into[end..end + length].copy_from_slice(option);
            end += length;
        }
        at += length;
    }
    let length = end.next_multiple_of(4);
    into[0] = 0x40 | (length / 4) as u8;
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(options: &[u8], flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0xB8, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0];
        bytes.extend([198, 18, 0, 1, 198, 18, 0, 100]);
        bytes.extend(options);
        bytes.extend(payload);
        let total = bytes.len() as u16;
        finish(&mut bytes[..header_len], total, flags_and_offset);
        bytes
    }

    /// Cuts `packet` until all pieces fit.
    fn pieces(mut packet: Vec<u8>, mtu: u16) -> Vec<Vec<u8>> {
        let mut done = Vec::new();
        loop {
            let mut rest = vec![0; packet.len()];
            match cut(&mut packet, mtu, &mut rest) {
                None => {
                    done.push(packet);
                    return done;
                }
                Some(pieces) => {
                    packet.truncate(pieces.first.into());
                    rest.truncate(pieces.rest.into());
                    done.push(std::mem::replace(&mut packet, rest));
                }
            }
        }
    }

    #[test]
    fn options_go_where_their_copy_bit_says() {
        // Record route (not copied), filler, security-like option 130 (copied), end.
        let options = [7, 3, 4, 1, 0x82, 4, 9, 9];
        let all = pieces(packet(&options, 0, &[5; 100]), 68);
        assert_eq!(all[0][20..28], options);
        assert_eq!(all[1][20..24], [0x82, 4, 9, 9]);
        assert_eq!(Header::parse(&all[1]).unwrap().header_len, 24);
    }

    #[test]
    fn what_fits_or_must_not_be_cut_stays() {
        let mut rest = [0; 200];
        let mut bytes = packet(&[], 0, &[5; 100]);
        assert_eq!(cut(&mut bytes.clone(), 120, &mut rest), None, "fits");
        assert_eq!(cut(&mut bytes.clone(), 27, &mut rest), None, "not one unit of eight bytes fits");
        assert_eq!(cut(&mut bytes.clone(), 68, &mut rest[..40]), None, "no room");
        assert_eq!(cut(&mut bytes[..119], 68, &mut rest), None, "cut short");
        let mut whole = packet(&[], 0x4000, &[5; 100]);
        let before = whole.clone();
        assert_eq!(cut(&mut whole, 68, &mut rest), None, "DF");
        assert_eq!(whole, before);
        assert_eq!(
            cut(&mut packet(&[], 0x1FFF, &[5; 100]), 68, &mut rest),
            None,
            "beyond the longest datagram"
        );
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_datagram(
            payload in proptest::collection::vec(any::<u8>(), 0..3000),
            mtu in 48u16..1600,
            offset in 0u16..100,
            more in any::<bool>(),
            options in prop::sample::select(vec![vec![], vec![0x88, 4, 1, 2], vec![7, 3, 4, 0, 0, 0, 0, 0]]),
        ) {
            let flags = if more { MORE_FRAGMENTS } else { 0 };
            let all = pieces(packet(&options, flags | offset, &payload), mtu);
            let mut together = Vec::<u8>::new();
            for (number, bytes) in all.iter().enumerate() {
                let header = Header::parse(bytes).unwrap();
                let last = number + 1 == all.len();
                prop_assert_eq!(usize::from(header.total_len), bytes.len());
                prop_assert!(header.total_len <= mtu);
                prop_assert_eq!(header.more_fragments, !last || more);
                prop_assert_eq!(usize::from(header.fragment_offset), usize::from(offset) * 8 + together.len());
                prop_assert_eq!((header.id, header.tos, header.ttl, header.protocol), (0x1234, 0xB8, 64, 17));
                together.extend(&bytes[usize::from(header.header_len)..]);
            }
            prop_assert_eq!(together, payload);
        }
    }
}
