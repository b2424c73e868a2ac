//! Where a frame leaves: interfaces, next hops and routes, as the kernel (or the configuration) has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::wire::ethernet::Tags;

use super::exact::{ExactKey, ExactMap};
use super::{InterfaceId, NextHopId};

/// What the data plane knows of one of the switch's interfaces.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its id, equal to its position.
    pub id: InterfaceId,
    /// Its name in the kernel.
    pub name: String,
    /// Its MAC address: the source of what leaves through it, and what ARP answers say.
    pub mac: [u8; 6],
    /// Largest IP packet it carries, in bytes.
    pub mtu: u16,
    /// VLAN tags of the frames that are the switch's on this interface; others are the kernel's.
    pub tags: Tags,
    /// Its own addresses, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// One next hop, ready to be written: the first 12 bytes of the frames that go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Destination MAC, then source MAC, as they stand on the wire. Meaningless unless `resolved`.
    pub macs: [u8; 12],
    /// VLAN tags behind the MAC addresses.
    pub tags: Tags,
    /// Where frames leave.
    pub interface: InterfaceId,
    /// Whether the destination MAC is known.
    pub resolved: bool,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u16,
    /// Whom to ask for, should the MAC not be known.
    pub address: IpAddr,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Through a router whose next hop has this row; [`NextHopId::NONE`] where the kernel knows that there is no way,
    /// or one that the switch has no part in.
    Via(NextHopId),
    /// The destination is itself on the link of this interface.
    OnLink(InterfaceId),
}

/// What a route lookup says of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The next hop to use (which may still lack its MAC).
    NextHop(NextHopId),
    /// On this link, and nobody has asked for its MAC yet.
    Unknown(InterfaceId),
    /// No route.
    Unroutable,
}

impl Resolution {
    /// The next hop, or [`NextHopId::NONE`].
    fn known(self) -> NextHopId {
        match self {
            Self::NextHop(next_hop) => next_hop,
            Self::Unknown(_) | Self::Unroutable => NextHopId::NONE,
        }
    }
}

/// Longest-prefix match over the routes, then the neighbour of on-link destinations.
///
/// One exact-match map per prefix length in use, longest first: a server's table has a handful of lengths,
/// and a full internet table 33 at the most. The default routes stand alone. Only new connections and changed routes look here.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    v4: Masked<u32>,
    v6: Masked<u128>,
    default_v4: Option<Route>,
    default_v6: Option<Route>,
    neighbors: ExactMap<NextHopId>,
}

impl Routes {
    /// Builds from `routes` (prefix, prefix length, route) and the next hops of on-link neighbours.
    pub fn build(
        routes: impl IntoIterator<Item = (IpAddr, u8, Route)>,
        neighbors: impl IntoIterator<Item = (InterfaceId, IpAddr, NextHopId)>,
    ) -> Self {
        let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
        let (mut default_v4, mut default_v6) = (None, None);
        for (prefix, length, route) in routes {
            match prefix {
                IpAddr::V4(_) if length == 0 => default_v4 = Some(route),
                IpAddr::V6(_) if length == 0 => default_v6 = Some(route),
                IpAddr::V4(prefix) => {
                    let mask = !u32::MAX.checked_shr(length.into()).unwrap_or(0);
                    let key = ExactKey::V4(u64::from(u32::from(prefix) & mask) << 32);
                    v4.entry(mask).or_insert_with(Vec::new).push((key, route));
                }
                IpAddr::V6(prefix) => {
                    let mask = !u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    let key = ExactKey::V6(u128::from(prefix) & mask, 0);
                    v6.entry(mask).or_insert_with(Vec::new).push((key, route));
                }
            }
        }
        let neighbors =
            neighbors.into_iter().map(|(interface, address, id)| (on_link(address, interface), id));
        let neighbors = ExactMap::build(neighbors);
        Self { v4: maps(v4), v6: maps(v6), default_v4, default_v6, neighbors }
    }

    /// Where a packet to `destination` goes next.
    #[inline(always)]
    pub fn resolve(&self, destination: IpAddr) -> Resolution {
        match destination {
            IpAddr::V4(v4) => self.resolve_v4(v4.into()),
            IpAddr::V6(v6) => self.resolve_v6(v6.into()),
        }
    }

    /// The next hop of a packet to `destination`, if it is known; otherwise [`NextHopId::NONE`], and [`Routes::resolve`] says why.
    #[inline(always)]
    pub fn next_hop(&self, destination: IpAddr) -> NextHopId {
        match destination {
            IpAddr::V4(v4) => self.next_hop_v4(v4.into()),
            IpAddr::V6(v6) => self.next_hop_v6(v6.into()),
        }
    }

    fn resolve_v4(&self, destination: u32) -> Resolution {
        self.follow(self.route_v4(destination), || IpAddr::V4(destination.into()))
    }

    fn resolve_v6(&self, destination: u128) -> Resolution {
        self.follow(self.route_v6(destination), || IpAddr::V6(destination.into()))
    }

    // In functions of their own, so that few registers are needed where they are called.
    #[inline(never)]
    fn next_hop_v4(&self, destination: u32) -> NextHopId {
        match self.route_v4(destination) {
            Some(Route::Via(next_hop)) => next_hop,
            route => self.follow(route, || IpAddr::V4(destination.into())).known(),
        }
    }

    #[inline(never)]
    fn next_hop_v6(&self, destination: u128) -> NextHopId {
        match self.route_v6(destination) {
            Some(Route::Via(next_hop)) => next_hop,
            route => self.follow(route, || IpAddr::V6(destination.into())).known(),
        }
    }

    #[inline(always)]
    fn route_v4(&self, destination: u32) -> Option<Route> {
        for (mask, routes) in &self.v4 {
            if let Some(route) = routes.find(ExactKey::V4(u64::from(destination & mask) << 32)) {
                return Some(*route);
            }
        }
        self.default_v4
    }

    #[inline(always)]
    fn route_v6(&self, destination: u128) -> Option<Route> {
        for (mask, routes) in &self.v6 {
            if let Some(route) = routes.find(ExactKey::V6(destination & mask, 0)) {
                return Some(*route);
            }
        }
        self.default_v6
    }

    #[inline(always)]
    fn follow(&self, route: Option<Route>, destination: impl FnOnce() -> IpAddr) -> Resolution {
        match route {
            None | Some(Route::Via(NextHopId::NONE)) => Resolution::Unroutable,
            Some(Route::Via(next_hop)) => Resolution::NextHop(next_hop),
            Some(Route::OnLink(interface)) => self.neighbor(interface, destination()),
        }
    }

    /// In a function of its own, so that few registers are needed for the most usual.
    #[inline(never)]
    fn neighbor(&self, interface: InterfaceId, address: IpAddr) -> Resolution {
        match self.neighbors.get(on_link(address, interface)) {
            Some(next_hop) => Resolution::NextHop(next_hop),
            None => Resolution::Unknown(interface),
        }
    }
}

/// Routes by the mask of their prefix.
type Masked<M> = Vec<(M, ExactMap<Route>)>;

/// A map for each mask, the longest first.
fn maps<M: Ord>(masks: BTreeMap<M, Vec<(ExactKey, Route)>>) -> Masked<M> {
    masks.into_iter().rev().map(|(mask, entries)| (mask, ExactMap::build(entries))).collect()
}

#[inline(always)]
fn on_link(address: IpAddr, interface: InterfaceId) -> ExactKey {
    ExactKey::new(address, u32::from(interface.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn table() -> Routes {
        Routes::build(
            [
                (ip("0.0.0.0"), 0, Route::Via(NextHopId(7))),
                (ip("198.18.1.0"), 24, Route::OnLink(InterfaceId(1))),
                (ip("198.18.1.128"), 25, Route::Via(NextHopId(8))),
                (ip("::"), 0, Route::Via(NextHopId(9))),
                (ip("2001:db8:1::"), 48, Route::OnLink(InterfaceId(0))),
            ],
            [(InterfaceId(1), ip("198.18.1.11"), NextHopId(3))],
        )
    }

    #[test]
    fn the_longest_prefix_wins() {
        assert_eq!(table().resolve(ip("198.18.1.200")), Resolution::NextHop(NextHopId(8)));
        assert_eq!(table().resolve(ip("192.0.2.1")), Resolution::NextHop(NextHopId(7)));
    }

    #[test]
    fn on_link_destinations_go_to_their_neighbour() {
        assert_eq!(table().resolve(ip("198.18.1.11")), Resolution::NextHop(NextHopId(3)));
        assert_eq!(table().resolve(ip("198.18.1.12")), Resolution::Unknown(InterfaceId(1)));
        assert_eq!(table().resolve(ip("2001:db8:1::5")), Resolution::Unknown(InterfaceId(0)));
    }

    #[test]
    fn a_prefix_without_a_way_hides_the_default_route() {
        let routes = [
            (ip("0.0.0.0"), 0, Route::Via(NextHopId(7))),
            (ip("192.0.2.0"), 24, Route::Via(NextHopId::NONE)),
        ];
        let table = Routes::build(routes, []);
        assert_eq!(table.resolve(ip("192.0.2.1")), Resolution::Unroutable);
    }

    #[test]
    fn a_default_route_serves_its_own_family_only() {
        let only_v6 = Routes::build([(ip("::"), 0, Route::Via(NextHopId(1)))], []);
        assert_eq!(only_v6.resolve(ip("198.18.0.1")), Resolution::Unroutable);
        let only_v4 = Routes::build([(ip("0.0.0.0"), 0, Route::Via(NextHopId(1)))], []);
        assert_eq!(only_v4.resolve(ip("2001:db8::1")), Resolution::Unroutable);
    }
}
