//! A switch without frames: a compiled table, workers with their cursors, and connections that end after a while.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use xswitch::config::{self, valid::Scheduler};
use xswitch::control::compile::{Compiler, Usage};
use xswitch::control::network::NetworkView;
use xswitch::control::standing::{BackendKey, Standing, Standings};
use xswitch::control::topology::Topology;
use xswitch::dataplane::schedule::{Candidate, Scheduler as _};
use xswitch::tables::hash::{flow_hash, mix, source_hash};
use xswitch::tables::{BackendId, Loads, Snapshot};

/// How many connections each distribution is measured over.
pub const CONNECTIONS: u32 = 10_000;
const WORKERS: usize = 4;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 100)), 80);

/// A backend: how large its part is meant to be, and how it behaves.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// The last part of its address, which is its name here.
    pub number: u8,
    pub weight: u32,
    /// Percent of its weight that count at the moment.
    pub share: u8,
    /// For how many connections' time it holds one.
    pub holds: u64,
    /// How long it takes to answer a SYN.
    pub answers_us: u32,
}

impl Server {
    pub const fn new(number: u8, weight: u32) -> Self {
        Self { number, weight, share: 100, holds: 100, answers_us: 200 }
    }

    fn address(self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 1, self.number)), 8080)
    }
}

/// So many servers, all alike.
pub fn alike(count: u8) -> Vec<Server> {
    (1..=count).map(|number| Server::new(number, 1)).collect()
}

/// The snapshot of one service with these servers, in this order.
pub fn compile(scheduler: Scheduler, servers: &[Server]) -> Snapshot {
    let mut text = format!(
        "[switch]\ninterfaces = [\"eth0\"]\n[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:00:01\"\n\
         [[service]]\nname = \"web\"\nvip = \"{VIP}\"\nforwarding = \"nat\"\n"
    );
    for server in servers {
        let backend = format!("address = \"{}\"\nweight = {}\n", server.address(), server.weight);
        text.push_str(&format!("[[service.backend]]\n{backend}"));
    }
    let mut config = config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}")).config;
    config.services[0].scheduler = scheduler;
    let service = &config.services[0];
    let standing = |(backend, server): (_, &Server)| {
        (BackendKey::of(service, backend), Standing { share: server.share, ..Standing::UP })
    };
    let standings = Standings(service.backends.iter().zip(servers).map(standing).collect());
    let topology = Topology::new(&config, &NetworkView::default());
    Compiler::default().compile(&config, &topology, &standings, &Usage::NONE).unwrap().snapshot
}

/// A number that looks random, for each number. One [`mix`] of small numbers would not: it is one multiplication.
pub fn chance(number: u64) -> u64 {
    mix(mix(number, 0x9E37_79B9_7F4A_7C15), 0xD6E8_FEB8_6659_FD93)
}

/// A client's address and port.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub Ipv4Addr, pub u16);

impl Client {
    /// One of many clients, with a port of its own for each connection.
    pub fn random(connection: u32, clients: u32) -> Self {
        let host = (chance(u64::from(connection)) >> 32) as u32 % clients;
        Self(Ipv4Addr::from(0x0A00_0000 + host), 1024 + (connection % 60_000) as u16)
    }

    /// As [`xswitch::dataplane::admit`] computes it.
    pub fn flow_hash(self) -> u64 {
        flow_hash(self.0.into(), self.1, VIP.ip(), VIP.port(), 6)
    }
}

/// One service of a switch while it runs.
pub struct Switch {
    pub snapshot: Snapshot,
    pub loads: Loads,
    /// By worker.
    pub cursors: Vec<u32>,
}

impl Switch {
    pub fn new(scheduler: Scheduler, servers: &[Server]) -> Self {
        Self::of(compile(scheduler, servers))
    }

    pub fn of(snapshot: Snapshot) -> Self {
        let loads = Loads::new(WORKERS as u16, snapshot.backends.len());
        Self { snapshot, loads, cursors: vec![0; WORKERS] }
    }

    /// Which backend `worker` picks for a connection of this client.
    pub fn pick(&mut self, worker: usize, client: Client) -> BackendId {
        let table = &self.snapshot.services[0].as_ref().unwrap().table;
        let candidate = Candidate {
            flow_hash: client.flow_hash(),
            source_hash: source_hash(client.0.into()),
            cursor: &mut self.cursors[worker],
            loads: &self.loads,
        };
        table.pick(candidate).expect("a backend")
    }

    /// The number in the address of a backend.
    pub fn number(&self, id: BackendId) -> u8 {
        match self.snapshot.backend(id).unwrap().address.ip() {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => panic!("{address}"),
        }
    }
}

/// What became of the connections of a run, by the position of the server.
pub struct Outcome {
    /// Connections that it got.
    pub taken: Vec<u32>,
    /// The most that it had open at a time.
    pub most_open: Vec<u32>,
}

impl Outcome {
    /// Its part of all connections.
    pub fn share(&self, position: usize) -> f64 {
        f64::from(self.taken[position]) / f64::from(self.taken.iter().sum::<u32>())
    }
}

/// Lets [`CONNECTIONS`] come, one after the other, each at the worker that its hash leads it to. Another worker sees it end.
pub fn run(scheduler: Scheduler, servers: &[Server]) -> Outcome {
    let mut switch = Switch::new(scheduler, servers);
    let mut outcome = Outcome { taken: vec![0; servers.len()], most_open: vec![0; servers.len()] };
    let mut ends = BinaryHeap::new();
    for now in 0..u64::from(CONNECTIONS) {
        while let Some(Reverse((end, worker, id))) = ends.pop() {
            if end > now {
                ends.push(Reverse((end, worker, id)));
                break;
            }
            switch.loads.closed(worker, id);
        }
        let client = Client::random(now as u32, 2_000);
        let chance = chance(now ^ 0x5EED) as usize;
        let (begins_at, ends_at) = (chance % WORKERS, chance / WORKERS % WORKERS);
        let id = switch.pick(begins_at, client);
        let (position, server) = (id.index(), servers[id.index()]);
        switch.loads.opened(begins_at as u16, id);
        switch.loads.answered(id, server.answers_us);
        outcome.taken[position] += 1;
        outcome.most_open[position] = outcome.most_open[position].max(switch.loads.open(id));
        ends.push(Reverse((now + server.holds, ends_at as u16, id)));
    }
    outcome
}
