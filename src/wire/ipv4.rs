//! IPv4 (RFC 791).

use etherparse::Ipv4HeaderSlice;

use super::checksum::{self, Delta};

/// Length of a header without options.
pub const HEADER: usize = 20;
const TTL: usize = 8;
const CHECKSUM: usize = 10;
const ADDRESSES: usize = 12;

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Version, header length or total length do not fit each other or the frame.
    Malformed,
    /// The header checksum is wrong.
    Checksum,
}

/// A header that was checked: everything that forwarding needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source address in the high half, destination in the low half.
    pub addresses: u64,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Whether this is a piece of a larger datagram (first or later).
    pub fragment: bool,
    /// Where the piece belongs in the payload of the whole datagram, in bytes.
    pub fragment_offset: u16,
    /// Whether pieces follow.
    pub more_fragments: bool,
    /// Whether nobody may cut this into pieces.
    pub dont_fragment: bool,
    /// What the pieces of one datagram have in common.
    pub id: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of the header with options, in bytes.
    pub header_len: u8,
    /// Length of the packet, header included; the frame may be longer (padding).
    pub total_len: u16,
}

impl Header {
    /// Reads and verifies the header at the start of `packet` (RFC 1812 §5.2.2).
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Error::Malformed)?;
        let bytes = header.slice();
        let total_len = header.total_len();
        if usize::from(total_len) < bytes.len() || usize::from(total_len) > packet.len() {
            return Err(Error::Malformed);
        }
        let sum = match bytes.as_array::<HEADER>() {
            Some(without_options) => checksum::sum_20(without_options),
            None => checksum::sum(bytes),
        };
        if sum != 0xFFFF {
            return Err(Error::Checksum);
        }
        let (source, destination) = (header.source(), header.destination());
        Ok(Self {
            addresses: u64::from(u32::from_be_bytes(source)) << 32
                | u64::from(u32::from_be_bytes(destination)),
            protocol: header.protocol().0,
            ttl: header.ttl(),
            fragment: header.is_fragmenting_payload(),
            fragment_offset: header.fragments_offset().value() * 8,
            more_fragments: header.more_fragments(),
            dont_fragment: header.dont_fragment(),
            id: header.identification(),
            tos: bytes[1],
            header_len: bytes.len() as u8,
            total_len,
        })
    }
}

/// Writes both addresses, takes one from the TTL, and updates the checksum by `delta` (of the addresses alone).
#[inline]
pub fn rewrite(packet: &mut [u8], addresses: u64, delta: Delta) {
    let Some(header) = packet.first_chunk_mut::<HEADER>() else { return };
    let old = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    let new = checksum::update(old, delta.and(Delta::TTL_MINUS_ONE));
    header[TTL] = header[TTL].wrapping_sub(1);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&new.to_be_bytes());
    header[ADDRESSES..ADDRESSES + 8].copy_from_slice(&addresses.to_be_bytes());
}

/// Writes both addresses and updates the checksum by `delta`. The TTL stays.
#[inline]
pub fn rewrite_addresses(packet: &mut [u8], addresses: u64, delta: Delta) {
    let Some(header) = packet.first_chunk_mut::<HEADER>() else { return };
    update_checksum(header, delta);
    header[ADDRESSES..ADDRESSES + 8].copy_from_slice(&addresses.to_be_bytes());
}

/// Takes one from the TTL.
#[inline(always)]
pub fn decrement_ttl(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<HEADER>() else { return };
    update_checksum(header, Delta::TTL_MINUS_ONE);
    header[TTL] = header[TTL].wrapping_sub(1);
}

/// Updates the checksum by `delta`, of whatever was changed.
#[inline]
pub fn change_checksum(header: &mut [u8; HEADER], delta: Delta) {
    update_checksum(header, delta);
}

#[inline(always)]
fn update_checksum(header: &mut [u8; HEADER], delta: Delta) {
    let old = u16::from_ne_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    let new = checksum::without(old, delta.as_written() as u16);
    [header[CHECKSUM], header[CHECKSUM + 1]] = new.to_ne_bytes();
}

/// Says that the packet must not be marked instead of dropped (RFC 3168 §5).
pub fn clear_ecn(packet: &mut [u8]) {
    const ECN: u8 = 3;
    let Some(header) = packet.first_chunk_mut::<HEADER>() else { return };
    let old = u16::from_be_bytes([header[0], header[1]]);
    update_checksum(header, Delta::of_u16(old, old & !u16::from(ECN)));
    header[1] &= !ECN;
}

/// Writes a header without options: neither TOS nor identification, and not to be cut.
pub fn write(packet: &mut [u8; HEADER], addresses: u64, protocol: u8, payload: u16, ttl: u8) {
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&(payload.saturating_add(HEADER as u16)).to_be_bytes());
    packet[4..CHECKSUM].copy_from_slice(&[0, 0, 0x40, 0, ttl, protocol]);
    packet[ADDRESSES..].copy_from_slice(&addresses.to_be_bytes());
    seal(packet);
}

/// Computes the checksum of `header`, the whole of it with options, anew. For headers that are new themselves.
#[inline]
pub fn seal(header: &mut [u8]) {
    if header.len() >= HEADER {
        header[CHECKSUM..CHECKSUM + 2].fill(0);
        let checksum = !checksum::sum(header);
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut header =
            etherparse::Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, [198, 18, 0, 1], [198, 18, 0, 100])
                .unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&[0; 8]);
        bytes
    }

    #[test]
    fn a_good_header_is_read() {
        let header = Header::parse(&packet()).unwrap();
        assert_eq!(header.addresses, 0xC612_0001_C612_0064);
        assert_eq!(
            (header.protocol, header.ttl, header.fragment, header.header_len, header.total_len),
            (17, 64, false, 20, 28)
        );
    }

    #[test]
    fn padding_behind_the_packet_is_fine_and_a_packet_beyond_the_frame_is_not() {
        let mut padded = packet();
        padded.extend_from_slice(&[0; 18]);
        assert!(Header::parse(&padded).is_ok());
        assert_eq!(Header::parse(&packet()[..27]), Err(Error::Malformed));
        assert_eq!(Header::parse(&[]), Err(Error::Malformed));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = packet();
        bytes[15] ^= 4;
        assert_eq!(Header::parse(&bytes), Err(Error::Checksum));
    }

    #[test]
    fn rewriting_keeps_the_checksum_right() {
        let mut bytes = packet();
        let new = 0xC612_0001_C612_010B;
        rewrite(&mut bytes, new, Delta::of_u64(0xC612_0001_C612_0064, new));
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.addresses, header.ttl), (new, 63));
    }

    #[test]
    fn addresses_and_ttl_change_each_without_the_other() {
        let mut bytes = packet();
        decrement_ttl(&mut bytes);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.addresses, header.ttl), (0xC612_0001_C612_0064, 63));
        rewrite_addresses(&mut bytes, 7, Delta::of_u64(0xC612_0001_C612_0064, 7));
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.addresses, header.ttl), (7, 63));
    }

    #[test]
    fn a_piece_says_where_it_belongs() {
        let mut bytes = packet();
        bytes[1] = 0xB9;
        bytes[4..8].copy_from_slice(&[0x12, 0x34, 0x20, 0xB9]);
        seal(&mut bytes[..20]);
        let header = Header::parse(&bytes).unwrap();
        assert!(header.fragment && header.more_fragments && !header.dont_fragment);
        assert_eq!((header.fragment_offset, header.id, header.tos), (1480, 0x1234, 0xB9));
        bytes[6..8].copy_from_slice(&[0x40, 0]);
        seal(&mut bytes[..20]);
        let header = Header::parse(&bytes).unwrap();
        assert!(header.dont_fragment && !header.fragment && !header.more_fragments);
    }
}
