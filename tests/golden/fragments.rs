//! Fragments of datagrams, in order and out of it, and packets that leave in pieces.

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, InterfaceId};
use xswitch::wire::tunnel::{Encapsulation, Family, Outer};

use crate::frames::lab::{Lab, Outcome, compile};
use crate::frames::network::*;
use crate::frames::pieces::{fragmentable, join, piece, split, udp_v6};
use crate::frames::{ACK, Checksum, IP, Packet, SYN, check, tcp, udp};

const DNS: &str = "198.18.0.100:53";
const WEB: &str = "198.18.0.100:80";
const FULL: &str = "198.18.0.101:53";
const CLIENT: &str = "198.18.0.7:40000";
const BACKEND: &str = "198.18.1.12:5353";
const ID: u16 = 0x4321;

fn lab() -> Lab {
    let text = [
        SWITCH,
        &service("dns", DNS, "udp", "nat", &[(BACKEND, 1)]),
        &service("web", WEB, "tcp", "nat", &[("198.18.1.11:8080", 1)]),
        &service("full", FULL, "udp", "full-nat", &[(BACKEND, 1)]),
        NETWORK,
        DEFAULT_ROUTE,
    ]
    .concat();
    Lab::new(&text, 1024)
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Bytes of everything that was forwarded. Nothing else may have come out.
fn forwarded(outcomes: Vec<Outcome>, egress: InterfaceId) -> Vec<Vec<u8>> {
    let forward = |outcome: Outcome| {
        assert_eq!(outcome.verdict, Verdict::Forward(egress));
        outcome.bytes
    };
    outcomes.into_iter().map(forward).collect()
}

fn verdicts(outcomes: &[Outcome]) -> Vec<Verdict> {
    outcomes.iter().map(|outcome| outcome.verdict).collect()
}

fn question(vip: &str, length: usize) -> Packet {
    udp(CLIENT, vip).in_at_eth0_from(CLIENT7).payload(&payload(length))
}

/// The question as the backend is to see it.
fn asked(source: &str, length: usize) -> Vec<u8> {
    let packet = udp(source, BACKEND).out_of_eth1_to(BACKEND12).ttl(63).payload(&payload(length));
    fragmentable(packet.build(), ID)
}

const OVERLAP: Verdict = Verdict::Drop(DropReason::FragmentOverlap);
const ABSURD: Verdict = Verdict::Drop(DropReason::FragmentAbsurd);
const THROUGH: Verdict = Verdict::Forward(ETH1);

#[test]
fn twenty_thousand_bytes_reach_the_backend_whole_and_so_does_the_answer() {
    for (vip, source) in [(DNS, CLIENT), (FULL, SNAT)] {
        let mut lab = lab();
        let pieces = split(&question(vip, 20_000).build(), ID, 1480);
        assert_eq!(pieces.len(), 14);
        let left = forwarded(lab.send_all(ETH0, &pieces), ETH1);
        assert_eq!(join(&left), asked(source, 20_000));
        assert!(check::transport_checksum_is_right(&join(&left)));

        let answer = udp(BACKEND, source).in_at_eth1_from(BACKEND12).payload(&payload(9_001));
        let left = forwarded(lab.send_all(ETH1, &split(&answer.build(), 7, 1480)), ETH0);
        let told = udp(vip, CLIENT).out_of_eth0_to(CLIENT7).ttl(63).payload(&payload(9_001));
        assert_eq!(join(&left), fragmentable(told.build(), 7));
        assert_eq!(lab.counters.connections_new.get(), 1);
    }
}

#[test]
fn a_checksum_that_was_absent_stays_so_and_a_wrong_one_stays_wrong() {
    for checksum in [Checksum::Absent, Checksum::WrongBy(77)] {
        let pieces = split(&question(DNS, 4000).checksum(checksum).build(), ID, 1480);
        let left = join(&forwarded(lab().send_all(ETH0, &pieces), ETH1));
        assert_eq!(check::transport_checksum_is_right(&left), checksum == Checksum::Absent);
        let [high, low] = [left[IP + 26], left[IP + 27]];
        assert_eq!([high, low] == [0, 0], checksum == Checksum::Absent);
    }
}

#[test]
fn later_fragments_wait_for_the_first_and_leave_behind_it() {
    let mut lab = lab();
    let pieces = split(&question(DNS, 5000).build(), ID, 1480);
    let (first, later) = pieces.split_first().unwrap();
    for (number, piece) in later.iter().rev().enumerate() {
        assert_eq!(lab.send_all(ETH0, &[piece]), [], "it waits");
        assert_eq!((lab.waiting(), lab.counters.held.get()), (number + 1, number as u64 + 1));
    }
    lab.pass(2000);
    let left = forwarded(lab.send_all(ETH0, &[first]), ETH1);
    assert_eq!(left[0], piece(&asked(CLIENT, 5000), ID, 0, 1480), "the first comes first");
    assert_eq!(join(&left), asked(CLIENT, 5000));
    assert_eq!((lab.waiting(), lab.counters.held.get(), lab.counters.received.get()), (0, 0, 4));
}

#[test]
fn a_first_fragment_that_another_worker_saw_releases_those_that_wait_here() {
    use std::sync::Arc;
    use xswitch::dataplane::{FlowTables, Flows, Secret};
    use xswitch::tables::Tick;
    let table = Arc::new(FlowTables::new(64, 64, 64, 2, Secret::from_seed(5)));
    let [mut here, mut there] = [(); 2].map(|()| {
        let mut lab = lab();
        lab.flows = Flows::join(Arc::clone(&table), 2, Tick(0));
        lab
    });
    let pieces = split(&question(DNS, 3000).build(), ID, 1480);
    assert_eq!(here.send_all(ETH0, &pieces[1..]), []);
    let mut left = forwarded(there.send_all(ETH0, &pieces[..1]), ETH1);
    assert_eq!(here.waiting(), 2);
    left.extend(forwarded(here.send_all(ETH0, &[] as &[Vec<u8>]), ETH1));
    assert_eq!(join(&left), asked(CLIENT, 3000));
}

#[test]
fn those_that_wait_in_vain_are_dropped_in_time() {
    let mut lab = lab();
    let pieces = split(&question(DNS, 5000).build(), ID, 1480);
    lab.send_all(ETH0, &pieces[1..]);
    lab.pass(4900);
    assert_eq!(lab.send_all(ETH0, &[] as &[Vec<u8>]), []);
    lab.pass(300);
    let outcomes = lab.send_all(ETH0, &[] as &[Vec<u8>]);
    assert_eq!(verdicts(&outcomes), [Verdict::Drop(DropReason::FragmentTimeout); 3]);
    assert!(outcomes.iter().all(|outcome| pieces.contains(&outcome.bytes)), "as they came");
    assert_eq!(lab.waiting(), 0);
}

#[test]
fn only_so_many_wait() {
    let mut lab = lab();
    let full = Verdict::Drop(DropReason::FragmentTableFull);
    let pieces = split(&question(DNS, 40_000).build(), ID, 512);
    let outcomes: Vec<_> = pieces[1..].chunks(32).flat_map(|some| lab.send_all(ETH0, some)).collect();
    assert_eq!(verdicts(&outcomes), vec![full; pieces.len() - 1 - 64], "64 of one datagram");
    for id in 0..192 {
        let piece = piece(&question(DNS, 2000).build(), id, 8, 800);
        assert_eq!(lab.send_all(ETH0, &[piece]), []);
    }
    assert_eq!(lab.waiting(), 256);
    let one_more = piece(&question(DNS, 2000).build(), 999, 8, 800);
    assert_eq!(verdicts(&lab.send_all(ETH0, &[one_more])), [full], "256 of all");
}

#[test]
fn only_so_many_datagrams_are_tracked() {
    let mut lab = lab();
    let refused = (0..100)
        .filter(|id| {
            let first = piece(&question(DNS, 2000).build(), *id, 0, 800);
            lab.send(ETH0, &first).verdict == Verdict::Drop(DropReason::FragmentTableFull)
        })
        .count();
    assert!((36..60).contains(&refused), "{refused} of 100 had no place among 64");
    lab.pass(10_000);
    assert_eq!(lab.send(ETH0, &piece(&question(DNS, 2000).build(), 500, 0, 800)).verdict, THROUGH);
}

#[test]
fn overlaps_never_get_through() {
    let whole = question(DNS, 4000).build();
    let at = |from, to| piece(&whole, ID, from, to);
    let play = |pieces: &[Vec<u8>]| verdicts(&lab().send_all(ETH0, pieces));
    assert_eq!(
        play(&[at(0, 1480), at(1480, 2960), at(1472, 2960), at(2960, 4008)]),
        [THROUGH, THROUGH, OVERLAP, THROUGH],
        "it holds nothing new: that frame alone is dropped"
    );
    assert_eq!(
        play(&[at(0, 1480), at(1480, 2960), at(2952, 4008), at(2960, 4008)]),
        [THROUGH, THROUGH, OVERLAP, OVERLAP],
        "it overlaps: all that follows is dropped"
    );
    assert_eq!(
        play(&[at(0, 1480), at(0, 1480), at(1480, 2960)]),
        [THROUGH, OVERLAP, THROUGH],
        "a repetition"
    );
    assert_eq!(
        play(&[at(8, 800), at(0, 1480), at(1480, 2960)]),
        [THROUGH, THROUGH, OVERLAP],
        "what waits for the first and would overwrite its ports is dropped behind it"
    );
}

#[test]
fn fragments_that_cannot_be_are_dropped() {
    let whole = question(DNS, 4000).build();
    let segment = tcp(CLIENT, WEB, SYN).in_at_eth0_from(CLIENT7).payload(&payload(100)).build();
    let mut beyond = piece(&whole, ID, 1480, 2960);
    beyond[IP + 6..IP + 8].copy_from_slice(&[0x1F, 0xFF]);
    let sum = check::sum(&beyond[IP..IP + 10]);
    let sum = !check::add(sum, check::sum(&beyond[IP + 12..IP + 20]));
    beyond[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    for (why, frame) in [
        ("it reaches beyond the longest datagram", beyond),
        ("more follow, but it is not of whole units", piece(&whole, ID, 1480, 2959)),
        ("there is nothing in it", piece(&whole, ID, 4008, 4008)),
        ("not all of the TCP header is in the first", piece(&segment, ID, 0, 16)),
    ] {
        assert_eq!(lab().send(ETH0, &frame).verdict, ABSURD, "{why}");
    }
    let first = piece(&segment, ID, 0, 24);
    assert_eq!(lab().send(ETH0, &first).verdict, THROUGH, "as much as that");
}

#[test]
fn fragments_of_tcp_take_the_way_of_their_connection() {
    let mut lab = lab();
    let from = |flags| tcp(CLIENT, WEB, flags).in_at_eth0_from(CLIENT7);
    let pieces = split(&from(ACK).payload(&payload(3000)).build(), ID, 1480);
    let none = Verdict::Drop(DropReason::NoConnection);
    assert_eq!(verdicts(&lab.send_all(ETH0, &pieces)), [none; 3], "the first is not a SYN");
    lab.send(ETH0, &from(SYN).build());
    lab.pass(200);
    let pieces = split(&from(ACK).payload(&payload(3000)).build(), ID + 1, 1480);
    let left = forwarded(lab.send_all(ETH0, &pieces), ETH1);
    let expected = tcp(CLIENT, "198.18.1.11:8080", ACK).out_of_eth1_to(BACKEND11).ttl(63);
    assert_eq!(join(&left), fragmentable(expected.payload(&payload(3000)).build(), ID + 1));
}

#[test]
fn fragments_of_no_service_are_the_kernels() {
    let whole = question("198.18.0.100:54", 3000).build();
    let pieces = split(&whole, ID, 1480);
    let outcomes = lab().send_all(ETH0, &[&pieces[1], &pieces[0], &pieces[2]]);
    assert_eq!(verdicts(&outcomes), [Verdict::ToKernel; 3]);
    assert!(outcomes.iter().all(|outcome| pieces.contains(&outcome.bytes)), "as they came");
    let outcomes = lab().without_kernel().send_all(ETH0, &pieces);
    assert_eq!(verdicts(&outcomes), [Verdict::Drop(DropReason::NotSteered); 3]);
}

/// A switch whose one service goes through a tunnel, out of an interface with this MTU.
fn tunnel_lab(forwarding: &str, mtu: u16) -> Lab {
    let text = [
        SWITCH,
        &service("far", DNS, "udp", forwarding, &[("198.18.1.12:53", 1)]),
        &NETWORK.replace("name = \"eth1\"\n", &format!("name = \"eth1\"\nmtu = {mtu}\n")),
        DEFAULT_ROUTE,
    ]
    .concat();
    let mut snapshot = compile(&text);
    snapshot.icmp_rate = 0;
    let encapsulation =
        if forwarding == "gue" { Encapsulation::Gue { port: 6080 } } else { Encapsulation::Ipip };
    let ends = ["198.18.1.1", "198.18.1.12"].map(|address| address.parse().unwrap());
    for backend in snapshot.backends.iter_mut().flatten() {
        backend.outer = Outer::new(encapsulation, ends[0], ends[1], Family::V4);
    }
    Lab::of(snapshot, 1024)
}

/// What is inside the outer headers, which are `length` bytes, with the Ethernet header in front.
fn inside(frames: Vec<Vec<u8>>, length: usize, mtu: usize) -> Vec<Vec<u8>> {
    let mut ids: Vec<_> = frames.iter().map(|frame| frame[IP + 4..IP + 6].to_vec()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), frames.len(), "each outer packet has an identification of its own");
    let strip = |frame: Vec<u8>| {
        assert!(check::ip_checksum_is_right(&frame));
        assert!(frame.len() <= IP + mtu);
        assert_eq!(usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]])), frame.len() - IP);
        assert_eq!(frame[IP + 6..IP + 8], [0, 0], "the outer packet is whole and may be cut");
        [&frame[..IP], &frame[IP + length..]].concat()
    };
    frames.into_iter().map(strip).collect()
}

#[test]
fn through_a_tunnel_twenty_thousand_bytes_arrive_whole_in_smaller_pieces() {
    for (forwarding, length) in [("ipip", 20), ("gue", 32)] {
        for id in [1, 2, 3] {
            let mut lab = tunnel_lab(forwarding, 1500);
            let pieces = split(&question(DNS, 20_000).build(), id, 1480);
            let shuffled: Vec<_> = (0..pieces.len()).map(|at| &pieces[at * 9 % pieces.len()]).collect();
            let in_order: Vec<_> = pieces.iter().collect();
            let left = lab.send_all(ETH0, if id == 1 { &in_order } else { &shuffled });
            let left = forwarded(left, ETH1);
            assert_eq!(left.len(), 27, "all but the last in two");
            if forwarding == "gue" {
                assert!(left.iter().all(|frame| frame[IP + 20..IP + 22] == left[0][IP + 20..IP + 22]));
            }
            assert_eq!(lab.counters.created.get(), 13);
            let expected = question(DNS, 20_000).out_of_eth1_to(BACKEND12).ttl(63).build();
            assert_eq!(join(&inside(left, length, 1500)), fragmentable(expected, id));
            let packets: u64 = lab.counters.backends.iter().map(|backend| backend.packets_in.get()).sum();
            assert_eq!(packets, 14, "each packet counts once");
        }
    }
}

#[test]
fn a_whole_packet_that_may_be_cut_is_cut_and_one_that_must_not_be_is_refused() {
    let mut lab = tunnel_lab("ipip", 1000);
    let whole = question(DNS, 1472).options(&[0x94, 4, 0, 0, 7, 3, 4, 0]).build();
    assert_eq!(lab.send(ETH0, &whole[..]).verdict, Verdict::Drop(DropReason::TooBig), "DF is set");
    let whole = question(DNS, 1464).build();
    let left = forwarded(lab.send_all(ETH0, &[fragmentable(whole, ID)]), ETH1);
    let lengths: Vec<_> = left.iter().map(|frame| frame.len() - IP).collect();
    assert_eq!(lengths, [20 + 20 + 960, 20 + 20 + 512]);
    let expected = question(DNS, 1464).out_of_eth1_to(BACKEND12).ttl(63).build();
    assert_eq!(join(&inside(left, 20, 1000)), fragmentable(expected, ID));
}

#[test]
fn nat_cuts_what_the_way_to_the_backend_is_too_narrow_for() {
    let narrow = |mtu: u16| tunnel_lab("nat", mtu);
    for (mtu, pieces) in [(1499, 2), (600, 3), (100, 19)] {
        let expected = udp(CLIENT, "198.18.1.12:53").out_of_eth1_to(BACKEND12).ttl(63);
        let whole = fragmentable(question(DNS, 1472).build(), ID);
        let left = forwarded(narrow(mtu).send_all(ETH0, &[whole]), ETH1);
        assert_eq!(left.len(), pieces);
        assert!(left.iter().all(|frame| frame.len() <= IP + usize::from(mtu)));
        assert_eq!(join(&left), fragmentable(expected.payload(&payload(1472)).build(), ID));
    }
}

#[test]
fn a_packet_for_which_there_are_not_enough_spare_frames_leaves_not_at_all() {
    let mut lab = tunnel_lab("nat", 68);
    let whole = fragmentable(question(DNS, 1472).build(), ID);
    let left = lab.send_all(ETH0, &[&whole, &whole, &whole]);
    let no_room = left.iter().filter(|one| one.verdict == Verdict::Drop(DropReason::NoHeadroom)).count();
    assert_eq!((no_room, left.len()), (1, 1 + 2 * 31), "spare frames are for two");
}

#[test]
fn a_ping_in_pieces_goes_out_and_comes_back_through_outbound_nat() {
    use crate::frames::outbound::{BOTH, Carries, datagram, home, rule, source_of};
    use xswitch::tables::{Filtering, Mapping};
    for version in BOTH {
        let rule = rule(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, 100);
        let mut lab = Lab::of(home(vec![rule]), 64);
        let (inside, server) = (version.inside(11, 77), version.server(1, 0));
        let ping = datagram(Carries::Ping, inside, server).payload(&payload(3000));
        let left = forwarded(lab.send_all(ETH1, &split(&ping.sent_from_inside(), ID, 1440)), ETH0);
        let left = join(&left);
        let public = source_of(&left);
        let expected = datagram(Carries::Ping, public, server).payload(&payload(3000));
        assert_eq!(left, fragmentable(expected.gone_outside(), ID), "{version:?}");
        let pong = datagram(Carries::Pong, server, public).payload(&payload(3000));
        let left = forwarded(lab.send_all(ETH0, &split(&pong.sent_from_outside(), ID, 1440)), ETH1);
        let expected = datagram(Carries::Pong, server, inside).payload(&payload(3000));
        assert_eq!(join(&left), fragmentable(expected.gone_inside(), ID), "{version:?}");
    }
}

const VIP6: &str = "[2001:db8::64]:53";
const CLIENT6: &str = "[2001:db8::7]:40000";
const BACKEND6: &str = "[2001:db8:1::c]:5353";

fn lab6() -> Lab {
    let facts = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["2001:db8::2/64"]
[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["2001:db8:1::1/64"]
[[neighbor]]
interface = "eth0"
address = "2001:db8::7"
mac = "02:00:00:00:01:07"
[[neighbor]]
interface = "eth1"
address = "2001:db8:1::c"
mac = "02:00:00:00:03:0c"
"#;
    let switch = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n";
    Lab::new(&[switch, &service("dns", VIP6, "udp", "nat", &[(BACKEND6, 1)]), facts].concat(), 64)
}

#[test]
fn over_ipv6_fragments_take_one_way_too_whatever_protocol_the_later_ones_name() {
    let mut lab = lab6();
    let asked = |macs, to, hops| udp_v6(macs, CLIENT6, to, hops, &payload(20_000));
    let mut pieces = split(&asked([CLIENT7, SWITCH0], VIP6, 64), ID, 1448);
    pieces[3][IP + 40] = 99;
    pieces.swap(0, 5);
    let left = forwarded(lab.send_all(ETH0, &pieces), ETH1);
    assert_eq!(join(&left), asked([SWITCH1, BACKEND12], BACKEND6, 63));

    let answer = udp_v6([BACKEND12, SWITCH1], BACKEND6, CLIENT6, 64, &payload(5000));
    let left = forwarded(lab.send_all(ETH1, &split(&answer, 9, 1448)), ETH0);
    assert_eq!(join(&left), udp_v6([SWITCH0, CLIENT7], VIP6, CLIENT6, 63, &payload(5000)));
}

#[test]
fn over_ipv6_overlaps_and_what_cannot_be_are_dropped() {
    let whole = udp_v6([CLIENT7, SWITCH0], CLIENT6, VIP6, 64, &payload(4000));
    let at = |from, to| piece(&whole, ID, from, to);
    let left = lab6().send_all(ETH0, &[at(0, 1448), at(1440, 2896), at(2896, 4008)]);
    assert_eq!(verdicts(&left), [THROUGH, OVERLAP, OVERLAP]);
    for odd in [at(1448, 2895), at(4008, 4008)] {
        assert_eq!(lab6().send(ETH0, &odd).verdict, ABSURD);
    }
}
