//! What is captured is what happens, and nothing happens otherwise because of it.

use proptest::prelude::*;
use xswitch::dataplane::{BATCH, Verdict};
use xswitch::tables::capture::{Kind, Outcome as Became, Record, Wanted};
use xswitch::tables::connection::ClientPrefix;
use xswitch::tables::{BackendId, DropReason, InterfaceId, ServiceId, Snapshot};

use crate::frames::lab::{Lab, Outcome};
use crate::frames::network::*;
use crate::frames::pieces::split;
use crate::frames::{ACK, IP, SYN, TCP, tcp, udp};
use crate::sequences::Pair;
use crate::world::*;

const PORTS: u16 = 10_000;

/// More than any run sends.
const ENOUGH: usize = 2048;

fn lab() -> Lab {
    let mut lab = Lab::new(&config("always", PORTS), 1024);
    lab.snapshot.icmp_rate = 0;
    lab
}

/// Address and port at an end of an IPv4 frame: 0 is the source.
fn end(frame: &[u8], end: usize) -> String {
    let address: [u8; 4] = frame[IP + 12 + 4 * end..][..4].try_into().unwrap();
    let port = u16::from_be_bytes(frame[IP + 20 + 2 * end..][..2].try_into().unwrap());
    format!("{}:{port}", std::net::Ipv4Addr::from(address))
}

fn backend(snapshot: &Snapshot, record: &Record) -> String {
    snapshot.backend(record.backend).map(|backend| backend.address.to_string()).unwrap_or_default()
}

/// A record is of a frame that came, and says what became of it.
fn same(record: &Record, (ingress, frame): &(InterfaceId, Vec<u8>), outcome: &Outcome) {
    assert_eq!(record.ingress, *ingress);
    assert_eq!(record.before.bytes(), Some(&frame[..]));
    assert_eq!(record.outcome, Became::from(outcome.verdict));
    let leaves = matches!(outcome.verdict, Verdict::Forward(_) | Verdict::Reply(_));
    assert_eq!(record.after.bytes(), leaves.then_some(&outcome.bytes[..]));
}

/// It also says whose the frame is. What the batch has done with a connection since is what is seen of it, so this is asked
/// where the client has no other frame in it.
fn attributed(record: &Record, came: &(InterfaceId, Vec<u8>), outcome: &Outcome, snapshot: &Snapshot) {
    let (ingress, frame) = came;
    let service = record.service.and_then(|id| snapshot.service(id));
    if let Verdict::Forward(egress) = outcome.verdict {
        let service = service.expect("what is forwarded belongs to a service");
        if egress == ETH1 {
            assert_eq!(end(&outcome.bytes, 1), backend(snapshot, record));
            assert_eq!(end(frame, 1), service.vip.to_string());
        } else {
            assert_eq!(end(frame, 0), backend(snapshot, record));
            assert_eq!(end(&outcome.bytes, 0), service.vip.to_string());
        }
    } else if *ingress == ETH0 {
        assert_eq!(service.expect("it is addressed to one").vip.to_string(), end(frame, 1));
    }
}

/// The client's end of a frame.
fn client((ingress, frame): &(InterfaceId, Vec<u8>), outcome: &Outcome) -> String {
    if *ingress == ETH0 { end(frame, 0) } else { end(&outcome.bytes, 1) }
}

/// One in so many of those of one service that came to one end, by the plain list of all that were captured.
fn selected(all: &[Record], wanted: &Wanted) -> Vec<Record> {
    let is = |record: &&Record| {
        wanted.service.is_none_or(|service| record.service == Some(service))
            && wanted.interface.is_none_or(|interface| record.ingress == interface)
            && (wanted.outcomes == 0 || matches!(record.outcome, Became::Drop(_)))
    };
    all.iter().filter(is).step_by(wanted.sample.max(1) as usize).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_captured_is_what_happened(
        batches in prop::collection::vec(prop::collection::vec(prop_oneof![request(), reply()], 1..24), 1..12),
        service in prop::option::of(0u32..5),
        interface in prop::option::of(0u8..2),
        drops in any::<bool>(),
        sample in 0u32..4,
    ) {
        let mut pair = Pair::new(true, PORTS);
        let wanted = Wanted {
            service: service.map(ServiceId),
            interface: interface.map(InterfaceId),
            outcomes: if drops { 1 << Became::Drop(DropReason::NoRoute).bit() } else { 0 },
            sample,
            ..Wanted::default()
        };
        let (mut plain, mut all) = (lab(), lab().tapped(Wanted::default(), ENOUGH));
        let mut some = lab().tapped(wanted.clone(), ENOUGH);
        let mut kept = Vec::new();
        for ops in &batches {
            let known = pair.model.history.len();
            let came: Vec<_> = ops[..ops.len().min(BATCH)].iter().filter_map(|op| pair.step(op, known)).collect();
            let came: Vec<_> = came.into_iter().map(|(ingress, packet, _)| (ingress, packet.build())).collect();
            let [plainly, tapped, _] = [&mut plain, &mut all, &mut some].map(|lab| {
                came.iter().for_each(|(ingress, frame)| lab.add(*ingress, frame));
                let mut outcomes = Vec::new();
                lab.run(|verdict, bytes| outcomes.push(Outcome { verdict, bytes: bytes.to_vec() }));
                outcomes
            });
            prop_assert_eq!(&plainly, &tapped, "nothing happens otherwise");
            let (records, matched, lost) = all.captured();
            prop_assert_eq!((records.len(), lost), (came.len(), 0));
            for ((record, came), outcome) in records.iter().zip(&came).zip(&tapped) {
                same(record, came, outcome);
            }
            let clients: Vec<_> = came.iter().zip(&tapped).map(|(came, outcome)| client(came, outcome)).collect();
            for (number, client) in clients.iter().enumerate() {
                if clients.iter().filter(|other| *other == client).count() == 1 {
                    attributed(&records[number], &came[number], &tapped[number], &all.snapshot);
                }
            }
            kept.extend(records);
            prop_assert_eq!(matched as usize, kept.len());
        }
        prop_assert_eq!(some.captured().0, selected(&kept, &wanted));
    }
}

/// Opens a connection to the first service: client and backend.
fn open(lab: &mut Lab) -> (&'static str, String) {
    let (client, vip) = (CLIENTS[0].0, SERVICES[0].vip);
    let outcome = lab.send(ETH0, &tcp(client, vip, SYN).in_at_eth0_from(CLIENT7).build());
    (client, end(&outcome.bytes, 1))
}

fn host(text: &str, length: u8) -> Option<ClientPrefix> {
    Some(ClientPrefix { address: text.parse().unwrap(), length, port: None })
}

#[test]
fn a_frame_is_found_by_any_end_of_its_connection() {
    let reply = |wanted: Wanted| {
        let mut lab = lab().tapped(wanted, 8);
        let (client, backend) = open(&mut lab);
        lab.captured();
        lab.send(ETH1, &tcp(&backend, client, SYN | ACK).in_at_eth1_from(BACKEND11).build());
        lab.captured().0.len()
    };
    for (address, length) in [("198.18.0.7", 32), ("198.18.0.100", 32), ("198.18.1.0", 24)] {
        assert_eq!(reply(Wanted { host: host(address, length), ..Wanted::default() }), 1, "{address}");
    }
    assert_eq!(reply(Wanted { host: host("198.18.0.8", 32), ..Wanted::default() }), 0);
    for (port, found) in [(40_000, 1), (8080, 1), (80, 1), (81, 0)] {
        assert_eq!(reply(Wanted { port: Some(port), ..Wanted::default() }), found, "{port}");
    }
    for (kind, found) in [(Kind::Tcp, 1), (Kind::Udp, 0), (Kind::Icmp, 0), (Kind::Arp, 0)] {
        assert_eq!(reply(Wanted { kind: Some(kind), ..Wanted::default() }), found, "{kind:?}");
    }
}

#[test]
fn an_error_about_a_connection_belongs_to_its_service() {
    let mut lab = lab().tapped(Wanted { kind: Some(Kind::Icmp), ..Wanted::default() }, 8);
    let (client, backend) = open(&mut lab);
    let quoted = tcp(client, &backend, SYN).ttl(60).build();
    let router = etherparse::PacketBuilder::ethernet2(BACKEND11, SWITCH1)
        .ipv4([198, 18, 1, 11], [198, 18, 0, 7], 64)
        .icmpv4_raw(3, 1, [0; 4]);
    let mut frame = Vec::new();
    router.write(&mut frame, &quoted[IP..]).unwrap();
    assert_eq!(lab.send(ETH1, &frame).verdict, Verdict::Forward(ETH0));
    let (records, ..) = lab.captured();
    assert_eq!((records.len(), records[0].service), (1, Some(ServiceId(0))));
    assert_eq!(self::backend(&lab.snapshot, &records[0]), backend);
}

#[test]
fn a_fragment_that_waits_is_held_and_leaves_later() {
    let mut lab = lab().tapped(Wanted::default(), 8);
    let datagram = udp(CLIENTS[0].0, SERVICES[2].vip).payload(&[7; 100]).in_at_eth0_from(CLIENT7);
    let pieces = split(&datagram.build(), 9, 64);
    assert!(lab.send_all(ETH0, &pieces[1..]).is_empty() && lab.waiting() == 1);
    let (held, ..) = lab.captured();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].outcome, held[0].before.bytes()), (Became::Held, Some(&pieces[1][..])));
    assert!(held[0].after.is_empty());
    let left = lab.send_all(ETH0, &pieces[..1]);
    let (records, ..) = lab.captured();
    assert_eq!((left.len(), records.len()), (2, 2));
    assert_eq!(records[0].before.bytes(), Some(&pieces[0][..]));
    assert!(records[1].before.is_empty(), "it came earlier");
    for (record, left) in records.iter().zip(&left) {
        assert_eq!((record.outcome, record.after.bytes()), (Became::Forward(ETH1), Some(&left.bytes[..])));
        assert_ne!(record.backend, BackendId::NONE);
    }
    // Both in one batch, in the wrong order: the one that waits for a moment has both pictures.
    let pieces = split(&datagram.build(), 10, 64);
    lab.send_all(ETH0, &[&pieces[1], &pieces[0]]);
    let (records, ..) = lab.captured();
    let befores: Vec<_> = records.iter().map(|record| record.before.bytes().unwrap().to_vec()).collect();
    assert_eq!(befores, [pieces[0].clone(), pieces[1].clone()]);
    assert!(records.iter().all(|record| record.outcome == Became::Forward(ETH1)));
}

#[test]
fn frames_beyond_the_room_are_forwarded_and_counted() {
    let mut lab = lab().tapped(Wanted { kind: Some(Kind::Tcp), ..Wanted::default() }, 3);
    let frames = [tcp(CLIENTS[0].0, SERVICES[0].vip, SYN).in_at_eth0_from(CLIENT7).build(); 1];
    let outcomes: Vec<_> = (0..10).map(|_| lab.send(ETH0, &frames[0]).verdict).collect();
    assert_eq!(outcomes, [Verdict::Forward(ETH1); 10]);
    let (records, matched, lost) = lab.captured();
    assert_eq!((records.len(), matched, lost), (3, 10, 7));
    lab.send(ETH0, &frames[0]);
    assert_eq!(lab.captured().0.len(), 1, "there is room again");
}

#[test]
fn a_damaged_frame_is_found_by_its_address() {
    let wanted =
        Wanted { host: host("198.18.0.7", 32), reason: Some(DropReason::IpChecksum), ..Wanted::default() };
    let mut lab = lab().tapped(wanted, 8);
    let mut frame = tcp(CLIENTS[0].0, SERVICES[0].vip, SYN).in_at_eth0_from(CLIENT7).build();
    assert_eq!(frame[IP + 9], TCP);
    frame[IP + 10] ^= 1;
    lab.send(ETH0, &frame);
    assert_eq!(lab.captured().0.len(), 1);
}
