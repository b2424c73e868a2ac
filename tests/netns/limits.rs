//! A full connection table.

use std::time::Duration;

use crate::common::lab::{Lab, NAMES, Setup, WEB};
use crate::common::switch::{Configuration, Switch, number};
use crate::common::traffic::{Connection, Datagrams};

scenes! {
    a_full_table_refuses_new_connections_and_keeps_the_old in two_setups;
}

/// The smallest table that the configuration allows.
const MAX_CONNECTIONS: u32 = 1024;

fn a_full_table_refuses_new_connections_and_keeps_the_old(setup: Setup) {
    let lab = Lab::new(setup);
    let configuration = Configuration { max_connections: MAX_CONNECTIONS, ..Configuration::of(&lab) };
    let switch = Switch::start_with(&lab, &configuration);
    let patience = Duration::from_secs(5);
    let mut established: Vec<_> = (0..20)
        .map(|_| Connection::open(&lab.client, WEB, patience).expect("there is room at first"))
        .collect();

    fill(&lab, &switch);
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

/// Opens UDP flows, whose entries stay for minutes, until there is room for none: every worker has a stock of free
/// entries, so that one may be out of them before the other.
fn fill(lab: &Lab, switch: &Switch<'_>) {
    let (mut active, mut bursts_without_room) = (0, 0);
    for burst in 0..40 {
        for number in 0..100 {
            Datagrams::open(&lab.client, NAMES).send(&format!("{burst}.{number}"));
        }
        let now = active_connections(switch);
        bursts_without_room = if now == active { bursts_without_room + 1 } else { 0 };
        active = now;
        if bursts_without_room == 2 {
            return;
        }
    }
    panic!("4000 flows fitted into a table of {MAX_CONNECTIONS}");
}

fn active_connections(switch: &Switch<'_>) -> u64 {
    number(&switch.status()["connections"], "active")
}

fn refusals(switch: &Switch<'_>) -> u64 {
    switch.dropped("table_full") + switch.dropped("bucket_full")
}
