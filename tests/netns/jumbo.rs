//! Frames of 9,000 bytes, which lie in several chunks of packet memory.

use crate::common::capture::Capture;
use crate::common::lab::{Lab, Setup};
use crate::common::namespace::Namespace;
use crate::common::switch::{self, Configuration, Switch, number};
use crate::common::traffic;

/// MTU of every link.
const MTU: u32 = 9000;
const SIZE_MIB: u32 = 50;

mod frames_of_nine_thousand_bytes_pass {
    use crate::common::lab::{full_nat_one_arm, ipip, nat};

    #[test]
    fn nat_with_two_workers() {
        super::frames_of_nine_thousand_bytes_pass(nat(2).with_ipv6());
    }
    #[test]
    fn full_nat_on_one_arm_with_one_worker() {
        super::frames_of_nine_thousand_bytes_pass(full_nat_one_arm(1).with_ipv6());
    }
    #[test]
    fn ipip_with_one_worker() {
        super::frames_of_nine_thousand_bytes_pass(ipip(1));
    }
}

fn frames_of_nine_thousand_bytes_pass(setup: Setup) {
    let lab = Lab::new(setup);
    widen(&lab, MTU);
    let capture = Capture::start(&lab.backends[1].host, "eth0", lab.directory());
    let switch = Switch::start_with(&lab, &Configuration { weights: [0, 1, 0], ..Configuration::of(&lab) });

    for &path in setup.paths {
        traffic::transfer(&lab, path.web(), SIZE_MIB, !setup.is_direct());
        // As large as the link allows: 8 bytes of ICMP behind 20 or 40 of IP. By now the client has learnt what a tunnel takes.
        let vip = path.web().ip();
        let tunnel = if setup.is_direct() { 60 } else { 0 };
        let size = MTU - tunnel - if vip.is_ipv4() { 28 } else { 48 };
        lab.client.run(&format!("ping -c 3 -i 0.2 -W 2 -M do -s {size} {vip}"));
    }

    let frames = capture.stop();
    frames.assert_clean();
    assert!(frames.count("frame.len > 8900") > 100, "no large frames came");
    let status = switch.status();
    let ports = status["workers"].as_array().expect("status has workers").iter();
    let lost: u64 = ports
        .flat_map(|worker| worker["ports"].as_array().expect("workers have ports"))
        .map(|port| number(port, "rx_jumbo_lost"))
        .sum();
    assert_eq!(lost, 0, "large frames were lost for want of buffers");
    switch.finish();
}

#[test]
fn an_mtu_beyond_the_largest_frame_is_refused_at_start() {
    let lab = Lab::new(crate::common::lab::nat(1));
    widen(&lab, 9500);
    let text = switch::configuration_text(&lab, &Configuration::of(&lab));
    let refused = switch::refused(&lab, &text);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for word in ["eth0", "9500", "mtu 9000"] {
        assert!(refused.stderr.contains(word), "{word} is not in: {}", refused.stderr);
    }
}

/// Gives every cable this MTU.
fn widen(lab: &Lab, mtu: u32) {
    let mut hosts: Vec<&Namespace> = vec![&lab.client, &lab.switch];
    hosts.extend(lab.backends.iter().map(|backend| &backend.host));
    hosts.extend(lab.others());
    for host in hosts {
        let links = host.ip("-json link show type veth");
        let links: serde_json::Value = serde_json::from_str(&links).expect("ip prints JSON");
        for link in links.as_array().into_iter().flatten() {
            let name = link["ifname"].as_str().expect("a link has a name");
            host.ip(&format!("link set {name} mtu {mtu}"));
        }
    }
}
