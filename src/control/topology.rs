//! The network as the switch uses it: the kernel's view, reduced to the interfaces of the configuration, with the
//! configuration's static facts laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::network::{KernelRoute, Neighbor, NetworkView};
use crate::config::valid::Config;
use crate::tables::exact::address_bits;
use crate::tables::{Interface, InterfaceId};

/// MTU assumed where neither the kernel nor the configuration tells one.
const DEFAULT_MTU: u16 = 1500;

/// One interface of the configuration.
#[derive(Debug, Clone)]
pub struct Port {
    /// As the data plane sees it.
    pub interface: Interface,
    /// Its MAC address is known. Without it nothing can be sent.
    pub has_mac: bool,
    /// Its index in the kernel; none while the kernel has no such interface.
    pub ifindex: Option<u32>,
    /// Administratively up and with carrier.
    pub up: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The destination is on the link of this interface.
    OnLink(InterfaceId),
    /// Through a router.
    Via(InterfaceId, IpAddr),
    /// Nowhere that the switch can send to.
    None,
}

/// The network, by [`InterfaceId`].
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// By [`InterfaceId`].
    pub ports: Vec<Port>,
    /// The one route of each prefix that counts.
    pub routes: BTreeMap<(IpAddr, u8), Exit>,
    /// Neighbours on the switch's interfaces.
    pub neighbors: BTreeMap<(InterfaceId, IpAddr), Neighbor>,
    /// Every address of the host, on whatever interface.
    pub locals: BTreeSet<IpAddr>,
}

impl Topology {
    /// Lays the configuration over the kernel's view.
    pub fn new(config: &Config, kernel: &NetworkView) -> Self {
        let mut topology = Self { ports: ports(config, kernel), ..Self::default() };
        topology.locals = kernel.addresses.iter().map(|(_, address, _)| *address).collect();
        topology.add_kernel_routes(&kernel.routes);
        topology.add_kernel_neighbors(kernel);
        topology.add_static(config);
        topology
    }

    /// The interface of this name.
    pub fn id(&self, name: &str) -> Option<InterfaceId> {
        self.ports.iter().find(|port| port.interface.name == name).map(|port| port.interface.id)
    }

    /// One interface.
    pub fn port(&self, id: InterfaceId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    fn by_ifindex(&self, ifindex: u32) -> Option<InterfaceId> {
        self.ports.iter().find(|port| port.ifindex == Some(ifindex)).map(|port| port.interface.id)
    }

    /// Of the routes to one prefix the kernel uses the one with the lowest metric, and of equals the first. It counts
    /// even where it leads elsewhere: a less preferred route, or a shorter prefix, is not where the kernel would send.
    fn add_kernel_routes(&mut self, routes: &[KernelRoute]) {
        let mut best: BTreeMap<(IpAddr, u8), &KernelRoute> = BTreeMap::new();
        for route in routes {
            let kept = best.entry(route.prefix).or_insert(route);
            if route.metric < kept.metric {
                *kept = route;
            }
        }
        for (prefix, route) in best {
            let exit = route.hops.iter().find_map(|hop| {
                let interface = self.by_ifindex(hop.ifindex)?;
                Some(hop.via.map_or(Exit::OnLink(interface), |via| Exit::Via(interface, via)))
            });
            self.routes.insert(prefix, exit.unwrap_or(Exit::None));
        }
    }

    fn add_kernel_neighbors(&mut self, kernel: &NetworkView) {
        for ((ifindex, address), neighbor) in &kernel.neighbors {
            if let Some(interface) = self.by_ifindex(*ifindex) {
                self.neighbors.insert((interface, *address), *neighbor);
            }
        }
    }

    fn add_static(&mut self, config: &Config) {
        for interface in &config.interfaces {
            let Some(id) = self.id(&interface.name) else { continue };
            for (address, length) in &interface.addresses {
                self.locals.insert(*address);
                self.routes.entry((network(*address, *length), *length)).or_insert(Exit::OnLink(id));
            }
        }
        for route in &config.routes {
            let Some(id) = self.id(&route.interface) else { continue };
            let exit = route.via.map_or(Exit::OnLink(id), |via| Exit::Via(id, via));
            self.routes.insert(route.prefix, exit);
        }
        for neighbor in &config.neighbors {
            let Some(id) = self.id(&neighbor.interface) else { continue };
            let entry = Neighbor { mac: Some(neighbor.mac), pinned: true };
            self.neighbors.insert((id, neighbor.address), entry);
        }
    }
}

fn ports(config: &Config, kernel: &NetworkView) -> Vec<Port> {
    let port = |(position, name): (usize, &String)| {
        let link = kernel.link(name);
        let fixed = config.interfaces.iter().find(|interface| interface.name == *name);
        let mac = fixed.and_then(|fixed| fixed.mac).or(link.and_then(|(_, link)| link.mac));
        let kernel_mtu = link.map(|(_, link)| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        let mut addresses: Vec<(IpAddr, u8)> = kernel
            .addresses
            .iter()
            .filter(|(index, ..)| link.is_some_and(|(own, _)| own == *index))
            .map(|(_, address, length)| (*address, *length))
            .collect();
        for extra in fixed.iter().flat_map(|fixed| &fixed.addresses) {
            if !addresses.contains(extra) {
                addresses.push(*extra);
            }
        }
        Port {
            interface: Interface {
                id: InterfaceId(position as u8),
                name: name.clone(),
                mac: mac.unwrap_or_default(),
                mtu: fixed.and_then(|fixed| fixed.mtu).or(kernel_mtu).unwrap_or(DEFAULT_MTU),
                tags: Default::default(),
                addresses,
            },
            has_mac: mac.is_some(),
            ifindex: link.map(|(index, _)| index),
            up: link.is_some_and(|(_, link)| link.up),
        }
    };
    config.switch.interfaces.iter().enumerate().map(port).collect()
}

/// The address with its host bits cleared.
pub fn network(address: IpAddr, length: u8) -> IpAddr {
    let bits = address_bits(address);
    match address {
        IpAddr::V4(_) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((bits as u32 & mask).into())
        }
        IpAddr::V6(_) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((bits & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::network::{Hop, Link};
    use super::super::testing::{config, ip};
    use super::*;
    use crate::config::valid::{StaticInterface, StaticNeighbor, StaticRoute};

    /// eth0 has index 2, eth1 index 3; index 9 is none of ours.
    fn kernel() -> NetworkView {
        let link = |name: &str, last| Link {
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, last]),
            mtu: 1500,
            up: true,
        };
        NetworkView {
            links: [(2, link("eth0", 1)), (3, link("eth1", 2)), (9, link("other", 9))].into(),
            addresses: [(2, ip("198.18.0.2"), 24), (9, ip("10.9.0.1"), 24)].into(),
            ..NetworkView::default()
        }
    }

    fn route(prefix: &str, length: u8, metric: u32, hops: &[(u32, Option<&str>)]) -> KernelRoute {
        let hops = hops.iter().map(|(ifindex, via)| Hop { ifindex: *ifindex, via: via.map(ip) }).collect();
        KernelRoute { prefix: (ip(prefix), length), metric, hops }
    }

    #[test]
    fn the_lowest_metric_counts_and_of_equals_the_first() {
        let mut view = kernel();
        view.routes = vec![
            route("0.0.0.0", 0, 200, &[(2, Some("198.18.0.1"))]),
            route("0.0.0.0", 0, 100, &[(3, Some("198.18.1.1"))]),
            route("0.0.0.0", 0, 100, &[(2, Some("198.18.0.7"))]),
        ];
        let topology = Topology::new(&config(), &view);
        assert_eq!(topology.routes[&(ip("0.0.0.0"), 0)], Exit::Via(InterfaceId(1), ip("198.18.1.1")));
    }

    #[test]
    fn a_route_through_another_interface_hides_shorter_prefixes() {
        let mut view = kernel();
        view.routes =
            vec![route("10.9.0.0", 24, 0, &[(9, None)]), route("0.0.0.0", 0, 0, &[(2, Some("198.18.0.1"))])];
        let topology = Topology::new(&config(), &view);
        assert_eq!(topology.routes[&(ip("10.9.0.0"), 24)], Exit::None);
    }

    #[test]
    fn of_several_hops_the_first_on_our_interfaces_is_taken() {
        let mut view = kernel();
        view.routes =
            vec![route("10.0.0.0", 8, 0, &[(9, Some("10.9.0.2")), (3, Some("198.18.1.1")), (2, None)])];
        let topology = Topology::new(&config(), &view);
        assert_eq!(topology.routes[&(ip("10.0.0.0"), 8)], Exit::Via(InterfaceId(1), ip("198.18.1.1")));
    }

    #[test]
    fn static_facts_win_over_the_kernel() {
        let mut view = kernel();
        view.routes = vec![route("0.0.0.0", 0, 0, &[(2, Some("198.18.0.1"))])];
        view.neighbors.insert((2, ip("198.18.0.9")), Neighbor { mac: None, pinned: false });
        let mut config = config();
        config.interfaces.push(StaticInterface {
            name: "eth1".into(),
            mac: Some([6; 6]),
            addresses: vec![(ip("198.18.1.2"), 24)],
            vlan: vec![],
            mtu: Some(9000),
        });
        config.routes.push(StaticRoute {
            prefix: (ip("0.0.0.0"), 0),
            interface: "eth1".into(),
            via: Some(ip("198.18.1.1")),
        });
        config.neighbors.push(StaticNeighbor {
            interface: "eth0".into(),
            address: ip("198.18.0.9"),
            mac: [9; 6],
        });
        let topology = Topology::new(&config, &view);
        assert_eq!(topology.routes[&(ip("0.0.0.0"), 0)], Exit::Via(InterfaceId(1), ip("198.18.1.1")));
        assert_eq!(topology.routes[&(ip("198.18.1.0"), 24)], Exit::OnLink(InterfaceId(1)));
        assert_eq!(topology.neighbors[&(InterfaceId(0), ip("198.18.0.9"))].mac, Some([9; 6]));
        assert_eq!((topology.ports[1].interface.mac, topology.ports[1].interface.mtu), ([6; 6], 9000));
        assert!(topology.locals.contains(&ip("10.9.0.1")) && topology.locals.contains(&ip("198.18.1.2")));
    }

    #[test]
    fn networks() {
        assert_eq!(network(ip("198.18.1.77"), 26), ip("198.18.1.64"));
        assert_eq!(network(ip("198.18.1.77"), 0), ip("0.0.0.0"));
        assert_eq!(network(ip("2001:db8:1:2::5"), 48), ip("2001:db8:1::"));
        assert_eq!(network(ip("2001:db8::5"), 0), ip("::"));
    }
}
