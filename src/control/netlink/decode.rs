//! Messages of rtnetlink(7) to the plain data of [`crate::control::network`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::control::network::{Hop, KernelRoute, Link, Neighbor, NeighborChange, Vlan};

/// A link and its index.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let (mut name, mut mac, mut mtu) = (None, None, 0);
    let (mut parent, mut tag) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(value) => mac = <[u8; 6]>::try_from(value.as_slice()).ok(),
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Link(value) => parent = Some(*value),
            LinkAttribute::LinkInfo(infos) => tag = vlan_tag(infos),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
    let vlan = parent.zip(tag).map(|(parent, (id, service))| Vlan { parent, id, service });
    Some((message.header.index, Link { name: name?, mac, mtu, up, vlan }))
}

/// Number of a VLAN device, and whether its tag is a service tag.
fn vlan_tag(infos: &[LinkInfo]) -> Option<(u16, bool)> {
    let attributes = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(attributes)) => Some(attributes),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let service = attributes.iter().any(|a| matches!(a, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    Some((id, service))
}

/// An address: interface index, address, prefix length.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpAddr, u8)> {
    // On point-to-point links IFA_ADDRESS is the peer; IFA_LOCAL, where there is one, is ours.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    Some((message.header.index, address?, message.header.prefix_len))
}

/// A route of the main table, if it is one that packets from anywhere, with any type of service, follow.
pub(super) fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut prefix = (unspecified, header.destination_prefix_length);
    let mut table = u32::from(header.table);
    let (mut metric, mut only, mut hops) = (0, (None, None), vec![]);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => prefix.0 = ip(address)?,
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(value) => only.0 = Some(*value),
            RouteAttribute::Gateway(address) => only.1 = ip(address),
            RouteAttribute::Via(address) => only.1 = via(address),
            RouteAttribute::MultiPath(list) => hops.extend(list.iter().filter_map(hop)),
            _ => {}
        }
    }
    let special =
        header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned);
    if special || table != u32::from(RouteHeader::RT_TABLE_MAIN) || is_link_local(prefix) {
        return None;
    }
    match header.kind {
        RouteType::Unicast if header.flags.contains(RouteFlags::Dead) => return None,
        RouteType::Unicast => hops.extend(only.0.map(|ifindex| Hop { ifindex, via: only.1 })),
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {}
        _ => return None,
    }
    Some(KernelRoute { prefix, metric, hops })
}

/// `fe80::/64` is there once per interface: a next hop in it needs the interface, which a route lookup has not.
fn is_link_local((address, length): (IpAddr, u8)) -> bool {
    length >= 10 && matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn hop(next_hop: &RouteNextHop) -> Option<Hop> {
    if next_hop.flags.contains(RouteNextHopFlags::Dead) {
        return None;
    }
    let via = next_hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(address) => via(address),
        _ => None,
    });
    Some(Hop { ifindex: next_hop.interface_index, via })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn via(address: &RouteVia) -> Option<IpAddr> {
    match address {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// A neighbour as the message has it; none for what is no IP neighbour (bridge entries, proxies, multicast).
pub(super) fn neighbor(message: &NeighbourMessage) -> Option<NeighborChange> {
    let header = &message.header;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(value) => mac = <[u8; 6]>::try_from(value.as_slice()).ok(),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast())?;
    let (valid, pinned) = match header.state {
        NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => {
            (true, false)
        }
        NeighbourState::Permanent | NeighbourState::Noarp => (true, true),
        _ => (false, false),
    };
    let neighbor = Neighbor { mac: mac.filter(|_| valid), pinned };
    Some(NeighborChange { ifindex: header.ifindex, address, neighbor: Some(neighbor) })
}

/// What a notification of the kernel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// One neighbour changed, and this is all there is to know.
    Neighbor(NeighborChange),
    /// Links, addresses or routes changed.
    Stale,
    /// Of no interest.
    Nothing,
}

/// Reads a notification.
///
/// Of links, addresses and routes it says only *that* something changed: the kernel removes IPv4 routes silently when a
/// link goes down, and tells of a replaced route by its successor alone, so only a new dump is sure to be right.
pub(super) fn notification(message: &RouteNetlinkMessage) -> Meaning {
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => {
            neighbor(message).map_or(Meaning::Nothing, Meaning::Neighbor)
        }
        RouteNetlinkMessage::DelNeighbour(message) => neighbor(message).map_or(Meaning::Nothing, |change| {
            Meaning::Neighbor(NeighborChange { neighbor: None, ..change })
        }),
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_) => Meaning::Stale,
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbor_message(state: NeighbourState) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 3;
        message.header.state = state;
        let address = NeighbourAddress::Inet(Ipv4Addr::new(198, 18, 1, 11));
        message.attributes.push(NeighbourAttribute::Destination(address));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]));
        message
    }

    #[test]
    fn a_neighbour_counts_while_the_kernel_would_use_it() {
        use NeighbourState::*;
        for (state, valid, pinned) in [
            (Reachable, true, false),
            (Stale, true, false),
            (Delay, true, false),
            (Probe, true, false),
            (Permanent, true, true),
            (Noarp, true, true),
            (Incomplete, false, false),
            (Failed, false, false),
            (None, false, false),
        ] {
            let change = neighbor(&neighbor_message(state)).unwrap();
            let expected = Neighbor { mac: valid.then_some([2, 0, 0, 0, 0, 1]), pinned };
            assert_eq!(change.neighbor, Some(expected), "{state}");
        }
    }

    #[test]
    fn proxies_and_bridge_entries_are_no_neighbours() {
        let mut proxy = neighbor_message(NeighbourState::Permanent);
        proxy.header.flags = NeighbourFlags::Proxy;
        assert_eq!(neighbor(&proxy), None);
        let mut bridge = neighbor_message(NeighbourState::Permanent);
        bridge.attributes.remove(0);
        assert_eq!(neighbor(&bridge), None);
    }

    #[test]
    fn a_deleted_neighbour_is_gone_whatever_its_last_state() {
        let message = RouteNetlinkMessage::DelNeighbour(neighbor_message(NeighbourState::Reachable));
        let Meaning::Neighbor(change) = notification(&message) else { panic!("no change") };
        assert_eq!(change.neighbor, None);
    }

    fn route_message(kind: RouteType, table: u8) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 24;
        message.header.kind = kind;
        message.header.table = table;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(10, 1, 2, 0))),
            RouteAttribute::Priority(100),
            RouteAttribute::Oif(4),
        ];
        message
    }

    #[test]
    fn routes_of_the_main_table_count() {
        let message = route_message(RouteType::Unicast, RouteHeader::RT_TABLE_MAIN);
        let expected = KernelRoute {
            prefix: ("10.1.2.0".parse().unwrap(), 24),
            metric: 100,
            hops: vec![Hop { ifindex: 4, via: None }],
        };
        assert_eq!(route(&message), Some(expected));
        assert_eq!(route(&route_message(RouteType::Unicast, 100)), None);
        assert_eq!(route(&route_message(RouteType::Local, RouteHeader::RT_TABLE_MAIN)), None);
        let nowhere = route(&route_message(RouteType::BlackHole, RouteHeader::RT_TABLE_MAIN)).unwrap();
        assert_eq!(nowhere.hops, vec![]);
    }

    #[test]
    fn an_ipv6_gateway_is_as_a_rule_link_local() {
        let mut message = route_message(RouteType::Unicast, RouteHeader::RT_TABLE_MAIN);
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 0;
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        message.attributes =
            vec![RouteAttribute::Oif(4), RouteAttribute::Gateway(RouteAddress::Inet6(router))];
        let found = route(&message).unwrap();
        assert_eq!(found.prefix, ("::".parse().unwrap(), 0));
        assert_eq!(found.hops, vec![Hop { ifindex: 4, via: Some(router.into()) }]);
        let mut hop = RouteNextHop::default();
        hop.interface_index = 5;
        hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet6(router))];
        message.attributes = vec![RouteAttribute::MultiPath(vec![hop])];
        assert_eq!(route(&message).unwrap().hops, vec![Hop { ifindex: 5, via: Some(router.into()) }]);
        message.header.destination_prefix_length = 64;
        let own = RouteAddress::Inet6("fe80::".parse().unwrap());
        message.attributes = vec![RouteAttribute::Oif(4), RouteAttribute::Destination(own)];
        assert_eq!(route(&message), None, "it is there on every link");
    }

    #[test]
    fn vlan_devices_name_their_link_and_their_tag() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        let data = vec![InfoVlan::Id(100), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)];
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".into()),
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(data))]),
        ];
        let (index, found) = link(&message).unwrap();
        assert_eq!((index, found.vlan), (7, Some(Vlan { parent: 2, id: 100, service: true })));
        message.attributes.truncate(2);
        assert_eq!(link(&message).unwrap().1.vlan, None, "a veth has a link, too");
    }

    #[test]
    fn a_gateway_may_be_of_the_other_family() {
        let mut message = route_message(RouteType::Unicast, RouteHeader::RT_TABLE_MAIN);
        let router: Ipv6Addr = "2001:db8::1".parse().unwrap();
        message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(router)));
        assert_eq!(route(&message).unwrap().hops, vec![Hop { ifindex: 4, via: Some(router.into()) }]);
    }
}
