//! Limits: what passes, what does not, and that those who are limited harm nobody else.

use etherparse::Ipv4Header;
use xswitch::dataplane::Verdict;
use xswitch::dataplane::trace::{Question, ask};
use xswitch::tables::{DropReason, InterfaceId, Protocol};

use crate::frames::lab::{Lab, compile};
use crate::frames::network::*;
use crate::frames::pieces::split;
use crate::frames::{ACK, FIN, IP, Mac, Packet, RST, SYN, check, tcp, udp};

const WEB: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const RATE: Verdict = Verdict::Drop(DropReason::RateLimited);

/// `web` with these lines below its heading and these tables behind its backends; beside it `dns`, of which nothing is limited.
fn switch(forwarding: &str, keys: &str, tables: &str) -> String {
    let web = service("web", WEB, "tcp", forwarding, &[("198.18.1.11:8080", 1), ("198.18.1.12:8080", 1)]);
    let web = web.replace("scheduler = \"rr\"\n", &format!("scheduler = \"rr\"\n{keys}\n"));
    let dns = service("dns", DNS, "udp", forwarding, &[("198.18.1.12:5353", 1)]);
    let pool = SWITCH.replace("20000-20000", "20000-20999");
    [&pool, &web, tables, "\n", &dns, NETWORK, DEFAULT_ROUTE].concat()
}

fn limited(forwarding: &str, limits: &str) -> Lab {
    Lab::new(&switch(forwarding, "", &format!("[service.limits]\n{limits}")), 1024)
}

fn from(client: u8, port: u16, flags: u8) -> Packet {
    let mac: Mac = if client == 7 { CLIENT7 } else { CLIENT8 };
    tcp(&format!("198.18.0.{client}:{port}"), WEB, flags).in_at_eth0_from(mac)
}

fn opens(lab: &mut Lab, client: u8, ports: std::ops::Range<u16>) -> Vec<Verdict> {
    ports.map(|port| lab.send(ETH0, &from(client, port, SYN).build()).verdict).collect()
}

fn passed(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|verdict| **verdict == Verdict::Forward(ETH1)).count()
}

#[test]
fn new_connections_of_all_clients_together_have_a_rate() {
    for forwarding in ["nat", "full-nat"] {
        let mut lab = limited(forwarding, "new_connections_per_s = 20\nburst_ms = 500");
        let first = opens(&mut lab, 7, 1000..1020);
        assert_eq!((passed(&first), first[19]), (10, RATE), "{forwarding}: half a second's worth");
        assert_eq!(passed(&opens(&mut lab, 8, 2000..2010)), 0, "{forwarding}: it is of all clients");
        let data = lab.send(ETH0, &from(7, 1000, ACK).build());
        assert_eq!(data.verdict, Verdict::Forward(ETH1), "{forwarding}: what exists goes on");
        let question = udp("198.18.0.8:3000", DNS).in_at_eth0_from(CLIENT8).build();
        assert_eq!(
            lab.send(ETH0, &question).verdict,
            Verdict::Forward(ETH1),
            "{forwarding}: another service"
        );
        lab.pass(100);
        assert_eq!(passed(&opens(&mut lab, 8, 2000..2010)), 2, "{forwarding}: one each 50 ms");
        assert_eq!(lab.counters.services[0].refused.get(), 10 + 10 + 8, "{forwarding}");
    }
}

#[test]
fn each_client_has_a_rate_of_its_own() {
    let mut lab = limited("nat", "client_new_connections_per_s = 5");
    assert_eq!(passed(&opens(&mut lab, 7, 1000..1020)), 5);
    assert_eq!(passed(&opens(&mut lab, 8, 1000..1020)), 5);
    lab.pass(400);
    assert_eq!(passed(&opens(&mut lab, 7, 2000..2020)), 2);
}

#[test]
fn packets_of_a_client_have_a_rate_and_answers_have_none() {
    let mut lab = limited("nat", "client_packets_per_s = 10");
    assert_eq!(passed(&opens(&mut lab, 7, 1000..1001)), 1);
    let data = from(7, 1000, ACK).build();
    let sent: Vec<_> = (0..20).map(|_| lab.send(ETH0, &data).verdict).collect();
    assert_eq!((passed(&sent), sent[19]), (9, RATE), "the SYN was the first");
    assert_eq!(lab.counters.services[0].limited.get(), 11);
    let answer = tcp("198.18.1.11:8080", "198.18.0.7:1000", SYN | ACK).in_at_eth1_from(BACKEND11).build();
    for _ in 0..20 {
        assert_eq!(lab.send(ETH1, &answer).verdict, Verdict::Forward(ETH0));
    }
    assert_eq!(passed(&opens(&mut lab, 8, 1000..1001)), 1, "another client");
}

#[test]
fn bits_have_a_rate_in_each_direction() {
    let mut lab = limited("nat", "bits_per_s = 100000\nburst_ms = 1000");
    assert_eq!(passed(&opens(&mut lab, 7, 1000..1001)), 1);
    let answer = |flags| tcp("198.18.1.11:8080", "198.18.0.7:1000", flags).in_at_eth1_from(BACKEND11);
    assert_eq!(lab.send(ETH1, &answer(SYN | ACK).build()).verdict, Verdict::Forward(ETH0));
    assert_eq!(lab.send(ETH0, &from(7, 1000, ACK).build()).verdict, Verdict::Forward(ETH1));
    let policed = Verdict::Drop(DropReason::Policed);
    // 14 + 40 + 1,446 bytes are 12,000 bits: eight fit behind the two short ones.
    let large = vec![0x5A; 1446];
    let up = from(7, 1000, ACK).payload(&large).build();
    assert_eq!(up.len() * 8, 12_000);
    let sent: Vec<_> = (0..20).map(|_| lab.send(ETH0, &up).verdict).collect();
    assert_eq!((passed(&sent), sent[19]), (8, policed));
    let down = answer(ACK).payload(&large).build();
    let came: Vec<_> = (0..20).map(|_| lab.send(ETH1, &down).verdict).collect();
    assert_eq!(came.iter().filter(|verdict| **verdict == Verdict::Forward(ETH0)).count(), 8);
    lab.pass(120);
    assert_eq!(lab.send(ETH1, &down).verdict, Verdict::Forward(ETH0), "12,000 bits later");
    assert_eq!(lab.send(ETH1, &down).verdict, policed);
}

/// A connection that began before anything was limited is limited from the client's next packet on.
#[test]
fn limits_that_come_later_concern_what_exists() {
    let mut lab = Lab::new(&switch("nat", "", ""), 1024);
    assert_eq!(passed(&opens(&mut lab, 7, 1000..1001)), 1);
    let answer = |flags| tcp("198.18.1.11:8080", "198.18.0.7:1000", flags).in_at_eth1_from(BACKEND11).build();
    assert_eq!(lab.send(ETH1, &answer(SYN | ACK)).verdict, Verdict::Forward(ETH0));
    assert_eq!(lab.send(ETH0, &from(7, 1000, ACK).build()).verdict, Verdict::Forward(ETH1));
    lab.snapshot = compile(&switch("nat", "dscp = \"af21\"", ""));
    for (ingress, frame) in [(ETH0, from(7, 1000, ACK).build()), (ETH1, answer(ACK))] {
        let outcome = lab.send(ingress, &frame);
        assert_eq!(dscp(&outcome.bytes), 18, "{ingress:?}");
    }
    lab.snapshot = compile(&switch("nat", "", ""));
    assert_eq!(dscp(&lab.send(ETH1, &answer(ACK)).bytes), 0, "and no longer");
}

fn dscp(frame: &[u8]) -> u8 {
    let header = Ipv4Header::from_slice(&frame[IP..]).unwrap().0;
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    header.dscp.value()
}

#[test]
fn packets_are_marked_both_ways_and_in_every_mode() {
    for forwarding in ["nat", "full-nat", "dsr", "ipip"] {
        let backends = [("198.18.1.11:80", 1)];
        let text = service("web", WEB, "tcp", forwarding, &backends).replace("rr\"\n", "rr\"\ndscp = 46\n");
        let mut lab = Lab::new(&[SWITCH, &text, NETWORK, DEFAULT_ROUTE].concat(), 1024);
        lab.room = if forwarding == "ipip" { 20 } else { 0 };
        let outcome = lab.send(ETH0, &from(7, 1000, SYN).build());
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{forwarding}");
        assert_eq!(dscp(&outcome.bytes), 46, "{forwarding}");
        if forwarding == "ipip" {
            assert_eq!(dscp(&outcome.bytes[20..]), 46, "inside, too");
        }
        lab.room = 0;
        let back = match forwarding {
            "nat" => "198.18.0.7:1000",
            "full-nat" => SNAT,
            _ => continue,
        };
        let answer = tcp("198.18.1.11:80", back, SYN | ACK).in_at_eth1_from(BACKEND11).build();
        let outcome = lab.send(ETH1, &answer);
        assert_eq!((outcome.verdict, dscp(&outcome.bytes)), (Verdict::Forward(ETH0), 46), "{forwarding}");
        assert!(check::transport_checksum_is_right(&outcome.bytes), "{forwarding}");
    }
}

#[test]
fn a_client_may_have_so_many_connections_and_others_when_those_are_over() {
    for forwarding in ["nat", "full-nat"] {
        let mut lab = limited(forwarding, "client_connections = 3");
        let full = Verdict::Drop(DropReason::ClientFull);
        let verdicts = opens(&mut lab, 7, 1000..1005);
        assert_eq!((passed(&verdicts), verdicts[4]), (3, full), "{forwarding}");
        assert_eq!(passed(&opens(&mut lab, 7, 1000..1003)), 3, "{forwarding}: the same again");
        assert_eq!(passed(&opens(&mut lab, 8, 1000..1005)), 3, "{forwarding}: another client");
        // One ends by a reset, and nothing of it is left afterwards; one is forgotten.
        let reset = from(7, 1001, RST).sequence(crate::frames::SEQUENCE + 1).build();
        assert_eq!(lab.send(ETH0, &reset).verdict, Verdict::Forward(ETH1), "{forwarding}");
        assert_eq!(passed(&opens(&mut lab, 7, 3000..3005)), 1, "{forwarding}: one ended");
        for _ in 0..300 {
            lab.pass(1000);
        }
        assert_eq!(passed(&opens(&mut lab, 7, 4000..4005)), 3, "{forwarding}: all were forgotten");
    }
}

/// What was counted for a connection that then could not be entered is counted no longer.
#[test]
fn a_connection_that_finds_no_room_is_not_counted() {
    let mut lab = limited("nat", "client_connections = 200");
    // The table has 1,024 entries, which other clients fill with connections that are answered.
    for (host, port) in (0..6u8).flat_map(|host| (0..200u16).map(move |port| (host, 1000 + port))) {
        let client = format!("198.18.7.{host}:{port}");
        let syn = tcp(&client, WEB, SYN).in_at_eth0_from(ROUTER0).build();
        let outcome = lab.send(ETH0, &syn);
        if outcome.verdict != Verdict::Forward(ETH1) {
            assert_eq!(outcome.verdict, Verdict::Drop(DropReason::TableFull));
            continue;
        }
        let to: Mac = outcome.bytes[..6].try_into().unwrap();
        let backend = if to == BACKEND11 { "198.18.1.11:8080" } else { "198.18.1.12:8080" };
        lab.send(ETH1, &tcp(backend, &client, SYN | ACK).in_at_eth1_from(to).build());
        lab.send(ETH0, &tcp(&client, WEB, ACK).in_at_eth0_from(ROUTER0).build());
    }
    let verdicts = opens(&mut lab, 7, 1000..1300);
    assert!(
        verdicts.iter().all(|verdict| *verdict == Verdict::Drop(DropReason::TableFull)),
        "never `client_full`"
    );
}

#[test]
fn a_backend_that_has_enough_is_passed_over() {
    for scheduler in ["rr", "sh", "lc", "maglev", "p2c"] {
        let text = switch("nat", "", "").replacen("weight = 1", "weight = 1\nmax_connections = 2", 1);
        let mut lab = Lab::new(&text.replacen("\"rr\"", &format!("\"{scheduler}\""), 1), 1024);
        let mut to: Vec<Vec<u8>> = Vec::new();
        for port in 1000..1020 {
            let outcome = lab.send(ETH0, &from(7, port, SYN).build());
            assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{scheduler}");
            to.push(outcome.bytes[..6].to_vec());
        }
        let first = to.iter().filter(|mac| mac[..] == BACKEND11).count();
        assert!(first <= 2, "{scheduler}: {first} of at most 2");
        assert!(to.iter().filter(|mac| mac[..] == BACKEND12).count() >= 18, "{scheduler}");
    }
}

#[test]
fn where_all_backends_have_enough_new_connections_are_refused() {
    let text = switch("nat", "", "").replacen("weight = 1", "weight = 1\nmax_connections = 2", 2);
    let mut lab = Lab::new(&text, 1024);
    let verdicts = opens(&mut lab, 7, 1000..1006);
    assert_eq!((passed(&verdicts), verdicts[5]), (4, Verdict::Drop(DropReason::BackendFull)));
    // One connection ends: there is room for one, at that backend.
    let fin = |port| from(7, port, FIN | ACK).sequence(crate::frames::SEQUENCE + 1).build();
    let backend = tcp("198.18.1.11:8080", "198.18.0.7:1000", SYN | ACK).in_at_eth1_from(BACKEND11).build();
    assert_eq!(lab.send(ETH1, &backend).verdict, Verdict::Forward(ETH0));
    lab.send(ETH0, &from(7, 1000, ACK).sequence(crate::frames::SEQUENCE + 1).build());
    lab.send(ETH0, &fin(1000));
    let closes = tcp("198.18.1.11:8080", "198.18.0.7:1000", FIN | ACK).sequence(crate::frames::SEQUENCE + 1);
    lab.send(ETH1, &closes.in_at_eth1_from(BACKEND11).build());
    let outcome = lab.send(ETH0, &from(7, 1010, SYN).build());
    assert_eq!((outcome.verdict, &outcome.bytes[..6]), (Verdict::Forward(ETH1), &BACKEND11[..]));
    assert_eq!(passed(&opens(&mut lab, 7, 1011..1013)), 0);
}

#[test]
fn a_client_whose_server_is_full_goes_elsewhere_for_once() {
    let text = switch("nat", "", "[service.affinity]\ntimeout_s = 60\n");
    let mut lab = Lab::new(&text.replacen("weight = 1", "weight = 1\nmax_connections = 1", 1), 1024);
    let mut to = |port| lab.send(ETH0, &from(7, port, SYN).build()).bytes[..6].to_vec();
    assert_eq!(to(1000), BACKEND11);
    assert_eq!((to(1001), to(1002)), (BACKEND12.to_vec(), BACKEND12.to_vec()));
    lab.pass(1000);
    let reset = from(7, 1000, RST).sequence(crate::frames::SEQUENCE + 1).build();
    lab.send(ETH0, &reset);
    let back = lab.send(ETH0, &from(7, 1003, SYN).build()).bytes;
    assert_eq!(back[..6], BACKEND11, "it is remembered where it was");
}

/// What would become of it, and that it is asked as often as somebody likes.
fn asked(lab: &Lab, client: u8, port: u16) -> Verdict {
    let question = Question {
        source: format!("198.18.0.{client}:{port}").parse().unwrap(),
        destination: WEB.parse().unwrap(),
        protocol: Protocol::Tcp,
        ingress: Some(ETH0),
        length: 0,
    };
    let ask = || ask(&question, &lab.snapshot, lab.flows.tables(), lab.now).unwrap().verdict;
    let verdicts: [Verdict; 9] = std::array::from_fn(|_| ask());
    assert_eq!(verdicts, [verdicts[0]; 9]);
    verdicts[0]
}

#[test]
fn a_trace_knows_what_is_left_and_takes_nothing() {
    let full = Verdict::Drop(DropReason::ClientFull);
    for (limits, beyond) in [
        ("client_connections = 3", full),
        ("client_new_connections_per_s = 3", RATE),
        ("new_connections_per_s = 3", RATE),
        ("packets_per_s = 3", RATE),
        ("client_packets_per_s = 3", RATE),
    ] {
        let mut lab = limited("nat", limits);
        assert_eq!(asked(&lab, 7, 999), Verdict::Forward(ETH1), "{limits}");
        assert_eq!(passed(&opens(&mut lab, 7, 1000..1003)), 3, "{limits}");
        assert_eq!(asked(&lab, 7, 999), beyond, "{limits}");
        let others = if limits.starts_with("client") { Verdict::Forward(ETH1) } else { beyond };
        assert_eq!(asked(&lab, 8, 999), others, "{limits}");
        assert_eq!(lab.send(ETH0, &from(7, 1003, SYN).build()).verdict, beyond, "{limits}");
    }
}

#[test]
fn fragments_and_icmp_have_a_budget() {
    let with = |keys: &str| {
        let text = switch("nat", "", "").replace("[switch]", &format!("[switch]\n{keys}"));
        Lab::new(&text, 1024)
    };
    let question = udp("198.18.0.7:3000", DNS).in_at_eth0_from(CLIENT7).payload(&[1; 3000]).build();
    let pieces = |id| split(&question, id, 1480);
    let mut lab = with("fragment_budget = 60");
    let over = Verdict::Drop(DropReason::FragmentBudget);
    let verdicts: Vec<_> =
        (0..4).flat_map(|id| lab.send_all(ETH0, &pieces(id))).map(|outcome| outcome.verdict).collect();
    assert_eq!(passed(&verdicts), 6, "a tenth of a second's worth: {verdicts:?}");
    assert_eq!(verdicts[6..], vec![over; verdicts.len() - 6]);
    assert_eq!(passed(&opens(&mut lab, 7, 1000..1010)), 10, "whole packets are no fragments");

    let mut lab = with("icmp_budget = 50").without_kernel();
    let pinged: Vec<_> = (0..8).map(|sequence| lab.send(ETH0, &ping(sequence)).verdict).collect();
    assert_eq!(pinged[..5], [Verdict::Reply(InterfaceId(0)); 5]);
    assert_eq!(pinged[5..], [Verdict::Drop(DropReason::IcmpBudget); 3]);
    lab.pass(20);
    assert_eq!(lab.send(ETH0, &ping(9)).verdict, Verdict::Reply(InterfaceId(0)), "one each 20 ms");
}

fn ping(sequence: u16) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(CLIENT7, SWITCH0)
        .ipv4([198, 18, 0, 7], [198, 18, 0, 100], 64)
        .icmpv4_echo_request(7, sequence);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"is it there?").unwrap();
    frame
}
