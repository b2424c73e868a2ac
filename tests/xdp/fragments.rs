//! First ones, later ones, in any order.

use crate::bench::Goes::{ToKernel, ToSocket, ToSocketWith};
use crate::bench::{BOTH, Bench, steering};
use crate::frames::{DESTINATION, Ip, echo_request, packet, tcp, udp};

/// A later fragment of the datagram that `first` begins.
fn later(first: &Ip, id: u32) -> Vec<u8> {
    first.clone().with_payload(&[0x55; 64]).fragment(id, 1480, false).frame()
}

#[test]
fn later_fragments_follow_the_first() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let cases = [
            ("a service without headroom", tcp((net.client, 1), (net.vip, 80)), ToSocket),
            ("a service with headroom", udp((net.client, 1), (net.vip, 53)), ToSocketWith(20)),
            ("a VIP alone", udp((net.client, 1), (net.vip, 9)), ToSocket),
            ("no service of the kernel's VIP", udp((net.client, 1), (net.owned, 9)), ToKernel),
            ("a backend's answer", tcp((net.backend, 8080), (net.client, 1)), ToSocket),
            ("a backend's other business", tcp((net.backend, 22), (net.client, 1)), ToKernel),
            ("a SNAT port", udp((net.backend, 9), (net.local_snat, 1024)), ToSocket),
            ("a port of the kernel's", udp((net.backend, 9), (net.local_snat, 53)), ToKernel),
            ("from inside", udp((net.inside, 1), (net.client, 9)), ToSocket),
            ("a large ping", echo_request(net.client, net.vip, 1), ToSocket),
            ("GRE from inside", packet(47, net.inside, net.client, vec![0; 64]), ToKernel),
        ];
        for (id, (sentence, datagram, goes)) in (100..).zip(cases) {
            bench.expect(sentence, &datagram.clone().fragment(id, 0, true).frame(), goes);
            for _ in 0..2 {
                bench.expect(&format!("{sentence}: later"), &later(&datagram, id), goes);
            }
        }
    }
}

#[test]
fn a_later_fragment_that_comes_first_goes_by_its_addresses() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let from_to = |from, to| later(&udp((from, 1), (to, 1)), 9);
        bench.expect("to a VIP, the largest headroom", &from_to(net.client, net.vip), ToSocketWith(40));
        bench.expect("to the kernel's VIP", &from_to(net.client, net.owned), ToSocket);
        bench.expect("to a SNAT address", &from_to(net.client, net.snat), ToSocket);
        bench.expect("to a SNAT address of the kernel", &from_to(net.client, net.local_snat), ToSocket);
        bench.expect("from a backend", &from_to(net.backend, net.client), ToSocket);
        bench.expect("from a backend to the switch", &from_to(net.backend, net.local), ToKernel);
        bench.expect("from inside", &from_to(net.inside, net.client), ToSocket);
        bench.expect("from inside to the switch", &from_to(net.inside, net.local), ToKernel);
        bench.expect("between others", &from_to(net.client, net.tunnel), ToKernel);
    }
}

#[test]
fn datagrams_are_told_apart_by_identification_and_a_new_first_fragment_decides_anew() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let (ours, kernels) = (udp((net.client, 1), (net.vip, 53)), udp((net.client, 1), (net.owned, 9)));
        bench.expect("ours", &ours.clone().fragment(1, 0, true).frame(), ToSocketWith(20));
        bench.expect("with another identification", &later(&ours, 2), ToSocketWith(40));
        bench.expect(
            "to a service",
            &tcp((net.client, 1), (net.owned, 80)).fragment(5, 0, true).frame(),
            ToSocket,
        );
        bench.expect("not to a service", &kernels.clone().fragment(6, 0, true).frame(), ToKernel);
        bench.expect("the later one", &later(&kernels, 6), ToKernel);
        let reused = udp((net.client, 1), (net.vip, 9)).fragment(1, 0, true);
        bench.expect("the identification again", &reused.frame(), ToSocket);
        bench.expect("its later fragment", &later(&ours, 1), ToSocket);
    }
}

#[test]
fn a_first_fragment_without_ports_goes_by_its_addresses_and_an_atomic_one_is_whole() {
    let mut bench = Bench::new(&steering());
    let [v4, v6] = BOTH;
    let tiny = udp((v4.client, 1), (v4.vip, 53)).with_payload(&[0, 0]).fragment(3, 0, true);
    bench.expect("too short for ports", &tiny.frame(), ToSocket);
    let atomic = tcp((v6.client, 1), (v6.vip, 443)).fragment(3, 0, false);
    bench.expect("atomic", &atomic.frame(), ToSocketWith(40));
    let behind = tcp((v6.client, 1), (v6.vip, 80)).fragment(3, 0, true).extensions(&[(DESTINATION, 8)]);
    bench.expect("behind another header", &behind.frame(), ToSocket);
}
