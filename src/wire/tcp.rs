//! TCP (RFC 9293).

use etherparse::TcpHeaderSlice;

use super::checksum::{self, Delta};

pub mod bare;
pub mod options;
pub mod shift;

/// Length of the header without options.
pub const HEADER: usize = 20;
/// Offset of the checksum in the header.
const CHECKSUM: usize = 16;

/// Control bits, as they stand in byte 13 of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// In a SYN with [`Flags::CWR`], and alone in its answer: the sender understands ECN (RFC 3168 §6.1.1).
    pub const ECE: Self = Self(0x40);
    /// See [`Flags::ECE`].
    pub const CWR: Self = Self(0x80);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);

    /// Whether any of `others` is set.
    #[inline]
    pub const fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Opens a connection: SYN without ACK.
    #[inline]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0) == Self::SYN.0
    }

    /// Neither opens nor ends anything: ACK without SYN, FIN or RST, as almost every segment is.
    #[inline]
    pub const fn carries_on(self) -> bool {
        self.control().0 == Self::ACK.0
    }

    /// Those that open, carry on or end a connection.
    #[inline]
    pub const fn control(self) -> Self {
        Self(self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0 | Self::ACK.0))
    }

    /// A combination that no stack sends: SYN with FIN or RST, or none of SYN, FIN, RST and ACK.
    #[inline]
    pub const fn absurd(self) -> bool {
        let control = self.control().0;
        control == 0 || (control & Self::SYN.0 != 0 && control & (Self::FIN.0 | Self::RST.0) != 0)
    }
}

/// What forwarding needs of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source port in the high half, destination port in the low half.
    pub ports: u32,
    /// Control bits.
    pub flags: Flags,
    /// The checksum as it stands.
    pub checksum: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
}

impl Header {
    /// Reads the header at the start of `segment`; none where it is cut short or its length is absurd.
    #[inline]
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let header = TcpHeaderSlice::from_slice(segment).ok()?;
        Some(Self {
            ports: u32::from(header.source_port()) << 16 | u32::from(header.destination_port()),
            flags: Flags(header.slice()[13]),
            checksum: header.checksum(),
            sequence: header.sequence_number(),
            acknowledgment: header.acknowledgment_number(),
        })
    }
}

/// Writes both ports and updates the checksum by `delta` (of addresses and ports).
#[inline]
pub fn rewrite(segment: &mut [u8], ports: u32, delta: Delta) {
    let Some(header) = segment.first_chunk_mut::<20>() else { return };
    let old = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    header[..4].copy_from_slice(&ports.to_be_bytes());
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum::update(old, delta).to_be_bytes());
}

/// How many sequence numbers `segment` takes up: its data, SYN and FIN.
pub fn sequence_length(segment: &[u8]) -> u32 {
    let Some(header) = segment.first_chunk::<HEADER>() else { return 0 };
    let data = segment.len().saturating_sub(usize::from(header[12] >> 4) * 4);
    let flags = Flags(header[13]);
    data as u32 + u32::from(flags.any(Flags::SYN)) + u32::from(flags.any(Flags::FIN))
}

/// The reset that answers a segment of `header`, which takes up `length` sequence numbers, where there is no connection
/// (RFC 9293 §3.10.7.1). Its checksum is 0.
pub fn reset(header: &Header, length: u32) -> [u8; HEADER] {
    let (sequence, acknowledgment, flags) = if header.flags.any(Flags::ACK) {
        (header.acknowledgment, 0, Flags::RST)
    } else {
        (0, header.sequence.wrapping_add(length), Flags::RST.with(Flags::ACK))
    };
    let mut reset = [0; HEADER];
    reset[..4].copy_from_slice(&header.ports.rotate_left(16).to_be_bytes());
    reset[4..8].copy_from_slice(&sequence.to_be_bytes());
    reset[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    (reset[12], reset[13]) = (5 << 4, flags.0);
    reset
}

/// Writes the checksum.
pub fn set_checksum(segment: &mut [u8], checksum: u16) {
    if let Some(field) = segment.get_mut(CHECKSUM..CHECKSUM + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Options: the end of the list, filler, and the largest segment that the sender takes (RFC 9293 §3.1).
const END: u8 = 0;
const FILLER: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: [u8; 2] = [2, 4];

/// Lowers the maximum segment size in a SYN or SYN-ACK to `limit`, checksum with it; true where it was higher.
///
/// A segment without the option stays as it is: its sender then takes 536 bytes, or 1220 over IPv6, which every path has.
pub fn clamp_mss(segment: &mut [u8], limit: u16) -> bool {
    let Some(header) = segment.first_chunk::<20>() else { return false };
    let header_len = usize::from(header[12] >> 4) * 4;
    let Some(header) = segment.get_mut(..header_len) else { return false };
    if header_len < 20 || !Flags(header[13]).any(Flags::SYN) {
        return false;
    }
    let Some(at) = find_mss(header) else { return false };
    if u16::from_be_bytes([header[at], header[at + 1]]) <= limit {
        return false;
    }
    // Filler may put it at an odd offset: the whole words around it are what the checksum knows.
    let words = (at & !1)..(at + 2).next_multiple_of(2);
    let mut before = [0; 4];
    let before = &mut before[..words.len()];
    before.copy_from_slice(&header[words.clone()]);
    header[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    let delta = Delta::of_bytes(before, &header[words]);
    let old = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum::update(old, delta).to_be_bytes());
    true
}

/// Where the value of the option stands in `header`, which ends where its options end: at most 40 steps.
fn find_mss(header: &[u8]) -> Option<usize> {
    let mut at = 20;
    loop {
        let rest = header.get(at..)?;
        at += match rest {
            [END, ..] => return None,
            [FILLER, ..] => 1,
            [kind, length, _, _, ..] if [*kind, *length] == MAXIMUM_SEGMENT_SIZE => return Some(at + 2),
            [_, length, ..] if *length >= 2 => usize::from(*length),
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment with these flags and options (whole words of them), its checksum right under a pseudo-header of sum 5.
    fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0, flags, 0xFF, 0xFF, 0, 0, 0, 0];
        bytes.extend(options);
        bytes[12] = (bytes.len() / 4 * 16) as u8;
        bytes.extend([9; 11]);
        let checksum = !checksum::fold(5 + u64::from(checksum::sum(&bytes)));
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn only_what_opens_has_its_segment_size_lowered_and_only_lowered() {
        let options = [2, 4, 5, 0xB4];
        for (flags, limit, lowered) in [
            (0x02, 1400, true),
            (0x12, 1400, true),
            (0x10, 1400, false),
            (0x02, 1460, false),
            (0x02, 9000, false),
        ] {
            let mut bytes = segment(flags, &options);
            assert_eq!(clamp_mss(&mut bytes, limit), lowered);
            let wanted = if lowered { [2, 4, 5, 0x78] } else { options };
            assert_eq!(bytes, segment(flags, &wanted));
        }
    }

    #[test]
    fn absurd_options_are_left_alone() {
        for options in [
            [0, 2, 4, 5, 0xB4, 0, 0, 0],
            [3, 0, 2, 4, 5, 0xB4, 0, 0],
            [3, 1, 2, 4, 5, 0xB4, 0, 0],
            [1, 1, 1, 1, 1, 1, 2, 4],
            [1, 1, 1, 1, 1, 1, 1, 8],
        ] {
            let mut bytes = segment(0x02, &options);
            assert!(!clamp_mss(&mut bytes, 536), "{options:?}");
            assert_eq!(bytes, segment(0x02, &options));
        }
        assert!(!clamp_mss(&mut segment(0x02, &[2, 4, 5, 0xB4])[..23], 536), "cut short");
        assert!(!clamp_mss(&mut [0; 19], 536));
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right_wherever_the_option_stands(before in 0usize..20, size in any::<u16>(), limit in any::<u16>()) {
            let with = |size: u16| {
                let [high, low] = size.to_be_bytes();
                let mut options = [vec![FILLER; before], vec![2, 4, high, low]].concat();
                options.resize(options.len().next_multiple_of(4), END);
                segment(0x02, &options)
            };
            let mut bytes = with(size);
            prop_assert_eq!(clamp_mss(&mut bytes, limit), size > limit);
            prop_assert_eq!(bytes, with(size.min(limit)));
        }

        #[test]
        fn no_options_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if bytes.len() > 13 {
                bytes[13] |= 0x02;
            }
            clamp_mss(&mut bytes, 536);
        }
    }

    #[test]
    fn flags_that_no_stack_sends() {
        assert!(Flags(0).absurd());
        assert!(Flags::SYN.with(Flags::FIN).absurd());
        assert!(Flags::SYN.with(Flags::RST).absurd());
        assert!(!Flags::SYN.absurd());
        assert!(!Flags::RST.absurd());
        assert!(!Flags::FIN.with(Flags::ACK).absurd());
    }

    #[test]
    fn data_and_acknowledgments_carry_on() {
        assert!(Flags::ACK.carries_on());
        assert!(Flags(0x18).carries_on(), "ACK and PSH");
        for other in [Flags::SYN, Flags::FIN, Flags::RST] {
            assert!(!Flags::ACK.with(other).carries_on());
        }
        assert!(!Flags(0).carries_on());
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(Flags::SYN.opens());
        assert!(!Flags::SYN.with(Flags::ACK).opens());
        assert!(!Flags::ACK.opens());
    }

    #[test]
    fn a_cut_or_absurd_header_is_none() {
        assert_eq!(Header::parse(&[0; 19]), None);
        let mut short_offset = [0u8; 20];
        short_offset[12] = 0x40;
        assert_eq!(Header::parse(&short_offset), None);
        let mut long_offset = [0u8; 20];
        long_offset[12] = 0x60;
        assert_eq!(Header::parse(&long_offset), None);
    }
}
