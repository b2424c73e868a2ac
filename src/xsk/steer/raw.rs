//! Keys and values of the program's maps, byte for byte as `maps.h` has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aya::Pod;

use crate::tables::exact::address_bits;
use crate::tables::{Endpoint, InterfaceId, PortRanges, Steering};

const IS_VIP: u32 = 1;
const IS_ANNOUNCED: u32 = 2;
const IS_LOCAL: u32 = 4;
const IS_HOST: u32 = 8;
const IS_BACKEND: u32 = 16;
const ROOM_SHIFT: u32 = 8;

const IS_SOURCE: u32 = 1;
const IS_EXCEPTED: u32 = 2;

/// IP protocol numbers of IPv4 and IPv6 in IP (RFC 2003, RFC 2473) and of UDP.
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const UDP: u8 = 17;

/// An IPv4-mapped or IPv6 address in network order.
pub type RawAddress = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RawEndpoint {
    address: RawAddress,
    port: [u8; 2],
    protocol: u8,
    zero: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawSettings {
    mac: [u8; 6],
    peer_mac: [u8; 6],
    vlans: [u16; 2],
    tags: u8,
    bridge: u8,
    zero: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawRanges([[u16; 2]; PortRanges::MOST]);

/// A prefix: how many bits of the address count.
pub type RawPrefix = (u32, RawAddress);

// SAFETY: plain bytes and integers without padding, every bit pattern is valid.
unsafe impl Pod for RawEndpoint {}
// SAFETY: as above.
unsafe impl Pod for RawSettings {}
// SAFETY: as above.
unsafe impl Pod for RawRanges {}

impl From<&Endpoint> for RawEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port, endpoint.protocol as u8)
    }
}

impl RawEndpoint {
    fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self { address: raw_address(address), port: port.to_be_bytes(), protocol, zero: 0 }
    }
}

fn raw_address(address: IpAddr) -> RawAddress {
    address_bits(address).to_be_bytes()
}

/// Settings of the program of `interface`.
pub fn settings(steering: &Steering, interface: InterfaceId) -> RawSettings {
    let own = interface.index();
    let mac = |at: usize| steering.macs.get(at).copied().unwrap_or_default();
    // A bridge has two ends.
    let peer_mac = if steering.bridge { mac(1 - own.min(1)) } else { [0; 6] };
    let mut settings = RawSettings {
        mac: mac(own),
        peer_mac,
        vlans: [0; 2],
        tags: 0,
        bridge: steering.bridge.into(),
        zero: 0,
    };
    let tags = steering.tags.get(own).copied().unwrap_or_default();
    for (vlan, tag) in settings.vlans.iter_mut().zip(tags.bytes().chunks_exact(4)) {
        *vlan = u16::from_be_bytes([tag[2], tag[3]]) & 0x0FFF;
        settings.tags += 1;
    }
    settings
}

/// Ranges; an unused one ends before it begins.
pub fn ranges(ranges: &PortRanges) -> RawRanges {
    let mut raw = [[1, 0]; PortRanges::MOST];
    for (raw, (first, last)) in raw.iter_mut().zip(ranges.as_slice()) {
        *raw = [*first, *last];
    }
    RawRanges(raw)
}

/// SNAT addresses with their ports.
pub fn snat(steering: &Steering) -> BTreeMap<RawAddress, RawRanges> {
    steering.snat.iter().map(|(address, ports)| (raw_address(*address), ranges(ports))).collect()
}

/// What each address is to the switch, and the largest headroom of a VIP's services.
pub fn addresses(steering: &Steering) -> BTreeMap<RawAddress, u32> {
    let mut addresses: BTreeMap<RawAddress, u32> = BTreeMap::new();
    let roles = [
        (&steering.vips, IS_VIP),
        (&steering.hosts, IS_HOST),
        (&steering.announced, IS_ANNOUNCED),
        (&steering.locals, IS_LOCAL),
    ];
    for (set, role) in roles {
        for address in set {
            *addresses.entry(raw_address(*address)).or_default() |= role;
        }
    }
    for backend in &steering.replies {
        *addresses.entry(raw_address(backend.address)).or_default() |= IS_BACKEND;
    }
    for (service, room) in &steering.services {
        let value = addresses.entry(raw_address(service.address)).or_default();
        let most = (*value >> ROOM_SHIFT).max(u32::from(*room));
        *value = *value & ((1 << ROOM_SHIFT) - 1) | most << ROOM_SHIFT;
    }
    addresses
}

/// What each prefix is to outbound source NAT.
pub fn prefixes(steering: &Steering) -> BTreeMap<RawPrefix, u32> {
    let raw = |(address, length): &(IpAddr, u8)| {
        let length = u32::from(*length) + if address.is_ipv4() { 96 } else { 0 };
        (length, raw_address(*address))
    };
    let mut prefixes: BTreeMap<RawPrefix, u32> = BTreeMap::new();
    for prefix in &steering.not_outside {
        prefixes.insert(raw(prefix), IS_EXCEPTED);
    }
    for prefix in &steering.inside {
        prefixes.insert(raw(prefix), IS_SOURCE | IS_EXCEPTED);
    }
    prefixes
}

/// Far ends of tunnels.
pub fn tunnels(steering: &Steering) -> BTreeMap<RawEndpoint, u32> {
    let mut tunnels = BTreeMap::new();
    for (address, gue_port) in &steering.tunnels {
        let protocols: &[u8] = if gue_port.is_some() { &[UDP] } else { &[IPV4_IN_IP, IPV6_IN_IP] };
        for protocol in protocols {
            tunnels.insert(RawEndpoint::new(*address, gue_port.unwrap_or(0), *protocol), 1);
        }
    }
    tunnels
}
