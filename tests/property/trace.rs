//! What `trace` says of a packet is what the data path then does with it, and to ask changes nothing: a twin that is never
//! asked stays the same.

use std::net::SocketAddr;

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::dataplane::conntrack::FlowKey;
use xswitch::dataplane::family::{Pair, V4, V6};
use xswitch::dataplane::trace::{Answer, Question, ask};
use xswitch::tables::{BackendId, DropReason, InterfaceId, Protocol};

use crate::frames::flow::{flow, frame};
use crate::frames::lab::{Lab, Outcome};
use crate::frames::modes::{self, World};
use crate::frames::network::*;
use crate::frames::{ACK, FIN, Mac, RST, SYN, TCP, UDP};

const SCHEDULERS: [&str; 10] = ["rr", "wrr", "sh", "hash", "lc", "wlc", "maglev", "lrt", "resource", "p2c"];
/// .13 has no MAC address, 192.0.2.1 no route, and one takes nothing.
const BACKENDS: &[(&str, u32)] = &[
    ("198.18.1.11:80", 2),
    ("198.18.1.13:80", 1),
    ("198.18.1.12:80", 1),
    ("192.0.2.1:80", 1),
    ("198.18.1.14:80", 0),
];
/// At neighbours that are known and one that is not, behind a router, addresses that nobody has, an inside host.
const SENDERS: [&str; 7] =
    ["198.18.0.7", "198.18.0.8", "198.18.0.9", "203.0.113.5", "127.0.0.1", "198.18.0.102", "10.9.0.5"];
/// Besides the schedulers: affinity, full NAT with one port, nobody who serves, nobody and that said, and a VIP's other port.
const TARGETS: usize = SCHEDULERS.len() + 5;

fn config() -> String {
    let switch = SWITCH.replace("[switch]", "[switch]\nicmp_rate = 100000");
    let mut text = format!("{switch}{NETWORK}{DEFAULT_ROUTE}");
    for number in 0..TARGETS - 1 {
        let backends = if number + 3 >= TARGETS { &BACKENDS[4..] } else { BACKENDS };
        for protocol in ["tcp", "udp"] {
            let forwarding = if number == SCHEDULERS.len() + 1 { "full-nat" } else { "nat" };
            let vip = format!("198.18.0.{}:80", 100 + number);
            let block = service(&format!("{protocol}{number}"), &vip, protocol, forwarding, backends);
            let scheduler = format!("scheduler = \"{}\"", SCHEDULERS.get(number).unwrap_or(&"rr"));
            let reject = if number + 2 == TARGETS { "\non_no_backend = \"reject\"" } else { "" };
            let mut block = block.replace("scheduler = \"rr\"", &(scheduler + reject));
            if number == SCHEDULERS.len() {
                block.push_str("[service.affinity]\ntimeout_s = 60\n");
            }
            text.push_str(&block);
        }
    }
    text + "[[snat]]\nname = \"home\"\ninside = [\"10.9.0.0/16\"]\naddresses = [\"198.18.0.3\"]\nports = \"30000-30001\"\n"
}

/// A switch that is asked, and one that is not.
struct Twins {
    asked: Lab,
    other: Lab,
}

impl Twins {
    fn new(text: &str) -> Self {
        Self { asked: Lab::new(text, 1024), other: Lab::new(text, 1024) }
    }

    fn ask(&self, question: &Question) -> Answer {
        let Lab { snapshot, flows, now, .. } = &self.asked;
        ask(question, snapshot, flows.tables(), *now).unwrap()
    }

    /// Sends to both.
    fn send(&mut self, ingress: InterfaceId, frame: &[u8]) -> Outcome {
        let outcome = self.asked.send(ingress, frame);
        assert_eq!(self.other.send(ingress, frame), outcome, "to ask has changed something");
        outcome
    }

    /// Asks, and has the packet come in indeed.
    fn try_out(&mut self, question: &Question) -> (Answer, Outcome) {
        let answer = self.ask(question);
        let outcome = self.send(answer.ingress, &answer.before);
        assert_eq!(answer.verdict, outcome.verdict, "{question:?} {answer:?}");
        let is_open = answer.ports.is_some_and(|(_, all)| all > 1);
        if !is_open && !matches!(answer.verdict, Verdict::Reply(_)) {
            assert_eq!(answer.after, outcome.bytes, "{question:?}");
        }
        let is_lost = matches!(answer.verdict, Verdict::Drop(_) | Verdict::Reply(_));
        assert_eq!(answer.reason.is_some(), is_lost, "{answer:?}");
        if matches!(answer.verdict, Verdict::Forward(_)) {
            assert_eq!(answer.backend, self.backend_of(question), "{question:?} {answer:?}");
        }
        if let (true, [turn, ..]) =
            (answer.remembered.is_none_or(|had| had.backend.is_none()), &answer.turns[..])
            && matches!(answer.verdict, Verdict::Forward(_))
        {
            assert_eq!(*turn, answer.backend, "the scheduler was asked alike: {question:?}");
        }
        (answer, outcome)
    }

    fn backend_of(&self, question: &Question) -> Option<BackendId> {
        let (from, to) = (question.source, question.destination);
        let ports = u32::from(from.port()) << 16 | u32::from(to.port());
        let protocol = question.protocol as u8;
        let flows = &self.asked.flows;
        let v4 = V4::of(from.ip(), to.ip()).map(|addresses| FlowKey { addresses, ports, protocol });
        let v6 = V6::of(from.ip(), to.ip()).map(|addresses| FlowKey { addresses, ports, protocol });
        let hit = v4.and_then(|key| flows.look_up(key)).map(|hit| hit.backend);
        let hit = hit.or(v6.and_then(|key| flows.look_up(key)).map(|hit| hit.backend));
        hit.filter(|id| *id != BackendId::NONE)
    }
}

fn question(source: SocketAddr, destination: SocketAddr, is_tcp: bool) -> Question {
    let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
    Question { source, destination, protocol, ingress: None, length: 0 }
}

#[derive(Debug, Clone)]
enum Op {
    /// Is asked, and sent.
    Try {
        sender: usize,
        port: u16,
        target: usize,
        is_tcp: bool,
        length: u16,
    },
    /// Is asked, and nothing comes of it.
    Ask {
        sender: usize,
        port: u16,
        target: usize,
        is_tcp: bool,
    },
    /// The answer to what left last, so often before: asked, and sent with these flags.
    Answer {
        which: prop::sample::Index,
        flags: u8,
    },
    /// Comes without having been asked, with flags of any kind.
    Send {
        sender: usize,
        port: u16,
        target: usize,
        flags: u8,
    },
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let flags = || prop_oneof![4 => Just(ACK), 2 => Just(FIN | ACK), 1 => Just(RST), 2 => Just(SYN), 2 => Just(SYN | ACK)];
    let place = || (0..SENDERS.len(), 0..4u16, 0..TARGETS);
    let length = prop_oneof![4 => Just(0u16), 1 => 1400..1600u16];
    prop_oneof![
        6 => (place(), any::<bool>(), length).prop_map(|((sender, port, target), is_tcp, length)| {
            Op::Try { sender, port, target, is_tcp, length }
        }),
        4 => (place(), any::<bool>()).prop_map(|((sender, port, target), is_tcp)| {
            Op::Ask { sender, port, target, is_tcp }
        }),
        4 => (any::<prop::sample::Index>(), flags()).prop_map(|(which, flags)| Op::Answer { which, flags }),
        4 => (place(), flags()).prop_map(|((sender, port, target), flags)| Op::Send { sender, port, target, flags }),
        1 => prop_oneof![0..200u64, 1000..90_000u64].prop_map(Op::Pass),
    ]
}

fn sender(sender: usize, port: u16) -> SocketAddr {
    SocketAddr::new(SENDERS[sender].parse().unwrap(), 40_000 + port)
}

fn target(target: usize) -> SocketAddr {
    // The last is a port of a VIP that nobody serves; from inside it is the world.
    let text = match target + 1 {
        TARGETS => "198.18.0.100:81".to_owned(),
        _ => format!("198.18.0.{}:80", 100 + target),
    };
    text.parse().unwrap()
}

/// Where an inside host sends what is for no service.
fn beyond(source: usize, port: u16, to: usize) -> (SocketAddr, SocketAddr) {
    let (source, to) = (sender(source, port), target(to));
    let is_inside = source.ip() == SocketAddr::from(([10, 9, 0, 5], 0)).ip() && to.port() == 81;
    (source, if is_inside { "203.0.113.9:443".parse().unwrap() } else { to })
}

/// Endpoints of a frame that left, as whoever got it answers.
fn reversed(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr, u8)> {
    let packet = etherparse::SlicedPacket::from_ethernet(bytes).ok()?;
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { return None };
    let (ports, protocol) = match &packet.transport {
        Some(etherparse::TransportSlice::Tcp(tcp)) => ((tcp.source_port(), tcp.destination_port()), TCP),
        Some(etherparse::TransportSlice::Udp(udp)) => ((udp.source_port(), udp.destination_port()), UDP),
        _ => return None,
    };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    Some(((to, ports.1).into(), (from, ports.0).into(), protocol))
}

fn arriving(ingress: InterfaceId, from: SocketAddr, to: SocketAddr, protocol: u8, flags: u8) -> Vec<u8> {
    const FROM: [Mac; 2] = [CLIENT7, BACKEND11];
    let at = usize::from(ingress.0);
    frame(FROM[at], [SWITCH0, SWITCH1][at], &[], &flow(protocol, from, to, flags).packet())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_of_a_packet_is_what_becomes_of_it(ops in prop::collection::vec(op(), 1..120)) {
        let mut twins = Twins::new(&config());
        let mut left: Vec<(SocketAddr, SocketAddr, u8)> = Vec::new();
        for op in ops {
            match op {
                Op::Try { sender, port, target, is_tcp, length } => {
                    let (from, to) = beyond(sender, port, target);
                    let (_, outcome) = twins.try_out(&Question { length, ..question(from, to, is_tcp) });
                    if matches!(outcome.verdict, Verdict::Forward(_)) {
                        left.extend(reversed(&outcome.bytes));
                    }
                }
                Op::Ask { sender, port, target, is_tcp } => {
                    let (from, to) = beyond(sender, port, target);
                    twins.ask(&question(from, to, is_tcp));
                }
                Op::Answer { .. } if left.is_empty() => {}
                Op::Answer { which, flags } => {
                    let (from, to, protocol) = left[which.index(left.len())];
                    twins.try_out(&question(from, to, protocol == TCP));
                    twins.send(ETH1, &arriving(ETH1, from, to, protocol, flags));
                }
                Op::Send { sender, port, target, flags } => {
                    let (from, to) = beyond(sender, port, target);
                    twins.send(ETH0, &arriving(ETH0, from, to, TCP, flags));
                }
                Op::Pass(milliseconds) => {
                    twins.asked.pass(milliseconds);
                    twins.other.pass(milliseconds);
                }
            }
        }
        let counters = |lab: &Lab| format!("{:?}", lab.counters);
        prop_assert_eq!(counters(&twins.asked), counters(&twins.other));
        prop_assert_eq!(twins.asked.flows.tables().references(), twins.other.flows.tables().references());
    }
}

#[test]
fn every_mode_in_every_family_is_foretold_there_and_back() {
    for vlans in [[&[][..], &[][..]], [&[100], &[]]] {
        let world = World { twins: true, vlans, ..World::default() };
        let mut twins = Twins::new(&world.config());
        for row in modes::rows() {
            let asked = question(row.client(), row.vip(), row.protocol == TCP);
            for again in [false, true] {
                let (answer, outcome) = twins.try_out(&asked);
                assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{}", row.says());
                assert_eq!(answer.existing.is_some(), again, "{}", row.says());
            }
            if row.replies_come_back() {
                // Which of the two it is does not matter: one of them has the connection.
                let back = [11, 12].map(|host| {
                    let row = row.to(host);
                    twins.ask(&question(row.backend(), row.seen(), row.protocol == TCP)).verdict
                });
                assert!(back.contains(&Verdict::Forward(ETH0)), "{}: {back:?}", row.says());
            }
        }
    }
}

#[test]
fn a_packet_that_is_too_big_for_its_tunnel_is_foretold_to_be_refused() {
    let world = World::default();
    let mut twins = Twins::new(&world.config());
    for row in modes::rows().into_iter().filter(|row| row.is_tunnel()) {
        let asked = question(row.client(), row.vip(), row.protocol == TCP);
        let fits = (modes::MTU - row.overhead()) as u16;
        let (answer, _) = twins.try_out(&Question { length: fits, ..asked });
        assert_eq!(answer.verdict, Verdict::Forward(ETH1), "{}", row.says());
        let (answer, _) = twins.try_out(&Question { length: fits + 1, ..asked });
        assert_eq!(answer.verdict, Verdict::Reply(ETH0), "{}", row.says());
    }
}

#[test]
fn ports_that_are_used_up_are_foretold() {
    let mut twins = Twins::new(&config());
    let full_nat = target(SCHEDULERS.len() + 1);
    let exhausted = Verdict::Drop(DropReason::SnatPortsExhausted);
    let verdicts = (0..20).map(|port| twins.try_out(&question(sender(0, port), full_nat, true)).0.verdict);
    assert!(verdicts.collect::<Vec<_>>().contains(&exhausted));
    let outside = "203.0.113.9:443".parse().unwrap();
    let verdicts = [0, 1, 2].map(|port| twins.try_out(&question(sender(6, port), outside, true)).0.verdict);
    assert_eq!(verdicts[2], exhausted, "{verdicts:?}");
    assert_eq!(verdicts[..2], [Verdict::Forward(ETH0); 2]);
}
