//! Every forwarding mode, over TCP and UDP, IPv4 and IPv6: real servers, much data, the right way back.

use serde_json::Value;

use crate::common::capture::{Capture, Frames};
use crate::common::lab::{Lab, Path, Setup, TUNNEL_DEVICE, vip};
use crate::common::switch::{Configuration, Switch, number};
use crate::common::traffic;

scenes! {
    requests_go_where_they_should_and_answers_come_the_right_way in every_row;
    fifty_megabytes_arrive_unchanged in every_row;
}

/// Requests per protocol and path.
const REQUESTS: usize = 200;
/// A little more than 50 MB.
const SIZE_MIB: u32 = 50;

fn requests_go_where_they_should_and_answers_come_the_right_way(setup: Setup) {
    let lab = Lab::new(setup);
    let beyond = setup.interfaces().iter().map(|interface| {
        let (host, interface) = lab.beyond(interface);
        Capture::start(host, &interface, lab.directory())
    });
    let beyond: Vec<_> = beyond.collect();
    let ends: Vec<_> =
        lab.backends.iter().map(|backend| Capture::start(&backend.host, "eth0", lab.directory())).collect();
    // tshark does not look into GUE, so also where it has been taken off.
    let inside = lab.backends.iter().filter(|_| setup.is_tunnel());
    let inside: Vec<_> =
        inside.map(|backend| Capture::start(&backend.host, TUNNEL_DEVICE, lab.directory())).collect();
    let switch = Switch::start(&lab);

    for &path in setup.paths {
        let tolerance = usize::from(setup.queues);
        traffic::requests(&lab.client, path.web(), REQUESTS).assert_shared_by([2, 3, 5], tolerance);
        traffic::datagrams(&lab.client, path.names(), REQUESTS).assert_shared_by([2, 3, 5], tolerance);
        assert_right_client_is_seen(&lab, path);
    }

    let beyond: Vec<_> = beyond.into_iter().map(Capture::stop).collect();
    let ends = ends.into_iter().chain(inside).map(Capture::stop);
    ends.chain(beyond.iter().cloned()).for_each(|frames| frames.assert_clean());
    assert_right_way_back(&lab, &switch.status(), &beyond);
    switch.finish();
}

fn fifty_megabytes_arrive_unchanged(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start_with(&lab, &Configuration { weights: [0, 1, 1], ..Configuration::of(&lab) });
    for &path in setup.paths {
        // Where servers answer directly, only what goes up passes the switch.
        traffic::transfer(&lab, path.web(), SIZE_MIB, !setup.is_direct());
    }
    for &path in setup.paths.iter().filter(|path| !path.is_crossed()) {
        let data = traffic::random_bytes(SIZE_MIB);
        let echoed = traffic::echo_in_datagrams(&lab.client, path.names(), &data);
        assert!(echoed.expect("every datagram is answered") == data, "UDP over {} differs", path.label());
    }
    switch.finish();
}

/// Servers see the client itself, but for full NAT.
fn assert_right_client_is_seen(lab: &Lab, path: Path) {
    let expected = match lab.setup.forwarding {
        "full-nat" => lab.setup.snat_address_of(path.vip),
        _ => lab.setup.client_address(path.vip),
    };
    let seen = traffic::seen_from(&lab.client, path.web(), path.names());
    assert_eq!(seen, [Some(expected); 2], "{}", path.label());
}

/// Answers come through the switch, or none of them does.
fn assert_right_way_back(lab: &Lab, status: &Value, beyond: &[Frames]) {
    let families = lab.setup.families().iter().map(|&family| {
        let layer = if vip(family).is_ipv4() { "ip" } else { "ipv6" };
        format!("{layer}.src == {}", vip(family))
    });
    let answer = families.collect::<Vec<_>>().join(" || ");
    let answers: usize = beyond
        .iter()
        .map(|frames| frames.count(&format!("({answer}) && (tcp || udp) && !icmp && !icmpv6")))
        .sum();
    let services = status["services"].as_array().expect("status has services");
    let counted: u64 = services.iter().map(|service| number(service, "packets_out")).sum();
    if lab.setup.is_direct() {
        assert_eq!((answers, counted), (0, 0), "answers came to the switch");
    } else {
        assert!(answers > REQUESTS && counted > REQUESTS as u64, "{answers} and {counted} answers");
    }
}
