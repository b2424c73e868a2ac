//! What crosses and what does not.

use xswitch::tables::Steering;
use xswitch::wire::ethernet::Tags;

use crate::bench::Goes::{ToKernel, ToPeer, ToSocket, ToSocketWith};
use crate::bench::{BOTH, Bench, OTHER, OWN, PEER, steering};
use crate::frames::{echo_request, ethernet, packet, tcp, udp};

fn bridging() -> Steering {
    Steering { bridge: true, ..steering() }
}

#[test]
fn frames_of_services_are_ours_whatever_station_they_are_for() {
    let mut bench = Bench::new(&bridging());
    for net in BOTH {
        for mac in [OWN, PEER, OTHER] {
            let request = tcp((net.client, 1), (net.vip, 443));
            bench.expect("a request", &request.frame_to(mac), ToSocketWith(40));
            bench.expect(
                "a reply on its way",
                &tcp((net.backend, 8080), (net.client, 1)).frame_to(mac),
                ToSocket,
            );
            bench.expect("a ping to a VIP", &echo_request(net.client, net.vip, 1).frame_to(mac), ToSocket);
        }
    }
}

#[test]
fn what_is_sent_to_either_interface_and_is_not_ours_is_the_kernels() {
    let mut bench = Bench::new(&bridging());
    for net in BOTH {
        for mac in [OWN, PEER] {
            bench.expect("SSH to the switch", &tcp((net.client, 1), (net.local, 22)).frame_to(mac), ToKernel);
            bench.expect(
                "in a VLAN",
                &tcp((net.client, 1), (net.local, 22)).tagged(mac, &[(0x8100, 7)]),
                ToKernel,
            );
        }
    }
    bench.expect("a protocol nobody knows", &ethernet(OWN, &[], 0x88B5, &[0; 50]), ToKernel);
}

#[test]
fn everything_else_crosses_untouched() {
    let mut bench = Bench::new(&bridging());
    for net in BOTH {
        bench.expect(
            "a connection of others",
            &tcp((net.client, 1), (net.backend, 22)).frame_to(OTHER),
            ToPeer,
        );
        bench.expect("broadcast", &udp((net.client, 68), (net.client, 67)).frame_to([0xFF; 6]), ToPeer);
        let later = packet(17, net.client, net.tunnel, vec![0; 64]).fragment(1, 800, false);
        bench.expect("a fragment of others", &later.frame_to(OTHER), ToPeer);
        let tagged = tcp((net.client, 1), (net.vip, 80));
        bench.expect("a VIP in another VLAN", &tagged.tagged(OTHER, &[(0x8100, 7)]), ToPeer);
        let deep = tagged.tagged(OTHER, &[(0x88A8, 7), (0x8100, 9), (0x8100, 7)]);
        bench.expect("three tags", &deep, ToPeer);
    }
    for (mac, ethertype, what) in [
        ([1, 0x80, 0xC2, 0, 0, 0], 0x0026, "spanning tree"),
        ([1, 0x80, 0xC2, 0, 0, 1], 0x8808, "pause"),
        ([1, 0x80, 0xC2, 0, 0, 0x0E], 0x88CC, "LLDP"),
        (OTHER, 0x8863, "PPPoE"),
        ([0; 6], 0x88B5, "the zero address"),
    ] {
        bench.expect(what, &ethernet(mac, &[], ethertype, &[0; 50]), ToPeer);
    }
}

#[test]
fn a_bridge_in_a_vlan_serves_that_vlan_and_passes_the_others() {
    let mut steering = bridging();
    steering.tags[0] = Tags::single(7);
    let mut bench = Bench::new(&steering);
    let request = tcp((BOTH[0].client, 1), (BOTH[0].vip, 80));
    bench.expect("its own", &request.tagged(OTHER, &[(0x8100, 7)]), ToSocket);
    bench.expect("another", &request.tagged(OTHER, &[(0x8100, 8)]), ToPeer);
    bench.expect("none", &request.frame_to(OTHER), ToPeer);
}
