//! Open connections are counted right, at their backends and at their clients, whatever becomes of them and whoever brings it about.

use super::*;
use crate::dataplane::limits::holders::Held;
use crate::tables::{BackendId, NextHopId};

const BACKENDS: u32 = 3;

fn connection(client: u16, backend: u32, kind: Kind) -> Connection {
    let request = FlowKey {
        addresses: 0xC612_0001_C612_0064,
        ports: u32::from(client) << 16 | 80,
        protocol: if client.is_multiple_of(5) { 17 } else { 6 },
    };
    // Two clients share a reply key now and then.
    let reply = FlowKey {
        addresses: u64::from(0x0A00_0001 + backend) << 32 | 0xC612_0001,
        ports: 8080 << 16 | u32::from(client / 2),
        protocol: request.protocol,
    };
    Connection {
        kind,
        request,
        reply: if kind.one_way() { request.reversed() } else { reply },
        marks: Marks::NONE,
        backend: if kind == Kind::Snat { BackendId::NONE } else { BackendId(backend) },
        client_next_hop: NextHopId(5),
        routes_epoch: 1,
        state: if request.protocol == 17 { State::Udp } else { State::SynReceived },
        sequence: 1000,
    }
}

struct Life {
    flows: Flows,
    counters: Arc<WorkerCounters>,
    random: u64,
    now: Tick,
}

impl Life {
    fn of(table: &Arc<FlowTables>, workers: u16, seed: u64) -> Self {
        Self {
            flows: Flows::join(Arc::clone(table), workers, Tick(0)),
            counters: WorkerCounters::with_capacity(4, 8),
            random: seed,
            now: Tick(0),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % below
    }

    /// Something happens to one of `clients`.
    fn step(&mut self, clients: u64) {
        let client = self.draw(clients) as u16;
        let kind = [Kind::Nat, Kind::Nat, Kind::Dsr, Kind::Tunnel, Kind::Snat][self.draw(5) as usize];
        let mut made = connection(client, self.draw(u64::from(BACKENDS)) as u32, kind);
        let key = if self.draw(2) == 0 { made.request } else { made.reply };
        let (timeouts, now) = (Timeouts::default(), self.now);
        match self.flows.look_up(key) {
            None => {
                let limits = Arc::clone(&self.flows.tables().limits);
                if client % 2 == 1 && limits.acquire(made.request, u32::MAX) == Held::Counted {
                    made.marks = Marks::COUNTED;
                }
                let created = self.flows.create(&made, now, &timeouts, &self.counters);
                if made.marks == Marks::COUNTED && created.is_err_and(|why| why == Refused::TableFull) {
                    limits.release(made.request);
                }
            }
            Some(hit) => match self.draw(8) {
                0 | 1 => self.flows.end(&hit, &self.counters),
                2..6 if !hit.state().is_stateless() => {
                    let flag = [0x02, 0x10, 0x11, 0x04, 0x12][self.draw(5) as usize];
                    let flags = crate::wire::tcp::Flags(flag);
                    let next = |state: State| match hit.kind.one_way() {
                        true => state.after_unseen_replies(flags),
                        false => state.after(hit.direction, flags),
                    };
                    let _ = self.flows.transition(&hit, next, Segment::default());
                }
                _ => self.flows.entry(hit.entry).touch(&hit, 0, now.coarse()),
            },
        }
        if self.draw(16) == 0 {
            self.now = now.after(self.draw(20_000));
            self.flows.expire(self.now, &timeouts, &self.counters, 64);
        }
    }

    fn outlive(&mut self) {
        for second in (0..8000).step_by(10) {
            let now = self.now.after(second * 1000);
            while self.flows.expire(now, &Timeouts::default(), &self.counters, 1000) == 1000 {}
        }
    }
}

/// Connections that are counted at clients, of which there is one for each protocol.
fn held(table: &FlowTables) -> usize {
    [1, 5].map(|client| table.limits.held(connection(client, 0, Kind::Nat).request) as usize).iter().sum()
}

#[track_caller]
fn check(table: &FlowTables) {
    for backend in (0..BACKENDS).map(BackendId) {
        assert_eq!(table.loads.open(backend) as usize, table.v4.unfinished(backend), "{backend:?}");
    }
    assert_eq!(held(table), table.v4.counted(), "at clients");
}

#[test]
fn one_workers_sum_is_right_after_every_step() {
    // More clients than entries: those that are over are taken back early, and some are refused.
    let table = Arc::new(FlowTables::new(64, 64, 8, 1, Secret::from_seed(1)));
    let mut life = Life::of(&table, 1, 7);
    for _ in 0..200_000 {
        life.step(150);
        check(&table);
    }
    assert!(life.counters.connections_reclaimed.get() > 100);
    assert!((0..BACKENDS).any(|backend| table.loads.open(BackendId(backend)) > 0));
    life.outlive();
    check(&table);
    assert!((0..BACKENDS).all(|backend| table.loads.open(BackendId(backend)) == 0));
    assert_eq!(held(&table), 0);
}

#[test]
fn the_sum_is_right_after_workers_raced() {
    const WORKERS: u16 = 3;
    let table = Arc::new(FlowTables::new(128, 128, 8, WORKERS, Secret::from_seed(9)));
    let mut lives: Vec<_> =
        (0..WORKERS).map(|worker| Life::of(&table, WORKERS, u64::from(worker) + 1)).collect();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for life in &mut lives {
                scope.spawn(move || (0..50_000).for_each(|_| life.step(40)));
            }
        });
        check(&table);
    }
    // Real workers have one clock; what one of these saw last, the others must outlive by theirs.
    let latest = lives.iter().map(|life| life.now).max().unwrap();
    lives.iter_mut().for_each(|life| life.now = latest);
    lives.iter_mut().for_each(Life::outlive);
    assert!((0..BACKENDS).all(|backend| table.loads.open(BackendId(backend)) == 0));
    assert_eq!(held(&table), 0);
    let sum = |count: fn(&WorkerCounters) -> u64| lives.iter().map(|life| count(&life.counters)).sum::<u64>();
    assert_eq!(
        sum(|counters| counters.connections_new.get()),
        sum(|counters| counters.connections_closed.get())
    );
}
