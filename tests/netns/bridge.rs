//! The transparent switch: what belongs to no service crosses as it is, both ways, while services are balanced.

use std::time::Duration;

use serde_json::Value;

use crate::common::capture::Capture;
use crate::common::lab::{Lab, Setup, WEB_PORT, address, bridge};
use crate::common::packets::{self, Mac};
use crate::common::switch::Switch;
use crate::common::traffic;
use crate::common::wait::wait_until;

/// Spanning tree.
const BPDU: Mac = [0x01, 0x80, 0xc2, 0, 0, 0];
/// LLDP, nearest bridge.
const LLDP: Mac = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
const BROADCAST: Mac = [0xff; 6];

#[test]
fn strangers_cross_unchanged_while_services_are_balanced_with_one_worker() {
    strangers_cross_unchanged_while_services_are_balanced(bridge(1));
}

#[test]
fn strangers_cross_unchanged_while_services_are_balanced_with_two_workers() {
    strangers_cross_unchanged_while_services_are_balanced(bridge(2));
}

fn strangers_cross_unchanged_while_services_are_balanced(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let (x1, x2) = (lab.host("x1"), lab.host("x2"));
    let server = x2.spawn("iperf3 --server --forceflush", &lab.directory().join("iperf3.log"));
    wait_until("iperf3 listens", Duration::from_secs(10), || server.log().contains("listening"));
    let family = setup.families()[0];
    let line = format!("iperf3 --client {} --time 3 --json", address(family, 0, 22));
    let mut session = x1.spawn(&line, &lab.directory().join("session.json"));

    for path in setup.paths {
        for client in [&lab.client, x1] {
            traffic::requests(client, path.web(), 50).assert_shared_by([2, 3, 5], usize::from(setup.queues));
        }
    }
    for &family in setup.families() {
        let answers = traffic::requests(x1, (setup.backend_address_of(1, family), WEB_PORT), 20);
        assert_eq!(answers.counts(), [20, 0, 0], "who asks a backend itself is answered by it");
    }
    let arping = x1.run(&format!("arping -c 2 -w 5 -I eth0 {}", address(family, 0, 22))).to_lowercase();
    assert!(arping.contains(&Lab::mac(x2, "eth0")), "x1 asked for x2: {arping}");
    for (from, to) in [("x1", "x2"), ("x2", "x1")] {
        assert_unusual_frames_cross(&lab, from, to);
    }

    assert_eq!(session.wait_for_end(Duration::from_secs(20)), 0, "iperf3: {}", session.log());
    let report: Value = serde_json::from_str(&session.log()).expect("iperf3 prints JSON");
    assert!(report["end"]["sum_received"]["bytes"].as_u64() > Some(1_000_000), "{}", report["end"]);
    switch.finish();
}

fn assert_unusual_frames_cross(lab: &Lab, from: &str, to: &str) {
    let capture = Capture::start(lab.host(to), "eth0", lab.directory());
    let source = packets::mac(&Lab::mac(lab.host(from), "eth0"));
    let target = packets::mac(&Lab::mac(lab.host(to), "eth0"));
    let payload: Vec<u8> = (0..=255).cycle().take(700).collect();
    let frames = [
        packets::ethernet(target, source, &[100], 0x88b5, &payload),
        packets::ethernet(target, source, &[200, 100], 0x88b5, &payload),
        packets::ethernet(BROADCAST, source, &[], 0x88b5, &payload),
        packets::ethernet(target, source, &[], 0x88b5, &payload[..46]),
        // A length in the place of an EtherType: 802.2, as spanning tree has it.
        packets::ethernet(BPDU, source, &[], 38, &[&[0x42, 0x42, 0x03][..], &[0; 43]].concat()),
        packets::ethernet(LLDP, source, &[], 0x88cc, &[&[0x02, 0x07, 0x04][..], &source, &[0; 37]].concat()),
    ];
    let socket = packets::packet_socket(lab.host(from), "eth0");
    for frame in &frames {
        socket.send(frame).expect("a frame can be sent");
    }
    // Comes after all of them.
    let last = packets::ethernet(target, source, &[], 0x88b6, b"the end");
    wait_until("the last frame has crossed", Duration::from_secs(5), || {
        socket.send(&last).expect("a frame can be sent");
        capture.has(|frame| frame == last)
    });
    let arrived = capture.stop();
    for (number, frame) in frames.iter().enumerate() {
        assert!(arrived.contains(frame), "frame {number} from {from} did not reach {to} as it was");
    }
}
