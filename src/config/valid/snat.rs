//! `[[snat]]`.

use std::net::IpAddr;

use crate::tables::{Filtering, Mapping};

/// `[[snat]]`: outbound source NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snat {
    /// Unique name.
    pub name: String,
    /// Whose packets are translated.
    pub inside: Vec<(IpAddr, u8)>,
    /// Public addresses.
    pub addresses: Vec<IpAddr>,
    /// Public ports: first and last.
    pub ports: (u16, u16),
    /// Which destinations share a mapping.
    pub mapping: Mapping,
    /// Who may send to one.
    pub filtering: Filtering,
    /// Whether inside hosts reach each other by their public addresses.
    pub hairpinning: bool,
}
