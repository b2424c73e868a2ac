//! A full connection table, and who gives way in it.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::common::lab::{CLIENT, Lab, NAMES, Setup, WEB};
use crate::common::process::Background;
use crate::common::switch::{BINARY, Configuration, Switch, number};
use crate::common::traffic::{Connection, Datagrams};
use crate::common::wait::wait_until;

scenes! {
    a_full_table_refuses_new_connections_and_keeps_the_old in two_setups;
    a_flood_that_nobody_answers_keeps_no_client_out in two_nat_setups;
}

/// The smallest table that the configuration allows.
const MAX_CONNECTIONS: u32 = 1024;
/// Sources that no host has. The switch sends to them by the client, which does not go on with what they began.
pub const NOBODY: &str = "198.19.0.0/16";
/// Entries that a flood of 20,000 frames a second needs two thirds of a second to fill.
const FLOODED: u32 = 16_384;

fn a_full_table_refuses_new_connections_and_keeps_the_old(setup: Setup) {
    let lab = Lab::new(setup);
    let configuration = Configuration { max_connections: MAX_CONNECTIONS, ..Configuration::of(&lab) };
    let switch = Switch::start_with(&lab, &configuration);
    let patience = Duration::from_secs(5);
    let mut established: Vec<_> = (0..20)
        .map(|_| Connection::open(&lab.client, WEB, patience).expect("there is room at first"))
        .collect();

    let _held = fill(&lab);
    let refused = Connection::open(&lab.client, WEB, Duration::from_millis(1500));
    assert!(refused.is_err(), "a new connection found room in a full table");
    assert!(refusals(&switch) > 0, "the refusal was not counted");
    let active = active_connections(&switch);
    assert!(active <= u64::from(MAX_CONNECTIONS), "{active} entries in a table of {MAX_CONNECTIONS}");

    for connection in &mut established {
        connection.ask().expect("an established connection goes on");
    }
    switch.finish();
}

/// First frames of new connections, from random sources and for longer than the scene takes.
pub fn flood(lab: &Lab, to: SocketAddrV4, protocol: &str) -> Background {
    flood_at(lab, BINARY, (to, protocol), "20k")
}

/// The same by another generator, at another rate.
pub fn flood_at(lab: &Lab, binary: &str, (to, protocol): (SocketAddrV4, &str), rate: &str) -> Background {
    let mac = Lab::mac(&lab.switch, "eth0");
    let line = format!(
        "{binary} pktgen send --interface eth0 --to {mac} --source {NOBODY} --destination {to} --protocol {protocol} \
         --flags syn --flows 2000000 --rate {rate} --duration 120 --json"
    );
    lab.client.spawn(&line, &lab.directory().join(format!("flood-{protocol}.json")))
}

/// As many clients as come while SYNs or datagrams of new flows fill the table again and again.
fn a_flood_that_nobody_answers_keeps_no_client_out(setup: Setup) {
    const CLIENTS: usize = 200;
    let lab = Lab::new(setup);
    lab.switch.ip(&format!("route add {NOBODY} via {CLIENT}"));
    let configuration = Configuration { max_connections: FLOODED, ..Configuration::of(&lab) };
    let switch = Switch::start_with(&lab, &configuration);
    let patience = Duration::from_secs(5);
    let open = || Connection::open(&lab.client, WEB, patience);
    let mut established: Vec<_> = (0..20).map(|_| open().expect("nobody else is there")).collect();

    for (to, protocol) in [(WEB, "tcp"), (NAMES, "udp")] {
        let before = displaced(&switch);
        let flood = flood(&lab, to, protocol);
        wait_until("the flood has filled the table", Duration::from_secs(20), || displaced(&switch) > before);
        let served =
            (0..CLIENTS).filter(|_| open().and_then(|mut connection| connection.ask()).is_ok()).count();
        assert!(served * 100 >= CLIENTS * 99, "{protocol}: {served} of {CLIENTS} clients were served");
        let answered =
            (0..CLIENTS / 10).filter(|n| Datagrams::open(&lab.client, NAMES).ask(&n.to_string()).is_some());
        assert_eq!(answered.count(), CLIENTS / 10, "{protocol}: a datagram was not answered");
        for connection in &mut established {
            connection.ask().expect("an established connection goes on");
        }
        assert!(displaced(&switch) > before + CLIENTS as u64, "{protocol}: the flood went on");
        let active = active_connections(&switch);
        assert!(active <= u64::from(FLOODED), "{active} entries in a table of {FLOODED}");
        drop(flood);
    }
    switch.finish();
}

fn displaced(switch: &Switch<'_>) -> u64 {
    number(&switch.status()["connections"], "displaced")
}

/// Opens connections until there is room for none: every worker has a stock of free entries, so that one may be out of them before
/// the other.
fn fill(lab: &Lab) -> Vec<Connection> {
    let (mut held, mut refused) = (Vec::new(), 0);
    while refused < 10 {
        assert!(held.len() <= MAX_CONNECTIONS as usize, "more fit than there are entries");
        match Connection::open(&lab.client, WEB, Duration::from_millis(500)) {
            Ok(connection) => {
                held.push(connection);
                refused = 0;
            }
            Err(_) => refused += 1,
        }
    }
    held
}

fn active_connections(switch: &Switch<'_>) -> u64 {
    number(&switch.status()["connections"], "active")
}

fn refusals(switch: &Switch<'_>) -> u64 {
    switch.dropped("table_full") + switch.dropped("bucket_full")
}
