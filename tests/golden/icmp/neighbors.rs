//! Neighbour discovery for the addresses that the switch answers for, and what a bridge overhears.

use std::net::{IpAddr, Ipv6Addr};

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, Event, InterfaceId};

use super::packets::{assert_checksums, frame, head, ip};
use super::world::*;
use crate::frames::network::*;
use crate::frames::{Arp, IP, Mac, check};

const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A neighbour discovery message: `flags` is the first byte behind the checksum, `option` is (type, MAC).
fn message(
    (source, destination): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if let Some((kind, mac)) = option {
        message.extend_from_slice(&[kind, 1]);
        message.extend_from_slice(&mac);
    }
    let head = head(IpAddr::V6(source), IpAddr::V6(destination)).ttl(255);
    let checksum = !check::add(head.pseudo_header(58, message.len()), check::sum(&message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    head.around(58, &message)
}

/// Who asks for `target` at the group of those with its last bytes.
fn ask(source: &str, target: &str, mac: Option<Mac>) -> Vec<u8> {
    let target = v6(target);
    let [.., a, b, c] = target.octets();
    let mut group = v6("ff02::1:ff00:0").octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let packet = message((v6(source), group.into()), 135, 0, target, mac.map(|mac| (1, mac)));
    frame(CLIENT7, [0x33, 0x33, 0xFF, a, b, c], &packet)
}

#[test]
fn who_asks_for_a_vip_is_answered_and_remembered() {
    for (target, source) in [("2001:db8::100", "2001:db8::7"), ("2001:db8::101", "fe80::7")] {
        for option in [Some(CLIENT7), None] {
            let mut lab = switch();
            let outcome = lab.send(ETH0, &ask(source, target, option));
            let answer = message((v6(target), v6(source)), 136, 0x60, v6(target), Some((2, SWITCH0)));
            assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &answer);
            let learned = Event::Learned { interface: ETH0, address: ip(source), mac: CLIENT7 };
            assert_eq!(lab.events, [learned]);
        }
    }
}

#[test]
fn a_probe_is_answered_to_all_for_the_address_is_taken() {
    let mut lab = switch();
    let outcome = lab.send(ETH0, &ask("::", "2001:db8::100", None));
    let target = v6("2001:db8::100");
    let answer = message((target, v6("ff02::1")), 136, 0x20, target, Some((2, SWITCH0)));
    assert_replied(&outcome, ETH0, SWITCH0, ALL_NODES, &answer);
    assert_eq!(lab.events, []);
}

#[test]
fn the_snat_address_is_answered_for_on_the_backends_side() {
    let mut asks = ask("2001:db8:1::11", "2001:db8:1::2", Some(BACKEND11));
    asks[6..12].copy_from_slice(&BACKEND11);
    let outcome = switch().send(ETH1, &asks);
    let target = v6("2001:db8:1::2");
    let answer = message((target, v6("2001:db8:1::11")), 136, 0x60, target, Some((2, SWITCH1)));
    assert_replied(&outcome, ETH1, SWITCH1, BACKEND11, &answer);
}

#[test]
fn what_is_not_ours_to_answer_is_the_kernels() {
    let vip = "2001:db8::100";
    let mut far = ask("2001:db8::7", vip, None);
    far[IP + 7] = 254;
    let mut damaged = ask("2001:db8::7", vip, None);
    damaged[IP + 60] ^= 1;
    for (why, frame) in [
        ("the switch's own address", ask("2001:db8::7", "2001:db8::2", None)),
        ("somebody else's address", ask("2001:db8::7", "2001:db8::9", None)),
        ("from behind a router", far),
        ("damaged", damaged),
        ("a VIP that asks for itself", ask(vip, vip, None)),
    ] {
        let mut lab = switch();
        let outcome = lab.send(ETH0, &frame);
        assert_eq!(outcome.verdict, Verdict::ToKernel, "{why}");
        assert_eq!(outcome.bytes, frame, "{why}");
        assert_eq!(lab.events, [], "{why}");
    }
}

#[test]
fn a_bridge_overhears_the_answers_to_what_it_asked() {
    let backend = (BACKEND11, [198, 18, 1, 11]);
    let arp = Arp {
        from: BACKEND11,
        to: SWITCH1,
        operation: 2,
        sender: backend,
        target: (SWITCH1, [198, 18, 1, 1]),
    };
    let says = |mac| {
        let packet = message(
            (v6("2001:db8:1::11"), v6("2001:db8:1::1")),
            136,
            0x60,
            v6("2001:db8:1::11"),
            Some((2, BACKEND11)),
        );
        frame(BACKEND11, mac, &packet)
    };
    let to_another = Arp { to: CLIENT8, ..arp.clone() };
    let learned = |address: &str| {
        vec![Event::Learned { interface: InterfaceId(1), address: ip(address), mac: BACKEND11 }]
    };
    for (bridge, frame, events) in [
        (true, arp.build(), learned("198.18.1.11")),
        (true, says(SWITCH1), learned("2001:db8:1::11")),
        (true, to_another.build(), vec![]),
        (true, says(CLIENT8), vec![]),
        (false, arp.build(), vec![]),
        (false, says(SWITCH1), vec![]),
    ] {
        let mut lab = switch();
        lab.snapshot.bridge = bridge;
        let outcome = lab.send(ETH1, &frame);
        let heard = Verdict::Drop(DropReason::NeighborHeard);
        assert_eq!(outcome.verdict, if events.is_empty() { Verdict::ToKernel } else { heard });
        assert_eq!(outcome.bytes, frame);
        assert_eq!(lab.events, events);
    }
}

#[test]
fn answers_have_right_checksums_for_every_vip() {
    for mode in ["nat", "full-nat", "dsr", "ipip", "gue"] {
        let target = V6.vip(mode).ip().to_string();
        let outcome = switch().send(ETH0, &ask("2001:db8::7", &target, Some(CLIENT7)));
        assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{mode}");
        assert_checksums(&outcome.bytes);
    }
}
