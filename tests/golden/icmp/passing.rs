//! Errors about connections go to whoever sent the packet that they quote, and say what it knows.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::dataplane::conntrack::{Connection, Direction, FlowKey, Kind, Marks, State};
use xswitch::dataplane::family::Pair;
use xswitch::tables::{BackendId, DropReason, NextHopId};

use super::packets::*;
use super::world::*;
use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::{ACK, SYN};

const ALL: [Says; 5] = [
    Says::TooBig(1400),
    Says::TimeExceeded,
    Says::PortUnreachable,
    Says::HostUnreachable,
    Says::NetUnreachable,
];
const NATS: [&str; 2] = ["nat", "full-nat"];

/// An error from `source` about a packet from `about.0` to `about.1`, as the sender of that packet gets it.
fn error(source: IpAddr, says: Says, about: (SocketAddr, SocketAddr), protocol: u8, cut: usize) -> Vec<u8> {
    let mut quote = flow(protocol, about.0, about.1, 60, ACK, b"some data of the connection");
    quote.truncate(cut);
    head(source, about.0.ip()).ttl(63).icmp(says, &quote)
}

fn one_hop_later(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    packet[8] -= 1;
    packet[10..12].fill(0);
    let checksum = !crate::frames::check::sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Sends an error from outside about the VIP's packets; what the backend gets.
fn from_outside(lab: &mut Lab, net: Net, mode: &str, protocol: u8, says: Says, cut: usize, source: IpAddr) {
    let (vip, client, backend, seen) =
        (net.vip(mode), net.client(), net.backend(mode), net.seen_client(mode));
    let arrives = frame(ROUTER0, SWITCH0, &error(source, says, (vip, client), protocol, cut));
    let shown = if source == client.ip() { seen.ip() } else { source };
    let leaves = one_hop_later(error(shown, says, (backend, seen), protocol, cut));
    assert_forwarded(&lab.send(ETH0, &arrives), ETH1, SWITCH1, BACKEND11, &leaves);
}

/// Sends an error from inside about the client's packets; what the client gets.
fn from_inside(lab: &mut Lab, net: Net, mode: &str, protocol: u8, says: Says, cut: usize, source: IpAddr) {
    let (vip, client, backend, seen) =
        (net.vip(mode), net.client(), net.backend(mode), net.seen_client(mode));
    let arrives = frame(ROUTER1, SWITCH1, &error(source, says, (seen, backend), protocol, cut));
    let shown = if source == net.inside_router() { source } else { vip.ip() };
    let leaves = one_hop_later(error(shown, says, (client, vip), protocol, cut));
    assert_forwarded(&lab.send(ETH1, &arrives), ETH0, SWITCH0, CLIENT7, &leaves);
}

#[test]
fn errors_from_outside_reach_the_backend_in_its_words() {
    for net in BOTH {
        for mode in NATS {
            for protocol in [TCP, UDP] {
                let mut lab = connected(net, mode, protocol);
                for says in ALL {
                    from_outside(&mut lab, net, mode, protocol, says, 1000, net.router());
                    from_outside(&mut lab, net, mode, protocol, says, net.header() + 8, net.client().ip());
                }
            }
        }
    }
}

#[test]
fn errors_from_inside_reach_the_client_in_its_words() {
    for net in BOTH {
        for mode in NATS {
            for protocol in [TCP, UDP] {
                let mut lab = connected(net, mode, protocol);
                for says in ALL {
                    from_inside(&mut lab, net, mode, protocol, says, 1000, net.backend(mode).ip());
                    from_inside(&mut lab, net, mode, protocol, says, 1000, net.inside_router());
                    from_inside(&mut lab, net, mode, protocol, says, net.header() + 8, net.private());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_translated_error_is_the_error_about_the_translated_packet(
        v4: bool, full: bool, udp: bool, outside: bool, cut in 0usize..80, says in 0usize..5,
    ) {
        // Half a checksum that is quoted stays as it is.
        prop_assume!(udp || cut != 9);
        let (net, mode) = (if v4 { V4 } else { V6 }, if full { "full-nat" } else { "nat" });
        let (protocol, cut) = (if udp { UDP } else { TCP }, net.header() + 8 + cut);
        let mut lab = connected(net, mode, protocol);
        if outside {
            from_outside(&mut lab, net, mode, protocol, ALL[says], cut, net.router());
        } else {
            from_inside(&mut lab, net, mode, protocol, ALL[says], cut, net.inside_router());
        }
    }
}

#[test]
fn errors_about_replies_that_are_not_seen_go_the_way_of_requests() {
    for net in BOTH {
        for protocol in [TCP, UDP] {
            let mut lab = connected(net, "dsr", protocol);
            let says = Says::TooBig(1400);
            let packet = error(net.router(), says, (net.vip("dsr"), net.client()), protocol, 1000);
            let outcome = lab.send(ETH0, &frame(ROUTER0, SWITCH0, &packet));
            assert_forwarded(&outcome, ETH1, SWITCH1, BACKEND11, &packet);

            let mut lab = connected(net, "ipip", protocol);
            let packet = error(net.router(), says, (net.vip("ipip"), net.client()), protocol, 1000);
            let outcome = lab.send(ETH0, &frame(ROUTER0, SWITCH0, &packet));
            let inner = one_hop_later(packet);
            let frame = forwarded(&outcome, ETH1);
            assert_eq!(frame[..12], [BACKEND11, SWITCH1].concat()[..]);
            assert_eq!(frame[14 + net.header()..], inner[..]);
        }
    }
}

/// Errors about connections that are not, each for another reason.
#[test]
fn what_quotes_no_live_connection_is_forged() {
    for net in BOTH {
        let (vip, client) = (net.vip("nat"), net.client());
        let mut lab = connected(net, "nat", TCP);
        let other = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
        let believable = |about, says| error(net.router(), says, about, TCP, 1000);
        let sequence_off = {
            let mut quote = flow(TCP, vip, client, 60, ACK, b"");
            quote[net.header() + 4] ^= 0x40;
            head(net.router(), vip.ip()).icmp(Says::TooBig(1400), &quote)
        };
        let to_another = {
            let quote = flow(TCP, vip, client, 60, ACK, b"");
            head(net.router(), net.vip("full-nat").ip()).icmp(Says::TooBig(1400), &quote)
        };
        let cut = error(net.router(), Says::TooBig(1400), (vip, client), TCP, net.header() + 7);
        let small = if net.v4 { 67 } else { 1279 };
        let late = believable((net.snat(), net.backend("full-nat")), Says::TooBig(1400));
        for (why, packet) in [
            ("another client port", believable((vip, other(client)), Says::TooBig(1400))),
            ("another service port", believable((other(vip), client), Says::PortUnreachable)),
            ("the other direction", believable((client, vip), Says::PortUnreachable)),
            ("a sequence number that never passed", sequence_off),
            ("sent to another than who sent the quoted packet", to_another),
            ("no port is quoted", cut),
            ("an MTU that no link has", believable((vip, client), Says::TooBig(small))),
            ("a connection of full NAT that is no more", late),
        ] {
            let arrives = frame(ROUTER0, SWITCH0, &packet);
            let outcome = lab.send(ETH0, &arrives);
            if why == "the other direction" {
                assert_eq!(outcome.verdict, Verdict::ToKernel, "{why}: it is addressed to the client");
            } else {
                assert_eq!(outcome.verdict, Verdict::Drop(DropReason::IcmpForged), "{why}");
                assert_eq!(outcome.bytes, arrives);
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_not_believed() {
    for net in BOTH {
        let mut lab = connected(net, "nat", TCP);
        let packet = error(net.router(), Says::TooBig(1400), (net.vip("nat"), net.client()), TCP, 1000);
        let mut arrives = frame(ROUTER0, SWITCH0, &packet);
        *arrives.last_mut().unwrap() ^= 1;
        assert_dropped(&lab.send(ETH0, &arrives), DropReason::IcmpChecksum, &arrives);
    }
}

#[test]
fn an_error_whose_time_is_up_ends_here_without_another() {
    for net in BOTH {
        let mut lab = connected(net, "nat", TCP);
        let quote = flow(TCP, net.vip("nat"), net.client(), 60, ACK, b"");
        let packet = head(net.router(), net.vip("nat").ip()).ttl(1).icmp(Says::TooBig(1400), &quote);
        let arrives = frame(ROUTER0, SWITCH0, &packet);
        assert_dropped(&lab.send(ETH0, &arrives), DropReason::TtlExpired, &arrives);
    }
}

#[test]
fn an_error_about_the_switchs_own_packets_is_the_kernels() {
    for net in BOTH {
        let own = SocketAddr::new(net.own(), 50_000);
        let packet = error(net.router(), Says::PortUnreachable, (own, net.client()), UDP, 1000);
        let outcome = switch().send(ETH0, &frame(ROUTER0, SWITCH0, &packet));
        assert_eq!(outcome.verdict, Verdict::ToKernel);
    }
}

#[test]
fn an_error_moves_no_state_and_keeps_nothing_alive() {
    let mut lab = switch();
    let (client, vip) = (V4.client(), V4.vip("nat"));
    let syn = frame(CLIENT7, SWITCH0, &flow(TCP, client, vip, 64, SYN, b""));
    lab.send(ETH0, &syn);
    for _ in 0..5 {
        lab.pass(60_000);
        let about = (client, V4.backend("nat"));
        let mut quote = flow(TCP, about.0, about.1, 60, SYN, b"");
        quote.truncate(28);
        let packet = head(V4.inside_router(), client.ip()).icmp(Says::HostUnreachable, &quote);
        let outcome = lab.send(ETH1, &frame(ROUTER1, SWITCH1, &packet));
        let known = lab.now.0 < 240_000;
        let verdict = if known { Verdict::Forward(ETH0) } else { Verdict::Drop(DropReason::IcmpForged) };
        assert_eq!(outcome.verdict, verdict);
    }
    assert_eq!(lab.counters.connections_active.get(), 0, "forgotten after 240 s, as without errors");
}

/// A connection of outbound source NAT: an inside host (of eth1) behind the public address .3 of eth0.
fn behind_source_nat<P: Pair>(lab: &mut Lab, net: Net, protocol: u8) -> [SocketAddr; 3] {
    let echo = protocol == ICMP || protocol == ICMPV6;
    let (inside, public, peer) = (
        SocketAddr::new(net.inside(11), 50_000),
        SocketAddr::new(net.outside(3), 30_000),
        SocketAddr::new(net.outside(7), if echo { 0 } else { 53 }),
    );
    let key = |from: SocketAddr, to: SocketAddr| FlowKey {
        addresses: P::of(from.ip(), to.ip()).unwrap(),
        ports: u32::from(from.port()) << 16 | u32::from(to.port()),
        protocol,
    };
    let connection = Connection {
        kind: Kind::Snat,
        request: key(inside, peer),
        reply: key(peer, public),
        marks: Marks::NONE,
        backend: BackendId::NONE,
        client_next_hop: NextHopId::NONE,
        routes_epoch: u16::MAX,
        state: State::Udp,
        sequence: 0,
    };
    let hit = lab.flows.create::<P>(&connection, lab.now, &lab.snapshot.timeouts, &lab.counters).unwrap();
    assert_eq!(hit.direction, Direction::Request);
    [inside, public, peer]
}

fn through_source_nat<P: Pair>(net: Net, protocol: u8) {
    let mut lab = switch();
    let [inside, public, peer] = behind_source_nat::<P>(&mut lab, net, protocol);
    let about = |source: IpAddr, says, from: SocketAddr, to: SocketAddr| {
        let quote = if protocol == UDP {
            flow(UDP, from, to, 60, 0, b"data")
        } else {
            let reply = from.port() == 0;
            let id = if reply { to.port() } else { from.port() };
            head(from.ip(), to.ip()).icmp(Says::Echo { reply, id, sequence: 9 }, b"data")
        };
        head(source, from.ip()).ttl(63).icmp(says, &quote)
    };
    for says in ALL {
        // From a router outside: itself. From the peer: itself, too.
        for source in [net.router(), peer.ip()] {
            let arrives = frame(ROUTER0, SWITCH0, &about(source, says, public, peer));
            let leaves = one_hop_later(about(source, says, inside, peer));
            assert_forwarded(&lab.send(ETH0, &arrives), ETH1, SWITCH1, BACKEND11, &leaves);
        }
        // From the inside host or a router inside: the public address.
        for source in [inside.ip(), net.inside_router()] {
            let arrives = frame(ROUTER1, SWITCH1, &about(source, says, peer, inside));
            let leaves = one_hop_later(about(public.ip(), says, peer, public));
            assert_forwarded(&lab.send(ETH1, &arrives), ETH0, SWITCH0, CLIENT7, &leaves);
        }
    }
}

#[test]
fn errors_pass_source_nat_both_ways() {
    through_source_nat::<u64>(V4, UDP);
    through_source_nat::<u64>(V4, ICMP);
    through_source_nat::<[u128; 2]>(V6, UDP);
    through_source_nat::<[u128; 2]>(V6, ICMPV6);
}
