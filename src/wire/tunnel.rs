//! Outer headers of tunnels: IP in IP (RFC 2003, RFC 2473) and GUE.

use std::net::IpAddr;

/// What is put around the client's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// An IP header.
    Ipip,
    /// IP, UDP and GUE headers.
    Gue {
        /// UDP destination port.
        port: u16,
    },
}

/// Version of the inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The outer headers towards one backend, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    bytes: [u8; 52],
    len: u8,
}

impl Outer {
    /// Outer headers; none where source and destination are of different families.
    pub fn new(
        encapsulation: Encapsulation,
        source: IpAddr,
        destination: IpAddr,
        inner: Family,
    ) -> Option<Self> {
        let _ = inner;
        let ip = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 20,
            (IpAddr::V6(_), IpAddr::V6(_)) => 40,
            _ => return None,
        };
        let rest = if matches!(encapsulation, Encapsulation::Gue { .. }) { 12 } else { 0 };
        Some(Self { bytes: [0; 52], len: ip + rest })
    }

    /// Bytes that are put in front of the inner packet.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }
}

impl Outer {
    /// stub
    pub fn ethertype(&self) -> u16 {
        0
    }
    /// stub
    pub fn write(&self, _room: &mut [u8], _inner: &[u8], _inner_len: u16, _id: u16, _flow: u16) {}
}
