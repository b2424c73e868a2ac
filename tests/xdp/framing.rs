//! VLANs, MAC addresses, headroom, frames cut short.

use xswitch::tables::{Endpoint, Protocol};
use xswitch::wire::ethernet::Tags;

use crate::bench::Goes::{ToKernel, ToSocket, ToSocketWith};
use crate::bench::{BOTH, Bench, OTHER, OWN, PEER, ip, steering};
use crate::frames::tcp;

#[test]
fn only_frames_with_the_tags_of_the_interface_are_ours() {
    let tags = |tags: Tags| {
        let mut steering = steering();
        steering.tags[0] = tags;
        steering
    };
    let mut bench = Bench::new(&tags(Tags::none()));
    for net in BOTH {
        let service = tcp((net.client, 1), (net.vip, 443));
        let untagged = service.tagged(OWN, &[]);
        let single = service.tagged(OWN, &[(0x8100, 7)]);
        let priority = service.tagged(OWN, &[(0x8100, 0xF007)]);
        let provider = service.tagged(OWN, &[(0x88A8, 7)]);
        let old = service.tagged(OWN, &[(0x9100, 7)]);
        let double = service.tagged(OWN, &[(0x88A8, 7), (0x8100, 9)]);
        let triple = service.tagged(OWN, &[(0x88A8, 7), (0x8100, 9), (0x8100, 7)]);
        bench.set(&tags(Tags::none()));
        bench.expect("none wanted, none there", &untagged, ToSocketWith(40));
        for frame in [&single, &priority, &double, &triple] {
            bench.expect("none wanted", frame, ToKernel);
        }
        bench.set(&tags(Tags::single(7)));
        for frame in [&single, &priority, &provider, &old] {
            bench.expect("one wanted, whatever its priority and type", frame, ToSocketWith(40));
        }
        for frame in [&untagged, &double, &triple, &service.tagged(OWN, &[(0x8100, 8)])] {
            bench.expect("one wanted", frame, ToKernel);
        }
        bench.set(&tags(Tags::double(7, 9)));
        bench.expect("two wanted", &double, ToSocketWith(40));
        let swapped = service.tagged(OWN, &[(0x88A8, 9), (0x8100, 7)]);
        for frame in [&untagged, &single, &triple, &swapped] {
            bench.expect("two wanted, others there", frame, ToKernel);
        }
    }
}

#[test]
fn frames_to_other_stations_are_not_ours() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let service = tcp((net.client, 1), (net.vip, 80));
        for mac in [OTHER, PEER, [0xFF; 6], [1, 0, 0x5E, 0, 0, 1], [0; 6]] {
            bench.expect("another MAC address", &service.frame_to(mac), ToKernel);
        }
    }
}

#[test]
fn frames_to_the_zero_address_are_not_ours_even_while_our_own_is_unknown() {
    let mut unknown = steering();
    unknown.macs = vec![[0; 6]; 2];
    let mut bench = Bench::new(&unknown);
    bench.expect("zero", &tcp((BOTH[0].client, 1), (BOTH[0].vip, 80)).frame_to([0; 6]), ToKernel);
}

#[test]
fn room_is_marked_up_to_sixty_bytes() {
    let mut steering = steering();
    for room in [0, 7, 8, 60, 61] {
        let service = Endpoint { address: ip(BOTH[0].vip), port: 9000 + room, protocol: Protocol::Tcp };
        steering.services.insert(service, room);
    }
    let mut bench = Bench::new(&steering);
    let to = |port| tcp((BOTH[0].client, 1), (BOTH[0].vip, port)).frame();
    bench.expect("none", &to(9000), ToSocket);
    bench.expect("too little for the mark", &to(9007), ToSocket);
    bench.expect("just the mark", &to(9008), ToSocketWith(8));
    bench.expect("the most there is", &to(9060), ToSocketWith(60));
    bench.expect("more than that", &to(9061), ToSocket);
}

#[test]
fn a_frame_whose_queue_has_no_socket_reaches_the_kernel_as_it_came() {
    let mut steer = xswitch::xsk::Steer::load().unwrap();
    steer.set(&steering(), xswitch::tables::InterfaceId(0)).unwrap();
    let frame = tcp((BOTH[1].client, 1), (BOTH[1].vip, 443)).frame();
    let outcome = steer.test(&frame).unwrap();
    assert_eq!((outcome.action, outcome.frame), (2, frame));
    let ways = steer.ways().unwrap();
    assert_eq!((ways.no_socket, ways.kernel, ways.socket), (1, 0, 0));
}

#[test]
fn frames_cut_short_anywhere_are_the_kernels() {
    let mut steering = steering();
    // Then nothing but the ports makes a frame ours.
    steering.hosts.clear();
    let mut bench = Bench::new(&steering);
    for net in BOTH {
        let whole = tcp((net.client, 1), (net.vip, 443)).frame();
        let ports = whole.len() - 20 + 4;
        // The kernel runs programs over no less than an Ethernet header.
        for length in 14..ports {
            bench.expect(&format!("cut after {length} bytes"), &whole[..length], ToKernel);
        }
        bench.expect("cut behind the ports", &whole[..ports], ToSocketWith(40));
    }
}
