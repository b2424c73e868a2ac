//! Errors about the switch's own tunnel packets: the client is told, and the path is remembered.

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use super::packets::*;
use super::world::*;
use crate::frames::lab::{Lab, Outcome};
use crate::frames::network::*;
use crate::frames::{ACK, IP};

const MODES: [&str; 2] = ["ipip", "gue"];

/// Sends the client's packet of `payload` bytes; what it becomes.
fn send(lab: &mut Lab, net: Net, mode: &str, protocol: u8, payload: usize) -> (Vec<u8>, Outcome) {
    let packet = flow(protocol, net.client(), net.vip(mode), 64, ACK, &vec![7; payload]);
    let outcome = lab.send(ETH0, &frame(CLIENT7, SWITCH0, &packet));
    (packet, outcome)
}

/// An error of the inside router about the packet that left.
fn complaint(net: Net, says: Says, left: &[u8], cut: usize) -> Vec<u8> {
    let quote = &left[IP..(IP + cut).min(left.len())];
    frame(ROUTER1, SWITCH1, &head(net.inside_router(), net.inside(1)).icmp(says, quote))
}

/// What the client is told about its packet, of which `quoted` bytes were quoted inside the quote.
fn told(net: Net, says: Says, packet: &[u8], quoted: usize, id: u16) -> Vec<u8> {
    let mut packet = packet[..quoted.min(packet.len())].to_vec();
    let longest = if net.v4 { 576 - 28 } else { 1280 - 48 };
    packet.truncate(longest);
    let head = Head {
        tos: if net.v4 { 0xC0 } else { 0 },
        dont_fragment: false,
        id,
        ..head(net.own(), net.client().ip())
    };
    head.icmp(says, &packet)
}

fn overhead(net: Net, mode: &str) -> usize {
    net.header() + if mode == "gue" { 12 } else { 0 }
}

/// The packet inside the tunnel packet that left.
fn inside(net: Net, mode: &str, left: &[u8]) -> Vec<u8> {
    left[IP + overhead(net, mode)..].to_vec()
}

/// etherparse writes IPv4 packets with DF; UDP and TCP alike.
#[test]
fn a_router_that_finds_the_tunnel_too_big_makes_the_client_send_less() {
    for net in BOTH {
        for mode in MODES {
            for protocol in [TCP, UDP] {
                let mut lab = connected(net, mode, protocol);
                let (_, outcome) = send(&mut lab, net, mode, protocol, 1350);
                let left = forwarded(&outcome, ETH1).to_vec();
                let cut = overhead(net, mode) + net.header() + 100;
                let arrives = complaint(net, Says::TooBig(1380), &left, cut);
                let outcome = lab.send(ETH1, &arrives);
                let rest = 1380 - overhead(net, mode) as u32;
                let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
                let says = Says::TooBig(rest);
                let expected = told(net, says, &inside(net, mode, &left), cut - overhead(net, mode), id);
                assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
                assert_eq!(lab.counters.icmp_errors.get(), 1);

                // Now the switch knows, and says so itself.
                let (packet, outcome) = send(&mut lab, net, mode, protocol, 1350);
                let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
                let expected = told(net, says, &packet, packet.len(), id);
                assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);

                // And what fits passes.
                let transport = if protocol == TCP { 20 } else { 8 };
                let fits = rest as usize - net.header() - transport;
                assert_eq!(send(&mut lab, net, mode, protocol, fits).1.verdict, Verdict::Forward(ETH1));
                let too_long = send(&mut lab, net, mode, protocol, fits + 1).1.verdict;
                assert_eq!(too_long, Verdict::Reply(ETH0));

                // Ten minutes later a larger one may try.
                lab.now = lab.now.after(601_000);
                lab.send(
                    ETH0,
                    &frame(CLIENT7, SWITCH0, &flow(protocol, net.client(), net.vip(mode), 64, 2, b"")),
                );
                assert_eq!(send(&mut lab, net, mode, protocol, 1350).1.verdict, Verdict::Forward(ETH1));
            }
        }
    }
}

#[test]
fn an_unreachable_backend_is_an_unreachable_host() {
    for net in BOTH {
        for mode in MODES {
            let mut lab = connected(net, mode, UDP);
            let (_, outcome) = send(&mut lab, net, mode, UDP, 30);
            let left = forwarded(&outcome, ETH1).to_vec();
            for says in [Says::PortUnreachable, Says::NetUnreachable, Says::TimeExceeded] {
                let cut = overhead(net, mode) + net.header() + 8;
                let outcome = lab.send(ETH1, &complaint(net, says, &left, cut));
                let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
                let inner = inside(net, mode, &left);
                let expected = told(net, Says::HostUnreachable, &inner, net.header() + 8, id);
                assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
            }
        }
    }
}

#[test]
fn who_does_not_quote_a_live_connection_changes_no_path() {
    for net in BOTH {
        let mut lab = connected(net, "ipip", TCP);
        let (_, outcome) = send(&mut lab, net, "ipip", TCP, 1350);
        let left = forwarded(&outcome, ETH1).to_vec();
        let inner = IP + net.header();
        let mut other_port = left.clone();
        other_port[inner + net.header()] ^= 1;
        let mut other_sequence = left.clone();
        other_sequence[inner + net.header() + 4] ^= 0x40;
        let smallest = if net.v4 { 67 } else { 1279 };
        for (says, left, cut) in [
            (Says::TooBig(1380), &other_port, 1000),
            (Says::TooBig(1380), &other_sequence, 1000),
            (Says::TooBig(1380), &left, 2 * net.header() + 7),
            (Says::TooBig(smallest), &left, 1000),
            (Says::TooBig(0), &left, 1000),
        ] {
            let arrives = complaint(net, says, left, cut);
            assert_dropped(&lab.send(ETH1, &arrives), DropReason::IcmpForged, &arrives);
        }
        assert_eq!(send(&mut lab, net, "ipip", TCP, 1350).1.verdict, Verdict::Forward(ETH1));
    }
}

#[test]
fn one_clients_connection_does_not_make_the_path_of_all_too_narrow_to_use() {
    let mut lab = connected(V4, "ipip", TCP);
    let (_, outcome) = send(&mut lab, V4, "ipip", TCP, 1350);
    let left = forwarded(&outcome, ETH1).to_vec();
    let outcome = lab.send(ETH1, &complaint(V4, Says::TooBig(68), &left, 1000));
    let id = u16::from_be_bytes([outcome.bytes[IP + 4], outcome.bytes[IP + 5]]);
    let expected = told(V4, Says::TooBig(532), &inside(V4, "ipip", &left), 980, id);
    assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
    assert_eq!(send(&mut lab, V4, "ipip", TCP, 492).1.verdict, Verdict::Forward(ETH1));
}

#[test]
fn nobody_is_told_to_send_less_than_ipv6_allows() {
    let mut lab = connected(V6, "ipip", TCP);
    let (_, outcome) = send(&mut lab, V6, "ipip", TCP, 1350);
    let left = forwarded(&outcome, ETH1).to_vec();
    let outcome = lab.send(ETH1, &complaint(V6, Says::TooBig(1300), &left, 1000));
    let expected = told(V6, Says::TooBig(1280), &inside(V6, "ipip", &left), 960, 0);
    assert_replied(&outcome, ETH0, SWITCH0, CLIENT7, &expected);
    // 1,280 bytes do not fit 1,300 with 40 in front. There is nothing to say that would help.
    let (packet, outcome) = send(&mut lab, V6, "ipip", TCP, 1220);
    assert_dropped(&outcome, DropReason::TooBig, &frame(CLIENT7, SWITCH0, &packet));
}
