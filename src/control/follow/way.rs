//! How a health check gets to a backend by the way that its service's packets take.

use std::net::IpAddr;

use crate::control::health::Through;
use crate::control::topology::{Topology, network};
use crate::tables::{Backend, Interface, Service, Snapshot};
use crate::wire::ethernet;
use crate::wire::tunnel::Family;

/// The way that the packets of its service take to a backend: what the data plane would put in front of them. None while it
/// is not known: no route, no MAC address, no source for the tunnel, or no address that the backend could answer to.
pub(super) fn way(backend: &Backend, topology: &Topology, snapshot: &Snapshot) -> Option<Through> {
    let service = snapshot.service(backend.service)?;
    let next_hop = snapshot.next_hop(backend.next_hop).filter(|next_hop| next_hop.resolved)?;
    // Of a service that had tunnels before, the header is kept for connections that began in one.
    let outer = backend.outer.filter(|_| backend.forwarding.is_tunnel());
    if backend.forwarding.is_tunnel() && outer.is_none() {
        return None;
    }
    let port = topology.port(next_hop.interface)?;
    let family = outer.map_or(Family::of(service.vip.ip()), |outer| outer.family());
    let mut link = vec![0; next_hop.tags.header_len()];
    ethernet::write_header(&mut link, &next_hop.macs, &next_hop.tags, family.ethertype());
    Some(Through {
        ifindex: port.ifindex?,
        link,
        outer,
        source: source(backend, service, &port.interface, snapshot)?,
        vip: service.vip,
        protocol: service.protocol,
    })
}

/// The address that the backend answers to, directly: rather one in a network with it, then one of the interface that leads
/// to it; but any will do that it has a route to. No VIP: the backend may have all of them on its loopback.
fn source(backend: &Backend, service: &Service, near: &Interface, snapshot: &Snapshot) -> Option<IpAddr> {
    let with_backend = |(address, length): &(IpAddr, u8)| {
        let backend = backend.address.ip();
        address.is_ipv4() == backend.is_ipv4() && network(*address, *length) == network(backend, *length)
    };
    let own = || near.addresses.iter();
    let rather = own().filter(|own| with_backend(own));
    let others = snapshot.interfaces.iter().flat_map(|interface| &interface.addresses);
    let usable = |address: &IpAddr| {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        address.is_ipv4() == service.vip.is_ipv4() && !link_local && !snapshot.is_vip(*address)
    };
    rather.chain(own()).chain(others).map(|(address, _)| *address).find(usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::valid::Config;
    use crate::control::compile::{Compiler, Usage};
    use crate::control::network::{Neighbor, NetworkView};
    use crate::control::standing::Standings;
    use crate::control::testing::{config, ip};
    use crate::control::topology::Exit;
    use crate::tables::{Forwarding, InterfaceId};
    use crate::wire::ethernet::Tags;
    use crate::wire::tunnel::{Encapsulation, Outer};

    const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 1, 11];
    const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// The first backend at `address`, the VIP `vip`, both of `forwarding`.
    fn config_of(forwarding: Forwarding, vip: &str, address: &str) -> Config {
        let mut config = config();
        let service = &mut config.services[0];
        (service.forwarding, service.vip) = (forwarding, vip.parse().unwrap());
        service.backends.truncate(1);
        service.backends[0].address = address.parse().unwrap();
        config
    }

    /// Backends are on the link of eth1, index 3, and resolved.
    fn topology(config: &Config, addresses: [&[(&str, u8)]; 2]) -> Topology {
        let mut topology = Topology::new(config, &NetworkView::default());
        for ((position, port), addresses) in (0..).zip(&mut topology.ports).zip(addresses) {
            port.interface.mac = [2, 0, 0, 0, 0, position];
            (port.has_mac, port.ifindex) = (true, Some(2 + u32::from(position)));
            port.interface.addresses =
                addresses.iter().map(|(address, length)| (ip(address), *length)).collect();
        }
        let eth1 = InterfaceId(1);
        for prefix in [(ip("198.18.1.0"), 24), (ip("2001:db8:1::"), 64)] {
            topology.routes.insert(prefix, Exit::OnLink(eth1));
        }
        let backend = config.services[0].backends[0].address.ip();
        topology.neighbors.insert((eth1, backend), Neighbor { mac: Some(BACKEND_MAC), pinned: false });
        topology
    }

    fn snapshot(compiler: &mut Compiler, config: &Config, topology: &Topology) -> Snapshot {
        compiler.compile(config, topology, &Standings::default(), &Usage::NONE).unwrap().snapshot
    }

    fn way_of(config: &Config, topology: &Topology) -> Option<Through> {
        let snapshot = snapshot(&mut Compiler::default(), config, topology);
        way(snapshot.backends[0].as_ref().unwrap(), topology, &snapshot)
    }

    fn link(ethertype: u16) -> Vec<u8> {
        [&BACKEND_MAC[..], &OWN_MAC, &ethertype.to_be_bytes()].concat()
    }

    #[test]
    fn in_dsr_it_is_the_backends_mac_address_alone() {
        for (vip, address, own, ethertype) in [
            ("198.18.0.100:80", "198.18.1.11:80", "198.18.1.2", ethernet::IPV4),
            ("[2001:db8::100]:80", "[2001:db8:1::11]:80", "2001:db8:1::2", ethernet::IPV6),
        ] {
            let config = config_of(Forwarding::Dsr, vip, address);
            let topology = topology(&config, [&[], &[("198.18.1.2", 24), ("2001:db8:1::2", 64)]]);
            let Through { ifindex, link: header, outer, source, vip: to, .. } =
                way_of(&config, &topology).unwrap();
            assert_eq!((ifindex, header, outer), (3, link(ethertype), None));
            assert_eq!((source, to), (ip(own), vip.parse().unwrap()));
        }
    }

    #[test]
    fn in_a_tunnel_the_ethernet_header_is_of_the_outer_family_and_the_source_of_the_inner() {
        let config = config_of(Forwarding::Ipip, "198.18.0.100:80", "[2001:db8:1::11]:80");
        let topology = topology(&config, [&[("198.18.0.2", 24)], &[("2001:db8:1::2", 64)]]);
        let way = way_of(&config, &topology).unwrap();
        let [from, to] = ["2001:db8:1::2", "2001:db8:1::11"].map(ip);
        assert_eq!(way.outer, Outer::new(Encapsulation::Ipip, from, to, Family::V4));
        assert_eq!((way.link, way.source), (link(ethernet::IPV6), ip("198.18.0.2")));
    }

    #[test]
    fn tags_are_those_of_the_interface() {
        let config = config_of(Forwarding::Dsr, "198.18.0.100:80", "198.18.1.11:80");
        let mut topology = topology(&config, [&[], &[("198.18.1.2", 24)]]);
        topology.ports[1].interface.tags = Tags::single(100);
        let tagged = ethernet::tagged(&link(ethernet::IPV4), &Tags::single(100));
        assert_eq!(way_of(&config, &topology).unwrap().link, tagged);
    }

    #[test]
    fn without_mac_address_or_tunnel_source_or_own_address_there_is_none() {
        let own: [&[(&str, u8)]; 2] = [&[], &[("198.18.1.2", 24)]];
        let config = config_of(Forwarding::Dsr, "198.18.0.100:80", "198.18.1.11:80");
        let mut unresolved = topology(&config, own);
        unresolved.neighbors.clear();
        assert_eq!(way_of(&config, &unresolved), None);
        let mut gone = topology(&config, own);
        gone.ports[1].ifindex = None;
        assert_eq!(way_of(&config, &gone), None);
        let only_v6 = topology(&config, [&[], &[("2001:db8:1::2", 64), ("fe80::2", 64)]]);
        assert_eq!(way_of(&config, &only_v6), None);
        let tunnel = config_of(Forwarding::Ipip, "198.18.0.100:80", "[2001:db8:1::11]:80");
        assert_eq!(way_of(&tunnel, &topology(&tunnel, own)), None);
    }

    #[test]
    fn the_source_is_rather_a_neighbour_of_the_backend_and_never_a_vip() {
        let mut config = config_of(Forwarding::Dsr, "198.18.1.1:80", "198.18.1.11:80");
        let source = |config: &Config, addresses| {
            Some(way_of(config, &topology(config, addresses))?.source.to_string())
        };
        let several: [&[(&str, u8)]; 2] =
            [&[("198.18.0.2", 24)], &[("10.0.0.1", 24), ("198.18.1.1", 32), ("198.18.1.2", 24)]];
        assert_eq!(source(&config, several).unwrap(), "198.18.1.2");
        assert_eq!(source(&config, [several[0], &several[1][..2]]).unwrap(), "10.0.0.1");
        assert_eq!(source(&config, [several[0], &several[1][1..2]]).unwrap(), "198.18.0.2");
        assert_eq!(source(&config, [&[], &several[1][1..2]]), None, "the backend would answer to itself");
        config.services[0].vip = "198.18.1.3:80".parse().unwrap();
        assert_eq!(source(&config, [&[], &several[1][1..2]]).unwrap(), "198.18.1.1");
    }

    #[test]
    fn a_tunnel_of_before_is_not_taken() {
        let mut config = config_of(Forwarding::Ipip, "198.18.0.100:80", "198.18.1.11:80");
        let topology = topology(&config, [&[], &[("198.18.1.2", 24)]]);
        let mut compiler = Compiler::default();
        snapshot(&mut compiler, &config, &topology);
        config.services[0].forwarding = Forwarding::Dsr;
        let snapshot = snapshot(&mut compiler, &config, &topology);
        let backend = snapshot.backends[0].as_ref().unwrap();
        assert!(backend.outer.is_some(), "connections of before need it");
        let way = way(backend, &topology, &snapshot).unwrap();
        assert_eq!((way.outer, way.link), (None, link(ethernet::IPV4)));
    }
}
