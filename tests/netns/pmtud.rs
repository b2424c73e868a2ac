//! Path MTU discovery: packets that are too big for a tunnel or for a router behind the switch.

use std::net::IpAddr;

use crate::common::capture::Capture;
use crate::common::lab::{Family, Lab, Path, Setup, full_nat_far};
use crate::common::namespace::Namespace;
use crate::common::switch::{Configuration, Switch};
use crate::common::traffic;

/// A little more than 50 MB.
const SIZE_MIB: u32 = 50;
/// MTU of every link, if nothing else is said.
const MTU: u32 = 1500;
/// MTU of the link behind the router.
const NARROW: u32 = 1400;

mod the_client_learns_what_a_tunnel_leaves {
    use crate::common::lab::{gue, ipip};

    #[test]
    fn ipip_with_one_worker() {
        super::the_client_learns_what_a_tunnel_leaves(ipip(1));
    }
    #[test]
    fn ipip_with_two_workers() {
        super::the_client_learns_what_a_tunnel_leaves(ipip(2));
    }
    #[test]
    fn gue_with_one_worker() {
        super::the_client_learns_what_a_tunnel_leaves(gue(1));
    }
}

fn the_client_learns_what_a_tunnel_leaves(setup: Setup) {
    let lab = Lab::new(setup);
    let capture = Capture::start(&lab.client, "eth0", lab.directory());
    let switch = Switch::start(&lab);
    for &path in setup.paths {
        // Paths share the VIP, and so what is known of the way to it.
        forget_paths(&lab.client);
        traffic::transfer(&lab, path.web(), SIZE_MIB, false);
        let expected = MTU - overhead(&setup, path);
        assert_eq!(learnt_mtu(&lab.client, path.web().ip()), Some(expected), "{}", path.label());
    }
    // The capture is full long before all is sent: tcpdump then ends by itself.
    let frames = capture.stop();
    frames.assert_clean();
    assert!(frames.count("icmp.type == 3 && icmp.code == 4") > 0, "no `fragmentation needed` came");
    switch.finish();
}

/// The way from the router to the backends is narrow, while both ends of it think otherwise: with an interface's own MTU,
/// backends would tell it in their SYN and nobody would have to find out.
fn narrow_beyond_the_router(lab: &Lab) {
    // By the metric a route replaces the kernel's own; IPv6 has another default than the kernel uses.
    for (family, prefix) in [("-4", "198.18.1.0/24"), ("-6", "2001:db8:1::/64 metric 256")] {
        lab.host("router").ip(&format!("{family} route replace {prefix} dev eth1 mtu lock {NARROW}"));
    }
}

#[test]
fn a_clamped_segment_size_needs_no_path_mtu_discovery() {
    let lab = Lab::new(full_nat_far(1));
    narrow_beyond_the_router(&lab);
    // IPv6 and TCP headers are 60 bytes.
    let clamp = format!("mss_clamp = {}\n", NARROW - 60);
    let configuration = Configuration { tcp_service_lines: clamp, ..Configuration::of(&lab) };
    let switch = Switch::start_with(&lab, &configuration);
    for &path in lab.setup.paths {
        traffic::transfer(&lab, path.web(), 5, false);
        assert_eq!(learnt_mtu(&lab.client, path.web().ip()), None, "{}", path.label());
    }
    switch.finish();
}

#[test]
fn a_router_behind_the_switch_is_heard_through_full_nat() {
    let lab = Lab::new(full_nat_far(2));
    narrow_beyond_the_router(&lab);
    let capture = Capture::start(&lab.client, "eth0", lab.directory());
    let switch = Switch::start(&lab);
    for &path in lab.setup.paths {
        traffic::transfer(&lab, path.web(), SIZE_MIB, true);
        assert_eq!(learnt_mtu(&lab.client, path.web().ip()), Some(NARROW), "{}", path.label());
    }
    capture.stop().assert_clean();
    switch.finish();
}

/// Bytes of the outer headers.
fn overhead(setup: &Setup, path: Path) -> u32 {
    let ip = if path.backend == Family::V4 { 20 } else { 40 };
    ip + if setup.forwarding == "gue" { 8 + 4 } else { 0 }
}

fn forget_paths(client: &Namespace) {
    client.ip("-4 route flush cache");
    client.ip("-6 route flush cache");
}

/// The MTU that an ICMP message told the client.
fn learnt_mtu(client: &Namespace, server: IpAddr) -> Option<u32> {
    let route = client.ip(&format!("route get {server}"));
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok())
}
