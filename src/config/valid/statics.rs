//! `[[neighbor]]`, `[[route]]` and `[[interface]]`.

use std::net::IpAddr;

/// `[[neighbor]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// One of `[switch] interfaces`.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Destination prefix (host bits zero).
    pub prefix: (IpAddr, u8),
    /// One of `[switch] interfaces`.
    pub interface: String,
    /// The router; none = on-link.
    pub via: Option<IpAddr>,
}

/// `[[interface]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticInterface {
    /// One of `[switch] interfaces`.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<[u8; 6]>,
    /// VLANs of the switch's frames: none, one, or service and customer VLAN, outermost first.
    pub vlan: Vec<u16>,
    /// Its addresses, with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet in bytes.
    pub mtu: Option<u16>,
}
