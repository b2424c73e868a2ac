//! `rr`, `wrr`, `resource`: shares are exact, for each worker by itself.

use xswitch::config::valid::Scheduler;

use super::model::{CONNECTIONS, Client, Server, Switch, alike, run};
use super::record::{is_near, record};

/// Connections of each server when `worker` alone places `connections`.
fn placed_by(switch: &mut Switch, worker: usize, connections: u32, servers: usize) -> Vec<u32> {
    let mut taken = vec![0; servers];
    for connection in 0..connections {
        taken[switch.pick(worker, Client::random(connection, 500)).index()] += 1;
    }
    taken
}

#[test]
fn rr_gives_everybody_the_same_whatever_the_weights() {
    let servers = [Server::new(1, 1), Server::new(2, 7), Server::new(3, 2), Server::new(4, 1)];
    let mut switch = Switch::new(Scheduler::RoundRobin, &servers);
    for worker in 0..4 {
        assert_eq!(placed_by(&mut switch, worker, CONNECTIONS, 4), [2500; 4]);
    }
    let outcome = run(Scheduler::RoundRobin, &servers);
    let labels = ["weight 1", "weight 7", "weight 2", "weight 1"];
    record("rr", "four backends, whose weights do not matter", &outcome.bars(&labels, &[1.0; 4]));
    assert!((0..4).all(|server| is_near(outcome.share(server), 0.25, 0.001)), "{:?}", outcome.taken);
}

#[test]
fn wrr_of_weights_2_3_5_is_20_30_50_percent_exactly_at_each_worker() {
    let servers = [Server::new(1, 2), Server::new(2, 3), Server::new(3, 5)];
    let mut switch = Switch::new(Scheduler::WeightedRoundRobin, &servers);
    for worker in 0..4 {
        assert_eq!(placed_by(&mut switch, worker, 100, 3), [20, 30, 50]);
        assert_eq!(placed_by(&mut switch, worker, CONNECTIONS, 3), [2000, 3000, 5000]);
    }
    let outcome = run(Scheduler::WeightedRoundRobin, &servers);
    let labels = ["weight 2", "weight 3", "weight 5"];
    record("wrr", "three backends of weights 2, 3 and 5", &outcome.bars(&labels, &[2.0, 3.0, 5.0]));
    // Each of the four workers is at most one round of ten away from the exact share.
    for (taken, exact) in outcome.taken.iter().zip([2000u32, 3000, 5000]) {
        assert!(taken.abs_diff(exact) <= 4 * 5, "{:?}", outcome.taken);
    }
}

#[test]
fn resource_follows_the_capacity_that_agents_report() {
    let servers = [Server { share: 75, ..Server::new(1, 1) }, Server { share: 25, ..Server::new(2, 1) }];
    let mut switch = Switch::new(Scheduler::Resource, &servers);
    assert_eq!(placed_by(&mut switch, 0, CONNECTIONS, 2), [7500, 2500]);
    let outcome = run(Scheduler::Resource, &servers);
    let labels = ["agent: 75%", "agent: 25%"];
    record("resource", "two backends whose agents report 75% and 25%", &outcome.bars(&labels, &[3.0, 1.0]));
    assert!(is_near(outcome.share(0), 0.75, 0.01));
}

#[test]
fn a_backend_that_starts_slowly_gets_that_part_from_every_scheduler_that_heeds_weights() {
    let mut servers = alike(4);
    servers[3].share = 10;
    for scheduler in [
        Scheduler::RoundRobin,
        Scheduler::WeightedRoundRobin,
        Scheduler::FlowHash,
        Scheduler::Maglev,
        Scheduler::LeastConnections,
        Scheduler::WeightedLeastConnections,
        Scheduler::LeastResponseTime,
        Scheduler::TwoChoices,
    ] {
        let share = run(scheduler, &servers).share(3);
        // A tenth of what the others get, 1/31: a quarter of it is what few connections at a time leave to chance.
        assert!(is_near(share, 1.0 / 31.0, 0.25), "{}: {share}", scheduler.name());
    }
    assert!(all_alike(Scheduler::WeightedRoundRobin));
}

fn all_alike(scheduler: Scheduler) -> bool {
    let outcome = run(scheduler, &alike(5));
    (0..5).all(|server| is_near(outcome.share(server), 0.2, 0.005))
}
