//! Every forwarding mode in both families, as one would explain it: a connection stays with its backend, requests reach it
//! in the way of their mode, replies come back where they come back at all, and timers end it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::dataplane::conntrack::FlowKey;
use xswitch::dataplane::family::Pair;
use xswitch::tables::{DropReason, InterfaceId};

use crate::frames::flow::{Flow, Head};
use crate::frames::lab::{Lab, Outcome};
use crate::frames::modes::*;
use crate::frames::network::{CLIENT7, ETH0, ETH1};
use crate::frames::{ACK, FIN, PSH, RST, SYN, TCP, UDP, strict};
use crate::model::{COARSE_MS, LATE_MS, Tcp};
use crate::world::{CLOSED_S, ESTABLISHED_S, HALF_CLOSED_S, RESET_S, SYN_S, UDP_S};

/// Source ports of the one client.
const PORTS: u16 = 3;
const VLANS: [&[u16]; 4] = [&[], &[100], &[4094], &[200, 100]];
/// As in the other model, and room for as many ports as there are connections.
const SWITCH: &str = "snat_ports = \"20000-20999\"\n[timeouts]\ntcp_syn_s = 20\ntcp_established_s = 500\n\
                      tcp_half_closed_s = 80\ntcp_closed_s = 40\ntcp_reset_s = 60\nudp_s = 100\n";

#[derive(Debug, Clone)]
enum Op {
    /// The client sends from one of its ports to the service of a row.
    Request { port: u16, row: usize, look: Look },
    /// A backend answers within a live connection.
    Reply { connection: prop::sample::Index, look: Look },
    /// Time passes, in milliseconds.
    Pass(u64),
}

/// What a packet is like besides its endpoints.
#[derive(Debug, Clone)]
struct Look {
    flags: u8,
    payload: usize,
    traffic_class: u8,
    dont_fragment: bool,
    /// IPv4 options, in words.
    options: usize,
    /// IPv6 extension headers: number and units of eight bytes behind the first.
    extensions: Vec<(u8, usize)>,
}

impl Look {
    fn dress(&self, flow: Flow) -> Flow {
        let payload: Vec<u8> = (0..self.payload).map(|at| at as u8).collect();
        let head = Head {
            traffic_class: self.traffic_class,
            dont_fragment: self.dont_fragment,
            options: vec![1; self.options * 4],
            extensions: self.extensions.iter().map(|(number, units)| extension(*number, *units)).collect(),
            ..Head::new()
        };
        Flow { head, ..flow.payload(&payload) }
    }
}

/// An extension header that says nothing. That of a fragment is one of a whole packet; a routing header leads nowhere.
fn extension(number: u8, units: usize) -> (u8, Vec<u8>) {
    let units = if number == 44 { 0 } else { units };
    let mut bytes = vec![0; 8 + units * 8];
    match number {
        44 => bytes[4] = 0x77,
        43 => (bytes[1], bytes[2]) = (units as u8, 4),
        // PadN.
        _ => (bytes[1], bytes[2], bytes[3]) = (units as u8, 1, (4 + units * 8) as u8),
    }
    (number, bytes)
}

fn look() -> impl Strategy<Value = Look> {
    let flags = prop_oneof![
        4 => Just(SYN),
        2 => Just(SYN | ACK),
        5 => Just(ACK),
        2 => Just(ACK | PSH),
        3 => Just(FIN | ACK),
        1 => Just(RST),
        1 => Just(RST | ACK),
        1 => Just(SYN | FIN),
        1 => Just(0),
    ];
    let extensions =
        prop::collection::vec((prop_oneof![Just(60u8), Just(43), Just(44), Just(0)], 0..4usize), 0..4);
    (flags, 0..1100usize, any::<u8>(), any::<bool>(), 0..=10usize, extensions).prop_map(
        |(flags, payload, traffic_class, dont_fragment, options, mut extensions)| {
            // Hop-by-hop options come first or not at all (RFC 8200 §4.1).
            let first = extensions.first().is_some_and(|(number, _)| *number == 0);
            extensions.retain(|(number, _)| *number != 0);
            if first {
                extensions.insert(0, (0, 1));
            }
            Look { flags, payload, traffic_class, dont_fragment, options, extensions }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let request = (0..PORTS, 0..rows().len(), look());
    let reply = (any::<prop::sample::Index>(), look());
    prop_oneof![
        6 => request.prop_map(|(port, row, look)| Op::Request { port, row, look }),
        4 => reply.prop_map(|(connection, look)| Op::Reply { connection, look }),
        1 => prop_oneof![0..200u64, 1000..15_000u64, 30_000..130_000u64, 400_000..700_000u64].prop_map(Op::Pass),
    ]
}

fn world() -> impl Strategy<Value = World> {
    // Plain frames have no tags.
    let vlan = || prop_oneof![3 => Just(VLANS[0]), 2 => prop::sample::select(&VLANS[..])];
    (vlan(), vlan(), 0..16u16, prop::sample::select(&[0, 8, 20, 40, 52, 60][..])).prop_map(
        |(outside, inside, priority, room)| World {
            switch: SWITCH,
            twins: true,
            vlans: [outside, inside],
            priority: priority << 12,
            room,
            ..World::default()
        },
    )
}

#[derive(Debug)]
struct Connection {
    /// Its row, with the backend and the port that were chosen.
    row: Row,
    tcp: Tcp,
    last_seen_ms: u64,
}

/// A source port and a row.
type Name = (u16, usize);

struct Pairing {
    world: World,
    lab: Lab,
    /// The same, where every frame is looked at in full.
    full: Lab,
    rows: Vec<Row>,
    now_ms: u64,
    connections: BTreeMap<Name, Connection>,
    /// How many connections each service has had.
    turns: Vec<usize>,
}

fn opens(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

fn absurd(flags: u8) -> bool {
    let control = flags & (SYN | FIN | RST | ACK);
    control == 0 || control & SYN != 0 && control & (FIN | RST) != 0
}

impl Pairing {
    fn new(world: World) -> Self {
        let lab = Lab::new(&world.config(), 1024);
        let lab = lab.with_room(world.room);
        let full = Lab::new(&world.config(), 1024).with_room(world.room).without_ways();
        let rows = rows();
        let turns = vec![0; rows.len()];
        Self { world, lab, full, rows, now_ms: 0, connections: BTreeMap::new(), turns }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Request { port, row, look } => self.request((*port, *row), look),
            Op::Reply { .. } if self.connections.is_empty() => {}
            Op::Reply { connection, look } => {
                let name = *self.connections.keys().nth(connection.index(self.connections.len())).unwrap();
                self.reply(name, look);
            }
            Op::Pass(milliseconds) => self.pass(*milliseconds),
        }
    }

    /// What becomes of a request: whether it makes a connection, or why it goes nowhere.
    fn expect(&mut self, name: Name, flags: u8) -> Result<bool, DropReason> {
        let row = self.rows[name.1];
        let (is_tcp, alone) = (row.protocol == TCP, !row.replies_come_back());
        if is_tcp && opens(flags) && !absurd(flags) {
            let over = |tcp: Tcp| if alone { tcp.over_alone() } else { tcp.over() };
            if self.connections.get(&name).is_some_and(|connection| over(connection.tcp)) {
                self.connections.remove(&name);
            }
        }
        if is_tcp && absurd(flags) {
            return Err(DropReason::TcpFlags);
        }
        let new = !self.connections.contains_key(&name);
        if new {
            if is_tcp && !opens(flags) {
                return Err(DropReason::NoConnection);
            }
            let row = row.to([11, 12][self.turns[name.1] % 2]);
            self.turns[name.1] += 1;
            self.connections.insert(name, Connection { row, tcp: Tcp::default(), last_seen_ms: 0 });
        }
        let connection = self.connections.get_mut(&name).unwrap();
        connection.last_seen_ms = self.now_ms;
        if is_tcp && !new {
            let tcp = connection.tcp;
            connection.tcp = if alone { tcp.after_alone(flags) } else { tcp.after(true, flags) };
        }
        Ok(new)
    }

    fn send(&mut self, ingress: InterfaceId, frame: &[u8]) -> Outcome {
        let outcome = self.lab.send(ingress, frame);
        assert_eq!(self.full.send(ingress, frame), outcome, "in full");
        outcome
    }

    fn request(&mut self, name: Name, look: &Look) {
        let row = self.rows[name.1];
        let mut request = look.dress(row.request(look.flags));
        request.source = client(row, name.0);
        let arrives = self.world.arriving(ETH0, CLIENT7, &request.packet());
        let expected = self.expect(name, look.flags);
        let outcome = self.send(ETH0, &arrives);
        let says = format!("{}, {request:?}", row.says());
        let new = match expected {
            Ok(new) => new,
            Err(reason) => {
                assert_eq!((outcome.verdict, outcome.bytes), (Verdict::Drop(reason), arrives), "{says}");
                return;
            }
        };
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{says}");
        let connection = self.connections.get_mut(&name).unwrap();
        if new && row.mode == "full-nat" {
            connection.row.port = strict::layers(&outcome.bytes)[0].source.port();
            assert!((20_000..21_000).contains(&connection.row.port));
        }
        let (row, (_, at)) = (connection.row, strict::link(&outcome.bytes));
        let delivered = row.delivered(&request, &outcome.bytes[at..]);
        same(&says, &outcome, &self.world.leaving(ETH1, row.mac(), &delivered));
    }

    fn reply(&mut self, name: Name, look: &Look) {
        let row = self.connections[&name].row;
        let client = client(row, name.0);
        let mut reply = look.dress(row.reply(look.flags));
        if row.mode != "full-nat" {
            reply.destination = client;
        }
        if !row.replies_come_back() {
            reply.source = row.vip();
        }
        let arrives = self.world.arriving(ETH1, row.mac(), &reply.packet());
        let outcome = self.send(ETH1, &arrives);
        let says = format!("{}, {reply:?}", row.says());
        let verdict = match (row.replies_come_back(), row.protocol) {
            (false, _) => Verdict::ToKernel,
            (true, TCP) if absurd(look.flags) => Verdict::Drop(DropReason::TcpFlags),
            _ => Verdict::Forward(ETH0),
        };
        assert_eq!(outcome.verdict, verdict, "{says}");
        if verdict != Verdict::Forward(ETH0) {
            assert_eq!(outcome.bytes, arrives, "{says}");
            return;
        }
        let connection = self.connections.get_mut(&name).unwrap();
        connection.last_seen_ms = self.now_ms;
        if row.protocol == TCP {
            connection.tcp = connection.tcp.after(false, look.flags);
        }
        let told = reply.routed().between(row.vip(), client).packet();
        same(&says, &outcome, &self.world.leaving(ETH0, CLIENT7, &told));
    }

    /// Time passes. Of connections that may or may not have been forgotten by now, the data path decides.
    fn pass(&mut self, milliseconds: u64) {
        self.lab.pass(milliseconds);
        self.full.pass(milliseconds);
        self.now_ms += milliseconds;
        let (now_ms, flows) = (self.now_ms, &self.lab.flows);
        self.connections.retain(|name, connection| {
            let row = connection.row;
            let key = (client(row, name.0), row.vip(), row.protocol);
            let exists = match row.client {
                V4 => flows.look_up(key_of::<u64>(key)).is_some(),
                V6 => flows.look_up(key_of::<[u128; 2]>(key)).is_some(),
            };
            let timeout_s = if row.protocol == UDP { UDP_S } else { connection.tcp.timeout_s() };
            let (idle_ms, timeout_ms) = (now_ms - connection.last_seen_ms, timeout_s * 1000);
            assert!(exists || idle_ms + COARSE_MS >= timeout_ms, "{connection:?} is gone after {idle_ms} ms");
            assert!(!exists || idle_ms <= timeout_ms + LATE_MS, "{connection:?} is there after {idle_ms} ms");
            exists
        });
    }
}

fn client(row: Row, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(row.client().ip(), 40_000 + port)
}

fn key_of<P: Pair>((from, to, protocol): (std::net::SocketAddr, std::net::SocketAddr, u8)) -> FlowKey<P> {
    let ports = u32::from(from.port()) << 16 | u32::from(to.port());
    FlowKey { addresses: P::of(from.ip(), to.ip()).unwrap(), ports, protocol }
}

#[test]
fn both_models_have_the_same_timers() {
    for (key, seconds) in [
        ("tcp_syn_s", SYN_S),
        ("tcp_established_s", ESTABLISHED_S),
        ("tcp_half_closed_s", HALF_CLOSED_S),
        ("tcp_closed_s", CLOSED_S),
        ("tcp_reset_s", RESET_S),
        ("udp_s", UDP_S),
    ] {
        assert!(SWITCH.contains(&format!("\n{key} = {seconds}\n")), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_mode_is_what_the_model_says(world in world(), ops in prop::collection::vec(op(), 1..300)) {
        let mut pairing = Pairing::new(world);
        ops.iter().for_each(|op| pairing.step(op));
        let counters = &pairing.lab.counters;
        let active = counters.connections_new.get() - counters.connections_closed.get();
        prop_assert_eq!(active, pairing.connections.len() as u64);
        prop_assert_eq!(format!("{:?}", pairing.full.counters), format!("{counters:?}"));
        for _ in 0..100 {
            pairing.pass(10_000);
        }
        prop_assert_eq!((pairing.connections.len(), pairing.lab.flows.tables().references()), (0, 0));
    }
}
