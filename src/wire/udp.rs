//! UDP (RFC 768).

use etherparse::UdpHeaderSlice;

use super::checksum::{self, Delta};

/// Length of the header.
pub const HEADER: usize = 8;
const CHECKSUM: usize = 6;

/// What forwarding needs of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source port in the high half, destination port in the low half.
    pub ports: u32,
    /// Length of header and payload.
    pub length: u16,
    /// The checksum as it stands; 0 means absent.
    pub checksum: u16,
}

impl Header {
    /// Reads the header at the start of `datagram`; none where it is cut short or its length exceeds the packet.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let header = UdpHeaderSlice::from_slice(datagram).ok()?;
        let length = header.length();
        if usize::from(length) < HEADER || usize::from(length) > datagram.len() {
            return None;
        }
        Some(Self {
            ports: u32::from(header.source_port()) << 16 | u32::from(header.destination_port()),
            length,
            checksum: header.checksum(),
        })
    }
}

/// Writes both ports and updates the checksum by `delta`. Absent stays absent; a computed 0 is sent as 0xFFFF.
#[inline]
pub fn rewrite(datagram: &mut [u8], ports: u32, delta: Delta) {
    let Some(header) = datagram.first_chunk_mut::<HEADER>() else { return };
    header[..4].copy_from_slice(&ports.to_be_bytes());
    let old = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    if old != 0 {
        let new = match checksum::update(old, delta) {
            0 => 0xFFFF,
            new => new,
        };
        header[CHECKSUM..].copy_from_slice(&new.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_checksum_stays_absent() {
        let mut datagram = [0, 1, 0, 2, 0, 8, 0, 0];
        rewrite(&mut datagram, 0x0003_0004, Delta::of_u32(0x0001_0002, 0x0003_0004));
        assert_eq!(datagram, [0, 3, 0, 4, 0, 8, 0, 0]);
    }

    #[test]
    fn a_computed_zero_is_sent_as_all_ones() {
        // A sum of 0xFFFF under the checksum gives a checksum of zero.
        let mut datagram = [0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0];
        let sum = checksum::sum(&datagram);
        datagram[6..].copy_from_slice(&(!sum).to_be_bytes());
        let wanted = 0x1234_5678u32 + u32::from(!sum);
        rewrite(&mut datagram, wanted, Delta::of_u32(0x1234_5678, wanted));
        assert_eq!(datagram[6..], [0xFF, 0xFF]);
    }

    #[test]
    fn a_length_beyond_the_packet_is_none() {
        assert!(Header::parse(&[0, 1, 0, 2, 0, 8, 0, 0]).is_some());
        assert_eq!(Header::parse(&[0, 1, 0, 2, 0, 9, 0, 0]), None);
        assert_eq!(Header::parse(&[0, 1, 0, 2, 0, 7, 0, 0]), None);
        assert_eq!(Header::parse(&[0; 7]), None);
    }
}
