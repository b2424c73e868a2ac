//! IPv6 (RFC 8200).

/// Source address, then destination address.
pub type Pair = [u128; 2];

/// Length of the header without extension headers.
pub const HEADER: usize = 40;
/// The smallest MTU that a link may have (RFC 8200 §5).
pub const MINIMUM_MTU: u16 = 1280;
/// No more extension headers than this are walked ...
const MOST_EXTENSIONS: usize = 8;
/// ... and no more bytes of them in all: real packets stay far below, and only the first bytes of a frame are at hand.
const LONGEST_EXTENSIONS: usize = 255;

const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const ADDRESSES: usize = 8;

/// Numbers of extension headers (RFC 8200 §4, RFC 4302).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Version or lengths do not fit each other or the frame, or an extension header that nobody may send.
    Malformed,
}

/// Where a piece of a larger packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where the piece begins in the fragmentable part of the packet, in bytes.
    pub offset: u16,
    /// Whether pieces follow.
    pub more: bool,
    /// What the pieces of one packet have in common.
    pub id: u32,
}

/// A header that was checked: everything that forwarding needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source and destination address.
    pub addresses: Pair,
    /// Number of the upper-layer protocol behind all extension headers. In a fragment: what the fragment header names.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Offset of the upper-layer header from the start of the packet. In a fragment: of its payload.
    pub header_len: u16,
    /// Length of the packet, header included; the frame may be longer (padding).
    pub total_len: u16,
    /// Where the piece belongs, if this is a piece. A packet that is its own only piece (RFC 6946) is a whole packet.
    pub fragment: Option<Fragment>,
}

impl Header {
    /// Reads the header at the start of `packet` and walks its extension headers.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let header = Self::parse_cut(packet)?;
        let Some(payload) = usize::from(header.total_len).checked_sub(usize::from(header.header_len)) else {
            return Err(Error::Malformed);
        };
        if usize::from(header.total_len) > packet.len() {
            return Err(Error::Malformed);
        }
        match header.fragment {
            Some(fragment) if !fragment.fits(payload) => Err(Error::Malformed),
            _ => Ok(header),
        }
    }

    /// The same for a packet that may be cut short anywhere behind its headers, as ICMP errors quote it.
    #[inline]
    pub fn parse_cut(packet: &[u8]) -> Result<Self, Error> {
        let header = packet.first_chunk::<HEADER>().ok_or(Error::Malformed)?;
        let payload = u16::from_be_bytes([header[PAYLOAD_LENGTH], header[PAYLOAD_LENGTH + 1]]);
        let total_len = payload.checked_add(HEADER as u16).ok_or(Error::Malformed)?;
        if header[0] >> 4 != 6 {
            return Err(Error::Malformed);
        }
        let upper = walk(packet, header[NEXT_HEADER])?;
        Ok(Self {
            addresses: addresses(header),
            protocol: upper.protocol,
            hop_limit: header[HOP_LIMIT],
            traffic_class: header[0] << 4 | header[1] >> 4,
            header_len: upper.offset as u16,
            total_len,
            fragment: upper.fragment,
        })
    }
}

impl Fragment {
    /// Whether a piece of `length` bytes may be: all but the last are of whole eights, and none reaches beyond the
    /// longest packet (RFC 8200 §4.5).
    #[inline]
    fn fits(self, length: usize) -> bool {
        let whole = !self.more || (length > 0 && length.is_multiple_of(8));
        whole && usize::from(self.offset) + length <= usize::from(u16::MAX)
    }
}

/// Both addresses as they stand in `header`.
#[inline]
fn addresses(header: &[u8; HEADER]) -> Pair {
    let (words, _) = header[ADDRESSES..].as_chunks::<16>();
    [u128::from_be_bytes(words[0]), u128::from_be_bytes(words[1])]
}

/// What stands behind the extension headers.
struct Upper {
    protocol: u8,
    offset: usize,
    fragment: Option<Fragment>,
}

/// Walks the extension headers of `packet`, of which there are at most so many that no packet costs much.
///
/// A jumbogram (RFC 2675) says a payload length of 0 and then has a hop-by-hop header, which cannot fit: malformed.
#[inline]
fn walk(packet: &[u8], first: u8) -> Result<Upper, Error> {
    let mut protocol = first;
    let mut offset = HEADER;
    for turn in 0..=MOST_EXTENSIONS {
        let extension = match protocol {
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS => {
                packet.get(offset..).and_then(|rest| rest.first_chunk::<8>()).ok_or(Error::Malformed)?
            }
            _ => return Ok(Upper { protocol, offset, fragment: None }),
        };
        let length = match protocol {
            // Only directly behind the IPv6 header (RFC 8200 §4.1).
            HOP_BY_HOP if turn > 0 => return Err(Error::Malformed),
            // Type 0 lets senders bounce packets between routers: with hops to go it is refused (RFC 5095 §3).
            ROUTING if extension[2] == 0 && extension[3] > 0 => return Err(Error::Malformed),
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(extension[1]) + 2) * 4,
            _ => (usize::from(extension[1]) + 1) * 8,
        };
        let was = protocol;
        protocol = extension[0];
        offset += length;
        if offset > packet.len() || offset > HEADER + LONGEST_EXTENSIONS {
            return Err(Error::Malformed);
        }
        if was == FRAGMENT
            && let Some(fragment) = piece(extension)
        {
            return Ok(Upper { protocol, offset, fragment: Some(fragment) });
        }
    }
    Err(Error::Malformed)
}

/// Offset of the byte in `packet` that names its upper-layer protocol: in the IPv6 header or in its last extension header.
/// For packets that [`Header::parse`] has read.
pub fn upper_layer_field(packet: &[u8]) -> usize {
    let (mut field, mut offset) = (NEXT_HEADER, HEADER);
    for _ in 0..MOST_EXTENSIONS {
        let unit = match packet.get(field) {
            Some(&(HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)) => {
                packet.get(offset + 1)
            }
            _ => None,
        };
        let Some(length) = unit.map(|length| usize::from(*length)) else { break };
        let length = match packet.get(field) {
            Some(&FRAGMENT) => 8,
            Some(&AUTHENTICATION) => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        (field, offset) = (offset, offset + length);
    }
    field
}

/// Reads a fragment header; none where the piece is the whole packet.
fn piece(extension: &[u8; 8]) -> Option<Fragment> {
    let word = u16::from_be_bytes([extension[2], extension[3]]);
    let (offset, more) = (word & !7, word & 1 != 0);
    let id = u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
    (offset > 0 || more).then_some(Fragment { offset, more, id })
}

/// Writes both addresses and takes one from the hop limit. There is no header checksum.
#[inline]
pub fn rewrite(packet: &mut [u8], addresses: Pair) {
    rewrite_addresses(packet, addresses);
    decrement_hop_limit(packet);
}

/// Writes both addresses.
#[inline]
pub fn rewrite_addresses(packet: &mut [u8], addresses: Pair) {
    let Some(header) = packet.first_chunk_mut::<HEADER>() else { return };
    header[ADDRESSES..ADDRESSES + 16].copy_from_slice(&addresses[0].to_be_bytes());
    header[ADDRESSES + 16..].copy_from_slice(&addresses[1].to_be_bytes());
}

/// Takes one from the hop limit.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) {
    if let Some(limit) = packet.get_mut(HOP_LIMIT) {
        *limit = limit.wrapping_sub(1);
    }
}

/// Writes a header without extension headers: traffic class and flow label 0.
pub fn write(packet: &mut [u8; HEADER], addresses: Pair, protocol: u8, payload: u16, hop_limit: u8) {
    packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    packet[PAYLOAD_LENGTH..NEXT_HEADER].copy_from_slice(&payload.to_be_bytes());
    packet[NEXT_HEADER] = protocol;
    packet[HOP_LIMIT] = hop_limit;
    rewrite_addresses(packet, addresses);
}

/// Says that the packet must not be marked instead of dropped (RFC 3168 §5): the last two bits of the traffic class.
pub fn clear_ecn(packet: &mut [u8]) {
    if let Some(class) = packet.get_mut(1) {
        *class &= !0x30;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet with the given extension headers (number, bytes) in front of `payload` of protocol `last`.
    fn packet(extensions: &[(u8, Vec<u8>)], last: u8, payload: &[u8]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (at, (_, bytes)) in extensions.iter().enumerate() {
            rest.push(extensions.get(at + 1).map_or(last, |(number, _)| *number));
            rest.extend(bytes);
        }
        rest.extend(payload);
        let mut header = [0; HEADER];
        let first = extensions.first().map_or(last, |(number, _)| *number);
        write(&mut header, [1 << 64 | 7, 2 << 64 | 9], first, rest.len() as u16, 61);
        [header.as_slice(), &rest].concat()
    }

    fn options() -> Vec<u8> {
        vec![0, 1, 4, 0, 0, 0, 0]
    }

    #[test]
    fn a_plain_header_is_read() {
        let mut bytes = packet(&[], 6, &[0; 20]);
        bytes[0] |= 0x0B;
        bytes[1] |= 0x80;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(
            header,
            Header {
                addresses: [1 << 64 | 7, 2 << 64 | 9],
                protocol: 6,
                hop_limit: 61,
                traffic_class: 0xB8,
                header_len: 40,
                total_len: 60,
                fragment: None
            }
        );
    }

    #[test]
    fn extension_headers_are_walked_to_what_is_behind_them() {
        let authentication = vec![4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let bytes = packet(
            &[(0, options()), (60, options()), (43, vec![0, 4, 0, 0, 0, 0, 0]), (51, authentication)],
            17,
            &[0; 8],
        );
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.protocol, header.header_len, header.total_len), (17, 88, 96));
        assert_eq!(Header::parse(&packet(&[(60, options())], 59, &[])).unwrap().protocol, 59);
    }

    #[test]
    fn a_piece_says_where_it_belongs() {
        let header = |word: u16| {
            let [high, low] = word.to_be_bytes();
            vec![0, high, low, 0, 0, 0x12, 0x34]
        };
        let read = |word, length| Header::parse(&packet(&[(44, header(word))], 17, &vec![0; length]));
        let first = read(1, 16).unwrap();
        assert_eq!((first.protocol, first.header_len), (17, 48));
        assert_eq!(first.fragment, Some(Fragment { offset: 0, more: true, id: 0x1234 }));
        assert_eq!(read(1448, 9).unwrap().fragment, Some(Fragment { offset: 1448, more: false, id: 0x1234 }));
        assert_eq!(read(0, 9).unwrap().fragment, None, "its own only piece");
        assert_eq!(read(1, 9), Err(Error::Malformed), "not of whole eights");
        assert_eq!(read(1, 0), Err(Error::Malformed), "nothing, and more to come");
        assert_eq!(read(0xFFF8, 8), Err(Error::Malformed), "beyond the longest packet");
    }

    #[test]
    fn what_nobody_may_send_is_malformed() {
        for (why, bytes) in [
            ("hop-by-hop options behind others", packet(&[(60, options()), (0, options())], 6, &[0; 20])),
            (
                "a type 0 routing header with hops to go",
                packet(&[(43, vec![0, 0, 1, 0, 0, 0, 0])], 6, &[0; 20]),
            ),
            ("nine headers", packet(&vec![(60, options()); 9], 6, &[0; 20])),
            ("more than 255 bytes", packet(&[(60, [vec![31], vec![0; 254]].concat())], 6, &[0; 20])),
            ("a header beyond the packet", packet(&[(60, vec![1, 1, 4, 0, 0, 0, 0])], 6, &[0; 7])),
        ] {
            assert_eq!(Header::parse(&bytes), Err(Error::Malformed), "{why}");
        }
        assert!(Header::parse(&packet(&vec![(60, options()); 8], 6, &[0; 20])).is_ok());
        let mut jumbo = packet(&[(0, vec![0, 0xC2, 4, 0, 1, 0, 0])], 6, &[0; 20]);
        jumbo[4..6].copy_from_slice(&[0, 0]);
        assert_eq!(Header::parse(&jumbo), Err(Error::Malformed));
        let good = packet(&[], 6, &[0; 20]);
        assert_eq!(Header::parse(&good[..59]), Err(Error::Malformed), "cut short");
        assert!(Header::parse_cut(&good[..59]).is_ok(), "but good enough for a quote");
        assert_eq!(Header::parse(&good[..39]), Err(Error::Malformed));
    }

    #[test]
    fn rewriting_changes_addresses_and_hop_limit_only() {
        let mut bytes = packet(&[], 6, &[7; 20]);
        rewrite(&mut bytes, [3, 4]);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.addresses, header.hop_limit), ([3, 4], 60));
        rewrite_addresses(&mut bytes, [5, 6]);
        assert_eq!(Header::parse(&bytes).unwrap().hop_limit, 60);
        assert_eq!(bytes[40..], [7; 20]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), next in prop::sample::select(vec![0u8, 43, 44, 51, 60, 6])) {
            if bytes.len() > 6 {
                bytes[0] = 0x60;
                bytes[6] = next;
            }
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.header_len <= header.total_len);
                prop_assert!(usize::from(header.total_len) <= bytes.len());
            }
        }

        #[test]
        fn the_walk_agrees_with_etherparse(kinds in proptest::collection::vec(0u8..4, 0..5)) {
            let extensions: Vec<_> = kinds.iter().map(|kind| match kind {
                0 => (60, options()),
                1 => (43, vec![0, 4, 0, 0, 0, 0, 0]),
                2 => (60, vec![1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                _ => (51, vec![1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
            }).collect();
            let bytes = packet(&extensions, 17, &[0; 8]);
            let header = Header::parse(&bytes).unwrap();
            let theirs = etherparse::Ipv6Slice::from_slice(&bytes).unwrap();
            prop_assert_eq!(header.protocol, theirs.payload().ip_number.0);
            prop_assert_eq!(usize::from(header.total_len - header.header_len), theirs.payload().payload.len());
            prop_assert_eq!(header.addresses[0], u128::from(theirs.header().source_addr()));
        }
    }
}
