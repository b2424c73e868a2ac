//! Who may send to a mapping: from outside, and from inside by its public endpoint.

use super::*;

#[test]
fn the_filter_admits_whom_the_rule_says() {
    for version in BOTH {
        for filtering in FILTERINGS {
            let mut lab = router(filtering);
            let inside = version.inside(11, 5000);
            let public = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 53)));
            let other_port = datagram(Udp, version.server(1, 54), public);
            let stranger = datagram(Udp, version.server(2, 53), public);
            match filtering {
                EndpointIndependent => {
                    comes_in(&mut lab, &other_port, inside);
                    comes_in(&mut lab, &stranger, inside);
                    let answer = datagram(Udp, inside, version.server(2, 53));
                    assert_eq!(goes_out(&mut lab, &answer), public);
                }
                AddressDependent => {
                    comes_in(&mut lab, &other_port, inside);
                    dropped(&mut lab, ETH0, &stranger, DropReason::SnatFiltered);
                }
                AddressAndPortDependent => {
                    dropped(&mut lab, ETH0, &other_port, DropReason::SnatFiltered);
                    dropped(&mut lab, ETH0, &stranger, DropReason::SnatFiltered);
                }
            }
            comes_in(&mut lab, &datagram(Udp, version.server(1, 53), public), inside);
        }
    }
}

#[test]
fn a_connection_from_outside_lives_as_long_as_one_from_inside() {
    for version in BOTH {
        let mut lab = router(EndpointIndependent);
        let (inside, peer) = (version.inside(11, 5000), version.server(2, 6000));
        let public = goes_out(&mut lab, &datagram(Tcp(SYN), inside, version.server(1, 80)));
        dropped(&mut lab, ETH0, &datagram(Tcp(ACK), peer, public), DropReason::NoConnection);
        comes_in(&mut lab, &datagram(Tcp(SYN), peer, public), inside);
        assert_eq!(goes_out(&mut lab, &datagram(Tcp(SYN | ACK), inside, peer)), public);
        comes_in(&mut lab, &datagram(Tcp(ACK), peer, public), inside);
        lab.pass(7000 * SECOND);
        assert_eq!(goes_out(&mut lab, &datagram(Tcp(ACK), inside, peer)), public);
        // It alone has kept the mapping.
        let another = datagram(Tcp(SYN), inside, version.server(3, 80));
        assert_eq!(goes_out(&mut lab, &another), public);
    }
}

#[test]
fn both_ends_may_open_at_once() {
    let mut lab = router(AddressAndPortDependent);
    let (inside, peer) = (Version::V4.inside(11, 5000), Version::V4.server(2, 6000));
    let public = goes_out(&mut lab, &datagram(Tcp(SYN), inside, peer));
    comes_in(&mut lab, &datagram(Tcp(SYN), peer, public), inside);
    goes_out(&mut lab, &datagram(Tcp(SYN | ACK), inside, peer));
    comes_in(&mut lab, &datagram(Tcp(SYN | ACK), peer, public), inside);
    goes_out(&mut lab, &datagram(Tcp(ACK), inside, peer));
    lab.pass(7000 * SECOND);
    comes_in(&mut lab, &datagram(Tcp(ACK), peer, public), inside);
}

#[test]
fn nobody_inside_answers_to_what_no_mapping_stands_for() {
    for version in BOTH {
        let mut lab = router(EndpointIndependent);
        let to_public = |carries| datagram(carries, version.server(1, 53), version.public(30_005));
        dropped(&mut lab, ETH0, &to_public(Udp), DropReason::NoConnection);
        dropped(&mut lab, ETH0, &to_public(Tcp(SYN)), DropReason::NoConnection);
        dropped(&mut lab, ETH0, &to_public(Pong), DropReason::NoConnection);
        // Beyond the rule's ports the public address is not the rule's.
        let beyond = datagram(Udp, version.server(1, 53), version.public(40_000));
        stays(&mut lab, ETH0, &beyond, Verdict::ToKernel);
        // The answer to a ping that was sent elsewhere.
        let public = goes_out(&mut lab, &datagram(Ping, version.inside(11, 5), version.server(1, 0)));
        dropped(&mut lab, ETH0, &datagram(Pong, version.server(2, 0), public), DropReason::SnatFiltered);
    }
}

/// Sends from one inside host to another's public endpoint, and expects it to arrive from its own.
fn turns_back(lab: &mut Lab, packet: &Datagram, to: SocketAddr) -> SocketAddr {
    let outcome = lab.send(ETH1, &packet.sent_from_inside());
    assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{packet:?}");
    let public = source_of(&outcome.bytes);
    let expected = Datagram { source: public, destination: to, ..packet.clone() };
    assert_eq!(outcome.bytes, expected.gone_inside(), "{packet:?}");
    public
}

#[test]
fn inside_hosts_reach_each_other_by_their_public_endpoints() {
    for version in BOTH {
        for (carries, answer) in [(Udp, Udp), (Tcp(SYN), Tcp(SYN | ACK))] {
            let mut lab = router(EndpointIndependent);
            let (a, b) = (version.inside(11, 5000), version.inside(12, 6000));
            let public_b = goes_out(&mut lab, &datagram(carries, b, version.server(1, 53)));
            let public_a = turns_back(&mut lab, &datagram(carries, a, public_b), b);
            assert!(lab.snapshot.snat_rules[0].is_public(public_a.ip()));
            assert_eq!(turns_back(&mut lab, &datagram(answer, b, public_a), a), public_b);
            // Whoever else it talks to sees it under the same address.
            assert_eq!(goes_out(&mut lab, &datagram(carries, a, version.server(2, 53))), public_a);
            // RFC 4787 §6: even to itself.
            assert_eq!(turns_back(&mut lab, &datagram(carries, a, public_a), a), public_a);
        }
    }
}

#[test]
fn behind_a_strict_filter_inside_hosts_meet_by_both_sending() {
    for version in BOTH {
        for filtering in [AddressDependent, AddressAndPortDependent] {
            let mut lab = router(filtering);
            let (a, b) = (version.inside(11, 5000), version.inside(12, 6000));
            let public_a = goes_out(&mut lab, &datagram(Udp, a, version.server(1, 53)));
            let public_b = goes_out(&mut lab, &datagram(Udp, b, version.server(1, 53)));
            dropped(&mut lab, ETH1, &datagram(Udp, a, public_b), DropReason::SnatFiltered);
            assert_eq!(turns_back(&mut lab, &datagram(Udp, b, public_a), a), public_b);
            assert_eq!(turns_back(&mut lab, &datagram(Udp, a, public_b), b), public_a);
        }
    }
}

#[test]
fn without_hairpinning_a_public_endpoint_is_out_of_reach_from_inside() {
    let mut lab =
        lab(SnatRule { hairpinning: false, ..rule(Mapping::EndpointIndependent, EndpointIndependent, 100) });
    let version = Version::V4;
    let public = goes_out(&mut lab, &datagram(Udp, version.inside(12, 6000), version.server(1, 53)));
    let frame = datagram(Udp, version.inside(11, 5000), public);
    dropped(&mut lab, ETH1, &frame, DropReason::SnatFiltered);
}
