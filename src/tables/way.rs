//! What tier 1 must know to send a frame on, one row for every next hop and backend, written out when the snapshot is built:
//! so that neither rows that refer to each other nor conditions are followed for every frame.

use crate::wire::ethernet::Tags;
use crate::wire::plain;
use crate::wire::tunnel::{Ipip, Outer};

use super::counters::MAX_INTERFACES;
use super::{Backend, BackendId, Fate, Interface, InterfaceId, NextHop, NextHopId};

/// The way to one next hop, or to one backend. What NAT and IPv4 in IPv4 read is in its first cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Way {
    /// The Ethernet header of frames that go there, but for the EtherType.
    pub macs: [u8; 12],
    /// Largest IP packet that fits, outer headers deducted, in bytes. 0 where the way is not open to tier 1, for whatever
    /// reason: no MAC address is known, the backend's connections are not to go on, there are tags to be written. The other tiers see which.
    pub mtu: u16,
    /// Where frames leave.
    pub interface: InterfaceId,
    /// The outer header of such, where it is one of IPv4 around IPv4.
    pub ipip: Option<Ipip>,
    /// The outer headers of frames that go there through a tunnel.
    pub outer: Option<Outer>,
}

impl Way {
    const CLOSED: Self = Self { macs: [0; 12], mtu: 0, interface: InterfaceId(0), ipip: None, outer: None };

    fn to(next_hop: &NextHop) -> Self {
        if !next_hop.resolved || next_hop.tags != Tags::none() {
            return Self::CLOSED;
        }
        let NextHop { macs, mtu, interface, .. } = *next_hop;
        Self { macs, mtu, interface, ipip: None, outer: None }
    }

    /// The same through a tunnel, if any.
    fn through(self, outer: Option<Outer>) -> Self {
        let overhead = outer.map_or(0, |outer| outer.overhead());
        let ipip = outer.and_then(|outer| outer.ipip());
        Self { ipip, outer, mtu: self.mtu.saturating_sub(overhead), ..self }
    }
}

/// All of them, and which frames may take them.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// By [`InterfaceId`]: the destination address of frames that are the switch's, as a number; one that no frame has where
    /// they may take none of the ways.
    stations: [u64; MAX_INTERFACES],
    next_hops: Box<[Way]>,
    backends: Box<[Way]>,
}

/// No address: it has bits where those have none.
const NOBODY: u64 = u64::MAX;

impl Ways {
    /// None: every frame is looked at in full.
    pub fn none() -> Self {
        Self { stations: [NOBODY; MAX_INTERFACES], ..Self::default() }
    }

    /// The ways of a routed switch.
    pub fn of(interfaces: &[Interface], next_hops: &[NextHop], backends: &[Option<Backend>]) -> Self {
        let mut stations = [NOBODY; MAX_INTERFACES];
        for (station, interface) in stations.iter_mut().zip(interfaces) {
            if interface.tags == Tags::none() {
                *station = plain::address(interface.mac);
            }
        }
        let to_backend = |backend: &Option<Backend>| {
            let backend = backend.as_ref().filter(|backend| backend.fate == Fate::Keep);
            let way = backend.and_then(|backend| {
                let next_hop = next_hops.get(backend.next_hop.index())?;
                Some(Way::to(next_hop).through(backend.outer))
            });
            way.unwrap_or(Way::CLOSED)
        };
        Self {
            stations,
            next_hops: next_hops.iter().map(Way::to).collect(),
            backends: backends.iter().map(to_backend).collect(),
        }
    }

    /// The destination address of frames that came in through this interface and may take a way, as a number.
    #[inline(always)]
    pub fn station(&self, ingress: InterfaceId) -> u64 {
        self.stations[ingress.index() % MAX_INTERFACES]
    }

    /// The way to a next hop.
    #[inline(always)]
    pub fn to_next_hop(&self, id: NextHopId) -> Option<&Way> {
        self.next_hops.get(id.index())
    }

    /// The way to a backend.
    #[inline(always)]
    pub fn to_backend(&self, id: BackendId) -> Option<&Way> {
        self.backends.get(id.index())
    }
}
