//! The view of the kernel and the static facts become one network.

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
        vlan: None,
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
    view.routes = vec![route("10.0.0.0", 8, 0, &[(9, Some("10.9.0.2")), (3, Some("198.18.1.1")), (2, None)])];
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

fn vlan(parent: u32, id: u16, service: bool) -> Link {
    let vlan = Some(super::super::network::Vlan { parent, id, service });
    Link { name: format!("{parent}.{id}"), mac: Some([2; 6]), mtu: 1496, up: true, vlan }
}

fn tagged(tags: &[u16]) -> crate::config::valid::Config {
    let mut config = config();
    config.interfaces.push(StaticInterface {
        name: "eth0".into(),
        mac: None,
        addresses: vec![],
        vlan: tags.to_vec(),
        mtu: None,
    });
    config
}

#[test]
fn the_kernels_vlan_device_is_the_interface() {
    let mut view = kernel();
    view.links.extend([(20, vlan(2, 100, false)), (21, vlan(2, 7, false)), (22, vlan(3, 100, false))]);
    view.addresses.insert((20, ip("198.18.100.2"), 24));
    view.routes = vec![
        route("198.18.0.0", 24, 0, &[(2, None)]),
        route("198.18.100.0", 24, 0, &[(20, None)]),
        route("0.0.0.0", 0, 0, &[(20, Some("198.18.100.1"))]),
    ];
    let known = Neighbor { mac: Some([7; 6]), pinned: false };
    view.neighbors = [((20, ip("198.18.100.1")), known), ((2, ip("198.18.0.1")), known)].into();
    let topology = Topology::new(&tagged(&[100]), &view);
    let port = &topology.ports[0];
    assert_eq!((port.ifindex, port.device), (Some(2), Some(20)));
    assert_eq!(port.interface.tags, Tags::single(100));
    assert_eq!(
        (port.interface.addresses.as_slice(), port.interface.mtu),
        (&[(ip("198.18.100.2"), 24)][..], 1496)
    );
    assert_eq!(topology.routes[&(ip("0.0.0.0"), 0)], Exit::Via(InterfaceId(0), ip("198.18.100.1")));
    assert_eq!(topology.routes[&(ip("198.18.0.0"), 24)], Exit::None, "that is not in the VLAN");
    assert_eq!(topology.neighbors.keys().collect::<Vec<_>>(), [&(InterfaceId(0), ip("198.18.100.1"))]);
    assert!(topology.locals.contains(&ip("198.18.0.2")), "but still an address of the host");
}

#[test]
fn of_two_tags_the_outer_is_a_service_tag() {
    let mut view = kernel();
    view.links.extend([(20, vlan(2, 200, true)), (21, vlan(20, 100, false)), (22, vlan(2, 200, false))]);
    let topology = Topology::new(&tagged(&[200, 100]), &view);
    assert_eq!(
        (topology.ports[0].device, topology.ports[0].interface.tags),
        (Some(21), Tags::double(200, 100))
    );
}

#[test]
fn without_a_vlan_device_the_interface_itself_counts() {
    let topology = Topology::new(&tagged(&[100]), &kernel());
    assert_eq!(topology.ports[0].device, Some(2));
    assert_eq!(topology.ports[0].interface.addresses, [(ip("198.18.0.2"), 24)]);
}

fn bridge() -> crate::config::valid::Config {
    let mut config = config();
    config.switch.topology = crate::config::valid::Topology::Bridge;
    config
}

#[test]
fn both_ports_of_a_bridge_are_one_link() {
    let mut view = kernel();
    view.routes =
        vec![route("198.18.0.0", 24, 0, &[(3, None)]), route("0.0.0.0", 0, 0, &[(3, Some("198.18.0.1"))])];
    view.neighbors.insert((3, ip("198.18.0.1")), Neighbor { mac: Some([7; 6]), pinned: false });
    let mut topology = Topology::new(&bridge(), &view);
    let segment = InterfaceId(0);
    assert_eq!(topology.routes[&(ip("0.0.0.0"), 0)], Exit::Via(segment, ip("198.18.0.1")));
    let router = (segment, ip("198.18.0.1"));
    assert_eq!(topology.neighbors[&router].mac, Some([7; 6]));
    assert_eq!(topology.place(segment, router.1), InterfaceId(1), "where the kernel knows it");
    topology.learn([(InterfaceId(0), router.1, [8; 6])]);
    assert_eq!((topology.neighbors[&router].mac, topology.place(segment, router.1)), (Some([8; 6]), segment));
}

#[test]
fn a_static_neighbour_in_a_bridge_stays_where_it_was_put() {
    let mut config = bridge();
    let address = ip("198.18.1.11");
    config.neighbors.push(StaticNeighbor { interface: "eth1".into(), address, mac: [9; 6] });
    let mut topology = Topology::new(&config, &kernel());
    topology.learn([(InterfaceId(0), address, [8; 6])]);
    assert_eq!(topology.place(InterfaceId(0), address), InterfaceId(1));
    assert_eq!(topology.neighbors[&(InterfaceId(0), address)].mac, Some([9; 6]));
}

#[test]
fn backends_in_a_bridge_are_on_the_wire_unless_a_route_says_more_than_the_default() {
    let mut config = bridge();
    config.services[0].backends[1].address = "10.7.0.12:80".parse().unwrap();
    let mut view = kernel();
    view.routes = vec![
        route("0.0.0.0", 0, 0, &[(9, Some("10.9.0.2"))]),
        route("10.7.0.0", 16, 0, &[(2, Some("198.18.0.1"))]),
    ];
    let topology = Topology::new(&config, &view);
    assert_eq!(topology.routes[&(ip("198.18.1.11"), 32)], Exit::OnLink(InterfaceId(0)));
    assert!(!topology.routes.contains_key(&(ip("10.7.0.12"), 32)), "there is a router on the way");
}
