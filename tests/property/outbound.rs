//! Outbound NAT as one would explain it: who has which public endpoint, who talks to whom, who may answer. Two workers,
//! one after the other at random, share the connections.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};

use proptest::prelude::*;
use xswitch::dataplane::{FlowTables, Flows, Secret, Verdict};
use xswitch::tables::{DropReason, Filtering, InterfaceId, Mapping, Tick};

use crate::frames::lab::{Lab, Outcome};
use crate::frames::network::{ETH0, ETH1};
use crate::frames::outbound::*;

/// Inside hosts with two ports each, servers with two ports each.
const INSIDE: [(u8, u16); 6] = [(11, 5000), (11, 5001), (12, 5000), (12, 5001), (13, 5000), (13, 30_001)];
const SERVERS: [(u8, u16); 4] = [(1, 53), (1, 54), (2, 53), (2, 0)];
const PORTS: u16 = 40;

#[derive(Debug, Clone)]
enum Op {
    /// An inside host sends to a server.
    Out { inside: usize, server: usize },
    /// A server sends to a public endpoint, or to a port that may be none.
    In { server: usize, public: prop::sample::Index },
    /// An inside host sends to a public endpoint.
    Across { inside: usize, public: prop::sample::Index },
    /// A while passes, shorter than any timer.
    Pause,
    /// So long a time passes that all is forgotten.
    Pass,
}

/// An inside endpoint and whom it talks to, by the address that it uses.
type Session = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Model {
    filtering: Filtering,
    /// Inside endpoints that have a mapping. Their public endpoint is not known where nothing left with it yet.
    mappings: HashMap<SocketAddr, Option<SocketAddr>>,
    sessions: HashSet<Session>,
    /// Who may answer whom besides sessions: an inside endpoint and an address (port 0) or endpoint.
    permitted: HashSet<Session>,
    /// Entries in the table.
    connections: usize,
}

#[derive(Debug, PartialEq)]
enum Expected {
    /// With this source, or one to be learnt; to this destination.
    Leaves(Option<SocketAddr>, SocketAddr),
    Dropped(DropReason),
}

impl Model {
    fn by_public(&self, public: SocketAddr) -> Option<SocketAddr> {
        self.mappings.iter().find(|(_, known)| **known == Some(public)).map(|(inside, _)| *inside)
    }

    fn outward(&mut self, inside: SocketAddr, server: SocketAddr) -> Expected {
        let public = *self.mappings.entry(inside).or_insert(None);
        let new = self.sessions.insert((inside, server));
        self.connections += usize::from(new);
        if new && self.filtering == Filtering::AddressDependent {
            self.permitted.insert((inside, SocketAddr::new(server.ip(), 0)));
        }
        Expected::Leaves(public, server)
    }

    /// Whether `sender`, as it looks from outside, may send to the mapping of `inside`.
    fn admits(&self, inside: SocketAddr, sender: SocketAddr) -> bool {
        match self.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => {
                self.permitted.contains(&(inside, SocketAddr::new(sender.ip(), 0)))
            }
            Filtering::AddressAndPortDependent => self.permitted.contains(&(inside, sender)),
        }
    }

    fn inward(&mut self, server: SocketAddr, public: SocketAddr) -> Expected {
        let Some(inside) = self.by_public(public) else { return Expected::Dropped(DropReason::NoConnection) };
        if !self.sessions.contains(&(inside, server)) {
            if !self.admits(inside, server) {
                return Expected::Dropped(DropReason::SnatFiltered);
            }
            self.sessions.insert((inside, server));
            self.connections += 1;
        }
        Expected::Leaves(Some(server), inside)
    }

    fn across(&mut self, a: SocketAddr, public_b: SocketAddr) -> Expected {
        let Some(b) = self.by_public(public_b) else { return Expected::Dropped(DropReason::NoConnection) };
        let public_a = *self.mappings.entry(a).or_insert(None);
        if self.sessions.contains(&(a, public_b)) {
            return Expected::Leaves(public_a, b);
        }
        match self.filtering {
            Filtering::EndpointIndependent => {}
            Filtering::AddressDependent => {
                self.permitted.insert((a, SocketAddr::new(public_b.ip(), 0)));
            }
            Filtering::AddressAndPortDependent => {
                self.permitted.insert((a, public_b));
            }
        }
        // All have one public address; and nobody has sent to a port that nobody has seen.
        if !self.admits(b, public_a.unwrap_or(SocketAddr::new(public_b.ip(), 0))) {
            return Expected::Dropped(DropReason::SnatFiltered);
        }
        self.sessions.insert((a, public_b));
        self.connections += 1;
        Expected::Leaves(public_a, b)
    }
}

struct Router {
    version: Version,
    lab: Lab,
    /// The other worker.
    other: Flows,
    model: Model,
}

impl Router {
    fn new(version: Version, filtering: Filtering) -> Self {
        let mut lab = Lab::of(home(vec![rule(Mapping::EndpointIndependent, filtering, PORTS)]), 1024);
        let tables = Arc::new(FlowTables::new(1024, 1024, 64, 2, Secret::from_seed(2)));
        lab.flows = Flows::join(Arc::clone(&tables), 2, Tick(0));
        let model = Model {
            filtering,
            mappings: HashMap::new(),
            sessions: HashSet::new(),
            permitted: HashSet::new(),
            connections: 0,
        };
        Self { version, lab, other: Flows::join(tables, 2, Tick(0)), model }
    }

    fn step(&mut self, op: &Op) {
        let inside = |position: usize| self.version.inside(INSIDE[position].0, INSIDE[position].1);
        let server = |position: usize| self.version.server(SERVERS[position].0, SERVERS[position].1);
        let mut publics: Vec<_> = self.model.mappings.values().flatten().copied().collect();
        publics.sort();
        if publics.len() == self.model.mappings.len() {
            // All were seen: any other port is nobody's.
            let mut ports = (30_000..30_000 + PORTS).map(|port| self.version.public(port));
            publics.extend(ports.find(|public| !publics.contains(public)));
        }
        match op {
            Op::Out { inside: from, server: to } => {
                let (from, to) = (inside(*from), server(*to));
                let expected = self.model.outward(from, to);
                self.check(ETH1, datagram(Carries::Udp, from, to), expected, ETH0);
            }
            Op::In { server: from, public } => {
                let (from, to) = (server(*from), publics[public.index(publics.len())]);
                let expected = self.model.inward(from, to);
                self.check(ETH0, datagram(Carries::Udp, from, to), expected, ETH1);
            }
            Op::Across { inside: from, public } => {
                let (from, to) = (inside(*from), publics[public.index(publics.len())]);
                let expected = self.model.across(from, to);
                self.check(ETH1, datagram(Carries::Udp, from, to), expected, ETH1);
            }
            Op::Pause => self.pass(700),
            Op::Pass => self.forget(),
        }
    }

    fn check(&mut self, ingress: InterfaceId, packet: Datagram, expected: Expected, egress: InterfaceId) {
        let frame = if ingress == ETH0 { packet.sent_from_outside() } else { packet.sent_from_inside() };
        let Outcome { verdict, bytes } = self.lab.send(ingress, &frame);
        match expected {
            Expected::Dropped(reason) => {
                assert_eq!((verdict, bytes), (Verdict::Drop(reason), frame), "{packet:?}");
            }
            Expected::Leaves(source, destination) => {
                assert_eq!(verdict, Verdict::Forward(egress), "{packet:?}");
                let source = source.unwrap_or_else(|| self.learn(packet.source, source_of(&bytes)));
                let inside = destination;
                let leaves = Datagram { source, destination, ..packet };
                let leaves = if egress == ETH0 { leaves.gone_outside() } else { leaves.gone_inside() };
                assert_eq!(bytes, leaves, "{inside}");
                if ingress == ETH1 && egress == ETH1 {
                    // The answer goes the other way through the same connection.
                    self.model.sessions.insert((inside, source));
                }
            }
        }
        let model = &self.model;
        let entries = model.connections + model.mappings.len() + model.permitted.len();
        assert_eq!(self.lab.flows.tables().references(), 2 * entries, "{model:?}");
    }

    fn learn(&mut self, inside: SocketAddr, public: SocketAddr) -> SocketAddr {
        assert!(self.lab.snapshot.snat_rules[0].pool.contains(public.ip(), public.port()));
        assert_eq!(self.model.by_public(public), None, "{public} belongs to somebody else");
        self.model.mappings.insert(inside, Some(public));
        public
    }

    /// The other worker's turn.
    fn swap(&mut self) {
        std::mem::swap(&mut self.lab.flows, &mut self.other);
    }

    fn pass(&mut self, milliseconds: u64) {
        self.lab.pass(milliseconds);
        self.swap();
        self.lab.pass(0);
    }

    fn forget(&mut self) {
        for _ in 0..45 {
            self.pass(10_000);
        }
        assert_eq!(self.lab.flows.tables().references(), 0);
        self.model.mappings.clear();
        self.model.sessions.clear();
        self.model.permitted.clear();
        self.model.connections = 0;
    }
}

#[test]
fn workers_that_start_at_the_same_moment_agree_on_every_mapping() {
    const ROUNDS: u16 = 300;
    let tables = Arc::new(FlowTables::new(8192, 8192, 64, 2, Secret::from_seed(3)));
    let start = Arc::new(Barrier::new(2));
    let workers = [1, 2].map(|server| {
        let (tables, start) = (Arc::clone(&tables), Arc::clone(&start));
        std::thread::spawn(move || {
            let rule = rule(Mapping::EndpointIndependent, Filtering::AddressDependent, 2000);
            let mut lab = Lab::of(home(vec![rule]), 64);
            lab.flows = Flows::join(tables, 2, Tick(0));
            let mut publics = Vec::new();
            for port in 0..ROUNDS {
                start.wait();
                let packet = datagram(
                    Carries::Udp,
                    Version::V4.inside(11, 1000 + port),
                    Version::V4.server(server, 53),
                );
                // Where both gave way, the host sends again.
                let sent = (0..1000).map(|_| lab.send(ETH1, &packet.sent_from_inside()));
                let mut gone = sent.filter(|outcome| outcome.verdict == Verdict::Forward(ETH0));
                publics.push(source_of(&gone.next().unwrap().bytes));
            }
            publics
        })
    });
    let [first, second] = workers.map(|worker| worker.join().unwrap());
    assert_eq!(first, second);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), usize::from(ROUNDS));
    // A mapping, two permissions, two connections each.
    assert_eq!(tables.references(), 2 * 5 * usize::from(ROUNDS));
}

fn op() -> impl Strategy<Value = (Op, bool)> {
    let inside = 0..INSIDE.len();
    let server = 0..SERVERS.len();
    let public = any::<prop::sample::Index>();
    let op = prop_oneof![
        8 => (inside.clone(), server.clone()).prop_map(|(inside, server)| Op::Out { inside, server }),
        8 => (server, public.clone()).prop_map(|(server, public)| Op::In { server, public }),
        8 => (inside, public).prop_map(|(inside, public)| Op::Across { inside, public }),
        2 => Just(Op::Pause),
        1 => Just(Op::Pass),
    ];
    (op, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inside_hosts_are_reached_by_whom_the_model_says(
        v6 in any::<bool>(),
        filtering in prop::sample::select(vec![
            Filtering::EndpointIndependent,
            Filtering::AddressDependent,
            Filtering::AddressAndPortDependent,
        ]),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut router = Router::new(if v6 { Version::V6 } else { Version::V4 }, filtering);
        for (op, swap) in &ops {
            router.step(op);
            if *swap {
                router.swap();
            }
        }
        router.forget();
    }
}
