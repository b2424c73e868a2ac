//! Whose frames an XDP program takes: `struct settings` of bpf/sink.h.

use std::net::IpAddr;

use super::tuples::Range;
use crate::tables::Protocol;

/// Bytes of the settings: two addresses and six words.
pub(super) const SETTINGS: usize = 56;

/// Destinations that are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Addresses and ports; none = all.
    pub destination: Option<Range>,
    /// TCP or UDP; none = both.
    pub protocol: Option<Protocol>,
}

pub(super) fn settings(filter: &Filter, traits: u32, sample_mask: u32) -> [u8; SETTINGS] {
    let mut bytes = [0; SETTINGS];
    let mut ports = [0, u16::MAX];
    if let Some(range) = &filter.destination {
        let (address, bits) = range.prefix();
        let (address, bits) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), u32::from(bits) + 96),
            IpAddr::V6(address) => (address.to_bits(), bits.into()),
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        bytes[..16].copy_from_slice(&(address & mask).to_be_bytes());
        bytes[16..32].copy_from_slice(&mask.to_be_bytes());
        ports = range.ports();
    }
    let protocol = filter.protocol.map_or(0, |protocol| protocol as u32);
    let words = [ports[0].into(), ports[1].into(), protocol, traits, sample_mask, 0];
    for (field, word) in bytes[32..].chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&u32::to_ne_bytes(word));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_stand_in_sixteen_bytes() {
        let of = |text: &str| {
            let filter = Filter { destination: Some(text.parse().unwrap()), protocol: Some(Protocol::Udp) };
            settings(&filter, 3, 63)
        };
        let bytes = of("198.18.1.0/24:80");
        assert_eq!(bytes[8..16], [0, 0, 0xFF, 0xFF, 198, 18, 1, 0]);
        assert_eq!(bytes[24..32], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
        let bytes = of("[2001:db8::1]:80");
        assert_eq!((bytes[..4].to_vec(), bytes[31]), (vec![0x20, 1, 0x0D, 0xB8], 0xFF));
        assert_eq!(settings(&Filter::default(), 0, 0)[..32], [0; 32], "everything is within");
    }
}
