//! Ethernet II.

/// Length of the header, without tags.
pub const HEADER: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86DD;
/// Tag protocol identifier of a customer tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// Tag protocol identifier of a service tag (IEEE 802.1ad).
pub const QINQ: u16 = 0x88A8;
/// All stations.
pub const BROADCAST: [u8; 6] = [0xFF; 6];

/// Up to two VLAN tags as they stand on the wire, behind the MAC addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tags {
    bytes: [u8; 8],
    len: u8,
}

impl Tags {
    /// No tag.
    pub const fn none() -> Self {
        Self { bytes: [0; 8], len: 0 }
    }

    /// One customer tag.
    pub const fn single(vlan: u16) -> Self {
        let [a, b] = VLAN.to_be_bytes();
        let [c, d] = vlan.to_be_bytes();
        Self { bytes: [a, b, c, d, 0, 0, 0, 0], len: 4 }
    }

    /// A service tag with a customer tag behind it.
    pub const fn double(outer: u16, inner: u16) -> Self {
        let [a, b] = QINQ.to_be_bytes();
        let [c, d] = outer.to_be_bytes();
        let [e, f] = VLAN.to_be_bytes();
        let [g, h] = inner.to_be_bytes();
        Self { bytes: [a, b, c, d, e, f, g, h], len: 8 }
    }

    /// The tags as bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
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
