//! The compiler's promises, one test each.

use std::sync::Arc;

use super::super::network::Neighbor;
use super::super::testing::{config, home, ip, service};
use super::super::topology::Exit;
use super::*;
use crate::config::valid::{Scheduler, StaticInterface, StaticNeighbor, StaticRoute};
use crate::tables::{Forwarding, SchedulerTable};
use crate::wire::ethernet::Tags;
use crate::wire::tunnel::{Encapsulation, Family, Outer};

const ETH0: InterfaceId = InterfaceId(0);
const ETH1: InterfaceId = InterfaceId(1);

/// eth0 is 198.18.0.0/24 with the default gateway .1, eth1 is 198.18.1.0/24; nobody is resolved.
pub(super) fn topology(config: &Config) -> Topology {
    let mut topology = Topology::new(config, &NetworkView::default());
    for (position, port) in topology.ports.iter_mut().enumerate() {
        port.interface.mac = [2, 0, 0, 0, 0, position as u8];
        port.has_mac = true;
    }
    topology.routes = [
        ((ip("198.18.0.0"), 24), Exit::OnLink(ETH0)),
        ((ip("198.18.1.0"), 24), Exit::OnLink(ETH1)),
        ((ip("0.0.0.0"), 0), Exit::Via(ETH0, ip("198.18.0.1"))),
    ]
    .into();
    topology
}

fn resolve(topology: &mut Topology, interface: InterfaceId, address: &str, mac: [u8; 6]) {
    topology.neighbors.insert((interface, ip(address)), Neighbor { mac: Some(mac), pinned: false });
}

fn compile(compiler: &mut Compiler, config: &Config, topology: &Topology) -> Snapshot {
    compiler.compile(config, topology, &Standings::default(), &Usage::NONE).unwrap().snapshot
}

fn backend_row(snapshot: &Snapshot, address: &str) -> Option<BackendId> {
    let address = address.parse().unwrap();
    snapshot.backends.iter().flatten().find(|backend| backend.address == address).map(|backend| backend.id)
}

#[test]
fn backends_keep_their_rows_whatever_happens_around_them() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let topology = topology(&config);
    let first = compile(&mut compiler, &config, &topology);
    let row = backend_row(&first, "198.18.1.12:8080").unwrap();
    config.services[0].backends.remove(0);
    config.services.insert(0, service("first", "198.18.0.50:53", &[1, 1, 1]));
    let second = compile(&mut compiler, &config, &topology);
    let service = second.service(second.backend(row).unwrap().service).unwrap();
    assert_eq!(
        (second.backend(row).unwrap().address, service.name.as_str()),
        ("198.18.1.12:8080".parse().unwrap(), "web")
    );
    assert_eq!(service.id, first.services[0].as_ref().unwrap().id);
    assert_eq!(second.epoch, first.epoch + 1);
}

#[test]
fn a_backend_that_is_removed_leaves_a_hole_and_returns_to_it() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let topology = topology(&config);
    let row = backend_row(&compile(&mut compiler, &config, &topology), "198.18.1.11:8080").unwrap();
    let removed = config.services[0].backends.remove(0);
    assert!(compile(&mut compiler, &config, &topology).backend(row).is_none());
    config.services[0].backends.push(removed);
    let back = compile(&mut compiler, &config, &topology);
    assert_eq!(backend_row(&back, "198.18.1.11:8080"), Some(row));
}

#[test]
fn a_backend_keeps_its_row_and_its_tunnel_when_its_service_has_another_way() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.switch.tunnel_sources = vec![ip("198.18.1.2")];
    let topology = topology(&config);
    let mut backend = |forwarding| {
        config.services[0].forwarding = forwarding;
        let snapshot = compile(&mut compiler, &config, &topology);
        let row = backend_row(&snapshot, "198.18.1.11:8080").unwrap();
        (row, snapshot.backend(row).unwrap().outer)
    };
    let (row, none) = backend(Forwarding::Nat);
    assert_eq!(none, None);
    let (_, ipip) = backend(Forwarding::Ipip);
    assert_eq!(ipip.map(|outer| outer.len()), Some(20));
    assert_eq!(backend(Forwarding::FullNat), (row, ipip), "connections that began in the tunnel stay in it");
    let (_, gue) = backend(Forwarding::Gue);
    assert_eq!(gue.map(|outer| outer.len()), Some(32));
}

#[test]
fn a_row_with_connections_is_not_reused_even_when_the_table_is_full() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    compiler.backends = Rows::new(2, usize::MAX);
    let topology = topology(&config);
    let row = backend_row(&compile(&mut compiler, &config, &topology), "198.18.1.11:8080").unwrap();
    config.services[0].backends.remove(0);
    compile(&mut compiler, &config, &topology);
    config.services[0].backends[0].address = "198.18.1.99:8080".parse().unwrap();
    config.services[0].backends.push(valid::Backend::new("198.18.1.12:8080".parse().unwrap(), 1));
    let busy = Usage { adopted: 9, active: &|_| 1, open: &|_| 0 };
    let behind = Usage { adopted: 0, active: &|_| 0, open: &|_| 0 };
    let idle = Usage { adopted: 9, active: &|_| 0, open: &|_| 0 };
    for refused in [busy, behind] {
        let error = compiler.compile(&config, &topology, &Standings::default(), &refused).unwrap_err();
        assert_eq!(error, CompileError::TooManyBackends);
    }
    let snapshot = compiler.compile(&config, &topology, &Standings::default(), &idle).unwrap().snapshot;
    assert_eq!(backend_row(&snapshot, "198.18.1.99:8080"), Some(row));
}

#[test]
fn a_service_row_is_reused_only_when_none_of_its_backends_has_connections() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    compiler.services = Rows::new(1, usize::MAX);
    let topology = topology(&config);
    compile(&mut compiler, &config, &topology);
    let moved = std::mem::take(&mut config.services);
    compile(&mut compiler, &config, &topology);
    config.services = moved;
    config.services[0].vip = "198.18.0.101:80".parse().unwrap();
    let busy = Usage { adopted: 9, active: &|id| u64::from(id.0 == 1), open: &|_| 0 };
    let error = compiler.compile(&config, &topology, &Standings::default(), &busy).unwrap_err();
    assert_eq!(error, CompileError::TooManyServices);
    assert!(
        compiler
            .compile(
                &config,
                &topology,
                &Standings::default(),
                &Usage { adopted: 9, active: &|_| 0, open: &|_| 0 }
            )
            .is_ok()
    );
}

#[test]
fn backends_on_a_link_and_gateways_have_a_next_hop_before_anybody_knows_their_mac() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.services[0].backends[1].address = "192.0.2.7:80".parse().unwrap();
    let compiled =
        compiler.compile(&config, &topology(&config), &Standings::default(), &Usage::NONE).unwrap();
    let hop_of = |address: &str| {
        let backend = compiled.snapshot.backend(backend_row(&compiled.snapshot, address).unwrap()).unwrap();
        *compiled.snapshot.next_hop(backend.next_hop).unwrap()
    };
    let near = hop_of("198.18.1.11:8080");
    assert_eq!((near.interface, near.address, near.resolved), (ETH1, ip("198.18.1.11"), false));
    let far = hop_of("192.0.2.7:80");
    assert_eq!((far.interface, far.address, far.resolved), (ETH0, ip("198.18.0.1"), false));
    let mut wanted: Vec<_> = compiled.wanted.iter().map(|wanted| wanted.address).collect();
    wanted.sort_unstable();
    assert_eq!(wanted, [ip("198.18.0.1"), ip("198.18.1.11")]);
}

#[test]
fn a_backend_without_a_route_has_no_next_hop() {
    let (mut compiler, config) = (Compiler::default(), config());
    let mut topology = topology(&config);
    topology.routes.insert((ip("198.18.1.0"), 24), Exit::None);
    let snapshot = compile(&mut compiler, &config, &topology);
    let row = backend_row(&snapshot, "198.18.1.11:8080").unwrap();
    assert_eq!(snapshot.backend(row).unwrap().next_hop, NextHopId::NONE);
    assert_eq!(snapshot.routes.resolve(ip("198.18.1.11")), Resolution::Unroutable);
}

#[test]
fn macs_are_destination_then_source() {
    let (mut compiler, config) = (Compiler::default(), config());
    let mut topology = topology(&config);
    resolve(&mut topology, ETH1, "198.18.1.11", [0xAA; 6]);
    let snapshot = compile(&mut compiler, &config, &topology);
    let Resolution::NextHop(id) = snapshot.routes.resolve(ip("198.18.1.11")) else { panic!("no row") };
    let next_hop = snapshot.next_hop(id).unwrap();
    assert!(next_hop.resolved);
    assert_eq!(next_hop.macs, [0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 2, 0, 0, 0, 0, 1]);
}

#[test]
fn the_routes_epoch_follows_ids_and_not_mac_addresses() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let mut topology = topology(&config);
    let start = compile(&mut compiler, &config, &topology).routes_epoch;
    resolve(&mut topology, ETH1, "198.18.1.11", [0xAA; 6]);
    assert_eq!(compile(&mut compiler, &config, &topology).routes_epoch, start, "a backend got its MAC");
    resolve(&mut topology, ETH1, "198.18.1.11", [0xBB; 6]);
    config.services[0].backends[0].weight = 7;
    assert_eq!(compile(&mut compiler, &config, &topology).routes_epoch, start, "a new MAC, a new weight");
    topology.neighbors.insert((ETH0, ip("198.18.0.66")), Neighbor { mac: None, pinned: false });
    assert_eq!(compile(&mut compiler, &config, &topology).routes_epoch, start, "a failed entry");
    resolve(&mut topology, ETH0, "198.18.0.9", [0xCC; 6]);
    assert_eq!(compile(&mut compiler, &config, &topology).routes_epoch, start + 1, "a client on the link");
    topology.routes.insert((ip("10.0.0.0"), 8), Exit::OnLink(ETH1));
    assert_eq!(compile(&mut compiler, &config, &topology).routes_epoch, start + 2, "a route");
}

#[test]
fn a_neighbour_that_fails_keeps_its_row_until_the_kernel_forgets_it() {
    let (mut compiler, config) = (Compiler::default(), config());
    let mut topology = topology(&config);
    resolve(&mut topology, ETH0, "198.18.0.9", [0xCC; 6]);
    let before = compile(&mut compiler, &config, &topology);
    topology.neighbors.insert((ETH0, ip("198.18.0.9")), Neighbor { mac: None, pinned: false });
    let failed = compile(&mut compiler, &config, &topology);
    let id = failed.routes.resolve(ip("198.18.0.9"));
    assert_eq!(id, before.routes.resolve(ip("198.18.0.9")));
    let Resolution::NextHop(id) = id else { panic!("no row") };
    assert!(!failed.next_hop(id).unwrap().resolved);
    topology.neighbors.clear();
    let forgotten = compile(&mut compiler, &config, &topology);
    assert_eq!(forgotten.routes.resolve(ip("198.18.0.9")), Resolution::Unknown(ETH0));
    assert!(!forgotten.next_hop(id).unwrap().resolved);
}

#[test]
fn a_static_neighbour_is_not_asked_for() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let address = ip("198.18.1.11");
    config.neighbors.push(StaticNeighbor { interface: "eth1".into(), address, mac: [7; 6] });
    let compiled =
        compiler.compile(&config, &topology(&config), &Standings::default(), &Usage::NONE).unwrap();
    assert!(compiled.wanted.iter().all(|wanted| wanted.address != address));
}

#[test]
fn a_scheduler_table_is_shared_until_members_or_weights_change() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let topology = topology(&config);
    let table = |snapshot: &Snapshot| Arc::clone(&snapshot.services[0].as_ref().unwrap().table);
    let first = table(&compile(&mut compiler, &config, &topology));
    assert!(Arc::ptr_eq(&first, &table(&compile(&mut compiler, &config, &topology))));
    config.services[0].backends[0].weight = 9;
    let second = table(&compile(&mut compiler, &config, &topology));
    assert!(!Arc::ptr_eq(&first, &second));
    config.services[0].scheduler = Scheduler::Maglev;
    let third = table(&compile(&mut compiler, &config, &topology));
    assert!(matches!(*third, SchedulerTable::Maglev(_)));
}

#[test]
fn more_services_than_rows_is_an_error_and_harms_nothing() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    let topology = topology(&config);
    let before = compile(&mut compiler, &config, &topology);
    let good = config.clone();
    for number in 0..MAX_SERVICES {
        let vip = format!("10.0.{}.{}:80", number / 256, number % 256);
        config.services.push(service("x", &vip, &[]));
    }
    let error = compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE).unwrap_err();
    assert_eq!(error, CompileError::TooManyServices);
    let after = compile(&mut compiler, &good, &topology);
    assert_eq!(after.services.iter().flatten().count(), 1);
    assert_eq!(after.epoch, before.epoch + 1);
}

#[test]
fn replay_needs_nothing_but_the_configuration() {
    let mut config = config();
    assert_eq!(compile_static(&config).unwrap_err(), CompileError::NoMac("eth0".into()));
    for (name, last, address) in [("eth0", 1, "198.18.0.2"), ("eth1", 2, "198.18.1.2")] {
        config.interfaces.push(StaticInterface {
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, last]),
            addresses: vec![(ip(address), 24)],
            mtu: None,
            vlan: vec![],
        });
    }
    config.routes.push(StaticRoute {
        prefix: (ip("0.0.0.0"), 0),
        interface: "eth0".into(),
        via: Some(ip("198.18.0.1")),
    });
    for (interface, address, last) in [("eth1", "198.18.1.11", 11), ("eth0", "198.18.0.1", 254)] {
        let mac = [2, 0, 0, 0, 1, last];
        config.neighbors.push(StaticNeighbor { interface: interface.into(), address: ip(address), mac });
    }
    config.services[0].forwarding = Forwarding::FullNat;
    let (snapshot, steering) = compile_static(&config).unwrap();
    let Resolution::NextHop(id) = snapshot.routes.resolve(ip("192.0.2.1")) else { panic!("no row") };
    assert!(snapshot.next_hop(id).unwrap().resolved);
    let backend = snapshot.backend(backend_row(&snapshot, "198.18.1.11:8080").unwrap()).unwrap();
    assert!(snapshot.next_hop(backend.next_hop).unwrap().resolved);
    assert!(snapshot.snat.contains("198.18.1.2".parse().unwrap(), 2000));
    assert!(snapshot.is_vip(ip("198.18.0.100")) && snapshot.answers_for(ip("198.18.0.100")));
    assert!(!snapshot.answers_for(ip("198.18.1.2")), "the interface owns it");
    assert_eq!(steering.locals.len(), 2);
    assert_eq!(snapshot.timeouts, Timeouts::default());
}

#[test]
fn a_bridges_next_hop_is_where_the_neighbour_is_and_still_wanted() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.switch.topology = valid::Topology::Bridge;
    let mut topology = topology(&config);
    topology.routes = [((ip("198.18.1.0"), 24), Exit::OnLink(ETH0))].into();
    let compiled = compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE).unwrap();
    assert_eq!(compiled.wanted.iter().filter(|wanted| !wanted.resolved).count(), 2);
    assert!(compiled.snapshot.bridge);
    let epoch = compiled.snapshot.routes_epoch;
    for (place, mac) in [(ETH1, [0xAA; 6]), (ETH0, [0xBB; 6])] {
        topology.learn([(place, ip("198.18.1.11"), mac)]);
        let compiled = compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE).unwrap();
        let snapshot = &compiled.snapshot;
        let Resolution::NextHop(id) = snapshot.routes.resolve(ip("198.18.1.11")) else { panic!("no row") };
        let next_hop = snapshot.next_hop(id).unwrap();
        assert_eq!((next_hop.interface, next_hop.resolved, &next_hop.macs[..6]), (place, true, &mac[..]));
        assert_eq!(snapshot.routes_epoch, epoch, "the row is the same");
        let wanted = compiled.wanted.iter().find(|wanted| wanted.address == ip("198.18.1.11")).unwrap();
        assert!(wanted.resolved);
    }
}

#[test]
fn an_ipv6_backend_behind_a_link_local_gateway_has_its_next_hop() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.services[0].vip = "[2001:db8::100]:80".parse().unwrap();
    config.services[0].backends[0].address = "[2001:db8:7::11]:80".parse().unwrap();
    config.services[0].backends[1].address = "[2001:db8:1::12]:80".parse().unwrap();
    let mut topology = topology(&config);
    topology.routes.insert((ip("::"), 0), Exit::Via(ETH0, ip("fe80::1")));
    topology.routes.insert((ip("2001:db8:1::"), 64), Exit::OnLink(ETH1));
    resolve(&mut topology, ETH0, "fe80::1", [0xAA; 6]);
    resolve(&mut topology, ETH1, "2001:db8:1::12", [0xBB; 6]);
    let snapshot = compile(&mut compiler, &config, &topology);
    for (backend, address, interface) in
        [("[2001:db8:7::11]:80", "fe80::1", ETH0), ("[2001:db8:1::12]:80", "2001:db8:1::12", ETH1)]
    {
        let backend = snapshot.backend(backend_row(&snapshot, backend).unwrap()).unwrap();
        let next_hop = snapshot.next_hop(backend.next_hop).unwrap();
        assert_eq!((next_hop.address, next_hop.interface, next_hop.resolved), (ip(address), interface, true));
    }
}

#[test]
fn tunnels_have_outer_headers_with_an_address_of_the_interface_behind_the_gateway() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.services[0].forwarding = Forwarding::Gue;
    config.services[0].backends[1].address = "192.0.2.7:80".parse().unwrap();
    let mut topology = topology(&config);
    topology.ports[0].interface.addresses = vec![(ip("198.18.0.2"), 24)];
    topology.ports[1].interface.addresses = vec![(ip("198.18.1.2"), 24)];
    let snapshot = compile(&mut compiler, &config, &topology);
    for (address, source) in [("198.18.1.11:8080", "198.18.1.2"), ("192.0.2.7:80", "198.18.0.2")] {
        let backend = snapshot.backend(backend_row(&snapshot, address).unwrap()).unwrap();
        let encapsulation = Encapsulation::Gue { port: 6080 };
        let expected = Outer::new(encapsulation, ip(source), backend.address.ip(), Family::V4);
        assert_eq!((backend.forwarding, backend.outer), (Forwarding::Gue, expected));
    }
    config.services[0].forwarding = Forwarding::Dsr;
    let snapshot = compile(&mut compiler, &config, &topology);
    let backends = || snapshot.backends.iter().flatten();
    assert!(backends().all(|backend| backend.forwarding == Forwarding::Dsr), "headers of before are kept");
}

#[test]
fn the_snapshot_knows_rules_tags_rates_and_vips_that_the_kernel_has_not() {
    let (mut compiler, mut config) = (Compiler::default(), config());
    config.services.push(service("local", "198.18.0.2:80", &[1]));
    config.snat.push(home(&["198.18.0.3", "2001:db8::3"], (2000, 3000)));
    config.switch.icmp_rate = 7;
    let mut topology = topology(&config);
    topology.locals.insert(ip("198.18.0.2"));
    topology.ports[1].interface.tags = Tags::single(100);
    resolve(&mut topology, ETH1, "198.18.1.11", [0xAA; 6]);
    let snapshot = compile(&mut compiler, &config, &topology);
    let host = |address| snapshot.hosts.get(ExactKey::new(ip(address), 0)).is_some();
    assert_eq!((host("198.18.0.100"), host("198.18.0.2"), snapshot.icmp_rate), (true, false, 7));
    let rule = &snapshot.snat_rules[0];
    assert_eq!((rule.name.as_str(), rule.inside[0]), ("home", (ip("10.0.0.0"), 24)));
    assert!(rule.pool.contains(ip("2001:db8::3"), 2000) && !rule.pool.contains(ip("198.18.0.3"), 3001));
    let Resolution::NextHop(id) = snapshot.routes.resolve(ip("198.18.1.11")) else { panic!("no row") };
    assert_eq!(snapshot.next_hop(id).unwrap().tags, Tags::single(100));
    assert_eq!(snapshot.interfaces[1].tags, Tags::single(100));
}

#[test]
fn while_some_backends_can_be_reached_the_others_are_given_nothing() {
    let (mut compiler, config) = (Compiler::default(), config());
    let mut topology = topology(&config);
    let running = Usage { adopted: 1, ..Usage::NONE };
    let mut taken = |topology: &Topology, usage: &Usage<'_>| {
        let snapshot = compiler.compile(&config, topology, &Standings::default(), usage).unwrap().snapshot;
        let SchedulerTable::RoundRobin(round) = &*snapshot.services[0].as_ref().unwrap().table else {
            panic!("wrr walks rounds")
        };
        round.turns.to_vec()
    };
    let (one, two) = (BackendId(0), BackendId(1));
    assert_eq!(taken(&topology, &running), [one, one, two, one], "nobody is known yet");
    resolve(&mut topology, ETH1, "198.18.1.12", [2; 6]);
    assert_eq!(taken(&topology, &running), [two]);
    assert_eq!(taken(&topology, &Usage::NONE), [one, one, two, one], "nobody was asked yet");
    resolve(&mut topology, ETH1, "198.18.1.11", [4; 6]);
    assert_eq!(taken(&topology, &running), [one, one, two, one]);
}
