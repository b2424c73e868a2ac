//! Who gets a connection, through the real thing: schedulers and affinity.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::common::actors::{Actor, Manner};
use crate::common::lab::setup::Family;
use crate::common::lab::{Lab, Setup, nat};
use crate::common::load::{Load, Plan, ask_from};
use crate::common::services::{self, Service, at, at_of};
use crate::common::switch::Switch;

scenes! {
    clients_return_to_their_server_by_either_port in two_setups;
    hashed_clients_stay_where_they_are in by_hash;
}

macro_rules! by_hash {
    ($scene:ident) => {
        mod $scene {
            #[test]
            fn source_hash() {
                super::$scene("sh");
            }
            #[test]
            fn source_hash_by_its_ipvs_name() {
                super::$scene("source-hash");
            }
        }
    };
}
use by_hash;

/// Ports of two services that belong together, like HTTP and HTTPS.
const PORTS: [u16; 2] = [31090, 31091];
const LIMIT: Duration = Duration::from_secs(15);

fn actors(lab: &Lab) -> Vec<Actor> {
    let start = |backend: &crate::common::lab::Backend| {
        PORTS.map(|port| Actor::start(&backend.host, &backend.name, port))
    };
    lab.backends.iter().flat_map(start).collect()
}

fn service(lab: &Lab, port: u16, lines: &str) -> Service {
    let service = Service::new(lab, &format!("web-{port}"), port).lines(lines);
    (1..=3).fold(service, |service, number| service.with(at(lab, number, port)))
}

/// More addresses for the client, so that it is many.
fn many_clients(lab: &Lab) -> Vec<IpAddr> {
    let addresses = (200..224).map(|host| Ipv4Addr::new(198, 18, 0, host));
    addresses
        .map(|address| {
            lab.client.ip(&format!("address add {address}/24 dev eth0"));
            address.into()
        })
        .collect()
}

/// Where each client is served.
fn servers(lab: &Lab, clients: &[IpAddr], vip: SocketAddr) -> Vec<String> {
    let ask = |&client: &IpAddr| {
        ask_from(&lab.client, client, vip).unwrap_or_else(|| panic!("{client} is not served by {vip}"))
    };
    clients.iter().map(ask).collect()
}

fn clients_return_to_their_server_by_either_port(setup: Setup) {
    let lab = Lab::new(setup);
    let _actors = actors(&lab);
    let clients = many_clients(&lab);
    let affinity = "[service.affinity]\ntimeout_s = 300\ngroup = \"shop\"";
    let mut both = PORTS.map(|port| service(&lab, port, "scheduler = \"wrr\"").tables(affinity));
    let switch = Switch::start_text(&lab, &services::text(&lab, &both));
    let [first, second] = [both[0].vip, both[1].vip];

    let home = servers(&lab, &clients, first);
    assert_eq!(home.iter().collect::<BTreeSet<_>>().len(), 3, "new clients are spread: {home:?}");
    assert_eq!(servers(&lab, &clients, second), home, "the other port leads elsewhere");
    assert_eq!(servers(&lab, &clients, first), home, "a client did not return");

    // Weights change, in one way and in the other.
    switch.order(&format!("backend weight web-{} {} 50", PORTS[0], at(&lab, 1, PORTS[0])));
    switch.settle();
    assert_eq!(servers(&lab, &clients, first), home, "after a change of weight");
    for backend in both.iter_mut().flat_map(|service| &mut service.backends) {
        backend.weight += 3;
    }
    both[0].backends.reverse();
    switch.reload(&services::text(&lab, &both));
    switch.settle();
    assert_eq!(servers(&lab, &clients, second), home, "after a reload");
    assert_eq!(servers(&lab, &clients, first), home, "after a reload");

    // One is drained: its clients go elsewhere, and the others stay.
    for port in PORTS {
        switch.order(&format!("backend drain web-{port} {}", at(&lab, 1, port)));
    }
    switch.settle();
    let moved = servers(&lab, &clients, first);
    for (before, after) in home.iter().zip(&moved) {
        assert!(after != "b1" && (before == after || before == "b1"), "{before} → {after}");
    }
    assert_eq!(servers(&lab, &clients, second), moved, "who moved, moved at both ports");
    switch.finish();
}

#[test]
fn addresses_of_one_ipv6_network_are_one_client_unless_told_otherwise() {
    let lab = Lab::new(nat(2).with_ipv6());
    let actors: Vec<_> = lab
        .backends
        .iter()
        .flat_map(|backend| PORTS.map(|port| Actor::start_ipv6(&backend.host, &backend.name, port)))
        .collect();
    // As one machine has them that changes its address every day.
    let clients: Vec<IpAddr> =
        (0..12).map(|number| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xa, 0, 0, 0x100 + number).into()).collect();
    for client in &clients {
        lab.client.ip(&format!("address add {client}/64 dev eth0 nodad"));
    }
    let service = |port, affinity: &str| {
        let tables = format!(
            "[service.affinity]\n{affinity}\n[service.health]\ncheck = \"http\"\ninterval_ms = 500\ntimeout_ms = 400"
        );
        (1..=3).fold(Service::ipv6(&lab, &format!("web-{port}"), port).tables(&tables), |service, number| {
            service.with(at_of(&lab, Family::V6, number, port))
        })
    };
    let [by_network, by_address] = [service(PORTS[0], ""), service(PORTS[1], "prefix_ipv6 = 128")];
    let switch = Switch::start_text(&lab, &services::text(&lab, [&by_network, &by_address]));
    let distinct = |vip| servers(&lab, &clients, vip).into_iter().collect::<BTreeSet<_>>();
    let home = distinct(by_network.vip);
    assert_eq!(home.len(), 1, "one client, one server");
    assert_eq!(distinct(by_address.vip).len(), 3, "twelve clients");

    // Its server goes down, and all of it moves to another.
    let number = (1..=3).find(|number| home.contains(&format!("b{number}"))).expect("a backend answered");
    actors[usize::from(number - 1) * 2].behave(Manner::Refuse);
    switch.wait_for_state(&by_network.name, at_of(&lab, Family::V6, number, PORTS[0]), "down", LIMIT);
    let moved = distinct(by_network.vip);
    assert!(moved.len() == 1 && moved != home, "{home:?} → {moved:?}");
    switch.finish();
}

fn hashed_clients_stay_where_they_are(scheduler: &str) {
    let lab = Lab::new(nat(2));
    let _actors = actors(&lab);
    let clients = many_clients(&lab);
    let mut service = service(&lab, PORTS[0], &format!("scheduler = \"{scheduler}\""));
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let home = servers(&lab, &clients, service.vip);
    for _ in 0..3 {
        assert_eq!(servers(&lab, &clients, service.vip), home, "a client moved");
    }
    // One leaves: only its clients move, but for a few.
    service.backends.pop();
    switch.reload(&services::text(&lab, [&service]));
    switch.settle();
    let after = servers(&lab, &clients, service.vip);
    let moved = home.iter().zip(&after).filter(|(before, after)| before != after && *before != "b3").count();
    assert!(moved <= 3, "{moved} of 24 clients moved without need: {home:?} → {after:?}");
    assert!(!after.iter().any(|name| name == "b3"), "{after:?}");
    switch.finish();
}

#[test]
fn the_slow_one_gets_less_by_least_connections() {
    let lab = Lab::new(nat(2));
    let actors = actors(&lab);
    let service = service(&lab, PORTS[0], "scheduler = \"lc\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.warm_up(service.vip);
    // Two actors per host: the first of b1 is ten times as slow as the others.
    actors.iter().for_each(|actor| actor.behave(Manner::Late(Duration::from_millis(50))));
    actors[0].behave(Manner::Late(Duration::from_millis(500)));
    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(Duration::from_secs(6));
    let report = load.stop();
    report.assert_nothing_failed();
    let answers = report.answers_since(Duration::from_secs(1));
    eprintln!("{answers:?}");
    // Held ten times as long, a connection counts ten times: 1/21 of all, or 5 %. A third would be its share by turns.
    let all: usize = answers.values().sum();
    assert!(answers["b1"] * 100 <= all * 12, "{answers:?}");
    assert!(answers["b2"].abs_diff(answers["b3"]) * 5 <= all, "{answers:?}");
    switch.wait_for_state(&service.name, at(&lab, 1, PORTS[0]), "up", LIMIT);
    switch.finish();
}

#[test]
fn the_slow_one_gets_less_by_two_choices() {
    let lab = Lab::new(nat(2));
    let actors = actors(&lab);
    let service = service(&lab, PORTS[0], "scheduler = \"p2c\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.warm_up(service.vip);
    actors.iter().for_each(|actor| actor.behave(Manner::Late(Duration::from_millis(50))));
    actors[0].behave(Manner::Late(Duration::from_millis(500)));
    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(Duration::from_secs(4));
    let report = load.stop();
    report.assert_nothing_failed();
    let answers = report.answers_since(Duration::from_secs(1));
    eprintln!("{answers:?}");
    let all: usize = answers.values().sum();
    assert!(answers["b1"] * 100 <= all * 20, "{answers:?}");
    switch.finish();
}
