//! Connections whose backend is lost: what their clients get, in every mode and both families.

use etherparse::TcpHeaderSlice;
use xswitch::dataplane::Verdict;
use xswitch::tables::loads::Failures;
use xswitch::tables::{Backend, BackendId, DropReason, Fate, OnNoBackend, RoundRobin, SchedulerTable};

use crate::frames::flow::Flow;
use crate::frames::lab::Lab;
use crate::frames::modes::*;
use crate::frames::network::*;
use crate::frames::{ACK, FIN, PSH, RST, SEQUENCE, SYN, TCP, UDP, pieces, strict};

/// Two backends that take turns; every second connection of full NAT gets the same port.
fn world() -> World {
    World { twins: true, ..World::default() }
}

fn rows_of(protocol: u8) -> impl Iterator<Item = Row> {
    rows().into_iter().filter(move |row| row.protocol == protocol)
}

/// The row of a backend.
pub fn id(lab: &Lab, row: Row) -> BackendId {
    let is_it = |backend: &&Backend| {
        let service = lab.snapshot.service(backend.service).unwrap();
        backend.address == row.backend() && (service.vip, service.protocol as u8) == (row.vip(), row.protocol)
    };
    lab.snapshot.backends.iter().flatten().find(is_it).unwrap().id
}

/// The snapshot in which the backend is down, and its connections have this fate.
pub fn lose(lab: &mut Lab, row: Row, fate: Fate) {
    let (lost, other) = (id(lab, row), id(lab, row.to(23 - row.host)));
    let backend = lab.snapshot.backends[lost.index()].as_mut().unwrap();
    (backend.down, backend.fate) = (true, fate);
    let service = backend.service;
    let turns = RoundRobin::equal(&[(other, 1)]);
    lab.snapshot.services[service.index()].as_mut().unwrap().table = SchedulerTable::RoundRobin(turns).into();
    lab.snapshot.epoch += 1;
    lab.snapshot.index();
}

/// A connection in the middle of its life.
fn established(world: &World, row: Row) -> Lab {
    let mut lab = world.lab();
    deliver(world, &mut lab, row, &row.request(SYN));
    if row.protocol == TCP {
        if row.replies_come_back() {
            answer(world, &mut lab, row, &row.reply(SYN | ACK));
        }
        deliver(world, &mut lab, row, &row.request(ACK | PSH).payload(b"GET /"));
        if row.replies_come_back() {
            answer(world, &mut lab, row, &row.reply(ACK | PSH).payload(b"200 O"));
        }
    }
    lab
}

fn from_client(world: &World, request: &Flow) -> Vec<u8> {
    world.arriving(ETH0, CLIENT7, &request.packet())
}

/// Flags, sequence and acknowledgment number of a bare segment from the VIP to the client.
fn segment(row: Row, frame: &[u8]) -> (u8, u32, u32) {
    assert_eq!((&frame[..6], &frame[6..12]), (&CLIENT7[..], &SWITCH0[..]), "{}", row.says());
    let layers = strict::layers(frame);
    let [layer] = &layers[..] else { panic!("{}: {layers:?}", row.says()) };
    assert_eq!((layer.source, layer.destination), (row.vip(), row.client()), "{}", row.says());
    let header = if row.client == V4 { 20 } else { 40 };
    assert_eq!(layer.packet.len(), header + 20, "nothing but a TCP header");
    let tcp = TcpHeaderSlice::from_slice(&layer.packet[header..]).unwrap();
    (tcp.slice()[13], tcp.sequence_number(), tcp.acknowledgment_number())
}

#[test]
fn a_client_that_sends_gets_a_reset_that_it_must_believe_and_again_if_that_was_lost() {
    let world = world();
    for row in rows_of(TCP) {
        let mut lab = established(&world, row);
        let lost = id(&lab, row);
        assert_eq!(lab.flows.tables().loads.open(lost), 1, "{}", row.says());
        lose(&mut lab, row, Fate::Reset);
        // Whatever other messages are limited to.
        lab.snapshot.icmp_rate = 0;
        for flags in [ACK | PSH, ACK, FIN | ACK] {
            let outcome = lab.send(ETH0, &from_client(&world, &row.request(flags).payload(b"more")));
            assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{}", row.says());
            assert_eq!(segment(row, &outcome.bytes), (RST, SEQUENCE + 1, 0), "{}", row.says());
            assert_eq!(lab.flows.tables().loads.open(lost), 0, "{}", row.says());
        }
        let dropped = lab.send(ETH0, &from_client(&world, &row.request(RST)));
        assert_eq!(dropped.verdict, Verdict::Drop(DropReason::BackendDown), "{}", row.says());
        deliver(&world, &mut lab, row.to(12), &row.request(SYN));
        assert_eq!(lab.flows.tables().loads.open(id(&lab, row.to(12))), 1);
    }
}

#[test]
fn a_damaged_segment_ends_nothing() {
    let world = world();
    let row = Row::of("nat", TCP, V4, V4);
    let mut lab = established(&world, row);
    lose(&mut lab, row, Fate::Reset);
    said(&mut lab, 20);
    let mut damaged = from_client(&world, &row.request(ACK | PSH).payload(b"more"));
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(lab.send(ETH0, &damaged).verdict, Verdict::Drop(DropReason::L4Checksum));
    assert_eq!(lab.flows.tables().loads.open(id(&lab, row)), 1);
}

#[test]
fn a_rescheduled_segment_goes_to_another_backend_which_answers_for_itself() {
    let world = world();
    for row in rows_of(TCP) {
        let mut lab = established(&world, row);
        let (lost, other) = (id(&lab, row), row.to(12));
        lose(&mut lab, row, Fate::Reschedule);
        deliver(&world, &mut lab, other, &row.request(ACK | PSH).payload(b"more"));
        let open = |lab: &Lab, id| lab.flows.tables().loads.open(id);
        assert_eq!((open(&lab, lost), open(&lab, id(&lab, other))), (0, 1), "{}", row.says());
        deliver(&world, &mut lab, other, &row.request(ACK));
        if row.replies_come_back() {
            answer(&world, &mut lab, other, &other.reply(RST));
            assert_eq!(open(&lab, id(&lab, other)), 0, "{}", row.says());
            // That backend has refused nothing: it was not asked.
            assert_eq!(lab.flows.tables().loads.failures(id(&lab, other)), Failures::default());
        }
    }
}

#[test]
fn where_no_backend_takes_it_over_a_rescheduled_connection_stays_until_one_does() {
    let world = world();
    let row = Row::of("nat", TCP, V6, V6);
    let mut lab = established(&world, row);
    lose(&mut lab, row, Fate::Reschedule);
    let service = lab.snapshot.backends[id(&lab, row).index()].as_ref().unwrap().service.index();
    let able = lab.snapshot.services[service].clone();
    let service = lab.snapshot.services[service].as_mut().unwrap();
    service.table = SchedulerTable::RoundRobin(RoundRobin::default()).into();
    let outcome = lab.send(ETH0, &from_client(&world, &row.request(ACK)));
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::NoBackend));
    let position = able.as_ref().unwrap().id.index();
    lab.snapshot.services[position].as_mut().unwrap().on_no_backend = OnNoBackend::Reject;
    let outcome = lab.send(ETH0, &from_client(&world, &row.request(ACK)));
    assert_eq!(segment(row, &outcome.bytes), (RST, SEQUENCE + 1, 0));
    lab.snapshot.services[position] = able;
    deliver(&world, &mut lab, row.to(12), &row.request(ACK));
}

#[test]
fn a_datagram_goes_to_another_backend_whichever_fate() {
    let world = world();
    for fate in [Fate::Reset, Fate::Reschedule] {
        for row in rows_of(UDP) {
            let mut lab = established(&world, row);
            lose(&mut lab, row, fate);
            deliver(&world, &mut lab, row.to(12), &row.request(0));
            deliver(&world, &mut lab, row.to(12), &row.request(0));
            assert_eq!(lab.flows.tables().loads.open(id(&lab, row)), 0);
        }
    }
}

#[test]
fn connections_that_are_kept_go_on_and_a_syn_without_an_answer_goes_elsewhere() {
    let world = world();
    for row in rows_of(TCP) {
        let mut lab = established(&world, row);
        lose(&mut lab, row, Fate::Keep);
        deliver(&world, &mut lab, row, &row.request(ACK));
        deliver(&world, &mut lab, row, &row.request(SYN));
        let mut lab = world.lab();
        deliver(&world, &mut lab, row, &row.request(SYN));
        deliver(&world, &mut lab, row, &row.request(SYN));
        lose(&mut lab, row, Fate::Keep);
        deliver(&world, &mut lab, row.to(12), &row.request(SYN));
        assert_eq!(lab.flows.tables().loads.open(id(&lab, row)), 0);
    }
}

#[test]
fn the_backends_own_frames_still_arrive() {
    let world = world();
    for row in rows_of(TCP).filter(|row| row.replies_come_back()) {
        let mut lab = established(&world, row);
        lose(&mut lab, row, Fate::Reset);
        said(&mut lab, 20);
        answer(&world, &mut lab, row, &row.reply(ACK | PSH).payload(b"the rest"));
    }
}

#[test]
fn fragments_follow_their_first_and_those_of_a_lost_connection_are_dropped() {
    let world = world();
    for client in [V4, V6] {
        let row = Row::of("nat", UDP, client, client);
        let whole = from_client(&world, &row.request(0).payload(&[7; 64]));
        let cut = pieces::split(&whole, 0x77, 32);
        let mut lab = established(&world, row);
        assert_eq!(lab.send(ETH0, &cut[0]).verdict, Verdict::Forward(ETH1));
        lose(&mut lab, row, Fate::Reset);
        assert_eq!(lab.send(ETH0, &cut[1]).verdict, Verdict::Drop(DropReason::BackendDown));
        let cut = pieces::split(&whole, 0x78, 32);
        for piece in &cut {
            let outcome = lab.send(ETH0, piece);
            assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
            assert_eq!(outcome.bytes[..6], BACKEND12);
        }
        let row = Row::of("nat", TCP, client, client);
        let mut lab = established(&world, row);
        lose(&mut lab, row, Fate::Reset);
        said(&mut lab, 20);
        let whole = from_client(&world, &row.request(ACK).payload(&[7; 64]));
        for piece in pieces::split(&whole, 0x79, 32) {
            assert_eq!(lab.send(ETH0, &piece).verdict, Verdict::Drop(DropReason::BackendDown));
        }
        lose(&mut lab, row, Fate::Reschedule);
        for piece in pieces::split(&whole, 0x7A, 32) {
            let outcome = lab.send(ETH0, &piece);
            assert_eq!((outcome.verdict, &outcome.bytes[..6]), (Verdict::Forward(ETH1), &BACKEND12[..]));
        }
    }
}

/// What the switch says by itself within so many calls.
fn said(lab: &mut Lab, calls: usize) -> Vec<Vec<u8>> {
    let nothing: [&[u8]; 0] = [];
    let mut said = Vec::new();
    for _ in 0..calls {
        for outcome in lab.send_all(ETH0, &nothing) {
            assert_eq!(outcome.verdict, Verdict::Reply(ETH0));
            said.push(outcome.bytes);
        }
    }
    said
}

#[test]
fn a_client_that_only_listens_is_poked_and_its_answer_answered_exactly() {
    let world = world();
    for row in rows_of(TCP) {
        let mut lab = established(&world, row);
        assert_eq!(said(&mut lab, 20).len(), 0);
        lose(&mut lab, row, Fate::Reset);
        assert!(lab.flows.has_to_tell(&lab.snapshot));
        let pokes = said(&mut lab, 20);
        assert_eq!(pokes.len(), 1, "{}", row.says());
        let (flags, sequence, acknowledgment) = segment(row, &pokes[0]);
        assert_eq!((flags, acknowledgment), (ACK, SEQUENCE), "{}", row.says());
        // Where the backend's frames are not seen, what the client has acknowledged says where it stands.
        let before = if row.replies_come_back() { SEQUENCE - 1 } else { SEQUENCE };
        assert_eq!(sequence, before, "{}", row.says());
        assert!(!lab.flows.has_to_tell(&lab.snapshot), "once for every snapshot");
        let outcome = lab.send(ETH0, &from_client(&world, &row.request(ACK)));
        assert_eq!(segment(row, &outcome.bytes), (RST, SEQUENCE + 1, 0), "{}", row.says());
        lab.snapshot.epoch += 1;
        assert_eq!(said(&mut lab, 20).len(), 0, "{}: it knows", row.says());
    }
}

#[test]
fn many_clients_are_poked_a_few_at_a_time_and_others_not_at_all() {
    let world = world();
    let row = Row::of("ipip", TCP, V4, V4);
    let mut lab = world.lab();
    for port in 0..200 {
        for flags in [SYN, ACK] {
            let mut request = row.request(flags);
            request.source.set_port(10_000 + port);
            assert_eq!(lab.send(ETH0, &from_client(&world, &request)).verdict, Verdict::Forward(ETH1));
        }
    }
    let udp = Row::of("ipip", UDP, V4, V4);
    deliver(&world, &mut lab, udp, &udp.request(0));
    deliver(&world, &mut lab, Row::of("nat", TCP, V4, V4), &Row::of("nat", TCP, V4, V4).request(SYN));
    lose(&mut lab, udp, Fate::Reset);
    lose(&mut lab, row, Fate::Reset);
    let mut pokes = Vec::new();
    for _ in 0..60 {
        let few = said(&mut lab, 1);
        assert!(few.len() <= 8, "{} at once", few.len());
        pokes.extend(few);
    }
    assert_eq!(pokes.len(), 100, "every second connection was the lost backend's");
    pokes.sort_unstable();
    pokes.dedup();
    assert_eq!(pokes.len(), 100);
}
