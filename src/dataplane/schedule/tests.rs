//! Each scheduler with the few backends that show what it does; distributions are in `tests/balancing`.

use super::*;
use crate::tables::{Maglev, MaglevMember, RoundRobin, Weighted};

/// A table, the loads it weighs, and one worker's cursor.
struct Bench {
    table: SchedulerTable,
    loads: Loads,
    cursor: u32,
}

impl Bench {
    fn new(table: SchedulerTable) -> Self {
        Self { table, loads: Loads::new(1, 8), cursor: 0 }
    }

    fn pick(&mut self, flow_hash: u64) -> Option<u32> {
        self.pick_for(flow_hash, 0)
    }

    fn pick_for(&mut self, flow_hash: u64, source_hash: u64) -> Option<u32> {
        let Self { table, loads, cursor } = self;
        table.pick(Candidate { flow_hash, source_hash, cursor, loads }).map(|id| id.0)
    }

    fn open(&self, id: u32, connections: u32) {
        (0..connections).for_each(|_| self.loads.opened(0, BackendId(id)));
    }
}

fn weighted(weights: &[u32]) -> Weighted {
    Weighted::of(&members(weights))
}

fn members(weights: &[u32]) -> Vec<(BackendId, u32)> {
    (0..).map(BackendId).zip(weights.iter().copied()).collect()
}

fn maglev(count: u32) -> Maglev {
    let member = |id| MaglevMember { id: BackendId(id), identity: format!("10.0.0.{id}:80"), weight: 1 };
    Maglev::build(251, (0..count).map(member).collect())
}

#[test]
fn a_round_is_walked_and_started_over() {
    let mut bench = Bench::new(SchedulerTable::RoundRobin(RoundRobin::weighted(&members(&[2, 3, 5]))));
    let mut counts = [0; 3];
    for _ in 0..100 {
        counts[bench.pick(0).unwrap() as usize] += 1;
    }
    assert_eq!(counts, [20, 30, 50]);
}

#[test]
fn a_cursor_left_by_a_longer_round_is_no_trap() {
    let tables = [
        SchedulerTable::RoundRobin(RoundRobin::equal(&[(BackendId(0), 1)])),
        SchedulerTable::LeastConnections(weighted(&[1])),
        SchedulerTable::LeastResponseTime(weighted(&[1])),
        SchedulerTable::TwoChoices(weighted(&[1])),
    ];
    for table in tables {
        for cursor in [1, 99, u32::MAX] {
            let mut bench = Bench { cursor, ..Bench::new(table.clone()) };
            assert_eq!([bench.pick(7), bench.pick(7)], [Some(0), Some(0)], "{table:?}");
        }
    }
}

#[test]
fn where_nobody_may_take_a_connection_nobody_is_picked() {
    let tables = [
        SchedulerTable::RoundRobin(RoundRobin::default()),
        SchedulerTable::FlowHash(RoundRobin::default()),
        SchedulerTable::Maglev(Maglev::default()),
        SchedulerTable::SourceHash(Maglev::default()),
        SchedulerTable::LeastConnections(Weighted::default()),
        SchedulerTable::LeastResponseTime(weighted(&[0, 0])),
        SchedulerTable::TwoChoices(weighted(&[0])),
    ];
    for table in tables {
        assert!(table.is_empty());
        assert_eq!(Bench { cursor: 3, ..Bench::new(table) }.pick(u64::MAX), None);
    }
}

#[test]
fn the_hash_of_the_flow_alone_decides_or_that_of_the_client() {
    let round = RoundRobin::weighted(&members(&[1, 1, 1]));
    for table in [SchedulerTable::FlowHash(round), SchedulerTable::Maglev(maglev(5))] {
        let mut bench = Bench::new(table);
        assert_eq!(bench.pick_for(1 << 63, 1), bench.pick_for(1 << 63, 2));
        assert_ne!(bench.pick_for(0, 7), bench.pick_for(u64::MAX, 7));
    }
    let mut by_client = Bench::new(SchedulerTable::SourceHash(maglev(5)));
    assert_eq!(by_client.pick_for(1, 1 << 63), by_client.pick_for(2, 1 << 63));
    assert_ne!(by_client.pick_for(7, 0), by_client.pick_for(7, u64::MAX));
}

#[test]
fn the_fewest_connections_for_its_weight_win() {
    let mut bench = Bench::new(SchedulerTable::LeastConnections(weighted(&[1, 2, 4])));
    bench.open(0, 1);
    bench.open(1, 2);
    bench.open(2, 4);
    // With one more: 2/1, 3/2, 5/4.
    assert_eq!(bench.pick(0), Some(2));
    bench.open(2, 2);
    // 2/1, 3/2, 7/4.
    assert_eq!(bench.pick(0), Some(1));
}

#[test]
fn weights_count_from_the_first_connection_on() {
    let mut bench = Bench::new(SchedulerTable::LeastConnections(weighted(&[1, 3])));
    let mut picked = vec![];
    for _ in 0..8 {
        let id = bench.pick(0).unwrap();
        bench.open(id, 1);
        picked.push(id);
    }
    assert_eq!(picked.iter().filter(|id| **id == 1).count(), 6, "{picked:?}");
    assert_eq!(picked[..2], [1, 1], "the heavier first: 1/3 and 2/3 are less than 1/1");
}

#[test]
fn equals_take_turns() {
    for table in [
        SchedulerTable::LeastConnections(weighted(&[1, 1, 1])),
        SchedulerTable::LeastResponseTime(weighted(&[5, 5, 5])),
    ] {
        let mut bench = Bench::new(table);
        let picked: Vec<_> = (0..6).filter_map(|_| bench.pick(0)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
    }
}

#[test]
fn the_faster_backend_may_have_more_connections() {
    let mut bench = Bench::new(SchedulerTable::LeastResponseTime(weighted(&[1, 1])));
    bench.loads.probed(BackendId(0), 1000);
    bench.loads.probed(BackendId(1), 100);
    bench.open(1, 8);
    assert_eq!(bench.pick(0), Some(1), "9 × 100 µs is less than 1 × 1,000 µs");
    bench.open(1, 2);
    assert_eq!(bench.pick(0), Some(0), "11 × 100 µs is more");
}

#[test]
fn a_backend_whose_speed_is_unknown_gets_its_chance_and_no_more() {
    let mut bench = Bench::new(SchedulerTable::LeastResponseTime(weighted(&[1, 1, 1])));
    bench.loads.probed(BackendId(0), 1000);
    bench.loads.probed(BackendId(1), 100);
    bench.open(1, 2);
    assert_eq!(bench.pick(0), Some(2));
    bench.open(2, 3);
    assert_eq!(bench.pick(0), Some(1), "one that never answers has no more open than the fastest");
}

#[test]
fn of_two_proposed_the_less_loaded_is_taken() {
    let mut bench = Bench::new(SchedulerTable::TwoChoices(weighted(&[1, 1])));
    bench.open(0, 1);
    assert!((0..100).all(|flow| bench.pick(flow) == Some(1)), "two of two are always both proposed");
    bench.open(1, 5);
    assert!((0..100).all(|flow| bench.pick(flow) == Some(0)));
}

#[test]
fn chance_repeats_itself_for_the_same_flows_in_the_same_order() {
    let picks = || -> Vec<_> {
        let mut bench = Bench::new(SchedulerTable::TwoChoices(weighted(&[3; 8])));
        (0..64)
            .map(|client| bench.pick(crate::tables::hash::source_hash([10, 0, 0, client].into())))
            .collect()
    };
    assert_eq!(picks(), picks());
    assert!((0..8).all(|id| picks().contains(&Some(id))));
}

#[test]
fn the_greatest_numbers_overflow_nothing() {
    let mut bench = Bench::new(SchedulerTable::LeastResponseTime(weighted(&[u32::MAX, u32::MAX])));
    bench.loads.probed(BackendId(0), u32::MAX);
    bench.loads.answered(BackendId(0), u32::MAX);
    bench.loads.probed(BackendId(1), u32::MAX - 1);
    assert_eq!(bench.pick(0), Some(1));
    let mut bench = Bench::new(SchedulerTable::TwoChoices(weighted(&[u32::MAX; 8])));
    assert!(bench.pick(u64::MAX).is_some());
}
