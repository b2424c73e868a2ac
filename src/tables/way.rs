//! What tier 1 must know to send a frame on, one row for every next hop and backend, written out when the snapshot is built:
//! so that neither rows that refer to each other nor conditions are followed for every frame.

use std::net::{IpAddr, SocketAddr};

use crate::wire::checksum::Delta;
use crate::wire::ethernet::Tags;
use crate::wire::plain;
use crate::wire::tunnel::{Ipip, Outer};

use super::counters::MAX_INTERFACES;
use super::{Backend, BackendId, Fate, Interface, InterfaceId, NextHop, NextHopId, Service};

/// A packet that every path to a tunnel's far end carries: no path is taken to be narrower than 552 bytes, and no outer
/// header is longer than 52.
pub const FITS_EVERY_PATH: u16 = 500;

/// The way to one next hop, or to one backend. What NAT and IPv4 in IPv4 read is in its first cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Way {
    /// The Ethernet header of frames that go there, but for the EtherType.
    pub macs: [u8; 12],
    /// Largest IP packet that fits, outer headers deducted, in bytes. 0 where the way is not open to tier 1, for whatever
    /// reason: no MAC address is known, the backend's connections are not to go on, there are tags to be written. The other tiers see which.
    pub mtu: u16,
    /// Of those that go through a tunnel of IPv4 in IPv4, how long they are at the most that every path carries; 0 of others.
    pub certain: u16,
    /// Where frames leave.
    pub interface: InterfaceId,
    /// The outer header of such.
    pub ipip: Ipip,
    /// The changes of both checksums of what goes there from clients of a `nat` service, as they are written: addresses << 16 |
    /// addresses and ports.
    pub deltas: u32,
    /// The outer headers of frames that go there through a tunnel.
    pub outer: Option<Outer>,
}

impl Way {
    const CLOSED: Self = Self {
        macs: [0; 12],
        mtu: 0,
        certain: 0,
        interface: InterfaceId(0),
        ipip: Ipip::NONE,
        deltas: 0,
        outer: None,
    };

    fn to(next_hop: &NextHop) -> Self {
        if !next_hop.resolved || next_hop.tags != Tags::none() {
            return Self::CLOSED;
        }
        let NextHop { macs, mtu, interface, .. } = *next_hop;
        Self { macs, mtu, interface, ..Self::CLOSED }
    }

    /// The same through a tunnel, if any.
    fn through(self, outer: Option<Outer>) -> Self {
        let overhead = outer.map_or(0, |outer| outer.overhead());
        let mtu = self.mtu.saturating_sub(overhead);
        let way = Self { outer, mtu, ..self };
        match outer.and_then(|outer| outer.ipip()) {
            Some(ipip) => Self { ipip, certain: mtu.min(FITS_EVERY_PATH), ..way },
            None => way,
        }
    }
}

/// What it changes in checksums when one destination takes the place of another, of the same family.
fn deltas(from: SocketAddr, to: SocketAddr) -> u32 {
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Delta::of_u32(from.into(), to.into()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Delta::of_bytes(&from.octets(), &to.octets()),
        _ => Delta::default(),
    };
    let transport = addresses.and(Delta::of_u16(from.port(), to.port()));
    addresses.as_written() << 16 | transport.as_written()
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
    pub fn of(
        interfaces: &[Interface],
        next_hops: &[NextHop],
        services: &[Option<Service>],
        backends: &[Option<Backend>],
    ) -> Self {
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
                let service = services.get(backend.service.index())?.as_ref()?;
                if service.limits.attends() {
                    // Its packets are looked at one by one.
                    return None;
                }
                let deltas = deltas(service.vip, backend.address);
                Some(Way { deltas, ..Way::to(next_hop).through(backend.outer) })
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
