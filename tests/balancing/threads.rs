//! The same with real threads for workers: they share the loads and nothing else.

use std::sync::Barrier;
use std::thread;

use xswitch::config::valid::Scheduler;
use xswitch::dataplane::schedule::{Candidate, Scheduler as _};
use xswitch::tables::{Loads, Snapshot};

use super::model::{CONNECTIONS, Server, alike, chance, compile};

const WORKERS: u16 = 4;

/// Lets each worker open [`CONNECTIONS`]; returns what each backend got, by worker.
fn race(snapshot: &Snapshot, loads: &Loads) -> Vec<Vec<u32>> {
    let table = &snapshot.services[0].as_ref().unwrap().table;
    let start = Barrier::new(usize::from(WORKERS));
    let worker = |worker: u16| {
        let (mut cursor, mut taken) = (0, vec![0; snapshot.backends.len()]);
        start.wait();
        for connection in 0..u64::from(CONNECTIONS) {
            let flow_hash = chance(connection | u64::from(worker) << 32);
            let candidate = Candidate { flow_hash, source_hash: 0, cursor: &mut cursor, loads };
            let id = table.pick(candidate).unwrap();
            loads.opened(worker, id);
            taken[id.index()] += 1;
        }
        taken
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|number| scope.spawn(move || worker(number))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn each_worker_keeps_to_its_own_round() {
    let servers = [Server::new(1, 2), Server::new(2, 3), Server::new(3, 5)];
    let snapshot = compile(Scheduler::WeightedRoundRobin, &servers);
    let loads = Loads::new(WORKERS, snapshot.backends.len());
    for taken in race(&snapshot, &loads) {
        assert_eq!(taken, [2000, 3000, 5000]);
    }
}

/// Each worker may be in the midst of a pick whose count has changed meanwhile: so many connections are open to chance.
#[test]
fn workers_that_race_leave_nobody_with_more_connections_than_the_others() {
    let snapshot = compile(Scheduler::LeastConnections, &alike(7));
    let loads = Loads::new(WORKERS, snapshot.backends.len());
    race(&snapshot, &loads);
    let open: Vec<_> = snapshot.backends.iter().flatten().map(|backend| loads.open(backend.id)).collect();
    assert_eq!(open.iter().sum::<u32>(), u32::from(WORKERS) * CONNECTIONS);
    let (most, least) = (open.iter().max().unwrap(), open.iter().min().unwrap());
    assert!(most - least <= 2 * u32::from(WORKERS), "{open:?}");
}

#[test]
fn p2c_stays_close_when_workers_race() {
    let snapshot = compile(Scheduler::TwoChoices, &alike(7));
    let loads = Loads::new(WORKERS, snapshot.backends.len());
    race(&snapshot, &loads);
    let open: Vec<_> = snapshot.backends.iter().flatten().map(|backend| loads.open(backend.id)).collect();
    let (most, least) = (open.iter().max().unwrap(), open.iter().min().unwrap());
    // One random choice would leave about 150 between them (six standard deviations of 70 at the most).
    assert!(most - least <= 30, "{open:?}");
}
