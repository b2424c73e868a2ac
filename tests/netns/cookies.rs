//! SYN cookies between the kernel's TCP at both ends.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::common::capture::Capture;
use crate::common::lab::{CLIENT, Lab, Setup, WEB, WEB_PORT, bridge, full_nat, nat};
use crate::common::namespace::Namespace;
use crate::common::switch::{Configuration, Switch, number};
use crate::common::traffic::{self, Connection};
use crate::common::wait::wait_until;
use crate::limits::{NOBODY, flood};

/// Frames of a thousand that get lost, each way.
const LOST: u32 = 10;
/// What is sent each way in the meantime, in MiB.
const SIZE_MIB: u32 = 20;

fn switch<'lab>(lab: &'lab Lab, lines: &str) -> Switch<'lab> {
    let lines = format!("{lines}\n");
    Switch::start_with(lab, &Configuration { tcp_service_lines: lines, ..Configuration::of(lab) })
}

/// From now on a host loses some of the frames that come for it.
fn lose_frames(host: &Namespace) {
    host.run("nft add table inet lossy");
    host.run("nft add chain inet lossy input { type filter hook input priority 0 ; }");
    host.run(&format!("nft add rule inet lossy input meta l4proto tcp numgen random mod 1000 < {LOST} drop"));
}

/// Counts the SYNs that come for a host.
fn count_syns(host: &Namespace) {
    host.run("nft add table inet syns");
    host.run("nft add chain inet syns input { type filter hook prerouting priority -300 ; }");
    host.run(&format!(
        "nft add rule inet syns input tcp dport {WEB_PORT} tcp flags & (syn | ack) == syn counter"
    ));
}

/// How many came to all backends.
fn syns(lab: &Lab) -> u64 {
    let count = |host: &Namespace| {
        let listed = host.run("nft list table inet syns");
        let words: Vec<_> = listed.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets").expect("nft counts packets");
        words[at + 1].parse::<u64>().expect("a number")
    };
    lab.backends.iter().map(|backend| count(&backend.host)).sum()
}

fn cookies(switch: &Switch<'_>, service: usize) -> Value {
    switch.status()["services"][service]["syn_cookies"].clone()
}

/// Every connection is opened with a cookie: kept open, for much data both ways, and where frames get lost.
fn all_by_cookies(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = switch(&lab, "syn_cookies = \"always\"");
    let captures = [
        Capture::start(&lab.client, "eth0", lab.directory()),
        Capture::start(&lab.backends[2].host, "eth0", lab.directory()),
    ];
    let patience = Duration::from_secs(10);
    let places: Vec<SocketAddr> = lab.setup.paths.iter().map(|path| path.web()).collect();
    for web in &places {
        let mut kept = Connection::open(&lab.client, *web, patience).expect("a cookie opens it");
        let name = kept.ask().expect("it is served");
        for _ in 0..20 {
            assert_eq!(kept.ask().expect("it goes on"), name);
        }
        traffic::requests(&lab.client, *web, 30)
            .assert_shared_by([2, 3, 5], usize::from(lab.setup.queues) * 2);
    }
    for capture in captures {
        capture.stop().assert_clean();
    }
    let at_first = cookies(&switch, 0);
    assert!(number(&at_first, "valid") >= 31, "{at_first}");
    lose_frames(&lab.client);
    lab.backends.iter().for_each(|backend| lose_frames(&backend.host));
    for web in places {
        traffic::transfer(&lab, web, SIZE_MIB, true);
    }
    switch.finish();
}

#[test]
fn nat_with_two_workers() {
    all_by_cookies(nat(2).with_ipv6());
}

#[test]
fn full_nat_with_two_workers() {
    all_by_cookies(full_nat(2).with_ipv6());
}

#[test]
fn nat_in_a_bridge() {
    all_by_cookies(bridge(1));
}

/// Who sends SYNs and does not go on is answered by the switch, and no backend sees it, while clients are served.
#[test]
fn backends_do_not_see_a_flood() {
    const CLIENTS: u64 = 200;
    const HALF_OPEN: u64 = 1000;
    let lab = Lab::new(nat(2));
    lab.switch.ip(&format!("route add {NOBODY} via {CLIENT}"));
    lab.backends.iter().for_each(|backend| count_syns(&backend.host));
    let switch = switch(&lab, &format!("syn_cookies = \"auto\"\nhalf_open = {HALF_OPEN}"));
    let open = || Connection::open(&lab.client, WEB, Duration::from_secs(5));
    let mut established: Vec<_> = (0..20).map(|_| open().expect("nobody else is there")).collect();
    assert_eq!(number(&cookies(&switch, 0), "sent"), 0, "there is no pressure");

    let flood = flood(&lab, WEB, "tcp");
    wait_until("the switch sends cookies", Duration::from_secs(20), || {
        number(&cookies(&switch, 0), "workers") == 2
    });
    // Both have their share pending now.
    let (before, sent) = (syns(&lab), number(&cookies(&switch, 0), "sent"));
    assert!(before >= HALF_OPEN / 2, "{before} SYNs came before there was pressure");
    let served = (0..CLIENTS).filter(|_| open().and_then(|mut connection| connection.ask()).is_ok()).count();
    assert!(served as u64 * 100 >= CLIENTS * 99, "{served} of {CLIENTS} clients were served");
    let (seen, answered) = (syns(&lab) - before, number(&cookies(&switch, 0), "sent") - sent);
    assert!(answered > 5 * CLIENTS, "{answered} SYNs were answered: the flood went on");
    assert!(seen <= 2 * CLIENTS, "backends saw {seen} SYNs of {CLIENTS} clients and a flood");
    for connection in &mut established {
        connection.ask().expect("an established connection goes on");
    }
    wait_until("the log says so", Duration::from_secs(10), || {
        switch.log().contains("SYNs are answered with cookies")
    });
    drop(flood);
    wait_until("the pressure is over", Duration::from_secs(30), || {
        open().and_then(|mut connection| connection.ask()).expect("there is no flood");
        number(&cookies(&switch, 0), "workers") == 0
    });
    let after = number(&cookies(&switch, 0), "sent");
    (0..20).for_each(|_| drop(open().expect("there is no flood")));
    assert_eq!(number(&cookies(&switch, 0), "sent"), after, "all is as before");
    switch.finish();
}
