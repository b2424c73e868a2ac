//! What becomes of mappings and connections with time, and as the tables change.

use super::*;

#[test]
fn a_standstill_of_the_switch_costs_no_mapping() {
    let mut lab = router(AddressDependent);
    let version = Version::V4;
    let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
    let public = goes_out(&mut lab, &datagram(Udp, inside, server));
    for _ in 0..4 {
        lab.pass(250 * SECOND);
        goes_out(&mut lab, &datagram(Udp, inside, server));
    }
    comes_in(&mut lab, &datagram(Udp, version.server(1, 9999), public), inside);
}

#[test]
fn a_mapping_outlives_its_connections_by_a_minute_and_then_all_is_forgotten() {
    for version in BOTH {
        for filtering in FILTERINGS {
            let mut lab = router(filtering);
            let inside = version.inside(11, 5000);
            let public = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 53)));
            // Another connection keeps it, long after the first one is gone.
            for number in 2..10 {
                lab.pass(290 * SECOND);
                let packet = datagram(Udp, inside, version.server(number, 53));
                assert_eq!(goes_out(&mut lab, &packet), public);
            }
            // RFC 4787 REQ-5: never within two minutes; here, five.
            lab.pass(299 * SECOND);
            comes_in(&mut lab, &datagram(Udp, version.server(9, 53), public), inside);
            for _ in 0..430 {
                lab.pass(SECOND);
            }
            assert_eq!(entries(&lab), 0);
            assert_eq!(lab.counters.connections_active.get(), 0);
            assert_eq!(lab.counters.connections_new.get(), lab.counters.connections_closed.get());
        }
    }
}

#[test]
fn what_the_filter_refuses_keeps_no_mapping_alive() {
    for version in BOTH {
        let mut lab = router(AddressDependent);
        let inside = version.inside(11, 5000);
        let public = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 53)));
        for _ in 0..460 {
            lab.pass(SECOND);
            let stranger = lab.send(ETH0, &datagram(Udp, version.server(2, 53), public).sent_from_outside());
            assert!(matches!(stranger.verdict, Verdict::Drop(_)));
        }
        assert_eq!(entries(&lab), 0);
    }
}

#[test]
fn a_permission_lasts_as_long_as_a_connection_to_that_address() {
    let mut lab = router(AddressDependent);
    let version = Version::V4;
    let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
    let public = goes_out(&mut lab, &datagram(Udp, inside, server));
    goes_out(&mut lab, &datagram(Udp, inside, version.server(2, 53)));
    for _ in 0..4 {
        for _ in 0..250 {
            lab.pass(SECOND);
        }
        goes_out(&mut lab, &datagram(Udp, inside, server));
    }
    comes_in(&mut lab, &datagram(Udp, version.server(1, 9999), public), inside);
    dropped(&mut lab, ETH0, &datagram(Udp, version.server(2, 53), public), DropReason::SnatFiltered);
}

#[test]
fn both_ways_follow_the_routes_as_they_change() {
    for version in BOTH {
        let mut lab = router(EndpointIndependent);
        let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
        let public = goes_out(&mut lab, &datagram(Udp, inside, server));
        comes_in(&mut lab, &datagram(Udp, server, public), inside);
        // The neighbour becomes the router, and the host moves to another card.
        lab.snapshot.next_hops[0] = lab.snapshot.next_hops[2];
        lab.snapshot.next_hops[1] = lab.snapshot.next_hops[3];
        lab.snapshot.routes_epoch = 2;
        let expected = Datagram { source: public, ..datagram(Udp, inside, server) }.ttl(63);
        let outcome = lab.send(ETH1, &datagram(Udp, inside, server).sent_from_inside());
        assert_eq!(outcome.bytes, expected.build(SWITCH0, CLIENT7));
        comes_in(&mut lab, &datagram(Udp, server, public), inside);
        let gone = Routes::build([], []);
        let routes = std::mem::replace(&mut lab.snapshot.routes, gone);
        comes_in(&mut lab, &datagram(Udp, server, public), inside);
        lab.snapshot.routes_epoch = 3;
        dropped(&mut lab, ETH0, &datagram(Udp, server, public), DropReason::NoRoute);
        dropped(&mut lab, ETH1, &datagram(Udp, inside, server), DropReason::NoRoute);
        lab.snapshot.routes = routes;
        comes_in(&mut lab, &datagram(Udp, server, public), inside);
    }
}

#[test]
fn an_inside_host_that_the_kernel_does_not_know_yet_gets_its_answer() {
    let version = Version::V4;
    let mut lab = router(EndpointIndependent);
    let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
    lab.snapshot.routes = Routes::build(
        [
            ("0.0.0.0".parse().unwrap(), 0, Route::Via(NextHopId(0))),
            ("198.18.1.0".parse().unwrap(), 24, Route::OnLink(ETH1)),
        ],
        [],
    );
    let outcome = lab.send(ETH1, &datagram(Udp, inside, server).sent_from_inside());
    assert_eq!(outcome.verdict, Verdict::Forward(ETH0));
    assert!(lab.events.contains(&Event::Resolve { interface: ETH1, address: inside.ip() }));
    let public = source_of(&outcome.bytes);
    let answer = lab.send(ETH0, &datagram(Udp, server, public).sent_from_outside());
    let expected = datagram(Udp, server, inside).ttl(63).build(SWITCH1, BACKEND11);
    assert_eq!((answer.verdict, answer.bytes), (Verdict::Forward(ETH1), expected));
}

#[test]
fn connections_keep_their_public_endpoint_when_the_rule_changes() {
    let version = Version::V4;
    let mut lab = router(AddressDependent);
    let (inside, server) = (version.inside(11, 5000), version.server(1, 53));
    let public = goes_out(&mut lab, &datagram(Udp, inside, server));
    lab.snapshot.snat_rules[0].pool.first_port = 40_000;
    lab.snapshot.snat_rules[0].pool.last_port = 40_100;
    let outcome = lab.send(ETH1, &datagram(Udp, inside, server).sent_from_inside());
    assert_eq!(source_of(&outcome.bytes), public);
    comes_in(&mut lab, &datagram(Udp, server, public), inside);
    let moved = goes_out(&mut lab, &datagram(Udp, inside, version.server(1, 54)));
    assert!(moved.port() >= 40_000);
    comes_in(&mut lab, &datagram(Udp, version.server(1, 55), moved), inside);
    lab.snapshot.snat_rules.clear();
    comes_in(&mut lab, &datagram(Udp, server, public), inside);
    let new = datagram(Udp, version.inside(12, 5000), server);
    stays(&mut lab, ETH1, &new, Verdict::ToKernel);
}
