//! The lab itself: with the kernel's NAT in the place of the switch, everything arrives, intact, on every queue.
//! When these fail, the network is wrong and the other scenes say nothing about xswitch.

use crate::common::capture::Capture;
use crate::common::lab::{Lab, NAMES, NAMES_PORT, Setup, Topology, VIP, WEB, WEB_PORT};
use crate::common::process;
use crate::common::traffic;

scenes! {
    the_lab_carries_every_kind_of_traffic in every_setup;
    the_lab_notices_checksums_left_to_an_offload in two_setups;
}

fn the_lab_carries_every_kind_of_traffic(setup: Setup) {
    let lab = Lab::new(setup);
    kernel_nat(&lab);
    let captures = [
        Capture::start(&lab.client, "eth0", lab.directory()),
        Capture::start(&lab.backends[2].host, "eth0", lab.directory()),
    ];

    traffic::requests(&lab.client, WEB, 30).assert_shared_by([2, 3, 5], 1);
    traffic::datagrams(&lab.client, NAMES, 10).assert_shared_by([2, 3, 5], 1);
    let parallel = traffic::parallel_requests(&lab.client, WEB, 100);
    parallel.assert_shared_by([2, 3, 5], 1);

    for capture in captures {
        capture.stop().assert_clean();
    }
    let interfaces = lab.setup.interfaces();
    for (interface, queue) in
        interfaces.iter().flat_map(|name| (0..setup.queues).map(move |queue| (name, queue)))
    {
        assert!(queue_frames(&lab, interface, queue) > 0, "no frame came to queue {queue} of {interface}");
    }
}

fn the_lab_notices_checksums_left_to_an_offload(setup: Setup) {
    let lab = Lab::new(setup);
    kernel_nat(&lab);
    lab.client.run("ethtool --offload eth0 tx on");
    let capture = Capture::start(&lab.client, "eth0", lab.directory());
    traffic::requests(&lab.client, WEB, 3);
    assert!(capture.stop().count("tcp.checksum.status == 0") > 0, "tshark let a bad checksum pass");
}

/// Frames that an RX queue of the switch has seen: only NAPI counts them, which is what GRO switches on.
fn queue_frames(lab: &Lab, interface: &str, queue: u16) -> u64 {
    let statistics = lab.switch.run(&format!("ethtool --statistics {interface}"));
    let key = format!("rx_queue_{queue}_xdp_packets:");
    let line = statistics.lines().find_map(|line| line.trim().strip_prefix(&key));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// nftables does with the weights 2, 3, 5 what the switch will do.
fn kernel_nat(lab: &Lab) {
    lab.switch.ip(&format!("address add {VIP}/32 dev eth0"));
    for (key, value) in
        [("ip_forward", "1"), ("conf.all.send_redirects", "0"), ("conf.eth0.send_redirects", "0")]
    {
        lab.switch.sysctl(&format!("net.ipv4.{key}"), value);
    }
    for interface in lab.setup.interfaces() {
        lab.switch.run(&format!("ethtool --offload {interface} gro on"));
    }
    let [first, second, third] = [1, 2, 3].map(|number| lab.setup.backend_address(number));
    let map = |port| {
        format!(
            "numgen inc mod 10 map {{ 0-1 : {first} . {port}, 2-4 : {second} . {port}, 5-9 : {third} . {port} }}"
        )
    };
    let source = match (lab.setup.topology, lab.setup.forwarding) {
        (Topology::Routed, "nat") => String::new(),
        _ => format!("ip daddr {{ {first}, {second}, {third} }} snat to {}", lab.setup.snat_address()),
    };
    let rules = format!(
        "table ip baseline {{
            chain destination {{
                type nat hook prerouting priority dstnat;
                ip daddr {VIP} tcp dport {} dnat ip to {}
                ip daddr {VIP} udp dport {} dnat ip to {}
            }}
            chain source {{ type nat hook postrouting priority srcnat; {source}; }}
        }}",
        WEB.port(),
        map(WEB_PORT),
        NAMES.port(),
        map(NAMES_PORT),
    );
    let file = lab.directory().join("baseline.nft");
    std::fs::write(&file, rules).expect("a file can be written");
    process::run(&format!("ip netns exec {} nft --file {}", lab.switch.name(), file.display()));
}
