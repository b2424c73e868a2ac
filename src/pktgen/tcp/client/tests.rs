//! Clients against the server that keeps no state, over a network that loses, repeats and reorders.

use proptest::prelude::*;

use super::super::connection::Until;
use super::super::server::{Served, Server};
use super::*;

const MILLISECOND: u64 = 1_000_000;

fn plan(flows: u32, script: Script) -> ClientPlan {
    let tuples =
        Tuples::new("198.19.0.0/28:1024-2047".parse().unwrap(), "198.18.0.100:80".parse().unwrap(), flows);
    ClientPlan { tuples: tuples.unwrap(), script, concurrent: 50, timeout_ns: 20_000 * MILLISECOND }
}

fn script(until: Until) -> Script {
    Script { request: b"GET / HTTP/1.0\r\n\r\n".to_vec(), segment: 1400, until, hold_ns: 0, resets: false }
}

fn server(closes: bool) -> Server {
    Server { reply: vec![b'r'; 100], closes, secret: 5 }
}

/// A segment under way, with the time at which it arrives.
struct Flying {
    at_ns: u64,
    to_server: bool,
    out: Out,
    reply: Vec<u8>,
}

/// What the network does to each segment: numbers from 0 to 99 in turn.
struct Network {
    dice: Vec<u8>,
    at: usize,
    lost_of_100: u8,
    flying: Vec<Flying>,
}

impl Network {
    fn new(dice: Vec<u8>, lost_of_100: u8) -> Self {
        Self { dice, at: 0, lost_of_100, flying: Vec::new() }
    }

    fn roll(&mut self) -> u8 {
        self.at += 1;
        let mixed = (self.at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let die = self.dice.get(self.at % self.dice.len().max(1)).copied().unwrap_or(99);
        ((u64::from(die) + mixed) % 100) as u8
    }

    fn send(&mut self, now_ns: u64, to_server: bool, out: Out, reply: Vec<u8>) {
        let copies = match self.roll() {
            die if die < self.lost_of_100 => 0,
            die if die > 100 - self.lost_of_100 / 4 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay =
                if self.lost_of_100 > 0 { u64::from(self.roll()) * MILLISECOND / 10 } else { MILLISECOND };
            let (out, reply) = (out.clone(), reply.clone());
            self.flying.push(Flying { at_ns: now_ns + delay, to_server, out, reply });
        }
    }
}

/// Opens `total` connections and lets time go by until all are over; the client, and what the server saw.
fn run(plan: ClientPlan, server: Option<&Server>, network: &mut Network, total: u64) -> (Client, Served) {
    let (mut client, mut served) = (Client::new(plan.clone()), Served::default());
    let mut now_ns = 1_000_000_000;
    for _ in 0..200_000 {
        let mut out = Vec::new();
        while client.counts().opened < total && client.open(now_ns, &mut |segment| out.push(segment)) {}
        let (arriving, later) = network.flying.drain(..).partition(|flying| flying.at_ns <= now_ns);
        network.flying = later;
        for flying in arriving {
            let (source, destination) = plan.tuples.flow(flying.out.flow);
            let (source, destination) =
                if flying.to_server { (source, destination) } else { (destination, source) };
            let data =
                if flying.to_server { &plan.script.request[flying.out.data.clone()] } else { &flying.reply };
            let Out { flags, sequence, acknowledgment, flow, .. } = flying.out;
            let segment = Segment { source, destination, flags, sequence, acknowledgment, payload: data };
            if !flying.to_server {
                client.receive(&segment, now_ns, &mut |segment| out.push(segment));
            } else if let Some(server) = server
                && let Some(back) = server.answer(&segment, &mut served)
            {
                let Segment { flags, sequence, acknowledgment, payload, .. } = back;
                let reply = Out { flow, flags, sequence, acknowledgment, data: 0..0 };
                network.send(now_ns, false, reply, payload.to_vec());
            }
        }
        client.tick(now_ns, 1000, &mut |segment| out.push(segment));
        for segment in out {
            network.send(now_ns, true, segment, Vec::new());
        }
        if client.counts().opened == total && client.open_now() == 0 && network.flying.is_empty() {
            return (client, served);
        }
        now_ns += MILLISECOND;
    }
    panic!("not over: {:?}, {} open", client.counts(), client.open_now());
}

fn perfect() -> Network {
    Network::new(vec![50], 0)
}

#[test]
fn a_thousand_connections_are_opened_used_and_closed() {
    for (until, closes) in [(Until::Closed, true), (Until::Bytes(100), false), (Until::Acknowledged, false)] {
        let (client, served) = run(plan(300, script(until)), Some(&server(closes)), &mut perfect(), 1000);
        let counts = client.counts();
        assert_eq!(
            [counts.opened, counts.established, counts.answered, counts.completed],
            [1000; 4],
            "{until:?}"
        );
        assert_eq!((client.failed(), counts.peak, counts.repeated, counts.strange), (0, 50, 0, 0));
        assert_eq!((served.syns, served.replies, served.fins), (1000, 1000, 1000));
        assert_eq!((client.handshakes.count(), client.answers.count()), (1000, 1000));
        assert!(client.handshakes.quantile(0.5) >= 2 * MILLISECOND);
    }
}

#[test]
fn connections_without_a_request_are_opened_and_closed() {
    let script = Script { request: Vec::new(), ..script(Until::Acknowledged) };
    let (client, served) = run(plan(50, script), Some(&server(false)), &mut perfect(), 200);
    assert_eq!((client.counts().completed, client.failed(), served.segments), (200, 0, 0));
}

#[test]
fn an_answer_of_no_bytes_is_there_at_once() {
    let script = Script { request: Vec::new(), ..script(Until::Bytes(0)) };
    let (client, _) = run(plan(50, script), Some(&server(false)), &mut perfect(), 200);
    assert_eq!((client.counts().completed, client.failed()), (200, 0), "no bytes are there at once");
}

#[test]
fn a_request_goes_in_as_many_segments_as_it_needs() {
    let script = Script { segment: 5, ..script(Until::Closed) };
    let (client, served) = run(plan(50, script), Some(&server(true)), &mut perfect(), 20);
    assert_eq!((client.counts().completed, served.segments, served.bytes), (20, 80, 360));
}

#[test]
fn connections_are_held_open_for_as_long_as_they_should() {
    let script = Script { hold_ns: 400 * MILLISECOND, ..script(Until::Bytes(100)) };
    let (client, _) = run(plan(50, script), Some(&server(false)), &mut perfect(), 100);
    let counts = client.counts();
    assert_eq!(
        (counts.completed, client.failed(), counts.repeated),
        (100, 0, 0),
        "silence is no timeout meanwhile"
    );
}

#[test]
fn a_reset_closes_as_well() {
    let script = Script { resets: true, ..script(Until::Bytes(100)) };
    let (client, served) = run(plan(50, script), Some(&server(false)), &mut perfect(), 100);
    assert_eq!((client.counts().completed, client.counts().answered, served.resets), (100, 100, 100));
}

#[test]
fn nobody_answers() {
    let plan = ClientPlan { timeout_ns: 1_000 * MILLISECOND, ..plan(50, script(Until::Closed)) };
    let (client, _) = run(plan, None, &mut perfect(), 60);
    let failures: Vec<_> = client.failures().filter(|(_, count)| *count > 0).collect();
    assert_eq!(failures, [(Failure::HandshakeTimeout, 60)]);
    assert_eq!(client.counts().established, 0);
}

#[test]
fn an_answer_that_never_comes_and_one_that_is_too_short() {
    let never = ClientPlan { timeout_ns: 1_000 * MILLISECOND, ..plan(50, script(Until::Bytes(101))) };
    let (client, _) = run(never, Some(&server(false)), &mut perfect(), 10);
    assert_eq!(client.failures().find(|(_, count)| *count > 0), Some((Failure::AnswerTimeout, 10)));
    let (client, _) = run(plan(50, script(Until::Bytes(101))), Some(&server(true)), &mut perfect(), 10);
    assert_eq!(client.failures().find(|(_, count)| *count > 0), Some((Failure::ClosedEarly, 10)));
}

/// A client with one open SYN, and its sequence number.
fn opening() -> (Client, u32) {
    let mut client = Client::new(plan(1, script(Until::Closed)));
    let mut out = Vec::new();
    assert!(client.open(1, &mut |segment| out.push(segment)));
    assert!(!client.open(1, &mut |_| panic!("there is one flow only")));
    (client, out[0].sequence)
}

fn from_server(client: &Client, flags: Flags, sequence: u32, acknowledgment: u32) -> Segment<'static> {
    let (source, destination) = client.plan.tuples.flow(0);
    Segment { source: destination, destination: source, flags, sequence, acknowledgment, payload: b"" }
}

#[test]
fn a_refusal_counts_only_where_it_answers_our_syn() {
    let (mut client, initial) = opening();
    let reset = Flags::RST.with(Flags::ACK);
    let blind = from_server(&client, reset, 0, initial.wrapping_add(7));
    client.receive(&blind, 2, &mut |_| panic!("no answer to a reset"));
    assert_eq!((client.failed(), client.open_now()), (0, 1));
    let refusal = from_server(&client, reset, 0, initial.wrapping_add(1));
    client.receive(&refusal, 2, &mut |_| panic!("no answer to a reset"));
    assert_eq!(client.failures().find(|(_, count)| *count > 0), Some((Failure::Refused, 1)));
}

#[test]
fn a_reset_ends_a_connection_only_where_it_is_expected() {
    let (mut client, initial) = opening();
    let syn_ack = from_server(&client, Flags::SYN.with(Flags::ACK), 500, initial.wrapping_add(1));
    client.receive(&syn_ack, 2, &mut |_| {});
    for (sequence, failed) in [(502, 0), (501, 1)] {
        let reset = from_server(&client, Flags::RST, sequence, 0);
        client.receive(&reset, 3, &mut |_| {});
        assert_eq!(client.failed(), failed);
    }
    assert_eq!(client.failures().find(|(_, count)| *count > 0), Some((Failure::Reset, 1)));
}

#[test]
fn what_is_over_still_acknowledges_an_end_and_refuses_the_rest() {
    let mut client = Client::new(plan(1, script(Until::Closed)));
    let mut out = Vec::new();
    let fin = from_server(&client, Flags::FIN.with(Flags::ACK), 9, 70);
    client.receive(&fin, 1, &mut |segment| out.push(segment));
    let data = Segment { payload: b"late", ..from_server(&client, Flags::ACK, 9, 70) };
    client.receive(&data, 1, &mut |segment| out.push(segment));
    let reset = from_server(&client, Flags::RST, 9, 70);
    client.receive(&reset, 1, &mut |segment| out.push(segment));
    let said: Vec<_> = out.iter().map(|out| (out.flags, out.sequence, out.acknowledgment)).collect();
    assert_eq!(said, [(Flags::ACK, 70, 10), (Flags::RST, 70, 0)]);
}

#[test]
fn segments_of_nobody_are_counted() {
    let (mut client, _) = opening();
    let mut strange = from_server(&client, Flags::ACK, 1, 1);
    strange.destination.set_port(1);
    client.receive(&strange, 1, &mut |_| panic!("not ours to answer"));
    assert_eq!(client.counts().strange, 1);
}

#[test]
fn those_that_are_open_at_the_end_are_given_up() {
    let (mut client, initial) = opening();
    let mut out = Vec::new();
    client.abort_all(&mut |segment| out.push(segment));
    assert_eq!((out.len(), out[0].sequence), (1, initial.wrapping_add(1)));
    assert!(out[0].flags.any(Flags::RST));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn loss_repetition_and_disorder_cost_time_but_no_connection(
        dice in proptest::collection::vec(0u8..100, 1..200),
        lost in 0u8..30,
        which in 0usize..3,
    ) {
        let (until, closes) = [(Until::Closed, true), (Until::Bytes(100), false), (Until::Acknowledged, false)][which];
        let mut network = Network::new(dice, lost);
        let (client, _) = run(plan(40, script(until)), Some(&server(closes)), &mut network, 60);
        let counts = client.counts();
        prop_assert_eq!((counts.completed, client.failed()), (60, 0), "{:?}", client.failures().collect::<Vec<_>>());
        prop_assert_eq!((counts.established, counts.answered), (60, 60));
    }
}
