//! Errors that the switch sends itself, in place of a frame that it drops; and those that it does not.

use std::net::SocketAddr;

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use super::packets::*;
use super::world::*;
use crate::frames::network::*;
use crate::frames::{ACK, IP, SYN};

/// What the switch says about `packet`, from its own address on the sender's link.
fn said(net: Net, says: Says, packet: &[u8], inside: bool, id: u16) -> Vec<u8> {
    let quoted = packet.len().min(if net.v4 { 576 - 28 } else { 1280 - 48 });
    let (source, destination) =
        if inside { (net.inside(1), net.inside(11)) } else { (net.own(), net.client().ip()) };
    let head = head(source, destination);
    let head = Head { tos: if net.v4 { 0xC0 } else { 0 }, dont_fragment: false, id, ..head };
    head.icmp(says, &packet[..quoted])
}

fn id(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[IP + 4], bytes[IP + 5]])
}

#[test]
fn the_last_hop_of_what_would_be_forwarded_is_told_of() {
    for net in BOTH {
        for mode in ["nat", "full-nat", "ipip", "gue"] {
            for protocol in [TCP, UDP] {
                let mut lab = switch();
                let packet = flow(protocol, net.client(), net.vip(mode), 1, SYN, b"");
                let outcome = lab.send(ETH0, &frame(CLIENT7, SWITCH0, &packet));
                let expected = said(net, Says::TimeExceeded, &packet, false, id(&outcome.bytes));
                assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
                assert_eq!((lab.counters.icmp_errors.get(), lab.counters.replied.get()), (1, 1));
                assert_eq!(lab.counters.connections_active.get(), 0);
            }
        }
    }
}

#[test]
fn in_direct_return_the_frame_stays_on_its_link_and_keeps_its_last_hop() {
    for net in BOTH {
        let packet = flow(TCP, net.client(), net.vip("dsr"), 1, SYN, b"");
        let outcome = switch().send(ETH0, &frame(CLIENT7, SWITCH0, &packet));
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
    }
}

#[test]
fn what_does_not_fit_is_sent_back_with_what_would() {
    for net in BOTH {
        for (mode, mtu) in [("nat", 1500), ("dsr", 1500), ("ipip", 1500 - net.header() as u32)] {
            let mut lab = connected(net, mode, TCP);
            let packet = flow(TCP, net.client(), net.vip(mode), 64, ACK, &[7; 1481]);
            let outcome = lab.send(ETH0, &frame(CLIENT7, SWITCH0, &packet));
            let expected = said(net, Says::TooBig(mtu), &packet, false, id(&outcome.bytes));
            assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
        }
    }
}

#[test]
fn a_backends_packet_that_does_not_fit_is_sent_back_to_it() {
    for net in BOTH {
        let mut lab = connected(net, "nat", TCP);
        let packet = flow(TCP, net.backend("nat"), net.client(), 64, ACK, &[7; 1481]);
        let outcome = lab.send(ETH1, &frame(BACKEND11, SWITCH1, &packet));
        let expected = said(net, Says::TooBig(1500), &packet, true, id(&outcome.bytes));
        assert_replied(&outcome, ETH1, SWITCH1, BACKEND11, &expected);
    }
}

#[test]
fn a_packet_that_may_be_cut_is_not_complained_about() {
    let mut lab = connected(V4, "nat", TCP);
    let payload = flow(TCP, V4.client(), V4.vip("nat"), 64, ACK, &[7; 1481])[20..].to_vec();
    let head = Head { dont_fragment: false, ..head(V4.client().ip(), V4.vip("nat").ip()) };
    lab.send(ETH0, &frame(CLIENT7, SWITCH0, &head.around(TCP, &payload)));
    assert_eq!(lab.counters.icmp_errors.get(), 0);
}

#[test]
fn who_cannot_be_answered_by_the_backend_is_told_that_there_is_no_route() {
    for net in BOTH {
        let far = SocketAddr::new(ip(if net.v4 { "203.0.113.9" } else { "2001:db8:9::9" }), 40_000);
        let packet = flow(TCP, far, net.vip("nat"), 64, SYN, b"");
        let outcome = switch().send(ETH0, &frame(ROUTER0, SWITCH0, &packet));
        let head = Head {
            tos: if net.v4 { 0xC0 } else { 0 },
            dont_fragment: false,
            id: id(&outcome.bytes),
            ..head(net.own(), far.ip())
        };
        assert_replied(&outcome, ETH0, SWITCH0, ROUTER0, &head.icmp(Says::NetUnreachable, &packet));
    }
}

#[test]
fn no_more_is_said_than_the_rate_allows() {
    let mut lab = switch();
    lab.snapshot.icmp_rate = 10;
    let packet = flow(UDP, V4.client(), V4.vip("nat"), 1, 0, b"");
    let arrives = frame(CLIENT7, SWITCH0, &packet);
    let answered = |lab: &mut crate::frames::lab::Lab| {
        (0..50).filter(|_| lab.send(ETH0, &arrives).verdict == Verdict::Reply(ETH0)).count()
    };
    assert_eq!(answered(&mut lab), 10);
    assert_dropped(&lab.send(ETH0, &arrives), DropReason::TtlExpired, &arrives);
    assert_eq!((lab.counters.icmp_errors.get(), lab.counters.icmp_limited.get()), (10, 41));
    lab.pass(300);
    assert_eq!(answered(&mut lab), 3);
}

#[test]
fn an_interface_without_an_address_speaks_with_the_vips() {
    for net in BOTH {
        let mut lab = switch();
        lab.snapshot.interfaces[0].addresses.clear();
        let vip = net.vip("nat");
        let packet = flow(UDP, net.client(), vip, 1, 0, b"");
        let outcome = lab.send(ETH0, &frame(CLIENT7, SWITCH0, &packet));
        let head = Head {
            tos: if net.v4 { 0xC0 } else { 0 },
            dont_fragment: false,
            id: id(&outcome.bytes),
            ..head(vip.ip(), net.client().ip())
        };
        assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &head.icmp(Says::TimeExceeded, &packet));
    }
}

#[test]
fn tags_stay_on_what_goes_back() {
    let mut lab = switch();
    lab.snapshot.interfaces[0].tags = xswitch::wire::ethernet::Tags::single(42);
    let packet = flow(UDP, V4.client(), V4.vip("nat"), 1, 0, b"");
    let mut arrives = frame(CLIENT7, SWITCH0, &packet);
    arrives.splice(12..12, [0x81, 0x00, 0x60, 42]);
    let outcome = lab.send(ETH0, &arrives);
    assert_eq!(outcome.verdict, Verdict::Reply(ETH0));
    assert_eq!(outcome.bytes[..18], [&CLIENT7[..], &SWITCH0, &[0x81, 0, 0x60, 42, 8, 0]].concat());
    assert_eq!(outcome.bytes[18..], said(V4, Says::TimeExceeded, &packet, false, id(&outcome.bytes[4..])));
}
