//! Ethernet II.

/// Length of the header, without tags.
pub const HEADER: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// All stations.
pub const BROADCAST: [u8; 6] = [0xFF; 6];

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
