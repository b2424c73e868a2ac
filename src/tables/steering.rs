//! What the XDP program must know to tell our frames from the kernel's: plain data, computed with the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::wire::ethernet::Tags;

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
    /// Inside prefixes of outbound source NAT: frames from there to anywhere but the switch itself, a VIP or another inside
    /// prefix are redirected.
    pub inside: BTreeSet<(IpAddr, u8)>,
    /// VIPs: their fragments and ICMP errors are redirected, too.
    pub vips: BTreeSet<IpAddr>,
    /// VIPs that the kernel does not own: everything sent to them is redirected.
    pub hosts: BTreeSet<IpAddr>,
    /// UDP ports of GUE: ICMP errors to the switch that quote a tunnel of ours are redirected.
    pub gue_ports: BTreeSet<u16>,
    /// Frames that nobody claims leave through the other interface instead of going to the kernel.
    pub bridge: bool,
    /// ARP requests and neighbour solicitations for these are redirected.
    pub announced: BTreeSet<IpAddr>,
    /// The switch's own addresses.
    pub locals: BTreeSet<IpAddr>,
    /// By [`super::InterfaceId`]: frames to other MAC addresses are not for the switch.
    pub macs: Vec<[u8; 6]>,
    /// By [`super::InterfaceId`]: frames with other VLAN tags are not for the switch.
    pub tags: Vec<Tags>,
}
