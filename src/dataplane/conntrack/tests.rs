//! The table against a plain model, over its life: filling, ageing, starting over, being full, being shared.

use std::collections::HashMap;

use super::*;
use crate::tables::{BackendId, Coarse, NextHopId};
use crate::wire::tcp::Flags;

mod datagrams;

const SECOND: u64 = 1000;

fn connection(client_port: u16, state: State) -> Connection {
    let request = FlowKey {
        addresses: 0xC612_0001_C612_0064,
        ports: u32::from(client_port) << 16 | 80,
        protocol: if state == State::Udp { 17 } else { 6 },
    };
    let reply = FlowKey {
        addresses: 0x0A00_0001_C612_0001,
        ports: 8080 << 16 | u32::from(client_port),
        protocol: request.protocol,
    };
    Connection {
        kind: Kind::Nat,
        request,
        reply,
        marks: Marks::NONE,
        backend: BackendId(3),
        client_next_hop: NextHopId(5),
        routes_epoch: 1,
        state,
        sequence: if state == State::Udp { 0 } else { 1000 },
    }
}

fn numbered(sequence: u32) -> Segment {
    Segment { sequence, acknowledgment: 0 }
}

struct Bench {
    flows: Flows,
    counters: Arc<WorkerCounters>,
    timeouts: Timeouts,
}

impl Bench {
    fn new(max: u32) -> Self {
        let table = Arc::new(FlowTables::new(max, max, 8, 1, Secret::from_seed(1)));
        Self {
            flows: Flows::join(table, 1, Tick(0)),
            counters: WorkerCounters::with_capacity(4, 8),
            timeouts: Timeouts::default(),
        }
    }

    fn create(&mut self, connection: &Connection, now: u64) -> Result<Hit, Refused> {
        self.flows.create(connection, Tick(now), &self.timeouts, &self.counters)
    }

    fn find(&self, key: FlowKey) -> Option<Hit> {
        self.flows.look_up(key)
    }

    /// Lets time pass in steps of a second.
    fn pass(&mut self, from: u64, to: u64) {
        for second in from..=to {
            while self.flows.expire(Tick(second * SECOND), &self.timeouts, &self.counters, 1000) == 1000 {}
        }
    }
}

#[test]
fn both_directions_lead_to_the_same_entry_and_each_to_the_other_side() {
    let mut bench = Bench::new(64);
    let made = connection(40_000, State::SynReceived);
    bench.create(&made, 0).unwrap();
    let request = bench.find(made.request).unwrap();
    let reply = bench.find(made.reply).unwrap();
    assert_eq!(request.entry, reply.entry);
    assert_eq!((request.direction, reply.direction), (Direction::Request, Direction::Reply));
    assert_eq!(request.addresses, made.reply.reversed().addresses);
    assert_eq!(request.ports, made.reply.reversed().ports);
    assert_eq!(reply.addresses, made.request.reversed().addresses);
    assert_eq!(reply.ports, made.request.reversed().ports);
    assert_eq!(request.address_delta.reversed(), reply.address_delta);
    assert!(bench.find(made.request.reversed()).is_none());
}

#[test]
fn each_state_is_forgotten_after_its_own_time_and_not_before() {
    for (state, seconds) in [
        (State::Udp, 300),
        (State::SynReceived, 240),
        (State::Established, 7440),
        (State::ClientClosed, 240),
        (State::Closed, 240),
        (State::Reset, 240),
    ] {
        let mut bench = Bench::new(64);
        let made = connection(1, state);
        bench.create(&made, 0).unwrap();
        bench.pass(0, seconds - 1);
        assert!(bench.find(made.request).is_some(), "{state:?} went too early");
        bench.pass(seconds, seconds + 32);
        assert!(bench.find(made.request).is_none(), "{state:?} stayed too long");
        assert!(bench.find(made.reply).is_none());
        assert_eq!(bench.counters.connections_active.get(), 0);
        assert_eq!(bench.counters.backends[3].connections_closed.get(), 1);
        assert_eq!(bench.flows.v4.table().references(), 0);
    }
}

#[test]
fn a_connection_that_is_seen_stays() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::Udp);
    bench.create(&made, 0).unwrap();
    for minute in 1..100 {
        bench.pass(minute * 60 - 59, minute * 60);
        let hit = bench.find(made.request).expect("seen a minute ago");
        bench.flows.v4.table().entry(hit.entry).touch(&hit, 0, Tick(minute * 60 * SECOND).coarse());
    }
}

#[test]
fn a_timer_that_became_shorter_counts_within_the_horizon() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::Established);
    let hit = bench.create(&made, 0).unwrap();
    bench.flows.v4.table().entry(hit.entry).transition(&hit, |_| State::Closed, numbered(0));
    bench.pass(0, 240 + 32);
    assert!(bench.find(made.request).is_none());
}

#[test]
fn only_a_plausible_end_is_believed() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::SynReceived);
    bench.create(&made, 0).unwrap();
    let plausible_with = |bench: &Bench, key, flags, sequence, acknowledgment| {
        let hit = bench.find(key).unwrap();
        bench.flows.v4.table().entry(hit.entry).plausible(&hit, flags, Segment { sequence, acknowledgment })
    };
    let plausible = |bench: &Bench, key, sequence, acknowledgment| {
        plausible_with(bench, key, Flags::RST.with(Flags::ACK), sequence, acknowledgment)
    };
    assert!(plausible(&bench, made.reply, 0, 1001), "refused: the RST acknowledges the SYN");
    assert!(!plausible_with(&bench, made.reply, Flags::RST, 0, 1001), "nothing is acknowledged");
    assert!(!plausible(&bench, made.reply, 0, 5000));
    assert!(!plausible(&bench, made.reply, 1000, 0));
    let hit = bench.find(made.reply).unwrap();
    bench.flows.v4.table().entry(hit.entry).transition(&hit, |_| State::Established, numbered(u32::MAX - 10));
    assert!(plausible(&bench, made.request, 1000, 0));
    assert!(plausible(&bench, made.request, 1000 + (1 << 20), 0));
    assert!(!plausible(&bench, made.request, 1000 + (1 << 30), 0));
    assert!(!plausible(&bench, made.request, 1000u32.wrapping_sub(1 << 20), 0));
    assert!(plausible(&bench, made.reply, 100, 0), "numbers wrap");
}

#[test]
fn a_full_table_refuses_the_new_and_keeps_the_established() {
    let mut bench = Bench::new(64);
    for port in 0..64 {
        bench.create(&connection(port, State::Established), 0).unwrap();
    }
    assert_eq!(bench.create(&connection(64, State::SynReceived), 0).unwrap_err(), Refused::TableFull);
    for port in 0..64 {
        assert!(bench.find(connection(port, State::Established).request).is_some());
    }
    assert_eq!(bench.counters.connections_active.get(), 64);
}

#[test]
fn a_lost_connection_gives_way_to_its_successor_and_to_nothing_else() {
    let mut bench = Bench::new(64);
    for port in 0..63 {
        bench.create(&connection(port, State::Established), 0).unwrap();
    }
    let lost = connection(0, State::Established);
    // To another backend, and one that another client's connection to that backend stands in the way of.
    let mut successor = Connection { backend: BackendId(4), ..lost };
    successor.reply.addresses = 0x0A00_0002_C612_0001;
    let blocked = Connection { reply: connection(1, State::Established).reply, ..successor };
    let replace = |bench: &mut Bench, by: &Connection| {
        let hit = bench.find(lost.request);
        bench.flows.replace(
            (by, Secret::from_seed(1).hash(by.request)),
            hit.as_ref(),
            Tick(0),
            &bench.timeouts,
            &bench.counters,
        )
    };
    assert_eq!(replace(&mut bench, &blocked).unwrap_err(), Refused::Conflict);
    assert_eq!(bench.find(lost.request).map(|hit| hit.backend), Some(BackendId(3)));
    let last = connection(64, State::Established);
    bench.create(&last, 0).unwrap();
    assert_eq!(replace(&mut bench, &successor).unwrap_err(), Refused::TableFull);
    assert_eq!(bench.find(lost.request).map(|hit| hit.backend), Some(BackendId(3)));
    let hit = bench.find(last.request).unwrap();
    bench.flows.v4.table().entry(hit.entry).transition(&hit, |_| State::Reset, numbered(0));
    let taken_over = (0..4).any(|_| replace(&mut bench, &successor).is_ok());
    assert!(taken_over, "one of 64 is over, and each try examines 32");
    assert_eq!(bench.find(lost.request).map(|hit| hit.backend), Some(BackendId(4)));
    assert!(bench.find(lost.reply).is_none() && bench.find(successor.reply).is_some());
}

#[test]
fn a_full_table_takes_back_what_is_over() {
    let mut bench = Bench::new(64);
    for port in 0..63 {
        bench.create(&connection(port, State::Established), 0).unwrap();
    }
    bench.create(&connection(63, State::Closed), 0).unwrap();
    let reached = (0..4).any(|_| bench.create(&connection(64, State::SynReceived), 0).is_ok());
    assert!(reached, "one of 64 is over, and each try examines 32");
    assert!(bench.find(connection(63, State::Closed).request).is_none());
    assert_eq!(bench.counters.connections_reclaimed.get(), 1);
    assert_eq!(bench.counters.connections_active.get(), 64);
    bench.pass(0, 7440 + 32);
    assert_eq!(bench.counters.connections_active.get(), 0);
    assert_eq!(bench.counters.connections_new.get(), bench.counters.connections_closed.get());
}

#[test]
fn in_a_full_table_the_oldest_that_nobody_answered_gives_way() {
    let mut bench = Bench::new(64);
    let answered = [State::Established, State::ClientClosed, State::BackendClosed];
    for port in 0..64 {
        let state = if port % 2 == 0 { State::SynReceived } else { answered[port as usize % 3] };
        bench.create(&connection(port, state), 0).unwrap();
    }
    for port in 64..128 {
        bench.create(&connection(port, State::SynReceived), 0).unwrap();
    }
    let found = |port| bench.find(connection(port, State::SynReceived).request).is_some();
    assert!((1..64).step_by(2).all(found), "those that were answered stay");
    assert!((96..128).all(found), "and of the others the youngest");
    assert!((64..96).chain((0..64).step_by(2)).all(|port| !found(port)));
    assert_eq!(bench.counters.connections_displaced.get(), 64);
    assert_eq!(bench.counters.connections_active.get(), 64);
    assert_eq!(bench.counters.connections_new.get() - bench.counters.connections_closed.get(), 64);
}

/// One worker's flood has filled the table; another's clients take the places, and each entry stays in its owner's wheel.
#[test]
fn what_nobody_answered_gives_way_to_another_worker_too() {
    let mut bench = Bench::new(64);
    let table = Arc::new(FlowTables::new(128, 64, 8, 2, Secret::from_seed(1)));
    bench.flows = Flows::join(Arc::clone(&table), 2, Tick(0));
    let (mut other, theirs) = (Flows::join(table, 2, Tick(0)), WorkerCounters::with_capacity(4, 8));
    for port in 0..128 {
        bench.create(&connection(port, State::SynReceived), 0).unwrap();
    }
    for port in 128..160 {
        other.create(&connection(port, State::Established), Tick(0), &bench.timeouts, &theirs).unwrap();
    }
    assert_eq!((theirs.connections_displaced.get(), theirs.connections_active.get()), (32, 0));
    let found = |port: &u16| bench.find(connection(*port, State::SynReceived).request).is_some();
    assert_eq!(((0..128).filter(found).count(), (128..160).filter(found).count()), (96, 32));
    // What the flood left expires; the others are looked at by who had their places before, and go on.
    bench.pass(0, 280);
    assert_eq!(bench.counters.connections_active.get(), 32);
    assert!((128..160).all(|port| bench.find(connection(port, State::Established).request).is_some()));
    bench.pass(280, 7500);
    let opened = bench.counters.connections_new.get() + theirs.connections_new.get();
    assert_eq!(opened, bench.counters.connections_closed.get() + theirs.connections_closed.get());
    assert_eq!((bench.counters.connections_active.get(), bench.flows.tables.references()), (0, 0));
    assert_eq!(other.tables().loads.open(BackendId(3)), 0);
    assert!((0..128).all(|port| bench.create(&connection(port, State::Udp), 7_500_000).is_ok()));
}

#[test]
fn a_reply_key_that_is_taken_refuses() {
    let mut bench = Bench::new(64);
    let first = connection(1, State::Established);
    bench.create(&first, 0).unwrap();
    let mut second = connection(2, State::SynReceived);
    second.reply = first.reply;
    assert_eq!(bench.create(&second, 0).unwrap_err(), Refused::Conflict);
    assert!(bench.find(second.request).is_none());
    assert!(bench.find(first.reply).is_some());
}

#[test]
fn ending_frees_the_keys_at_once_and_the_entry_soon() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::Closed);
    let hit = bench.create(&made, 0).unwrap();
    bench.flows.end(&hit, &bench.counters);
    bench.flows.end(&hit, &bench.counters);
    assert!(bench.find(made.request).is_none());
    assert_eq!(bench.counters.connections_closed.get(), 1);
    bench.create(&made, 0).unwrap();
    bench.pass(0, 60);
    assert_eq!(bench.counters.connections_active.get(), 1);
}

#[test]
fn agrees_with_a_plain_map_over_a_long_random_life() {
    let mut bench = Bench::new(4096);
    let mut model: HashMap<u16, u64> = HashMap::new();
    let mut random = 12345u64;
    for second in 0..3000u64 {
        for _ in 0..20 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let port = (random >> 40) as u16 % 3000;
            let made = connection(port, State::Udp);
            match bench.find(made.request) {
                Some(hit) => {
                    assert!(model.contains_key(&port));
                    bench.flows.v4.table().entry(hit.entry).touch(&hit, 0, Tick(second * SECOND).coarse());
                }
                None => {
                    bench.create(&made, second * SECOND).unwrap();
                }
            }
            model.insert(port, second);
        }
        bench.pass(second, second);
        model.retain(|_, seen| second - *seen < 300 + 33);
        for (port, seen) in &model {
            if second - seen < 300 {
                assert!(bench.find(connection(*port, State::Udp).reply).is_some(), "port {port} at {second}");
            }
        }
        assert!(bench.counters.connections_active.get() <= model.len() as u64);
    }
}

#[test]
fn only_who_received_the_backends_syn_can_acknowledge_it() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::SynReceived);
    bench.create(&made, 0).unwrap();
    let reply = bench.find(made.reply).unwrap();
    let entry = bench.flows.v4.table().entry(reply.entry);
    entry.transition(&reply, |_| State::SynAnswered, numbered(77_000));
    assert!(entry.confirms(77_001));
    assert!(entry.confirms(77_001 + 1460), "with data that came along");
    for acknowledgment in [0, 76_999, 77_000, 77_000 + (1 << 20), 0xDEAD_BEEF] {
        assert!(!entry.confirms(acknowledgment), "{acknowledgment}");
    }
}

#[test]
fn fins_of_both_sides_at_once_both_count() {
    let mut bench = Bench::new(64);
    let made = connection(1, State::Established);
    bench.create(&made, 0).unwrap();
    let (request, reply) = (bench.find(made.request).unwrap(), bench.find(made.reply).unwrap());
    let fin = crate::wire::tcp::Flags::FIN;
    let entry = bench.flows.v4.table().entry(request.entry);
    entry.transition(&request, |state| state.after(Direction::Request, fin), numbered(0));
    entry.transition(&reply, |state| state.after(Direction::Reply, fin), numbered(0));
    assert_eq!(bench.find(made.request).unwrap().state(), State::Closed);
}

#[test]
fn a_late_write_for_the_former_connection_does_not_reach_its_successor() {
    let mut bench = Bench::new(64);
    let former = bench.create(&connection(1, State::Closed), 0).unwrap();
    bench.flows.end(&former, &bench.counters);
    bench.pass(0, 60);
    let successor = connection(2, State::Established);
    assert_eq!(bench.create(&successor, 60 * SECOND).unwrap().entry, former.entry, "the entry is used again");
    let entry = bench.flows.v4.table().entry(former.entry);
    entry.set_client_route(&former, NextHopId(99), 1);
    entry.transition(&former, |_| State::Reset, numbered(0));
    let hit = bench.find(successor.request).unwrap();
    assert_eq!((hit.state(), hit.client_next_hop), (State::Established, NextHopId::NONE));
}

#[test]
fn two_workers_never_create_two_connections_with_one_reply_key() {
    const ROUNDS: u16 = 20_000;
    let table = Arc::new(FlowTables::new(1 << 17, 1 << 17, 8, 2, Secret::from_seed(4)));
    let barrier = std::sync::Barrier::new(2);
    let of = |worker: u16, round: u16| {
        let mut made = connection(round, State::Established);
        made.request.ports = u32::from(round) << 16 | u32::from(80 + worker);
        made
    };
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (table, barrier) = (table.clone(), &barrier);
            scope.spawn(move || {
                let counters = WorkerCounters::with_capacity(4, 8);
                let mut flows = Flows::join(table, 2, Tick(0));
                for round in 0..ROUNDS {
                    barrier.wait();
                    let _ = flows.create(&of(worker, round), Tick(0), &Timeouts::default(), &counters);
                }
            });
        }
    });
    let exists = |key: FlowKey| table.v4.find(key, table.secret().hash(key)).is_some();
    let alive = |round| usize::from(exists(of(0, round).request)) + usize::from(exists(of(1, round).request));
    let twice = (0..ROUNDS).filter(|round| alive(*round) > 1).count();
    assert_eq!(twice, 0);
    assert!((0..ROUNDS).any(|round| alive(round) == 1));
}

/// Four workers open, find and end connections with keys that they fight over. Nothing may be lost or found twice.
#[test]
fn workers_that_race_for_the_same_keys_agree() {
    let workers = 4;
    let table = Arc::new(FlowTables::new(8192, 8192, 8, workers, Secret::from_seed(9)));
    let counters: Vec<_> = (0..workers).map(|_| WorkerCounters::with_capacity(4, 8)).collect();
    std::thread::scope(|scope| {
        for worker in 0..workers as usize {
            let (table, counters) = (table.clone(), counters[worker].clone());
            scope.spawn(move || {
                let mut flows = Flows::join(table, workers, Tick(0));
                let timeouts = Timeouts::default();
                let mut random = worker as u64 + 1;
                for round in 0..2_000_000u64 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let made = connection((random >> 33) as u16 % 64, State::Closed);
                    let key = if random & 1 == 0 { made.request } else { made.reply };
                    match flows.look_up(key) {
                        Some(hit) => {
                            let other = if random & 1 == 0 { made.reply } else { made.request };
                            assert_eq!(
                                (hit.addresses, hit.ports),
                                (other.reversed().addresses, other.reversed().ports)
                            );
                            if random & 6 == 0 {
                                flows.end(&hit, &counters);
                            }
                        }
                        None => {
                            let _ = flows.create(&made, Tick(0), &timeouts, &counters);
                        }
                    }
                    if round % 16 == 0 {
                        flows.expire(Tick(round), &timeouts, &counters, 64);
                    }
                }
            });
        }
    });
    let sum = |f: fn(&WorkerCounters) -> u64| counters.iter().map(|c| f(c)).sum::<u64>();
    let live: Vec<FlowKey> = (0..64)
        .map(|port| connection(port, State::Closed).request)
        .filter(|key| table.v4.find(*key, table.secret().hash(*key)).is_some())
        .collect();
    let (created, closed) = (sum(|c| c.connections_new.get()), sum(|c| c.connections_closed.get()));
    assert_eq!(created - closed, live.len() as u64, "created − closed = live");
    assert_eq!(table.references(), 2 * live.len());
    assert!(created > 1000);
}
