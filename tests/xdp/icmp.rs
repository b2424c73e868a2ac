//! Echo and errors.

use crate::bench::Goes::{ToKernel, ToSocket, ToSocketWith};
use crate::bench::{BOTH, Bench, Net, steering};
use crate::frames::{DESTINATION, Ip, echo_reply, echo_request, error, packet, tcp, udp, unreachable};

#[test]
fn a_vip_is_pinged_at_the_switch_unless_the_kernel_owns_it() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        bench.expect("request to a VIP", &echo_request(net.client, net.vip, 7).frame(), ToSocket);
        bench.expect("reply to a VIP", &echo_reply(net.client, net.vip, 7).frame(), ToSocket);
        bench.expect("to the kernel's VIP", &echo_request(net.client, net.owned, 7).frame(), ToKernel);
        bench.expect("to the switch", &echo_request(net.client, net.local, 7).frame(), ToKernel);
    }
}

#[test]
fn pings_from_inside_go_out_and_their_replies_come_back_through_us() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        bench.expect("request to the outside", &echo_request(net.inside, net.client, 7).frame(), ToSocket);
        bench.expect("reply to the outside", &echo_reply(net.inside, net.client, 7).frame(), ToKernel);
        bench.expect("request to the switch", &echo_request(net.inside, net.local, 7).frame(), ToKernel);
        bench.expect("request inside", &echo_request(net.inside, net.inside_too, 7).frame(), ToKernel);
        bench.expect("reply within the range", &echo_reply(net.client, net.snat, 1024).frame(), ToSocket);
        bench.expect("reply beyond it", &echo_reply(net.client, net.snat, 1023).frame(), ToKernel);
        bench.expect(
            "reply to the kernel's ping",
            &echo_reply(net.client, net.local_snat, 9).frame(),
            ToKernel,
        );
    }
}

#[test]
fn errors_to_a_vip_are_ours_with_the_headroom_of_its_tunnels() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let sent = tcp((net.vip, 443), (net.client, 40000));
        let kinds: &[u8] = if net.v6 { &[1, 2, 3, 4] } else { &[3, 11, 12] };
        for kind in kinds {
            let frame = error(*kind, net.client, net.vip, &sent).frame();
            bench.expect(&format!("type {kind}"), &frame, ToSocketWith(40));
        }
        let other = if net.v6 { 5 } else { 4 };
        bench.expect("no error we know", &error(other, net.client, net.vip, &sent).frame(), ToSocket);
        let nothing = packet(0, net.vip, net.client, vec![0; 8]);
        bench.expect(
            "quoting nonsense",
            &unreachable(net.client, net.vip, &nothing).frame(),
            ToSocketWith(40),
        );
    }
}

#[test]
fn errors_to_a_vip_of_the_kernel_are_ours_only_about_a_service() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let about =
            |port| unreachable(net.client, net.owned, &tcp((net.owned, port), (net.client, 40000))).frame();
        bench.expect("about a service", &about(80), ToSocket);
        bench.expect("about the kernel's connection", &about(22), ToKernel);
    }
}

#[test]
fn errors_to_a_snat_address_are_ours_within_its_ranges() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        for address in [net.snat, net.local_snat] {
            let about = |quoted: Ip| unreachable(net.client, address, &quoted).frame();
            bench.expect("about TCP", &about(tcp((address, 1024), (net.backend, 80))), ToSocket);
            bench.expect("about UDP", &about(udp((address, 2000), (net.client, 53))), ToSocket);
            bench.expect("about an echo request", &about(echo_request(address, net.client, 1500)), ToSocket);
            bench.expect("about an echo reply", &about(echo_reply(address, net.client, 1500)), ToKernel);
            bench.expect("about the kernel's TCP", &about(tcp((address, 40000), (net.client, 80))), ToKernel);
            bench.expect("about the kernel's echo", &about(echo_request(address, net.client, 9)), ToKernel);
        }
    }
}

#[test]
fn errors_about_what_a_backend_gets_or_sends_are_ours() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let request = tcp((net.client, 40000), (net.backend, 8080));
        bench.expect("from the backend", &unreachable(net.backend, net.client, &request).frame(), ToSocket);
        bench.expect("from a router", &unreachable(net.tunnel, net.client, &request).frame(), ToSocket);
        let reply = tcp((net.backend, 8080), (net.client, 40000));
        bench.expect("about a reply", &unreachable(net.client, net.backend, &reply).frame(), ToSocket);
        let other = tcp((net.client, 40000), (net.backend, 22));
        bench.expect("about another port", &unreachable(net.backend, net.client, &other).frame(), ToKernel);
        let own = tcp((net.local, 40000), (net.backend, 8080));
        bench.expect(
            "about a connection of the switch",
            &unreachable(net.backend, net.local, &own).frame(),
            ToKernel,
        );
    }
}

#[test]
fn errors_about_what_went_inside_are_ours() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let inbound = udp((net.client, 53), (net.inside, 40000));
        bench.expect(
            "from the inside host",
            &unreachable(net.inside, net.client, &inbound).frame(),
            ToSocket,
        );
        let ping = echo_request(net.inside, net.client, 7);
        bench.expect("to the inside host", &unreachable(net.client, net.inside, &ping).frame(), ToSocket);
        let own = udp((net.local, 53), (net.inside, 40000));
        bench.expect(
            "about what the switch sent",
            &unreachable(net.inside, net.local, &own).frame(),
            ToKernel,
        );
        let between = udp((net.inside_too, 53), (net.inside, 40000));
        bench.expect(
            "between inside hosts",
            &unreachable(net.inside, net.inside_too, &between).frame(),
            ToKernel,
        );
        let gre = packet(47, net.client, net.inside, vec![0; 8]);
        bench.expect("about GRE", &unreachable(net.inside, net.client, &gre).frame(), ToKernel);
    }
}

#[test]
fn errors_about_our_tunnels_are_ours_and_about_those_of_the_kernel_are_not() {
    let mut bench = Bench::new(&steering());
    for net in BOTH {
        let about = |net: &Net, quoted: &Ip| unreachable(net.client, net.local, quoted).frame();
        for protocol in [4, 41] {
            let ours = packet(protocol, net.local, net.tunnel, vec![0; 40]);
            bench.expect("IP in IP to a backend", &about(&net, &ours), ToSocket);
            let other = packet(protocol, net.local, net.client, vec![0; 40]);
            bench.expect("IP in IP to another", &about(&net, &other), ToKernel);
        }
        bench.expect("GUE to a backend", &about(&net, &udp((net.local, 1), (net.tunnel, 6080))), ToSocket);
        bench.expect("UDP to a backend", &about(&net, &udp((net.local, 1), (net.tunnel, 53))), ToKernel);
        bench.expect("GUE to another", &about(&net, &udp((net.local, 1), (net.client, 6080))), ToKernel);
        bench.expect("TCP of the kernel", &about(&net, &tcp((net.local, 1), (net.tunnel, 6080))), ToKernel);
    }
}

#[test]
fn quoted_packets_may_have_options_extensions_or_be_cut_short() {
    let mut bench = Bench::new(&steering());
    let [v4, v6] = BOTH;
    let quoted = tcp((v4.client, 1), (v4.backend, 8080)).options(&[1; 40]);
    let outer = unreachable(v4.backend, v4.client, &quoted).options(&[1; 40]);
    bench.expect("both headers with options", &outer.frame(), ToSocket);
    let quoted = tcp((v6.client, 1), (v6.backend, 8080)).extensions(&[(DESTINATION, 24); 6]);
    let outer = unreachable(v6.backend, v6.client, &quoted).extensions(&[(DESTINATION, 24); 6]);
    bench.expect("both headers with six extensions", &outer.frame(), ToSocket);
    for net in BOTH {
        let whole = unreachable(net.backend, net.client, &tcp((net.client, 1), (net.backend, 8080)));
        for length in 0..whole.payload.len() - 4 {
            let cut = whole.clone().with_payload(&whole.payload[..length]);
            bench.expect(&format!("cut after {length} bytes"), &cut.frame(), ToKernel);
        }
        let later = tcp((net.client, 1), (net.backend, 8080)).fragment(7, 800, true);
        bench.expect(
            "quoting a later fragment",
            &unreachable(net.backend, net.client, &later).frame(),
            ToKernel,
        );
    }
}
