//! The network as the switch uses it: the kernel's view, reduced to the interfaces of the configuration, with the
//! configuration's static facts laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::network::{KernelRoute, Neighbor, NetworkView};
use crate::config::valid::{self, Config};
use crate::tables::exact::address_bits;
use crate::tables::{Interface, InterfaceId};
use crate::wire::ethernet::Tags;

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
    /// Index of the kernel's device that has its addresses, routes and neighbours: the VLAN device of its tags, or itself.
    pub device: Option<u32>,
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
    /// The interfaces are two ends of one wire: one link, which is called interface 0 in `routes` and `neighbors`.
    pub bridge: bool,
    /// Behind which end of the wire neighbours are.
    behind: BTreeMap<IpAddr, InterfaceId>,
}

impl Topology {
    /// Lays the configuration over the kernel's view.
    pub fn new(config: &Config, kernel: &NetworkView) -> Self {
        let bridge = config.switch.topology == valid::Topology::Bridge;
        let mut topology = Self { ports: ports(config, kernel), bridge, ..Self::default() };
        topology.locals = kernel.addresses.iter().map(|(_, address, _)| *address).collect();
        topology.add_kernel_routes(&kernel.routes);
        topology.add_kernel_neighbors(kernel);
        topology.add_static(config);
        if bridge {
            topology.add_backends(config);
        }
        topology
    }

    /// The name of an interface's link in `routes` and `neighbors`.
    pub fn segment(&self, interface: InterfaceId) -> InterfaceId {
        if self.bridge { InterfaceId(0) } else { interface }
    }

    /// The interface that leads to a neighbour on a link.
    pub fn place(&self, segment: InterfaceId, address: IpAddr) -> InterfaceId {
        self.behind.get(&address).copied().unwrap_or(segment)
    }

    /// Takes over what the switch itself learned of the neighbours in a bridge: the kernel hears one end of the wire only.
    pub fn learn(&mut self, neighbors: impl IntoIterator<Item = (InterfaceId, IpAddr, [u8; 6])>) {
        for (interface, address, mac) in neighbors {
            let pinned = self.neighbors.get(&(self.segment(interface), address)).is_some_and(|n| n.pinned);
            if !pinned {
                self.add_neighbor(interface, address, Neighbor { mac: Some(mac), pinned: false });
            }
        }
    }

    fn add_neighbor(&mut self, interface: InterfaceId, address: IpAddr, neighbor: Neighbor) {
        self.neighbors.insert((self.segment(interface), address), neighbor);
        if self.bridge {
            self.behind.insert(address, interface);
        }
    }

    /// The interface of this name.
    pub fn id(&self, name: &str) -> Option<InterfaceId> {
        self.ports.iter().find(|port| port.interface.name == name).map(|port| port.interface.id)
    }

    /// One interface.
    pub fn port(&self, id: InterfaceId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    fn by_device(&self, index: u32) -> Option<InterfaceId> {
        self.ports.iter().find(|port| port.device == Some(index)).map(|port| port.interface.id)
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
                let interface = self.segment(self.by_device(hop.ifindex)?);
                Some(hop.via.map_or(Exit::OnLink(interface), |via| Exit::Via(interface, via)))
            });
            self.routes.insert(prefix, exit.unwrap_or(Exit::None));
        }
    }

    fn add_kernel_neighbors(&mut self, kernel: &NetworkView) {
        for ((ifindex, address), neighbor) in &kernel.neighbors {
            let Some(interface) = self.by_device(*ifindex) else { continue };
            // What one end of a wire says of a neighbour, the other end must not deny.
            let known = self.neighbors.get(&(self.segment(interface), *address));
            if neighbor.mac.is_some() || known.is_none() {
                self.add_neighbor(interface, *address, *neighbor);
            }
        }
    }

    fn add_static(&mut self, config: &Config) {
        for interface in &config.interfaces {
            let Some(id) = self.id(&interface.name) else { continue };
            for (address, length) in &interface.addresses {
                self.locals.insert(*address);
                let exit = Exit::OnLink(self.segment(id));
                self.routes.entry((network(*address, *length), *length)).or_insert(exit);
            }
        }
        for route in &config.routes {
            let Some(id) = self.id(&route.interface).map(|id| self.segment(id)) else { continue };
            let exit = route.via.map_or(Exit::OnLink(id), |via| Exit::Via(id, via));
            self.routes.insert(route.prefix, exit);
        }
        for neighbor in &config.neighbors {
            let Some(id) = self.id(&neighbor.interface) else { continue };
            self.add_neighbor(id, neighbor.address, Neighbor { mac: Some(neighbor.mac), pinned: true });
        }
    }

    /// The kernel need not have an address on the wire, and so no route to those who live there. A default route says
    /// nothing about them: it is for everybody else.
    fn add_backends(&mut self, config: &Config) {
        let lengths: BTreeSet<u8> =
            self.routes.keys().map(|(_, length)| *length).filter(|l| *l > 0).collect();
        for backend in config.services.iter().flat_map(|service| &service.backends) {
            let address = backend.address.ip();
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let covers = |length: &&u8| {
                let route = self.routes.get(&(network(address, **length), **length));
                **length <= longest && route.is_some_and(|exit| *exit != Exit::None)
            };
            if lengths.iter().rev().find(covers).is_none() {
                self.routes.insert((address, longest), Exit::OnLink(InterfaceId(0)));
            }
        }
    }
}

fn ports(config: &Config, kernel: &NetworkView) -> Vec<Port> {
    let port = |(position, name): (usize, &String)| {
        let link = kernel.link(name);
        let fixed = config.interfaces.iter().find(|interface| interface.name == *name);
        let mac = fixed.and_then(|fixed| fixed.mac).or(link.and_then(|(_, link)| link.mac));
        let tags = fixed.map_or(&[][..], |fixed| &fixed.vlan);
        // Without a device for the VLAN the kernel has no part in it, and what it says of the interface has to do.
        let device = link.map(|(index, _)| kernel.vlan_device(index, tags).unwrap_or(index));
        let device_link = device.and_then(|index| kernel.links.get(&index));
        let kernel_mtu = device_link.map(|link| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        let mut addresses: Vec<(IpAddr, u8)> = kernel
            .addresses
            .iter()
            .filter(|(index, ..)| device == Some(*index))
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
                tags: wire_tags(tags),
                addresses,
            },
            has_mac: mac.is_some(),
            ifindex: link.map(|(index, _)| index),
            device,
            up: link.is_some_and(|(_, link)| link.up),
        }
    };
    config.switch.interfaces.iter().enumerate().map(port).collect()
}

fn wire_tags(tags: &[u16]) -> Tags {
    match tags {
        [] => Tags::none(),
        [vlan] => Tags::single(*vlan),
        [service, customer, ..] => Tags::double(*service, *customer),
    }
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
mod tests;
