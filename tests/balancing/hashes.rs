//! `hash`, `sh`, `maglev`: the same client or flow leads to the same backend, at every worker and on every switch.

use std::collections::HashSet;

use xswitch::config::valid::Scheduler;
use xswitch::tables::{BackendId, SchedulerTable};

use super::model::{CONNECTIONS, Client, Server, Switch, alike, run};
use super::record::{Bar, is_near, record};

const HASHES: [Scheduler; 3] = [Scheduler::FlowHash, Scheduler::SourceHash, Scheduler::Maglev];

/// Where each of many clients is sent, by the number of the backend.
fn places(switch: &mut Switch) -> Vec<u8> {
    let place = |connection: u32| {
        let id = switch.pick(connection as usize % 4, Client::random(connection, 1 << 20));
        switch.number(id)
    };
    (0..CONNECTIONS).map(place).collect()
}

#[test]
fn two_switches_agree_whatever_the_order_of_their_configurations() {
    let servers: Vec<_> = (1..=30).map(|number| Server::new(number, u32::from(number % 4) + 1)).collect();
    let reversed: Vec<_> = servers.iter().rev().copied().collect();
    for scheduler in HASHES {
        let (mut one, mut other) = (Switch::new(scheduler, &servers), Switch::new(scheduler, &reversed));
        // The other is in the middle of its day.
        other.cursors = vec![77, 5, 0, 1 << 20];
        (0..9).for_each(|_| other.loads.opened(1, BackendId(2)));
        assert_eq!(places(&mut one), places(&mut other), "{}", scheduler.name());
    }
}

#[test]
fn hash_spreads_flows_by_weight() {
    let outcome = run(Scheduler::FlowHash, &[Server::new(1, 2), Server::new(2, 3), Server::new(3, 5)]);
    let labels = ["weight 2", "weight 3", "weight 5"];
    record("hash", "three backends of weights 2, 3 and 5", &outcome.bars(&labels, &[2.0, 3.0, 5.0]));
    // A fair draw of 10,000 has a standard deviation of 0.4 to 0.5 percent of all.
    for (server, expected) in [0.2, 0.3, 0.5].into_iter().enumerate() {
        assert!((outcome.share(server) - expected).abs() < 0.02, "{:?}", outcome.taken);
    }
}

#[test]
fn a_client_stays_with_its_backend_under_sh() {
    let mut switch = Switch::new(Scheduler::SourceHash, &alike(10));
    for host in 0..500 {
        let client = |port| Client(std::net::Ipv4Addr::from(0x0A00_0000 + host), port);
        let places: HashSet<_> =
            (0..20u16).map(|n| switch.pick(usize::from(n % 4), client(1024 + 97 * n))).collect();
        assert_eq!(places.len(), 1);
    }
    let outcome = run(Scheduler::SourceHash, &alike(5));
    record(
        "sh",
        "five backends, 2,000 clients with neighbouring addresses",
        &outcome.bars(&["equal"; 5], &[1.0; 5]),
    );
    assert!((0..5).all(|server| is_near(outcome.share(server), 0.2, 0.2)), "{:?}", outcome.taken);
}

#[test]
fn when_a_backend_leaves_hardly_anybody_else_moves() {
    for scheduler in [Scheduler::SourceHash, Scheduler::Maglev] {
        for count in [10, 100] {
            let servers = alike(count);
            let before = places(&mut Switch::new(scheduler, &servers));
            let rest: Vec<_> = servers.into_iter().filter(|server| server.number != 4).collect();
            let after = places(&mut Switch::new(scheduler, &rest));
            let others = before.iter().zip(&after).filter(|(before, _)| **before != 4);
            let moved = others.filter(|(before, after)| before != after).count();
            let part = moved as f64 / f64::from(CONNECTIONS);
            println!("{} of {count}: {:.2} % moved without need", scheduler.name(), part * 100.0);
            assert!(part <= 0.01, "{} of {count}: {moved}", scheduler.name());
        }
    }
}

#[test]
fn a_hundred_backends_of_maglev_are_within_one_percent_of_equal() {
    let switch = Switch::new(Scheduler::Maglev, &alike(100));
    let service = switch.snapshot.services[0].as_ref().unwrap();
    let SchedulerTable::Maglev(table) = &*service.table else { panic!("no Maglev table") };
    let mut slots = vec![0u32; 100];
    table.owners().for_each(|owner| slots[owner.index()] += 1);
    let all = f64::from(slots.iter().sum::<u32>());
    let bar = |slots: &u32| Bar {
        label: String::new(),
        expected: 0.01,
        measured: f64::from(*slots) / all,
        most_open: None,
    };
    let bars: Vec<_> = slots.iter().map(bar).collect();
    record("maglev", "slots of 100 backends in a table of 65,537", &bars);
    assert!(bars.iter().all(|bar| is_near(bar.measured, 0.01, 0.01)), "{slots:?}");
}
