//! TCP, UDP, other protocols.

use crate::bench::Goes::{ToKernel, ToSocket, ToSocketWith};
use crate::bench::{BOTH, Bench, steering};
use crate::frames::{AUTHENTICATION, DESTINATION, HOP_BY_HOP, ROUTING, packet, tcp, udp};

#[test]
fn what_is_sent_to_a_service_is_ours_with_the_headroom_it_needs() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let client = (net.client, 40000);
        bench.expect("TCP to a service", &tcp(client, (net.vip, 80)).frame(), ToSocket);
        bench.expect("TCP to a tunnel service", &tcp(client, (net.vip, 443)).frame(), ToSocketWith(40));
        bench.expect("UDP to a tunnel service", &udp(client, (net.vip, 53)).frame(), ToSocketWith(20));
        bench.expect("service at a VIP of the kernel", &tcp(client, (net.owned, 80)).frame(), ToSocket);
        bench.expect("from a backend", &tcp((net.backend, 8080), (net.vip, 443)).frame(), ToSocketWith(40));
        bench.expect("from inside", &tcp((net.inside, 1), (net.vip, 80)).frame(), ToSocket);
    }
}

#[test]
fn whatever_is_sent_to_a_vip_is_ours_unless_the_kernel_owns_it() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let client = (net.client, 40000);
        for (frame, what) in [
            (tcp(client, (net.vip, 81)).frame(), "TCP to no service"),
            (udp(client, (net.vip, 80)).frame(), "UDP to the port of a TCP service"),
            (packet(132, net.client, net.vip, vec![0; 12]).frame(), "SCTP"),
            (packet(6, net.client, net.vip, vec![0; 3]).frame(), "TCP cut short"),
        ] {
            bench.expect(what, &frame, ToSocket);
        }
        for (frame, what) in [
            (tcp(client, (net.owned, 22)).frame(), "TCP to no service of the kernel's VIP"),
            (packet(132, net.client, net.owned, vec![0; 12]).frame(), "SCTP to the kernel's VIP"),
            (tcp(client, (net.local, 80)).frame(), "TCP to the switch"),
            (tcp(client, (net.client, 80)).frame(), "TCP to somebody else"),
        ] {
            bench.expect(what, &frame, ToKernel);
        }
    }
}

#[test]
fn what_a_backend_of_a_nat_service_answers_is_ours_unless_it_answers_the_switch() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let backend = (net.backend, 8080);
        bench.expect("to a client", &tcp(backend, (net.client, 40000)).frame(), ToSocket);
        bench.expect("to the switch", &tcp(backend, (net.local, 40000)).frame(), ToKernel);
        bench.expect("another port", &tcp((net.backend, 22), (net.client, 40000)).frame(), ToKernel);
        bench.expect("another protocol", &udp(backend, (net.client, 40000)).frame(), ToKernel);
    }
}

#[test]
fn what_is_sent_to_a_snat_address_is_ours_within_its_ranges() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        for port in [1024, 2000, 5000, 6000] {
            let frame = tcp((net.client, 80), (net.snat, port)).frame();
            bench.expect(&format!("port {port}"), &frame, ToSocket);
        }
        for port in [1023, 2001, 4999, 6001, 0, 65535] {
            let frame = udp((net.client, 80), (net.snat, port)).frame();
            bench.expect(&format!("port {port}"), &frame, ToKernel);
        }
        let to_kernels = |port| tcp((net.client, 80), (net.local_snat, port)).frame();
        bench.expect("within, at an address of the kernel", &to_kernels(1500), ToSocket);
        bench.expect("a connection of the kernel's own", &to_kernels(40000), ToKernel);
    }
}

#[test]
fn what_goes_from_inside_to_the_outside_is_ours() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let from = |to| tcp((net.inside, 40000), (to, 80)).frame();
        bench.expect("to the outside", &from(net.client), ToSocket);
        bench.expect("to the switch", &from(net.local), ToKernel);
        bench.expect("to another inside prefix", &from(net.inside_too), ToKernel);
        bench.expect("to the same inside prefix", &from(net.inside), ToKernel);
        bench.expect("to an excepted prefix", &from(net.excepted), ToKernel);
        bench.expect(
            "to another port of the kernel's VIP",
            &udp((net.inside, 1), (net.owned, 80)).frame(),
            ToKernel,
        );
        for nowhere in net.nowhere {
            bench.expect(nowhere, &from(nowhere), ToKernel);
        }
        let protocol = packet(47, net.inside, net.client, vec![0; 20]);
        bench.expect("GRE is not translated", &protocol.frame(), ToKernel);
        bench.expect("from an excepted prefix", &tcp((net.excepted, 1), (net.client, 80)).frame(), ToKernel);
        bench.expect("from outside", &tcp((net.client, 1), (net.tunnel, 80)).frame(), ToKernel);
    }
}

#[test]
fn ipv4_options_and_ipv6_extension_headers_are_stepped_over() {
    let mut bench = Bench::new(&steering());
    let [v4, v6] = BOTH;
    let with_options = tcp((v4.client, 1), (v4.vip, 443)).options(&[1; 40]);
    bench.expect("forty bytes of options", &with_options.frame(), ToSocketWith(40));
    let with =
        |extensions: &[(u8, usize)]| tcp((v6.client, 1), (v6.owned, 80)).extensions(extensions).frame();
    bench.expect("hop-by-hop options", &with(&[(HOP_BY_HOP, 8)]), ToSocket);
    bench.expect("long destination options", &with(&[(DESTINATION, 64)]), ToSocket);
    bench.expect("routing and authentication", &with(&[(ROUTING, 24), (AUTHENTICATION, 24)]), ToSocket);
    bench.expect("six of them", &with(&[(DESTINATION, 8); 6]), ToSocket);
    bench.expect("seven of them", &with(&[(DESTINATION, 8); 7]), ToKernel);
    bench.expect("longer than we look", &with(&[(DESTINATION, 2048)]), ToKernel);
}

#[test]
fn what_is_forgotten_is_no_longer_ours() {
    let mut bench = Bench::new(&steering());
    bench.set(&xswitch::tables::Steering { macs: steering().macs, ..Default::default() });
    for net in BOTH {
        bench.expect("a service", &tcp((net.client, 1), (net.vip, 80)).frame(), ToKernel);
        bench.expect("a reply", &tcp((net.backend, 8080), (net.client, 1)).frame(), ToKernel);
        bench.expect("a SNAT port", &tcp((net.client, 1), (net.snat, 1024)).frame(), ToKernel);
        bench.expect("from inside", &tcp((net.inside, 1), (net.client, 1)).frame(), ToKernel);
    }
}
