//! One frame at a time: the same verdict and the same bytes as the model has it.

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::dataplane::conntrack::FlowKey;
use xswitch::tables::{BackendId, DropReason, InterfaceId};

use crate::frames::lab::{Lab, Outcome};
use crate::frames::network::*;
use crate::frames::{IP, Packet, TCP, check};
use crate::model::{Expected, Model, Name};
use crate::world::*;

/// The data path and its model, side by side.
pub struct Pair {
    pub lab: Lab,
    /// The same, where every frame is looked at in full.
    full: Lab,
    pub model: Model,
}

impl Pair {
    pub fn new(always: bool, ports: u16) -> Self {
        let verify = if always { "always" } else { "state" };
        let mut lab = Lab::new(&config(verify, ports), 1024);
        // The model knows why a frame is dropped, not what is said about it.
        lab.snapshot.icmp_rate = 0;
        let mut full = Lab::new(&config(verify, ports), 1024).without_ways();
        full.snapshot.icmp_rate = 0;
        Self { lab, full, model: Model::new(always, ports) }
    }

    /// Lets `op` happen to both. Replies are to one of the first `known` connections. What was sent, and what became
    /// of it; nothing if nothing was sent.
    pub fn step(&mut self, op: &Op, known: usize) -> Option<(InterfaceId, Packet, Outcome)> {
        match op {
            Op::Pass(milliseconds) => {
                self.pass(*milliseconds);
                None
            }
            Op::Request { client, service, look } => Some(self.request((*client, *service), look)),
            Op::Reply { .. } if known == 0 => None,
            Op::Reply { connection, look } => {
                let position = connection.index(known);
                let (seen, _) = &self.model.history[position];
                (!self.model.is_younger(seen, known)).then(|| self.reply(position, look))
            }
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.lab.pass(milliseconds);
        self.full.pass(milliseconds);
        let tables = self.lab.flows.tables();
        self.model.pass(milliseconds, |name| {
            let key = request_key(name);
            tables.v4.find(key, tables.secret().hash(key)).is_some()
        });
    }

    fn send(&mut self, ingress: InterfaceId, packet: &Packet) -> Outcome {
        let outcome = self.lab.send(ingress, &packet.build());
        assert_eq!(self.full.send(ingress, &packet.build()), outcome, "in full, {packet:?}");
        outcome
    }

    fn request(&mut self, name: Name, look: &Look) -> (InterfaceId, Packet, Outcome) {
        let ((client, mac), service) = (CLIENTS[name.0], &SERVICES[name.1]);
        let packet = look.packet(service.protocol, client, service.vip).in_at_eth0_from(mac);
        let expected = self.model.request(name, look);
        let outcome = self.send(ETH0, &packet);
        match expected {
            Expected::ToBackend { backend, source } => {
                assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{packet:?}");
                let source = source.unwrap_or_else(|| {
                    let source = source_of(&outcome.bytes);
                    self.model.learn(name, backend, source.clone());
                    source
                });
                let leaves = look.packet(service.protocol, &source, backend.0).out_of_eth1_to(backend.1);
                same(&outcome.bytes, &leaves.ttl(packet.ttl - 1), look);
            }
            Expected::Dropped(reason) => assert!(is_dropped(&outcome, reason), "{packet:?}: {outcome:?}"),
            Expected::ToClient(_) => unreachable!("a request goes to a backend"),
        }
        (ETH0, packet, outcome)
    }

    fn reply(&mut self, position: usize, look: &Look) -> (InterfaceId, Packet, Outcome) {
        let (seen, mac) = self.model.history[position].clone();
        let packet = look.packet(seen.2, seen.0, &seen.1).in_at_eth1_from(mac);
        let outcome = self.send(ETH1, &packet);
        match self.model.reply(&seen, look) {
            Expected::ToClient((client, service)) => {
                assert_eq!(outcome.verdict, Verdict::Forward(ETH0), "{packet:?}");
                let leaves = look.packet(seen.2, SERVICES[service].vip, CLIENTS[client].0);
                let leaves = leaves.out_of_eth0_to(CLIENTS[client].1).ttl(packet.ttl - 1);
                same(&outcome.bytes, &leaves, look);
            }
            Expected::Dropped(reason) => assert!(is_dropped(&outcome, reason), "{packet:?}: {outcome:?}"),
            Expected::ToBackend { .. } => unreachable!("a reply goes to a client"),
        }
        (ETH1, packet, outcome)
    }
}

fn request_key((client, service): Name) -> FlowKey {
    let (from, to): (std::net::SocketAddrV4, std::net::SocketAddrV4) =
        (CLIENTS[client].0.parse().unwrap(), SERVICES[service].vip.parse().unwrap());
    FlowKey {
        addresses: u64::from(from.ip().to_bits()) << 32 | u64::from(to.ip().to_bits()),
        ports: u32::from(from.port()) << 16 | u32::from(to.port()),
        protocol: SERVICES[service].protocol,
    }
}

fn source_of(frame: &[u8]) -> String {
    let address: [u8; 4] = frame[IP + 12..IP + 16].try_into().unwrap();
    let port = u16::from_be_bytes([frame[IP + 20], frame[IP + 21]]);
    format!("{}:{port}", std::net::Ipv4Addr::from(address))
}

/// A random wrong checksum may happen to be that of the pseudo-header.
fn is_dropped(outcome: &Outcome, reason: DropReason) -> bool {
    outcome.verdict == Verdict::Drop(reason)
        || (reason == DropReason::L4Checksum && outcome.verdict == Verdict::Drop(DropReason::ChecksumOffload))
}

/// Equal, byte for byte; and the checksum is right exactly if it was.
fn same(left: &[u8], expected: &Packet, look: &Look) {
    let (mut left, mut expected) = (left.to_vec(), expected.build());
    assert!(check::ip_checksum_is_right(&left));
    assert_eq!(check::transport_checksum_is_right(&left), look.damage.is_none());
    if look.damage.is_some() {
        // A wrong checksum may be either of the two zeros of one's complement.
        let at = IP + 20 + if left[IP + 9] == TCP { 16 } else { 6 };
        for frame in [&mut left, &mut expected] {
            if frame[at..at + 2] == [0xFF, 0xFF] {
                frame[at..at + 2].fill(0);
            }
        }
    }
    assert_eq!(left, expected);
}

/// What schedulers weigh is what there is.
fn open_is_right(lab: &Lab) {
    let tables = lab.flows.tables();
    for id in (0..lab.snapshot.backends.len() as u32).map(BackendId) {
        assert_eq!(tables.loads.open(id) as usize, tables.v4.unfinished(id), "{id:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sequence_of_frames_is_what_the_model_says(
        always in any::<bool>(),
        ops in prop::collection::vec(prop_oneof![5 => request(), 5 => reply(), 1 => pass()], 1..300),
    ) {
        let mut pair = Pair::new(always, 3);
        for op in &ops {
            pair.step(op, pair.model.history.len());
        }
        let counters = &pair.lab.counters;
        let active = counters.connections_new.get() - counters.connections_closed.get();
        prop_assert_eq!(active, pair.model.len() as u64);
        prop_assert_eq!(pair.lab.flows.tables().references(), 2 * pair.model.len());
        open_is_right(&pair.lab);
        prop_assert_eq!(format!("{:?}", pair.full.counters), format!("{counters:?}"));
        for _ in 0..100 {
            pair.pass(10_000);
        }
        prop_assert_eq!((pair.model.len(), pair.lab.flows.tables().references()), (0, 0));
        open_is_right(&pair.lab);
    }
}
