//! Outbound NAT: inside hosts behind public addresses, in both families. Frames are compared byte for byte with ones
//! that etherparse builds, checksums included.

mod filters;
mod lifetimes;
mod passing;

use std::net::SocketAddr;

use xswitch::dataplane::Verdict;
use xswitch::tables::{
    DropReason, Event, Filtering, InterfaceId, Mapping, NextHopId, Route, Routes, SnatPool, SnatRule,
};

use crate::frames::lab::Lab;
use crate::frames::network::{BACKEND11, CLIENT7, ETH0, ETH1, SWITCH0, SWITCH1};
use crate::frames::outbound::*;
use crate::frames::{ACK, FIN, SYN};

use Carries::{Ping, Pong, Tcp, Udp};
use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

const SECOND: u64 = 1000;
const FILTERINGS: [Filtering; 3] = [EndpointIndependent, AddressDependent, AddressAndPortDependent];

fn lab(rule: SnatRule) -> Lab {
    Lab::of(home(vec![rule]), 1024)
}

fn router(filtering: Filtering) -> Lab {
    lab(rule(Mapping::EndpointIndependent, filtering, 100))
}

/// Sends from inside, and expects it to go out from a public endpoint, which is returned.
fn goes_out(lab: &mut Lab, packet: &Datagram) -> SocketAddr {
    let outcome = lab.send(ETH1, &packet.sent_from_inside());
    assert_eq!(outcome.verdict, Verdict::Forward(ETH0), "{packet:?}");
    let public = source_of(&outcome.bytes);
    assert!(lab.snapshot.snat_rules.iter().any(|rule| rule.pool.contains(public.ip(), public.port())));
    let expected = Datagram { source: public, ..packet.clone() };
    assert_eq!(outcome.bytes, expected.gone_outside(), "{packet:?}");
    public
}

/// Sends from outside, and expects it to arrive at this inside endpoint.
fn comes_in(lab: &mut Lab, packet: &Datagram, inside: SocketAddr) {
    let outcome = lab.send(ETH0, &packet.sent_from_outside());
    assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{packet:?}");
    let expected = Datagram { destination: inside, ..packet.clone() };
    assert_eq!(outcome.bytes, expected.gone_inside(), "{packet:?}");
}

/// Sends, and expects the frame not to leave.
fn stays(lab: &mut Lab, ingress: InterfaceId, packet: &Datagram, verdict: Verdict) {
    let frame = if ingress == ETH0 { packet.sent_from_outside() } else { packet.sent_from_inside() };
    let outcome = lab.send(ingress, &frame);
    assert_eq!(outcome.verdict, verdict, "{packet:?}");
    assert_eq!(outcome.bytes, frame, "a frame that does not leave is not changed");
}

fn dropped(lab: &mut Lab, ingress: InterfaceId, packet: &Datagram, reason: DropReason) {
    stays(lab, ingress, packet, Verdict::Drop(reason));
}

fn entries(lab: &Lab) -> usize {
    lab.flows.tables().references() / 2
}

#[test]
fn a_datagram_leaves_from_a_public_endpoint_and_its_answer_comes_back() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        for server in [version.server(1, 53), version.neighbour(53)] {
            let public = goes_out(&mut lab, &datagram(Udp, version.inside(11, 5000), server));
            comes_in(&mut lab, &datagram(Udp, server, public), version.inside(11, 5000));
            goes_out(&mut lab, &datagram(Udp, version.inside(11, 5000), server).payload(&[1; 1400]));
        }
    }
}

#[test]
fn a_tcp_connection_needs_a_syn_and_works_both_ways() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        let (inside, server) = (version.inside(11, 5000), version.server(1, 443));
        dropped(&mut lab, ETH1, &datagram(Tcp(ACK), inside, server), DropReason::NoConnection);
        assert_eq!(entries(&lab), 0);
        let public = goes_out(&mut lab, &datagram(Tcp(SYN), inside, server));
        comes_in(&mut lab, &datagram(Tcp(SYN | ACK), server, public), inside);
        assert_eq!(goes_out(&mut lab, &datagram(Tcp(ACK), inside, server)), public);
        // Established: two hours do not end it (RFC 5382 REQ-5).
        lab.pass(7400 * SECOND);
        comes_in(&mut lab, &datagram(Tcp(ACK), server, public), inside);
        assert_eq!(goes_out(&mut lab, &datagram(Tcp(ACK), inside, server)), public);
        // And when it is over, the same ports may begin anew.
        goes_out(&mut lab, &datagram(Tcp(FIN | ACK), inside, server));
        comes_in(&mut lab, &datagram(Tcp(FIN | ACK), server, public), inside);
        assert_eq!(goes_out(&mut lab, &datagram(Tcp(SYN), inside, server)), public);
        assert_eq!(lab.counters.connections_new.get(), 2);
        assert_eq!(lab.counters.connections_closed.get(), 1);
    }
}

#[test]
fn a_ping_is_translated_by_its_identifier() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        let server = version.server(1, 0);
        let hosts = [11, 12, 13].map(|number| version.inside(number, 77));
        let publics = hosts.map(|host| goes_out(&mut lab, &datagram(Ping, host, server)));
        for (host, public) in hosts.into_iter().zip(publics) {
            comes_in(&mut lab, &datagram(Pong, server, public), host);
            assert_eq!(goes_out(&mut lab, &datagram(Ping, host, server)), public);
        }
        // RFC 5508 REQ-2: not before 60 s.
        lab.pass(59 * SECOND);
        comes_in(&mut lab, &datagram(Pong, server, publics[0]), hosts[0]);
    }
}

#[test]
fn identifier_0_is_one_like_any_other() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        let (host, server) = (version.inside(11, 0), version.server(1, 0));
        let public = goes_out(&mut lab, &datagram(Ping, host, server));
        comes_in(&mut lab, &datagram(Pong, server, public), host);
        let outcome = lab.send(ETH1, &datagram(Pong, host, server).sent_from_inside());
        assert_ne!(outcome.verdict, Verdict::Forward(ETH0), "an answer is no request");
    }
}

#[test]
fn a_ping_with_a_wrong_checksum_is_dropped() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        let mut frame = datagram(Ping, version.inside(11, 7), version.server(1, 0)).sent_from_inside();
        *frame.last_mut().unwrap() ^= 1;
        let verdict = lab.send(ETH1, &frame).verdict;
        assert_eq!(verdict, Verdict::Drop(DropReason::IcmpChecksum));
        assert_eq!(entries(&lab), 0);
    }
}

#[test]
fn three_hosts_with_equal_ports_reach_one_server_at_the_same_time() {
    for version in BOTH {
        for mapping in [Mapping::EndpointIndependent, Mapping::AddressAndPortDependent] {
            for carries in [Udp, Tcp(SYN), Ping] {
                let mut lab = lab(rule(mapping, AddressAndPortDependent, 3));
                let server = version.server(1, if carries == Ping { 0 } else { 80 });
                let hosts = [11, 12, 13].map(|number| version.inside(number, 5000));
                let publics = hosts.map(|host| goes_out(&mut lab, &datagram(carries, host, server)));
                for (host, public) in hosts.into_iter().zip(publics) {
                    let answer = match carries {
                        Ping => Pong,
                        Tcp(_) => Tcp(SYN | ACK),
                        other => other,
                    };
                    comes_in(&mut lab, &datagram(answer, server, public), host);
                }
                let fourth = datagram(carries, version.inside(11, 5001), server);
                dropped(&mut lab, ETH1, &fourth, DropReason::SnatPortsExhausted);
            }
        }
    }
}

#[test]
fn an_endpoint_independent_mapping_is_the_same_whoever_is_addressed() {
    for version in BOTH {
        let mut lab = router(AddressAndPortDependent);
        let inside = version.inside(11, 5000);
        let first = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 53)));
        for (server, port) in [(1, 54), (2, 53), (2, 9)] {
            assert_eq!(goes_out(&mut lab, &datagram(Udp, inside, version.server(server, port))), first);
        }
        // TCP is another matter, and so is another port.
        goes_out(&mut lab, &datagram(Tcp(SYN), inside, version.server(1, 53)));
        assert_ne!(
            goes_out(&mut lab, &datagram(Udp, version.inside(11, 5001), version.server(1, 53))),
            first
        );
    }
}

#[test]
fn with_dependent_mappings_one_port_serves_many_servers() {
    for version in BOTH {
        let mut lab = lab(rule(Mapping::AddressAndPortDependent, EndpointIndependent, 1));
        for (number, host) in [11, 12, 13].into_iter().enumerate() {
            let server = version.server(number as u8 + 1, 53);
            let public = goes_out(&mut lab, &datagram(Udp, version.inside(host, 5000), server));
            comes_in(&mut lab, &datagram(Udp, server, public), version.inside(host, 5000));
        }
        // There is no mapping to send to besides the connections.
        let stranger = datagram(Udp, version.server(9, 1), version.public(30_000));
        dropped(&mut lab, ETH0, &stranger, DropReason::NoConnection);
    }
}

#[test]
fn an_inside_host_always_has_the_same_public_address() {
    let mut wide = rule(Mapping::EndpointIndependent, EndpointIndependent, 100);
    let pool = ["198.18.0.50", "198.18.0.51", "2001:db8::50", "2001:db8::51"];
    wide.pool = SnatPool::of(&pool.map(|address| address.parse().unwrap()), (30_000, 30_099));
    for version in BOTH {
        let mut lab = lab(wide.clone());
        let addresses = [11, 12, 13].map(|number| {
            let mut publics = (0..20).map(|port| {
                let packet = datagram(Udp, version.inside(number, 5000 + port), version.server(1, 53));
                goes_out(&mut lab, &packet).ip()
            });
            let first = publics.next().unwrap();
            assert!(publics.all(|address| address == first));
            first
        });
        assert!(addresses.iter().any(|address| *address != addresses[0]), "both addresses are used");
    }
}

#[test]
fn nothing_is_made_for_a_frame_that_cannot_go_on() {
    for version in BOTH {
        let mut lab = router(EndpointIndependent);
        let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
        dropped(&mut lab, ETH1, &datagram(Udp, inside, server).ttl(1), DropReason::TtlExpired);
        let mut damaged = datagram(Udp, inside, server).sent_from_inside();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(lab.send(ETH1, &damaged).verdict, Verdict::Drop(DropReason::L4Checksum));
        dropped(&mut lab, ETH1, &datagram(Tcp(SYN | FIN), inside, server), DropReason::TcpFlags);
        let without_way = Routes::build([("198.18.1.0".parse().unwrap(), 24, Route::OnLink(ETH1))], []);
        lab.snapshot.routes = without_way;
        dropped(&mut lab, ETH1, &datagram(Udp, inside, server), DropReason::NoRoute);
        assert_eq!(entries(&lab), 0);
    }
}

#[test]
fn what_is_not_for_outside_stays_with_the_kernel() {
    let mut lab = router(EndpointIndependent);
    let inside = Version::V4.inside(11, 5000);
    for to in ["198.18.1.12:53", "198.18.0.2:53", "224.0.0.251:5353", "169.254.1.1:80", "255.255.255.255:67"]
    {
        stays(&mut lab, ETH1, &datagram(Udp, inside, to.parse().unwrap()), Verdict::ToKernel);
    }
    let inside = Version::V6.inside(11, 5000);
    for to in ["[fd00::12]:53", "[2001:db8::2]:53", "[ff05::2]:53", "[fe80::1]:53"] {
        stays(&mut lab, ETH1, &datagram(Udp, inside, to.parse().unwrap()), Verdict::ToKernel);
    }
    // And so does what comes from elsewhere.
    let elsewhere = datagram(Udp, Version::V4.server(1, 1), Version::V4.server(2, 2));
    stays(&mut lab, ETH0, &elsewhere, Verdict::ToKernel);
}

#[test]
fn a_public_address_is_nobody_s_source() {
    let mut lab = router(EndpointIndependent);
    let version = Version::V4;
    let public = goes_out(&mut lab, &datagram(Udp, version.inside(11, 5000), version.server(1, 53)));
    dropped(&mut lab, ETH0, &datagram(Udp, version.public(1), public), DropReason::BadSource);
}

#[test]
fn no_frame_is_taken_for_a_mapping() {
    for version in BOTH {
        let mut lab = router(AddressDependent);
        let inside = version.inside(11, 5000);
        let public = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 53)));
        let nobody = match version {
            Version::V4 => "0.0.0.0:0",
            Version::V6 => "[::]:0",
        };
        let to_nobody = datagram(Udp, inside, nobody.parse().unwrap());
        stays(&mut lab, ETH1, &to_nobody, Verdict::ToKernel);
        // Under the protocol number that its key has, too.
        let mut frame = to_nobody.sent_from_inside();
        if version == Version::V6 {
            frame[14 + 6] |= 0x80;
            assert_eq!(lab.send(ETH1, &frame).verdict, Verdict::ToKernel);
        }
        dropped(&mut lab, ETH0, &datagram(Udp, nobody.parse().unwrap(), public), DropReason::BadSource);
        // A source port of 0 is one like any other.
        comes_in(&mut lab, &datagram(Udp, version.server(1, 0), public), inside);
        assert_eq!(goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 0))), public);
    }
}

#[test]
fn a_full_table_refuses() {
    let version = Version::V4;
    let mut lab = Lab::of(home(vec![rule(Mapping::EndpointIndependent, EndpointIndependent, 100)]), 64);
    for port in 0..32 {
        goes_out(&mut lab, &datagram(Udp, version.inside(11, 5000 + port), version.server(1, 53)));
    }
    let more = datagram(Udp, version.inside(11, 6000), version.server(1, 53));
    dropped(&mut lab, ETH1, &more, DropReason::TableFull);
}
