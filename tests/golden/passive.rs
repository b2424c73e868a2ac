//! What the traffic shows of the backends' health, and what clients cannot make it show.

use xswitch::dataplane::Verdict;
use xswitch::tables::loads::Failures;
use xswitch::tables::{DropReason, Event, Fate, OnNoBackend, RoundRobin, SchedulerTable};

use crate::frames::flow::{self, Head};
use crate::frames::lab::Lab;
use crate::frames::modes::*;
use crate::frames::network::*;
use crate::frames::{ACK, RST, SYN, TCP, UDP, check, strict};
use crate::lost::{id, lose};

const SECOND_US: u32 = 1_000_000;

fn failures(lab: &Lab, row: Row) -> Failures {
    lab.flows.tables().loads.failures(id(lab, row))
}

fn seen(refused: u32, unanswered: u32, unreachable: u32) -> [u32; 3] {
    [refused, unanswered, unreachable]
}

fn nat_rows(protocol: u8) -> impl Iterator<Item = Row> {
    rows().into_iter().filter(move |row| row.protocol == protocol && row.replies_come_back())
}

#[test]
fn the_time_from_the_first_syn_to_its_answer_is_noted() {
    let world = World::default();
    for row in nat_rows(TCP) {
        let mut lab = world.lab();
        // The clock wraps on the way, and the coarse one moves on.
        lab.flows.clock_us = u32::MAX - 100_000;
        deliver(&world, &mut lab, row, &row.request(SYN));
        lab.pass(200);
        lab.flows.clock_us = lab.flows.clock_us.wrapping_add(200_000);
        deliver(&world, &mut lab, row, &row.request(SYN));
        lab.pass(100);
        lab.flows.clock_us = lab.flows.clock_us.wrapping_add(100_000);
        answer(&world, &mut lab, row, &row.reply(SYN | ACK));
        let loads = &lab.flows.tables().loads;
        assert_eq!(loads.connect_us(id(&lab, row)), 300_000, "{}", row.says());
        answer(&world, &mut lab, row, &row.reply(SYN | ACK));
        let loads = &lab.flows.tables().loads;
        assert_eq!(loads.connect_us(id(&lab, row)), 300_000, "said twice, noted once");
        assert_eq!(failures(&lab, row), Failures::default());
    }
}

#[test]
fn another_workers_clock_and_none_at_all_count_as_no_time() {
    let world = World::default();
    let row = Row::of("nat", TCP, V4, V4);
    for (asked, answered) in [(500, 499), (0, 0)] {
        let mut lab = world.lab();
        lab.flows.clock_us = asked;
        deliver(&world, &mut lab, row, &row.request(SYN));
        lab.flows.clock_us = answered;
        answer(&world, &mut lab, row, &row.reply(SYN | ACK));
        assert_eq!(lab.flows.tables().loads.connect_us(id(&lab, row)), 1);
    }
}

#[test]
fn a_refused_connection_is_a_failure_of_the_backend() {
    let world = World::default();
    for row in nat_rows(TCP) {
        let mut lab = world.lab();
        deliver(&world, &mut lab, row, &row.request(SYN));
        answer(&world, &mut lab, row, &row.reply(RST));
        assert_eq!(failures(&lab, row), Failures::default(), "one that does not acknowledge the SYN");
        answer(&world, &mut lab, row, &row.reply(RST | ACK));
        assert_eq!(failures(&lab, row), Failures { seen: seen(1, 0, 0), in_a_row: 1, told_in_a_row: 1 });
        assert!(lab.events.contains(&Event::Failing(id(&lab, row))), "{}", row.says());
        assert_eq!(lab.flows.tables().loads.open(id(&lab, row)), 0);
    }
}

#[test]
fn a_syn_repeated_as_late_as_clients_do_is_a_failure_until_the_backend_answers() {
    let world = World::default();
    for row in nat_rows(TCP) {
        let mut lab = world.lab();
        deliver(&world, &mut lab, row, &row.request(SYN));
        for repeated in 1..=2 {
            lab.flows.clock_us += SECOND_US * repeated;
            deliver(&world, &mut lab, row, &row.request(SYN));
            let repeated = Failures { seen: seen(0, repeated, 0), in_a_row: repeated, told_in_a_row: 0 };
            assert_eq!(failures(&lab, row), repeated, "{}: the backend has said nothing", row.says());
            assert!(lab.events.contains(&Event::Failing(id(&lab, row))));
        }
        answer(&world, &mut lab, row, &row.reply(SYN | ACK));
        assert_eq!(failures(&lab, row).in_a_row, 0, "{}", row.says());
        lab.flows.clock_us += SECOND_US;
        deliver(&world, &mut lab, row, &row.request(SYN));
        assert_eq!(failures(&lab, row).seen, seen(0, 2, 0), "{}: it was answered", row.says());
    }
}

#[test]
fn clients_that_never_complete_what_they_begin_cause_no_failure() {
    let world = World::default();
    for row in rows().into_iter().filter(|row| row.protocol == TCP && row.mode != "full-nat") {
        let mut lab = world.lab();
        for port in 10_000..10_300 {
            let mut syn = row.request(SYN);
            syn.source.set_port(port);
            let syn = world.arriving(ETH0, CLIENT7, &syn.packet());
            // Twice before the backend can have answered, and twice afterwards.
            lab.send(ETH0, &syn);
            lab.send(ETH0, &syn);
            lab.flows.clock_us += 20_000;
            if row.replies_come_back() {
                let mut answer = row.reply(SYN | ACK);
                answer.destination.set_port(port);
                let answer = world.arriving(ETH1, row.mac(), &answer.packet());
                assert_eq!(lab.send(ETH1, &answer).verdict, Verdict::Forward(ETH0));
            }
            lab.flows.clock_us += 2 * SECOND_US;
            lab.send(ETH0, &syn);
            lab.send(ETH0, &syn);
        }
        assert_eq!(failures(&lab, row), Failures::default(), "{}", row.says());
    }
}

/// "Destination unreachable" (or what else this type is) about `quoted`, from a router inside.
fn error(family: Family, code: u8, quoted: &[u8]) -> Vec<u8> {
    let (source, kind, protocol) =
        (inside(family, 12), if family == V4 { 3 } else { 1 }, if family == V4 { 1 } else { 58 });
    let destination = destination(quoted);
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
    let mut sum = check::sum(&message);
    if family == V6 {
        let octets = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V6(address) => address.octets(),
            std::net::IpAddr::V4(_) => panic!("IPv6"),
        };
        let pseudo = check::sum(&[octets(source), octets(destination)].concat());
        sum = check::add(sum, check::add(pseudo, 58 + message.len() as u16));
    }
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    Head::new().around(source, destination, protocol, &message)
}

/// Whoever sent the packet.
fn destination(packet: &[u8]) -> std::net::IpAddr {
    let frame = flow::frame([0; 6], [0; 6], &[], packet);
    strict::layers(&frame)[0].source.ip()
}

#[test]
fn an_icmp_error_from_the_backends_side_about_a_live_connection_is_a_failure() {
    let world = World::default();
    for row in rows().into_iter().filter(|row| row.mode != "dsr") {
        let mut lab = world.lab();
        let left = deliver(&world, &mut lab, row, &row.request(SYN));
        let code = if row.backend == V4 { 1 } else { 3 };
        let error = error(row.backend, code, &left[14..]);
        if !row.is_tunnel() {
            let from_outside = world.arriving(ETH0, CLIENT8, &error);
            assert_eq!(lab.send(ETH0, &from_outside).verdict, Verdict::Forward(ETH0), "{}", row.says());
            assert_eq!(failures(&lab, row), Failures::default(), "{}: not its side", row.says());
        }
        let outcome = lab.send(ETH1, &world.arriving(ETH1, BACKEND12, &error));
        assert!(
            matches!(outcome.verdict, Verdict::Forward(ETH0) | Verdict::Reply(ETH0)),
            "{}: {:?}",
            row.says(),
            outcome.verdict
        );
        assert_eq!(failures(&lab, row).seen, seen(0, 0, 1), "{}", row.says());
        assert!(lab.events.contains(&Event::Failing(id(&lab, row))), "{}", row.says());
        let twins = World { twins: true, ..World::default() };
        let mut lab = twins.lab();
        let left = deliver(&twins, &mut lab, row, &row.request(SYN));
        lose(&mut lab, row, Fate::Reset);
        let error = self::error(row.backend, code, &left[14..]);
        let outcome = lab.send(ETH1, &world.arriving(ETH1, BACKEND12, &error));
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::BackendDown), "{}", row.says());
    }
}

#[test]
fn without_a_backend_a_client_is_told_only_if_the_service_says_so() {
    let world = World::default();
    for row in rows() {
        let mut lab = world.lab();
        let service = lab.snapshot.backends[id(&lab, row).index()].as_ref().unwrap().service.index();
        let service = lab.snapshot.services[service].as_mut().unwrap();
        service.table = SchedulerTable::RoundRobin(RoundRobin::default()).into();
        let frame = world.arriving(ETH0, CLIENT7, &row.request(SYN).packet());
        for (answer, rate) in
            [(OnNoBackend::Drop, 1000), (OnNoBackend::ToKernel, 1000), (OnNoBackend::Reject, 0)]
        {
            let position = service_of(&lab, row);
            lab.snapshot.services[position].as_mut().unwrap().on_no_backend = answer;
            lab.snapshot.icmp_rate = rate;
            let outcome = lab.send(ETH0, &frame);
            assert_eq!(outcome.verdict, Verdict::Drop(DropReason::NoBackend), "{}", row.says());
            assert_eq!(outcome.bytes, frame, "{}: not changed", row.says());
        }
        lab.snapshot.icmp_rate = 1000;
        lab.pass(1000);
        let outcome = lab.send(ETH0, &frame);
        assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{}", row.says());
        let layers = strict::layers(&outcome.bytes);
        assert_eq!(layers[0].source.ip(), row.vip().ip());
        assert_eq!(layers[0].destination.ip(), row.client().ip());
        let at = if row.client == V4 { 20 } else { 40 };
        let said = &layers[0].packet[at..];
        match (row.protocol, row.client) {
            (TCP, _) => assert_eq!(said[13], RST | ACK, "{}", row.says()),
            (_, V4) => assert_eq!(said[..2], [3, 3], "{}", row.says()),
            (_, V6) => assert_eq!(said[..2], [1, 4], "{}", row.says()),
        }
        assert_eq!(lab.flows.tables().loads.open(id(&lab, row)), 0);
    }
}

fn service_of(lab: &Lab, row: Row) -> usize {
    lab.snapshot.backends[id(lab, row).index()].as_ref().unwrap().service.index()
}

#[test]
fn pieces_are_refused_without_a_word() {
    let world = World::default();
    for client in [V4, V6] {
        for protocol in [TCP, UDP] {
            let row = Row::of("nat", protocol, client, client);
            let mut lab = world.lab();
            let position = service_of(&lab, row);
            let service = lab.snapshot.services[position].as_mut().unwrap();
            service.table = SchedulerTable::RoundRobin(RoundRobin::default()).into();
            service.on_no_backend = OnNoBackend::Reject;
            let frame = world.arriving(ETH0, CLIENT7, &row.request(SYN).payload(&[7; 64]).packet());
            for piece in crate::frames::pieces::split(&frame, 0x77, 32) {
                let outcome = lab.send(ETH0, &piece);
                assert_eq!(outcome.verdict, Verdict::Drop(DropReason::NoBackend), "{}", row.says());
            }
        }
    }
}
