//! Replies that arrive at another worker than their requests.
//!
//! Either direction of a connection keeps to one queue, which its hash chooses. So where one connection brought frames to
//! both workers, its requests were at one and its replies at the other.

use crate::common::lab::{Lab, Setup, WEB, full_nat, full_nat_one_arm, nat};
use crate::common::switch::{Switch, number};
use crate::common::traffic;

/// Half of all connections cross; that none of so many does would be luck of 1 in 2^40.
const CONNECTIONS: usize = 40;
/// Frames of a direction at the least: handshake, data, end. Fewer may be ARP, or what is left of the one before.
const FRAMES: u64 = 3;

#[test]
fn nat_serves_connections_whose_replies_arrive_at_the_other_worker() {
    connections_cross_workers(nat(2));
}

#[test]
fn full_nat_serves_connections_whose_replies_arrive_at_the_other_worker() {
    connections_cross_workers(full_nat(2));
}

#[test]
fn full_nat_on_one_arm_serves_connections_whose_replies_arrive_at_the_other_worker() {
    connections_cross_workers(full_nat_one_arm(2));
}

fn connections_cross_workers(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let mut before = received(&switch);
    let mut crossed = 0;
    for _ in 0..CONNECTIONS {
        let answers = traffic::requests(&lab.client, WEB, 1).counts();
        assert_eq!(answers.iter().sum::<usize>(), 1, "a request was not answered");
        let after = received(&switch);
        crossed += usize::from(after.iter().zip(&before).all(|(after, before)| after - before >= FRAMES));
        before = after;
    }
    assert!(crossed > 0, "none of {CONNECTIONS} connections had its two directions at different workers");
    switch.finish();
}

/// Frames received so far, by worker.
fn received(switch: &Switch<'_>) -> Vec<u64> {
    let status = switch.status();
    let workers = status["workers"].as_array().expect("status has workers");
    workers.iter().map(|worker| number(worker, "received")).collect()
}
