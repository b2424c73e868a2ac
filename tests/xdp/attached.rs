//! On a veth, native and generic, with frames of one and of several buffers.
//!
//! ```text
//! left ──── eth0 [program, socket on queue 0] ┄┄ peer ┄┄ eth1 ──── right
//! ```

use std::time::Duration;

use xswitch::sys::packet::PacketSender;
use xswitch::tables::counters::PortCounters;
use xswitch::tables::{InterfaceId, Steering};
use xswitch::xsk::{AttachMode, CopyMode, Port, Steer, Umem};

use crate::bench::{BOTH, Bench, Goes, OTHER, OWN, namespace, steering};
use crate::common::capture::Capture;
use crate::common::namespace::{Namespace, temporary_directory};
use crate::common::wait::wait_until;
use crate::frames::{Ip, tcp, udp};

const MODES: [AttachMode; 2] = [AttachMode::Native, AttachMode::Generic];
const PATIENCE: Duration = Duration::from_secs(5);

struct Wire {
    steers: [Steer; 2],
    port: Port,
    umem: Umem,
    // Last: what lives in it goes first.
    namespace: Namespace,
}

impl Wire {
    fn new(steering: &Steering, mode: AttachMode, mtu: u32) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root: they attach an XDP program");
        let namespace = namespace("wire");
        for (outside, inside) in [("left", "eth0"), ("right", "eth1")] {
            namespace.ip(&format!("link add {outside} mtu {mtu} type veth peer name {inside} mtu {mtu}"));
            // With GRO a veth has NAPI, and takes frames that XDP redirects.
            namespace.run(&format!("ethtool --offload {outside} gro on"));
            for interface in [outside, inside] {
                namespace.ip(&format!("link set {interface} up"));
            }
        }
        let peers = [ifindex(&namespace, "eth1"), ifindex(&namespace, "eth0")];
        let (steers, port, umem) = namespace.enter(|| {
            let mut umem = Umem::new(256, 64, mtu > 1500).unwrap();
            let mut port = Port::open(&umem, "eth0", 0, 64, CopyMode::Copy, mtu > 1500).unwrap();
            port.refill(&mut umem);
            let mut steers = [Steer::load().unwrap(), Steer::load().unwrap()];
            for (position, steer) in steers.iter_mut().enumerate() {
                let name = ["eth0", "eth1"][position];
                steer.set(steering, InterfaceId(position as u8)).unwrap();
                steer.set_peer(peers[position]).unwrap();
                assert_eq!(steer.attach(name, &[mode]).unwrap(), mode);
            }
            steers[0].set_socket(0, port.fd()).unwrap();
            (steers, port, umem)
        });
        Self { steers, port, umem, namespace }
    }

    /// Sends a frame from the left.
    fn send(&self, frame: &[u8]) {
        let left = self.ifindex("left");
        self.namespace.enter(|| PacketSender::open().unwrap().send(left, frame).unwrap());
    }

    fn ifindex(&self, interface: &str) -> u32 {
        ifindex(&self.namespace, interface)
    }

    /// Frames that an interface has received.
    fn received(&self, interface: &str) -> u64 {
        let listed = self.namespace.ip(&format!("-s -j link show {interface}"));
        let links: serde_json::Value = serde_json::from_str(&listed).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }

    /// The next frame that the socket gets, and whether there is room in front of it.
    fn receive(&mut self) -> (Vec<u8>, bool) {
        let counters = PortCounters::default();
        let mut frames = Vec::new();
        wait_until("a frame arrives at the socket", PATIENCE, || {
            self.port.receive(&mut self.umem, 64, &counters, |frame| frames.push(frame));
            !frames.is_empty()
        });
        let frame = frames.pop().unwrap();
        let received = (frame.bytes().to_vec(), frame.has_room());
        self.umem.give_back(frame);
        received
    }
}

fn ifindex(namespace: &Namespace, interface: &str) -> u32 {
    let listed = namespace.ip(&format!("-o link show {interface}"));
    listed.split(':').next().unwrap().trim().parse().unwrap()
}

fn bridging() -> Steering {
    Steering { bridge: true, ..steering() }
}

#[test]
fn ours_arrive_with_their_headroom_and_the_rest_reaches_the_kernel() {
    for mode in MODES {
        let mut wire = Wire::new(&steering(), mode, 1500);
        for net in BOTH {
            let plain = tcp((net.client, 1), (net.vip, 80)).frame();
            wire.send(&plain);
            assert!(wire.receive() == (plain, false), "{mode:?}: without headroom it arrives as it came");
            let tunnel = tcp((net.client, 1), (net.vip, 443)).frame();
            wire.send(&tunnel);
            assert!(wire.receive() == (tunnel, true), "{mode:?}: with headroom, the mark is understood");
        }
        let before = wire.steers[0].ways().unwrap().kernel;
        wire.send(&tcp((BOTH[0].client, 1), (BOTH[0].local, 22)).frame());
        wait_until("the kernel gets its frame", PATIENCE, || wire.steers[0].ways().unwrap().kernel > before);
    }
}

#[test]
fn a_program_that_was_taken_off_starts_again_without_sockets() {
    for mode in MODES {
        let mut wire = Wire::new(&steering(), mode, 1500);
        let ours = tcp((BOTH[0].client, 1), (BOTH[0].vip, 80)).frame();
        wire.send(&ours);
        wire.receive();
        wire.steers[0].detach();
        assert!(!wire.namespace.ip("-d link show eth0").contains("xdp"), "{mode:?}: it is still attached");

        let steer = &mut wire.steers[0];
        wire.namespace.enter(|| steer.attach("eth0", &[mode]).unwrap());
        let before = wire.steers[0].ways().unwrap().no_socket;
        wire.send(&ours);
        wait_until("the kernel gets ours, too", PATIENCE, || {
            wire.steers[0].ways().unwrap().no_socket > before
        });

        let socket = wire.port.fd();
        wire.steers[0].set_socket(0, socket).unwrap();
        wire.send(&ours);
        assert!(wire.receive().0 == ours, "{mode:?}: its other maps say what they said");
    }
}

#[test]
fn a_bridge_is_crossed_untouched_tags_and_all() {
    let net = BOTH[0];
    for mode in MODES {
        let wire = Wire::new(&bridging(), mode, 1500);
        let directory = temporary_directory();
        let capture = Capture::start(&wire.namespace, "right", directory.path());
        wire.send(&tcp((net.client, 1), (net.backend, 22)).tagged(OTHER, &[(0x88A8, 7), (0x8100, 9)]));
        wire.send(&udp((net.client, 1), (net.backend, 53)).frame_to([0xFF; 6]));
        wait_until("both cross", PATIENCE, || wire.received("right") >= 2);
        let frames = capture.stop();
        assert_eq!(frames.count("ieee8021ad.id == 7 && vlan.id == 9 && tcp.dstport == 22"), 1, "{mode:?}");
        assert_eq!(frames.count("eth.dst == ff:ff:ff:ff:ff:ff && udp.dstport == 53"), 1, "{mode:?}");
    }
}

/// A packet of 8,800 bytes.
fn large(packet: Ip) -> Ip {
    let payload = [&packet.payload[..], &vec![0xA5; 8760]].concat();
    packet.with_payload(&payload)
}

#[test]
fn frames_of_several_buffers_are_steered_by_the_first() {
    let mut bench = Bench::new(&steering());
    if !bench.steer.takes_frames_of_several_buffers() {
        return;
    }
    for net in BOTH {
        let to = |port| large(tcp((net.client, 1), (net.vip, port))).frame();
        bench.expect("without headroom", &to(80), Goes::ToSocket);
        bench.expect("with headroom", &to(443), Goes::ToSocketWith(40));
        let other = large(tcp((net.client, 1), (net.local, 22))).frame();
        bench.expect("to the kernel", &other, Goes::ToKernel);
    }
}

#[test]
fn large_frames_cross_a_bridge_in_both_modes() {
    for mode in MODES {
        let wire = Wire::new(&bridging(), mode, 9000);
        wire.send(&large(tcp((BOTH[0].client, 1), (BOTH[0].backend, 22))).frame_to(OTHER));
        wait_until("it crosses", PATIENCE, || wire.received("right") >= 1);
        let before = wire.steers[0].ways().unwrap().kernel;
        wire.send(&large(tcp((BOTH[0].client, 1), (BOTH[0].local, 22))).frame_to(OWN));
        wait_until("the kernel gets its own", PATIENCE, || wire.steers[0].ways().unwrap().kernel > before);
    }
}

#[test]
fn large_frames_of_a_service_arrive_whole_with_their_headroom() {
    for mode in MODES {
        let mut wire = Wire::new(&steering(), mode, 9000);
        for net in BOTH {
            let frame = large(tcp((net.client, 1), (net.vip, 443))).frame();
            wire.send(&frame);
            assert!(wire.receive() == (frame, true), "{mode:?}");
        }
    }
}
