//! TCP (RFC 9293).

use etherparse::TcpHeaderSlice;

use super::checksum::{self, Delta};

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
        self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0 | Self::ACK.0) == Self::ACK.0
    }

    /// A combination that no stack sends: SYN with FIN or RST, or none of SYN, FIN, RST and ACK.
    #[inline]
    pub const fn absurd(self) -> bool {
        let control = self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0 | Self::ACK.0);
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

#[cfg(test)]
mod tests {
    use super::*;

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
/// stub
pub fn clamp_mss(_segment: &mut [u8], _limit: u16) -> bool {
    false
}
