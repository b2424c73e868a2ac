use std::time::Instant;

use super::*;
use crate::control::testing::service;
use crate::tables::{Fate, Forwarding, NextHopId};

fn backend(id: u32, weight: u32) -> Backend {
    Backend {
        id: BackendId(id),
        service: ServiceId(0),
        address: format!("10.{}.{}.{}:80", id >> 16, id >> 8 & 255, id & 255).parse().unwrap(),
        weight,
        max_connections: 0,
        down: false,
        fate: Fate::Keep,
        server: 0,
        next_hop: NextHopId::NONE,
        forwarding: Forwarding::Nat,
        outer: None,
    }
}

fn backends(weights: &[u32]) -> Vec<Backend> {
    (0..).zip(weights).map(|(id, weight)| backend(id, *weight)).collect()
}

/// The table of a service with these backends.
fn table(scheduler: Scheduler, takers: &[(&Backend, u8)]) -> Arc<SchedulerTable> {
    let service = valid::Service { scheduler, ..service("web", "198.18.0.100:80", &[]) };
    Schedulers::default().table(ServiceId(0), &service, takers)
}

fn round(scheduler: Scheduler, weights: &[u32], shares: &[u8]) -> Vec<u32> {
    let backends = backends(weights);
    let takers: Vec<_> = backends.iter().zip(shares.iter().copied()).collect();
    match &*table(scheduler, &takers) {
        SchedulerTable::RoundRobin(round) | SchedulerTable::FlowHash(round) => {
            round.turns.iter().map(|id| id.0).collect()
        }
        other => panic!("{other:?} is no round"),
    }
}

fn weights(scheduler: Scheduler, weights: &[u32], shares: &[u8]) -> Vec<u32> {
    let backends = backends(weights);
    let takers: Vec<_> = backends.iter().zip(shares.iter().copied()).collect();
    match &*table(scheduler, &takers) {
        SchedulerTable::LeastConnections(members)
        | SchedulerTable::LeastResponseTime(members)
        | SchedulerTable::TwoChoices(members) => members.members.iter().map(|(_, weight)| *weight).collect(),
        other => panic!("{other:?} has no members"),
    }
}

#[test]
fn equal_shares_change_nothing() {
    let whole = round(Scheduler::WeightedRoundRobin, &[2, 3, 5], &[100; 3]);
    assert_eq!(whole.len(), 10);
    assert_eq!(whole, round(Scheduler::WeightedRoundRobin, &[2, 3, 5], &[30; 3]));
    assert_eq!(round(Scheduler::RoundRobin, &[2, 3, 5], &[100; 3]), [0, 1, 2]);
}

#[test]
fn a_backend_that_starts_slowly_has_fewer_turns() {
    let round = round(Scheduler::WeightedRoundRobin, &[1, 1], &[100, 10]);
    assert_eq!(round.iter().filter(|id| **id == 0).count(), 10);
    assert_eq!(round.len(), 11);
}

#[test]
fn round_robin_and_least_connections_heed_shares_but_not_weights() {
    assert_eq!(round(Scheduler::RoundRobin, &[7, 1], &[50, 100]), [1, 0, 1]);
    assert_eq!(weights(Scheduler::LeastConnections, &[7, 1], &[100, 100]), [1, 1]);
    assert_eq!(weights(Scheduler::LeastConnections, &[7, 1], &[20, 100]), [1, 5]);
    assert_eq!(weights(Scheduler::WeightedLeastConnections, &[7, 1], &[20, 100]), [7, 5]);
}

#[test]
fn resource_follows_what_agents_report() {
    let round = round(Scheduler::Resource, &[1, 1], &[75, 25]);
    assert_eq!((round.len(), round.iter().filter(|id| **id == 0).count()), (4, 3));
}

#[test]
fn each_scheduler_has_its_table() {
    let backends = backends(&[1, 2]);
    let takers: Vec<_> = backends.iter().map(|backend| (backend, 100)).collect();
    let table = |scheduler| table(scheduler, &takers);
    assert!(matches!(*table(Scheduler::FlowHash), SchedulerTable::FlowHash(_)));
    assert!(matches!(*table(Scheduler::Maglev), SchedulerTable::Maglev(_)));
    assert!(matches!(*table(Scheduler::SourceHash), SchedulerTable::SourceHash(_)));
    assert!(matches!(*table(Scheduler::LeastResponseTime), SchedulerTable::LeastResponseTime(_)));
    assert!(matches!(*table(Scheduler::TwoChoices), SchedulerTable::TwoChoices(_)));
}

#[test]
fn hashes_mean_the_same_backend_whatever_the_order_of_the_list() {
    let backends = backends(&[3, 1, 2]);
    for scheduler in [Scheduler::FlowHash, Scheduler::Maglev, Scheduler::SourceHash] {
        let forward: Vec<_> = backends.iter().map(|backend| (backend, 100)).collect();
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        let turns = |takers: &[(&Backend, u8)]| -> Vec<_> {
            match &*table(scheduler, takers) {
                SchedulerTable::FlowHash(round) => round.turns.to_vec(),
                SchedulerTable::Maglev(slots) | SchedulerTable::SourceHash(slots) => slots.owners().collect(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(turns(&forward), turns(&backward));
    }
}

#[test]
fn a_table_is_built_anew_only_for_other_proportions() {
    let backends = backends(&[2, 4]);
    let mut schedulers = Schedulers::default();
    let mut table = |shares: [u8; 2]| {
        let takers: Vec<_> = backends.iter().zip(shares).collect();
        schedulers.table(ServiceId(0), &service("web", "198.18.0.100:80", &[]), &takers)
    };
    let first = table([100, 100]);
    assert!(Arc::ptr_eq(&first, &table([50, 50])));
    assert!(!Arc::ptr_eq(&first, &table([50, 100])));
}

/// Not bounded by a clock: what it takes is in docs/BALANCING.md.
#[test]
fn a_hundred_thousand_backends_in_one_service_are_no_trouble() {
    let weights: Vec<_> = (0..100_000).map(|id| id % 1000 + 1).collect();
    let backends = backends(&weights);
    for scheduler in [Scheduler::WeightedRoundRobin, Scheduler::Maglev, Scheduler::TwoChoices] {
        let takers: Vec<_> = (0u8..100).cycle().zip(&backends).map(|(n, backend)| (backend, n + 1)).collect();
        let start = Instant::now();
        assert!(!table(scheduler, &takers).is_empty());
        println!("{}: {:?}", scheduler.name(), start.elapsed());
    }
}
