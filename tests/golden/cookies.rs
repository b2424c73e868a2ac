//! SYN cookies: what the switch says in a backend's name, and what becomes of who believes it.

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, Fate};

use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::segments::{Said, Segment};
use crate::frames::{ACK, FIN, RST, SYN};
use crate::icmp::packets::{Says, frame, head, ip};

const VIP: &str = "198.18.0.100:80";
const CLIENT: &str = "198.18.0.7:40000";
const FIRST: &str = "198.18.1.11:8080";
const SECOND: &str = "198.18.1.12:8080";

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// Where the client's numbers, and the backend's, begin.
const CLIENTS: u32 = 0xFFFF_FFFF;
const BACKENDS: u32 = 0x8000_0000;

fn lab(keys: &str) -> Lab {
    let service = service("web", VIP, "tcp", "nat", &[(FIRST, 1), (SECOND, 1)]);
    let service = service.replace("scheduler", &format!("{keys}\nscheduler"));
    Lab::new(&[SWITCH, &service, NETWORK].concat(), 4096)
}

fn always() -> Lab {
    lab("syn_cookies = \"always\"")
}

fn of_client(flags: u8) -> Segment {
    Segment { sequence: CLIENTS, ..Segment::new([CLIENT7, SWITCH0], CLIENT, VIP, flags) }
}

/// As Linux has them.
fn options() -> Said {
    Said { mss: Some(1460), scale: Some(9), sack_permitted: true, stamps: Some((5000, 0)), ..Said::default() }
}

fn syn() -> Segment {
    Segment { said: options(), ..of_client(SYN) }
}

/// The ACK of a SYN-ACK.
fn confirmation(answer: &Segment) -> Segment {
    let stamps = answer.said.stamps.map(|(value, _)| (5001, value));
    Segment {
        sequence: CLIENTS.wrapping_add(1),
        acknowledgment: answer.sequence.wrapping_add(1),
        window: 64,
        said: Said { stamps, ..Said::default() },
        ..of_client(ACK)
    }
}

/// What the backend answers to the SYN.
fn of_backend(flags: u8) -> Segment {
    Segment {
        sequence: BACKENDS,
        acknowledgment: CLIENTS.wrapping_add(1),
        ..Segment::new([BACKEND11, SWITCH1], FIRST, CLIENT, flags)
    }
}

fn syn_ack() -> Segment {
    let stamps = Some((70, 5001));
    Segment { window: 65_000, said: Said { stamps, ..options() }, ..of_backend(SYN | ACK) }
}

/// Sends a segment; all that comes out.
fn send(lab: &mut Lab, segment: &Segment) -> Vec<(Verdict, Segment)> {
    let ingress = if segment.macs[1] == SWITCH0 { ETH0 } else { ETH1 };
    let outcomes = lab.send_all(ingress, &[segment.build()]);
    outcomes.into_iter().map(|outcome| (outcome.verdict, Segment::read(&outcome.bytes))).collect()
}

fn one(lab: &mut Lab, segment: &Segment) -> (Verdict, Segment) {
    let mut all = send(lab, segment);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The SYN-ACK that answers `syn`.
fn answer(lab: &mut Lab, syn: &Segment) -> Segment {
    let (verdict, answer) = one(lab, syn);
    assert_eq!(verdict, Verdict::Reply(ETH0));
    answer
}

/// A connection whose client has brought its cookie back: the SYN-ACK, and the SYN that reaches the backend.
fn opening(lab: &mut Lab, syn: &Segment) -> (Segment, Segment) {
    let answer = answer(lab, syn);
    let (verdict, asked) = one(lab, &confirmation(&answer));
    assert_eq!(verdict, Verdict::Forward(ETH1));
    (answer, asked)
}

/// One whose backend has answered, too: the SYN-ACK with the cookie.
fn open(lab: &mut Lab) -> Segment {
    let (answer, _) = opening(lab, &syn());
    assert_eq!(send(lab, &syn_ack()).len(), 2);
    answer
}

#[test]
fn a_syn_is_answered_in_the_backends_name() {
    let mut lab = always();
    let got = answer(&mut lab, &syn());
    let (stamp, _) = got.said.stamps.unwrap();
    let expected = Segment {
        sequence: got.sequence,
        acknowledgment: CLIENTS.wrapping_add(1),
        window: 0,
        said: Said { scale: Some(7), stamps: Some((stamp, 5000)), ..options() },
        ..Segment::new([SWITCH0, CLIENT7], VIP, CLIENT, SYN | ACK)
    };
    assert_eq!(got, expected);
    assert_eq!(stamp & 0x3F, 0x19, "scale 9 and SACK, for the client to bring back");
    assert_eq!(lab.counters.services[0].cookies_sent.get(), 1);
    assert_eq!(lab.counters.connections_new.get(), 0, "nothing is kept");
}

#[test]
fn a_client_without_timestamps_is_offered_no_more_than_a_segment_size() {
    let mut lab = always();
    let said = Said { stamps: None, ..options() };
    let got = answer(&mut lab, &Segment { said, ..syn() });
    assert_eq!(got.said, Said { mss: Some(1460), ..Said::default() });
    // Nor is one that says nothing at all, whose frame has to grow.
    let got = answer(&mut lab, &of_client(SYN));
    assert_eq!(got.said, Said { mss: Some(1460), ..Said::default() });
    let (_, asked) = opening(&mut lab, &of_client(SYN));
    assert_eq!(asked.said, Said { mss: Some(536), ..Said::default() });
}

#[test]
fn the_segment_size_is_what_the_service_allows() {
    let mut lab = lab("syn_cookies = \"always\"\nmss_clamp = 1300");
    let (answer, asked) = opening(&mut lab, &syn());
    assert_eq!((answer.said.mss, asked.said.mss), (Some(1300), Some(1300)));
}

#[test]
fn a_cookie_that_comes_back_becomes_the_clients_syn() {
    let mut lab = always();
    let (_, got) = opening(&mut lab, &Segment { said: Said { mss: Some(1450), ..options() }, ..syn() });
    let expected = Segment {
        sequence: CLIENTS,
        window: 64 << 9,
        // The next lower one that can be remembered.
        said: Said { mss: Some(1440), stamps: Some((5001, 0)), ..options() },
        ..Segment::new([SWITCH1, BACKEND11], CLIENT, FIRST, SYN)
    };
    assert_eq!(got, expected);
    assert_eq!(lab.counters.services[0].cookies_valid.get(), 1);
}

#[test]
fn the_backends_answer_goes_both_ways_and_numbers_are_moved_from_then_on() {
    let mut lab = always();
    let (cookie, _) = opening(&mut lab, &syn());
    let stamp = cookie.said.stamps.unwrap().0;
    let stamps = |value, echo| Said { stamps: Some((value, echo)), ..Said::default() };
    let got = send(&mut lab, &syn_ack());
    let to_backend = Segment {
        sequence: CLIENTS.wrapping_add(1),
        acknowledgment: BACKENDS + 1,
        window: 64,
        said: stamps(5001, 70),
        ..Segment::new([SWITCH1, BACKEND11], CLIENT, FIRST, ACK)
    };
    let to_client = Segment {
        sequence: cookie.sequence.wrapping_add(1),
        acknowledgment: CLIENTS.wrapping_add(1),
        // The backend's scale is 9, the client was told 7, and what a SYN says is not scaled.
        window: 65_000 >> 7,
        said: stamps(stamp, 5001),
        ..Segment::new([SWITCH0, CLIENT7], VIP, CLIENT, ACK)
    };
    assert_eq!(got, [(Verdict::Reply(ETH1), to_backend), (Verdict::Reply(ETH0), to_client)]);
    let data = Segment {
        acknowledgment: CLIENTS.wrapping_add(1),
        sequence: BACKENDS + 1,
        window: 100,
        said: stamps(90, 5002),
        data: b"hello".to_vec(),
        ..of_backend(ACK)
    };
    let expected = Segment {
        macs: [SWITCH0, CLIENT7],
        from: VIP.parse().unwrap(),
        sequence: cookie.sequence.wrapping_add(1),
        window: 400,
        said: stamps(stamp.wrapping_add(20), 5002),
        ..data.clone()
    };
    assert_eq!(one(&mut lab, &data), (Verdict::Forward(ETH0), expected));
    let sack = |from: u32| vec![(from.wrapping_add(10), from.wrapping_add(20)), (from, from.wrapping_add(5))];
    let data = Segment {
        sequence: CLIENTS.wrapping_add(1),
        acknowledgment: cookie.sequence.wrapping_add(6),
        said: Said { sack: sack(cookie.sequence), ..stamps(5003, stamp.wrapping_add(20)) },
        data: b"and back".to_vec(),
        ..of_client(ACK)
    };
    let expected = Segment {
        macs: [SWITCH1, BACKEND11],
        to: FIRST.parse().unwrap(),
        acknowledgment: BACKENDS + 6,
        said: Said { sack: sack(BACKENDS), ..stamps(5003, 90) },
        ..data.clone()
    };
    assert_eq!(one(&mut lab, &data), (Verdict::Forward(ETH1), expected));
}

#[test]
fn who_brings_no_true_cookie_back_is_dropped_without_a_word() {
    let mut lab = always();
    let answer = answer(&mut lab, &syn());
    let good = confirmation(&answer);
    let wrong = |lab: &mut Lab, segment: &Segment| {
        assert_eq!(one(lab, segment).0, Verdict::Drop(DropReason::BadCookie));
    };
    wrong(&mut lab, &Segment { acknowledgment: answer.sequence, ..good.clone() });
    wrong(&mut lab, &Segment { sequence: CLIENTS.wrapping_add(2), ..good.clone() });
    wrong(&mut lab, &Segment { from: "198.18.0.7:40001".parse().unwrap(), ..good.clone() });
    assert_eq!(lab.counters.services[0].cookies_invalid.get(), 3);
    let reset = one(&mut lab, &Segment { flags: RST | ACK, ..good.clone() });
    assert_eq!(reset.0, Verdict::Drop(DropReason::NoConnection));
    lab.pass(64_000);
    assert_eq!(one(&mut lab, &good).0, Verdict::Forward(ETH1), "that of the last period is valid");
    // Long after, nobody can have one.
    lab.pass(300_000);
    assert_eq!(one(&mut lab, &good).0, Verdict::Drop(DropReason::NoConnection));
}

#[test]
fn who_may_not_connect_gets_no_cookie() {
    let mut lab = lab("acl = { deny = [\"198.18.0.7/32\"] }\nsyn_cookies = \"always\"");
    assert_eq!(one(&mut lab, &syn()).0, Verdict::Drop(DropReason::Denied));
    let mut lab = always();
    let martian = Segment { from: "127.0.0.1:4000".parse().unwrap(), ..syn() };
    assert_eq!(one(&mut lab, &martian).0, Verdict::Drop(DropReason::BadSource));
    lab.snapshot.services[0].as_mut().unwrap().takers.clear();
    let served = one(&mut lab, &syn()).0;
    assert_ne!(served, Verdict::Reply(ETH0), "nobody is promised what no backend can keep");
}

#[test]
fn before_the_backend_answers_the_client_has_the_syn_repeated() {
    let mut lab = always();
    let (cookie, asked) = opening(&mut lab, &syn());
    lab.pass(1000);
    // A probe of the closed window, and one that comes with data.
    for (sequence, data) in [(CLIENTS, &b""[..]), (CLIENTS.wrapping_add(1), b"x")] {
        let probe = Segment { sequence, data: data.to_vec(), ..confirmation(&cookie) };
        assert_eq!(one(&mut lab, &probe), (Verdict::Forward(ETH1), asked.clone()));
    }
    let stray = Segment { acknowledgment: 7, ..confirmation(&cookie) };
    assert_eq!(one(&mut lab, &stray).0, Verdict::Drop(DropReason::NotOpen));
    assert_eq!(one(&mut lab, &syn()).0, Verdict::Drop(DropReason::NotOpen));
    assert_eq!(lab.counters.connections_new.get(), 1);
}

#[test]
fn a_first_ack_that_was_lost_is_made_good_by_a_probe() {
    let mut lab = always();
    let answer = answer(&mut lab, &syn());
    let (verdict, asked) = one(&mut lab, &Segment { sequence: CLIENTS, ..confirmation(&answer) });
    assert_eq!((verdict, asked.sequence, asked.flags), (Verdict::Forward(ETH1), CLIENTS, SYN));
}

#[test]
fn where_the_backend_is_lost_meanwhile_another_is_asked() {
    let mut lab = always();
    let (cookie, _) = opening(&mut lab, &syn());
    lab.snapshot.backends[0].as_mut().unwrap().down = true;
    let (verdict, asked) = one(&mut lab, &confirmation(&cookie));
    assert_eq!((verdict, asked.to, asked.flags), (Verdict::Forward(ETH1), SECOND.parse().unwrap(), SYN));
}

#[test]
fn a_backend_that_refuses_has_its_client_told() {
    let mut lab = always();
    let (cookie, _) = opening(&mut lab, &syn());
    let reset = Segment { sequence: 0, ..of_backend(RST | ACK) };
    let (verdict, got) = one(&mut lab, &reset);
    assert_eq!(verdict, Verdict::Forward(ETH0));
    assert_eq!(
        (got.sequence, got.acknowledgment),
        (cookie.sequence.wrapping_add(1), CLIENTS.wrapping_add(1))
    );
    assert_eq!(got.flags, RST | ACK, "as the client takes it");
    let again = one(&mut lab, &syn()).0;
    assert_eq!(again, Verdict::Reply(ETH0), "it may ask again");
}

#[test]
fn a_client_that_gives_up_has_its_backend_told() {
    let mut lab = always();
    let (_, _) = opening(&mut lab, &syn());
    let reset = Segment { sequence: CLIENTS.wrapping_add(1), ..of_client(RST) };
    assert_eq!(one(&mut lab, &reset).0, Verdict::Drop(DropReason::NotOpen));
    let (verdict, got) = one(&mut lab, &syn_ack());
    assert_eq!(verdict, Verdict::Reply(ETH1));
    assert_eq!((got.flags, got.sequence, got.to), (RST, CLIENTS.wrapping_add(1), FIRST.parse().unwrap()));
}

#[test]
fn a_backend_that_answers_something_else_is_set_right() {
    let mut lab = always();
    let (cookie, asked) = opening(&mut lab, &syn());
    // It has a connection with these ports still (RFC 9293 §3.10.7.4).
    let (verdict, got) = one(&mut lab, &Segment { acknowledgment: 77, ..of_backend(ACK) });
    assert_eq!((verdict, got.flags, got.sequence), (Verdict::Reply(ETH1), RST, 77));
    assert_eq!(one(&mut lab, &confirmation(&cookie)), (Verdict::Forward(ETH1), asked));
}

#[test]
fn a_syn_ack_that_comes_again_is_answered_again_and_changes_nothing() {
    let mut lab = always();
    let (cookie, _) = opening(&mut lab, &syn());
    let first = send(&mut lab, &syn_ack());
    let later = Segment { said: Said { stamps: Some((1070, 5001)), ..options() }, ..syn_ack() };
    let again = send(&mut lab, &later);
    assert_eq!(again.len(), 2);
    assert_eq!(
        (again[0].1.sequence, again[0].1.acknowledgment),
        (first[0].1.sequence, first[0].1.acknowledgment)
    );
    let stamp = cookie.said.stamps.unwrap().0;
    assert_eq!(again[1].1.said.stamps, Some((stamp.wrapping_add(1000), 5001)), "its clock goes on");
}

#[test]
fn ends_that_agree_on_less_than_was_promised_still_understand_each_other() {
    let mut lab = always();
    let (cookie, _) = opening(&mut lab, &Segment { flags: SYN | ECE | CWR, ..syn() });
    assert!(cookie.is(ECE));
    let plain = Segment { said: Said { mss: Some(1460), ..Said::default() }, window: 30_000, ..syn_ack() };
    let got = send(&mut lab, &plain);
    assert_eq!((got[0].1.window, got[1].1.window), (64 << 9, 30_000 >> 7), "the backend does not scale");
    let data = Segment {
        sequence: CLIENTS.wrapping_add(1),
        acknowledgment: cookie.sequence.wrapping_add(1),
        window: 100,
        ecn: 2,
        ..of_client(ACK)
    };
    let (_, got) = one(&mut lab, &data);
    assert_eq!((got.window, got.ecn), (100 << 9, 0), "nor does it do ECN");
    let reply = Segment { sequence: BACKENDS + 1, window: 25_600, ..of_backend(ACK) };
    assert_eq!(one(&mut lab, &reply).1.window, 200);
    // One that does ECN gets what the client sends.
    let mut lab = always();
    let (cookie, asked) = opening(&mut lab, &Segment { flags: SYN | ECE | CWR, ..syn() });
    assert!(asked.is(ECE | CWR));
    assert_eq!(send(&mut lab, &Segment { flags: SYN | ACK | ECE, ..syn_ack() }).len(), 2);
    let data = Segment { acknowledgment: cookie.sequence.wrapping_add(1), ..data };
    assert_eq!(one(&mut lab, &data).1.ecn, 2);
}

#[test]
fn a_connection_ends_as_others_do() {
    let mut lab = always();
    let cookie = open(&mut lab);
    let client = |flags, by: u32| Segment {
        sequence: CLIENTS.wrapping_add(1),
        acknowledgment: cookie.sequence.wrapping_add(1 + by),
        ..of_client(flags)
    };
    let backend =
        Segment { sequence: BACKENDS + 1, acknowledgment: CLIENTS.wrapping_add(2), ..of_backend(FIN | ACK) };
    assert_eq!(one(&mut lab, &client(FIN | ACK, 0)).1.acknowledgment, BACKENDS + 1);
    assert_eq!(one(&mut lab, &backend).1.sequence, cookie.sequence.wrapping_add(1));
    assert_eq!(one(&mut lab, &client(ACK, 1)).1.acknowledgment, BACKENDS + 2);
    assert_eq!(
        one(&mut lab, &syn()).0,
        Verdict::Reply(ETH0),
        "from TIME-WAIT a new one begins, with a cookie"
    );
}

#[test]
fn an_error_about_the_backends_segment_quotes_what_the_backend_sent() {
    let mut lab = always();
    let cookie = open(&mut lab);
    let sent = Segment { sequence: BACKENDS + 1, data: vec![7; 100], ..of_backend(ACK) };
    let (_, seen) = one(&mut lab, &sent);
    assert_eq!(seen.sequence, cookie.sequence.wrapping_add(1));
    let packet = |segment: &Segment| segment.build()[14..].to_vec();
    let about = |source: &str, to: &str, packet: &[u8]| {
        head(ip(source), ip(to)).ttl(63).icmp(Says::TooBig(1400), packet)
    };
    let error = about("203.0.113.1", "198.18.0.100", &packet(&seen));
    let outcome = lab.send(ETH0, &frame(ROUTER0, SWITCH0, &error));
    assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
    let quoted = &outcome.bytes[14 + 28..];
    assert_eq!(quoted[12..20], packet(&sent)[12..20], "between whom");
    // The window was scaled, which no end reads from a quote.
    let sent = packet(&Segment { window: 4000, ..sent });
    assert_eq!(quoted[20..], sent[20..], "ports, numbers, checksum and all");
    let icmp = &outcome.bytes[14 + 20..];
    assert_eq!(crate::frames::check::sum(icmp), 0xFFFF);
    // One about a segment that the backend cannot have sent is forged.
    let other = Segment { sequence: cookie.sequence.wrapping_add(1 << 30), ..seen };
    let error = about("203.0.113.1", "198.18.0.100", &packet(&other));
    let verdict = lab.send(ETH0, &frame(ROUTER0, SWITCH0, &error)).verdict;
    assert_eq!(verdict, Verdict::Drop(DropReason::IcmpForged));
}

#[test]
fn who_only_listens_is_told_of_a_lost_backend_in_numbers_that_it_knows() {
    let mut lab = always();
    let cookie = open(&mut lab);
    lab.snapshot.backends[0].as_mut().unwrap().fate = Fate::Reset;
    lab.snapshot.index();
    lab.snapshot.epoch += 1;
    let mut told = Vec::new();
    lab.run(|verdict, bytes| told.push((verdict, Segment::read(bytes))));
    let [(Verdict::Reply(ETH0), poke)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((poke.sequence, poke.flags), (cookie.sequence.wrapping_sub(1), ACK));
}

#[test]
fn under_pressure_the_rest_get_cookies_and_the_backend_sees_no_more() {
    let mut lab = lab("syn_cookies = \"auto\"\nhalf_open = 10");
    let from = |port: u16| Segment { from: format!("198.18.0.7:{port}").parse().unwrap(), ..syn() };
    let verdicts: Vec<_> = (1..=100).map(|port| one(&mut lab, &from(port)).0).collect();
    assert!(verdicts[..10].iter().all(|verdict| *verdict == Verdict::Forward(ETH1)));
    assert!(verdicts[10..].iter().all(|verdict| *verdict == Verdict::Reply(ETH0)));
    let counters = &lab.counters.services[0];
    assert_eq!((counters.cookies_sent.get(), counters.cookies_on.get()), (90, 1));
    assert_eq!(lab.counters.connections_new.get(), 10);
    // A client is served meanwhile, and a while after the flood as before.
    open(&mut lab);
    lab.pass(10_000);
    assert_eq!(one(&mut lab, &from(2000)).0, Verdict::Forward(ETH1));
    assert_eq!(lab.counters.services[0].cookies_on.get(), 0);
}

#[test]
fn clients_that_complete_their_handshakes_are_no_pressure() {
    let mut lab = lab("syn_cookies = \"auto\"\nhalf_open = 10");
    for port in 1..=500u16 {
        let client = format!("198.18.0.7:{port}").parse().unwrap();
        let (verdict, asked) = one(&mut lab, &Segment { from: client, ..syn() });
        assert_eq!(verdict, Verdict::Forward(ETH1), "{port}");
        let (macs, from) =
            ([if asked.macs[1] == BACKEND11 { BACKEND11 } else { BACKEND12 }, SWITCH1], asked.to);
        let answer = one(&mut lab, &Segment { macs, from, to: client, ..syn_ack() }).1;
        let ack = Segment { from: client, said: Said::default(), ..confirmation(&answer) };
        assert_eq!(one(&mut lab, &ack).0, Verdict::Forward(ETH1));
    }
    assert_eq!(lab.counters.services[0].cookies_sent.get(), 0);
}

#[test]
fn syns_that_may_not_connect_are_no_pressure_for_others() {
    let mut lab = lab("acl = { deny = [\"198.18.0.8/32\"] }\nsyn_cookies = \"auto\"\nhalf_open = 10");
    let denied = |port: u16| Segment { from: format!("198.18.0.8:{port}").parse().unwrap(), ..syn() };
    for port in 1..=100 {
        assert_eq!(one(&mut lab, &denied(port)).0, Verdict::Drop(DropReason::Denied));
    }
    assert_eq!(one(&mut lab, &syn()).0, Verdict::Forward(ETH1));
    assert_eq!(lab.counters.services[0].cookies_on.get(), 0);
}
