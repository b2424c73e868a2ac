//! From which of its addresses the switch speaks.

use std::net::IpAddr;

use crate::tables::exact::address_bits;
use crate::tables::{InterfaceId, Snapshot};

/// The address of `interface` that is on one subnet with `peer`, or else any that is not for its link alone.
pub(super) fn own_address(tables: &Snapshot, interface: InterfaceId, peer: IpAddr) -> Option<IpAddr> {
    let addresses = &tables.interfaces.get(interface.index())?.addresses;
    let same_family = || addresses.iter().filter(|(own, _)| own.is_ipv4() == peer.is_ipv4());
    let near = same_family().find(|(own, length)| in_prefix(peer, *own, *length));
    near.or_else(|| same_family().find(|(own, _)| !is_link_local(*own))).map(|(own, _)| *own)
}

/// Whether `address` lies in the prefix of `length` bits that `prefix` lies in.
pub(super) fn in_prefix(address: IpAddr, prefix: IpAddr, length: u8) -> bool {
    let bits = if prefix.is_ipv4() { 32 } else { 128 };
    let differing = address_bits(address) ^ address_bits(prefix);
    let host = u32::from(bits - length.min(bits));
    address.is_ipv4() == prefix.is_ipv4() && differing.checked_shr(host).unwrap_or(0) == 0
}

/// Whether no other link knows this address.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether this address means something only within one network (RFC 1918, RFC 6598, RFC 4193), or on one link.
pub(super) fn is_private(address: IpAddr) -> bool {
    let within = match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xC0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    within || is_link_local(address)
}

/// Whether this is the broadcast address of a subnet of `interface`.
pub(super) fn is_broadcast(tables: &Snapshot, interface: InterfaceId, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let Some(interface) = tables.interfaces.get(interface.index()) else { return false };
    interface.addresses.iter().any(|(own, length)| match own {
        IpAddr::V4(own) if *length < 31 => u32::from(address) == u32::from(*own) | u32::MAX >> *length,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Interface;
    use crate::wire::ethernet::Tags;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tables(addresses: &[(&str, u8)]) -> Snapshot {
        let addresses = addresses.iter().map(|(address, length)| (ip(address), *length)).collect();
        let interface = Interface {
            id: InterfaceId(0),
            name: "eth0".to_owned(),
            mac: [2; 6],
            mtu: 1500,
            tags: Tags::none(),
            addresses,
        };
        Snapshot { interfaces: vec![interface], ..Snapshot::default() }
    }

    #[test]
    fn the_address_on_the_peers_subnet_speaks_if_there_is_one() {
        let tables = tables(&[
            ("fe80::1", 64),
            ("198.18.0.2", 24),
            ("10.0.0.2", 8),
            ("2001:db8::2", 64),
            ("2001:db8:1::2", 64),
        ]);
        let own = |peer| own_address(&tables, InterfaceId(0), ip(peer));
        assert_eq!(own("10.9.9.9"), Some(ip("10.0.0.2")));
        assert_eq!(own("203.0.113.9"), Some(ip("198.18.0.2")));
        assert_eq!(own("2001:db8:1::9"), Some(ip("2001:db8:1::2")));
        assert_eq!(own("2001:db8:2::9"), Some(ip("2001:db8::2")));
        assert_eq!(own("fe80::9"), Some(ip("fe80::1")));
        assert_eq!(own_address(&tables, InterfaceId(1), ip("10.9.9.9")), None);
    }

    #[test]
    fn prefixes_of_all_lengths() {
        assert!(in_prefix(ip("203.0.113.9"), ip("10.0.0.0"), 0));
        assert!(!in_prefix(ip("10.0.0.1"), ip("10.0.0.0"), 32));
        assert!(in_prefix(ip("2001:db8::1"), ip("::"), 0));
        assert!(!in_prefix(ip("2001:db8::1"), ip("0.0.0.0"), 0));
    }

    #[test]
    fn broadcast_addresses_are_those_of_the_subnets() {
        let tables = tables(&[("198.18.0.2", 24), ("10.0.0.2", 31)]);
        assert!(is_broadcast(&tables, InterfaceId(0), ip("198.18.0.255")));
        assert!(!is_broadcast(&tables, InterfaceId(0), ip("198.18.1.255")));
        assert!(!is_broadcast(&tables, InterfaceId(0), ip("10.0.0.3")));
    }

    #[test]
    fn private_is_what_the_registries_say() {
        for address in
            ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.0.1", "fd00::1", "fe80::1"]
        {
            assert!(is_private(ip(address)), "{address}");
        }
        for address in ["198.18.0.1", "100.128.0.1", "2001:db8::1"] {
            assert!(!is_private(ip(address)), "{address}");
        }
    }
}
