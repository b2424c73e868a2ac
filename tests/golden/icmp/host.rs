//! To a VIP: pings, and what no service takes. The switch is the host there.

use std::net::SocketAddr;

use etherparse::{TcpHeader, TcpHeaderSlice};
use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use super::packets::*;
use super::world::*;
use crate::frames::lab::Outcome;
use crate::frames::network::*;
use crate::frames::{ACK, FIN, IP, RST, SEQUENCE, SYN};

fn send(net: Net, packet: &[u8]) -> Outcome {
    let _ = net;
    switch().send(ETH0, &frame(CLIENT7, SWITCH0, packet))
}

fn ping(net: Net, ttl: u8, data: &[u8]) -> Vec<u8> {
    let head = head(net.client().ip(), net.vip("nat").ip()).ttl(ttl);
    head.icmp(Says::Echo { reply: false, id: 0x4711, sequence: 3 }, data)
}

#[test]
fn a_ping_of_a_vip_is_answered_whatever_its_size_and_ttl() {
    for net in BOTH {
        for ttl in [1, 64] {
            for size in [0, 1, 56, 57, 1400, 1452] {
                let data: Vec<_> = (0..size).map(|at| at as u8).collect();
                let outcome = send(net, &ping(net, ttl, &data));
                let head = head(net.vip("nat").ip(), net.client().ip());
                let expected = head.icmp(Says::Echo { reply: true, id: 0x4711, sequence: 3 }, &data);
                assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
            }
        }
    }
}

#[test]
fn every_ping_of_65536_has_a_right_checksum() {
    let mut lab = switch();
    for id in (0..=u16::MAX).step_by(13) {
        let head = head(V4.client().ip(), V4.vip("nat").ip());
        let ping = head.icmp(Says::Echo { reply: false, id, sequence: !id }, &[]);
        let outcome = lab.send(ETH0, &frame(CLIENT7, SWITCH0, &ping));
        assert_checksums(&outcome.bytes);
    }
}

#[test]
fn a_damaged_ping_and_one_from_nobody_are_not_answered() {
    for net in BOTH {
        let mut damaged = frame(CLIENT7, SWITCH0, &ping(net, 64, b"data"));
        *damaged.last_mut().unwrap() ^= 1;
        assert_dropped(&switch().send(ETH0, &damaged), DropReason::IcmpChecksum, &damaged);
        let head = head(net.vip("dsr").ip(), net.vip("nat").ip());
        let odd = head.icmp(Says::Echo { reply: false, id: 1, sequence: 1 }, b"");
        let odd = frame(CLIENT7, SWITCH0, &odd);
        assert_dropped(&switch().send(ETH0, &odd), DropReason::BadSource, &odd);
    }
}

#[test]
fn other_messages_to_a_vip_get_no_answer() {
    for net in BOTH {
        let head = head(net.client().ip(), net.vip("nat").ip());
        let reply = frame(CLIENT7, SWITCH0, &head.icmp(Says::Echo { reply: true, id: 1, sequence: 1 }, b""));
        assert_dropped(&switch().send(ETH0, &reply), DropReason::NotServed, &reply);
    }
}

#[test]
fn what_is_the_kernels_stays_with_it() {
    for net in BOTH {
        let own =
            head(net.client().ip(), net.own()).icmp(Says::Echo { reply: false, id: 1, sequence: 1 }, b"");
        assert_eq!(send(net, &own).verdict, Verdict::ToKernel, "a ping of the switch itself");
        let mut lab = switch();
        lab.snapshot.hosts = xswitch::tables::exact::ExactMap::build([]);
        let ping = frame(CLIENT7, SWITCH0, &ping(net, 64, b""));
        assert_eq!(lab.send(ETH0, &ping).verdict, Verdict::ToKernel, "a VIP that the kernel owns");
        let vip = SocketAddr::new(net.vip("nat").ip(), 33_434);
        let probe = frame(CLIENT7, SWITCH0, &flow(UDP, net.client(), vip, 1, 0, b""));
        assert_eq!(lab.send(ETH0, &probe).verdict, Verdict::ToKernel);
    }
}

/// The head of an error of the VIP's own.
fn from_vip(net: Net, id: u16) -> Head {
    let head = head(net.vip("nat").ip(), net.client().ip());
    Head { tos: if net.v4 { 0xC0 } else { 0 }, dont_fragment: false, id, ..head }
}

#[test]
fn a_traceroute_ends_at_the_vip() {
    for net in BOTH {
        for ttl in [1, 2, 30] {
            let vip = SocketAddr::new(net.vip("nat").ip(), 33_434);
            let packet = flow(UDP, net.client(), vip, ttl, 0, b"a probe");
            let outcome = send(net, &packet);
            let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
            let expected = from_vip(net, id).icmp(Says::PortUnreachable, &packet);
            assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
        }
    }
}

#[test]
fn a_protocol_that_nobody_speaks_is_refused() {
    for net in BOTH {
        let packet = head(net.client().ip(), net.vip("nat").ip()).around(132, &[7; 30]);
        let outcome = send(net, &packet);
        let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
        let expected = from_vip(net, id).icmp(Says::UnknownProtocol(6), &packet);
        assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
    }
    // The field that is not understood stands in the last extension header.
    let packet =
        head(V6.client().ip(), V6.vip("nat").ip()).around(60, &[132, 0, 1, 4, 0, 0, 0, 0, 1, 2, 3, 4]);
    let outcome = send(V6, &packet);
    let expected = from_vip(V6, 0).icmp(Says::UnknownProtocol(40), &packet);
    assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
    let nothing = frame(CLIENT7, SWITCH0, &head(V6.client().ip(), V6.vip("nat").ip()).around(59, &[]));
    assert_dropped(&switch().send(ETH0, &nothing), DropReason::NotServed, &nothing);
}

#[test]
fn a_closed_port_resets() {
    for net in BOTH {
        let vip = SocketAddr::new(net.vip("nat").ip(), 81);
        for (flags, data, sequence, acknowledgment) in [
            (SYN, &b""[..], 0, Some(SEQUENCE + 1)),
            (FIN, b"data", 0, Some(SEQUENCE + 5)),
            (SYN | ACK, b"", SEQUENCE + 1, None),
            (ACK, b"data", SEQUENCE + 1, None),
        ] {
            let packet = flow(TCP, net.client(), vip, 1, flags, data);
            let outcome = send(net, &packet);
            assert_eq!(outcome.verdict, Verdict::Reply(ETH0));
            assert_checksums(&outcome.bytes);
            assert_eq!(outcome.bytes.len(), IP + net.header() + 20);
            let header = TcpHeaderSlice::from_slice(&outcome.bytes[IP + net.header()..]).unwrap().to_header();
            let mut expected = TcpHeader::new(81, 40_000, sequence, 0);
            expected.rst = true;
            expected.ack = acknowledgment.is_some();
            expected.acknowledgment_number = acknowledgment.unwrap_or(0);
            expected.checksum = header.checksum;
            assert_eq!(header, expected);
            let head = Head { id: 0, ..head(vip.ip(), net.client().ip()) };
            let segment = &outcome.bytes[IP + net.header()..];
            assert_eq!(outcome.bytes, frame(SWITCH0, CLIENT7, &head.around(TCP, segment)));
        }
    }
}

#[test]
fn resets_damaged_segments_and_what_is_too_much_get_no_answer() {
    for net in BOTH {
        let vip = SocketAddr::new(net.vip("nat").ip(), 81);
        for flags in [RST, RST | ACK, RST | SYN] {
            let reset = frame(CLIENT7, SWITCH0, &flow(TCP, net.client(), vip, 64, flags, b""));
            assert_dropped(&switch().send(ETH0, &reset), DropReason::NotServed, &reset);
        }
        for protocol in [TCP, UDP] {
            let segment = frame(CLIENT7, SWITCH0, &flow(protocol, net.client(), vip, 64, SYN, b"data"));
            let mut damaged = segment.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert_dropped(&switch().send(ETH0, &damaged), DropReason::L4Checksum, &damaged);
            let mut quiet = switch();
            quiet.snapshot.icmp_rate = 0;
            assert_dropped(&quiet.send(ETH0, &segment), DropReason::NotServed, &segment);
            assert_eq!(quiet.counters.icmp_limited.get(), 1);
        }
        let broadcast = if net.v4 { "198.18.0.255" } else { "ff02::1" };
        let odd = frame(CLIENT7, SWITCH0, &flow(UDP, SocketAddr::new(ip(broadcast), 9), vip, 64, 0, b""));
        assert_dropped(&switch().send(ETH0, &odd), DropReason::BadSource, &odd);
    }
}
