//! Ethernet II, with up to two VLAN tags (802.1Q).

/// Length of the header, without tags.
pub const HEADER: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86DD;
/// EtherType of a VLAN tag (802.1Q, customer tag).
pub const VLAN: u16 = 0x8100;
/// EtherType of the outer of two VLAN tags (802.1ad, service tag).
pub const QINQ: u16 = 0x88A8;
/// The same as older equipment writes it.
const QINQ_BEFORE_THE_STANDARD: u16 = 0x9100;
/// All stations.
pub const BROADCAST: [u8; 6] = [0xFF; 6];

/// Length of a VLAN tag: its EtherType, then priority (4 bits, with drop eligibility) and VLAN identifier (12 bits).
const TAG: usize = 4;
/// The bits of two tags that say which VLAN it is: all but the priorities.
const WITHOUT_PRIORITY: u64 = 0xFFFF_0FFF_FFFF_0FFF;
const MACS: usize = 12;

/// Up to two VLAN tags, as they stand on the wire. Equal where they name the same VLAN, whatever their priorities.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tags {
    /// Outer tag first; zero behind the last.
    bytes: [u8; 2 * TAG],
    len: u8,
}

impl Tags {
    /// Untagged.
    pub const fn none() -> Self {
        Self { bytes: [0; 2 * TAG], len: 0 }
    }

    /// One tag, of VLAN `vid` (its low 12 bits) and priority 0.
    pub fn single(vid: u16) -> Self {
        Self::from_words(u64::from(VLAN) << 48 | u64::from(vid & 0x0FFF) << 32, 1)
    }

    /// A service tag around a customer tag, both of priority 0.
    pub fn double(outer: u16, inner: u16) -> Self {
        let outer = u64::from(QINQ) << 48 | u64::from(outer & 0x0FFF) << 32;
        Self::from_words(outer | u64::from(VLAN) << 16 | u64::from(inner & 0x0FFF), 2)
    }

    fn from_words(words: u64, tags: usize) -> Self {
        Self { bytes: words.to_be_bytes(), len: (tags * TAG) as u8 }
    }

    /// The tags as they stand on the wire: 0, 4 or 8 bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Length of an Ethernet header with these tags: 14, 18 or 22.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER + self.len as usize
    }

    /// VLAN identifiers, outer first; none where there is no such tag.
    pub fn vids(&self) -> [Option<u16>; 2] {
        let vid = |at: usize| {
            (at < usize::from(self.len))
                .then(|| u16::from_be_bytes([self.bytes[at + 2], self.bytes[at + 3]]) & 0xFFF)
        };
        [vid(0), vid(TAG)]
    }
}

impl PartialEq for Tags {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differing = u64::from_be_bytes(self.bytes) ^ u64::from_be_bytes(other.bytes);
        self.len == other.len && differing & WITHOUT_PRIORITY == 0
    }
}

impl Eq for Tags {}

/// What stands before the network layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer2 {
    /// What is behind the tags; below 0x0600 a length, as spanning tree frames have it.
    pub ethertype: u16,
    /// Length of the header with tags: 14, 18 or 22.
    pub header_len: u8,
    /// The tags.
    pub tags: Tags,
}

/// Reads the Ethernet header of `frame`; none where it is cut short or has more than two tags.
#[inline]
pub fn header(frame: &[u8]) -> Option<Layer2> {
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut tags = Tags::none();
    let mut ethertype = word(MACS)?;
    while is_tag(ethertype) {
        let at = usize::from(tags.len);
        let tag = frame.get(MACS + at..MACS + at + TAG)?;
        tags.bytes.get_mut(at..at + TAG)?.copy_from_slice(tag);
        tags.len += TAG as u8;
        ethertype = word(MACS + at + TAG)?;
    }
    Some(Layer2 { ethertype, header_len: tags.header_len() as u8, tags })
}

#[inline]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | QINQ | QINQ_BEFORE_THE_STANDARD)
}

/// Writes a whole header of [`Tags::header_len`] bytes at the start of `frame`: MAC addresses as [`set_macs`] writes
/// them, tags with the priorities they hold, EtherType. A frame too short for it stays as it is.
#[inline]
pub fn write_header(frame: &mut [u8], macs: &[u8; 12], tags: &Tags, ethertype: u16) {
    let end = tags.header_len();
    let Some(header) = frame.get_mut(..end) else { return };
    header[..MACS].copy_from_slice(macs);
    header[MACS..end - 2].copy_from_slice(tags.bytes());
    header[end - 2..].copy_from_slice(&ethertype.to_be_bytes());
}

/// `frame`, which has no tags, with `tags`. For the control plane: it allocates.
pub fn tagged(frame: &[u8], tags: &Tags) -> Vec<u8> {
    let (macs, rest) = frame.split_at(MACS.min(frame.len()));
    [macs, tags.bytes(), rest].concat()
}

/// Writes both MAC addresses: destination, then source, as they stand on the wire.
#[inline]
pub fn set_macs(frame: &mut [u8], macs: &[u8; 12]) {
    if let Some(field) = frame.first_chunk_mut::<12>() {
        *field = *macs;
    }
}

/// The source MAC address; none where the frame is cut short.
pub fn source(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

/// Destination then source, as [`set_macs`] writes them.
pub fn macs(destination: [u8; 6], source: [u8; 6]) -> [u8; 12] {
    let mut both = [0; 12];
    both[..6].copy_from_slice(&destination);
    both[6..].copy_from_slice(&source);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn written(tags: &Tags) -> Vec<u8> {
        let mut frame = vec![0; tags.header_len()];
        write_header(&mut frame, &ADDRESSES, tags, IPV6);
        frame
    }

    #[test]
    fn what_is_written_is_read() {
        for (tags, header_len, vids) in [
            (Tags::none(), 14, [None, None]),
            (Tags::single(100), 18, [Some(100), None]),
            (Tags::double(200, 4094), 22, [Some(200), Some(4094)]),
        ] {
            let frame = written(&tags);
            assert_eq!(header(&frame), Some(Layer2 { ethertype: IPV6, header_len, tags }));
            assert_eq!(header(&frame[..frame.len() - 1]), None, "cut short");
            assert_eq!(header(&frame).unwrap().tags.vids(), vids);
            assert_eq!(frame[..12], ADDRESSES);
            assert_eq!(tagged(&written(&Tags::none()), &tags), frame);
        }
    }

    #[test]
    fn tags_stand_on_the_wire_as_etherparse_writes_them() {
        let mut theirs = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])
            .double_vlan(etherparse::VlanId::try_new(7).unwrap(), etherparse::VlanId::try_new(8).unwrap())
            .ipv6([0; 16], [1; 16], 64)
            .udp(1, 2)
            .write(&mut theirs, &[])
            .unwrap();
        assert_eq!(theirs[..22], written(&Tags::double(7, 8)));
    }

    #[test]
    fn priorities_are_kept_but_make_no_other_vlan() {
        let mut frame = written(&Tags::double(7, 8));
        frame[14] |= 0xF0;
        frame[18] |= 0x50;
        let read = header(&frame).unwrap().tags;
        assert_eq!(read, Tags::double(7, 8));
        assert_eq!(written(&read), frame);
        assert_ne!(read, Tags::double(8, 7));
        assert_ne!(Tags::single(7), read);
        assert_ne!(Tags::single(0), Tags::none());
    }

    #[test]
    fn an_outer_tag_of_before_the_standard_is_read_and_kept() {
        let mut frame = written(&Tags::double(7, 8));
        frame[12..14].copy_from_slice(&[0x91, 0x00]);
        let layer2 = header(&frame).unwrap();
        assert_eq!((layer2.ethertype, layer2.header_len), (IPV6, 22));
        assert_eq!(written(&layer2.tags), frame);
    }

    #[test]
    fn three_tags_are_too_many() {
        let frame = tagged(&written(&Tags::double(7, 8)), &Tags::single(9));
        assert_eq!(header(&frame), None);
    }

    #[test]
    fn a_frame_too_short_for_a_header_stays_as_it_is() {
        let mut frame = [9; 17];
        write_header(&mut frame, &ADDRESSES, &Tags::single(1), IPV4);
        assert_eq!(frame, [9; 17]);
    }
}
