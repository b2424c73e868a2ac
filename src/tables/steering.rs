//! What the XDP program must know to tell our frames from the kernel's: plain data, computed with the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Protocol;

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Content of the maps of `steer.bpf.c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    /// Frames to these are redirected; the value is the headroom in bytes that the program makes in front.
    pub services: BTreeMap<Endpoint, u16>,
    /// Frames from these are redirected, unless they are addressed to the switch itself.
    pub replies: BTreeSet<Endpoint>,
    /// Frames to these addresses and port ranges (first, last) are redirected.
    pub snat: BTreeMap<IpAddr, (u16, u16)>,
    /// VIPs: their fragments are redirected, too.
    pub vips: BTreeSet<IpAddr>,
    /// ARP requests for these are redirected.
    pub announced: BTreeSet<IpAddr>,
    /// The switch's own addresses.
    pub locals: BTreeSet<IpAddr>,
    /// By [`super::InterfaceId`]: frames to other MAC addresses are not for the switch.
    pub macs: Vec<[u8; 6]>,
}
