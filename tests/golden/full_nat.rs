//! `full-nat`: both ends are rewritten, both ways.

use xswitch::tables::DropReason;

use crate::frames::network::*;
use crate::frames::{ACK, Checksum, SYN, tcp, udp};
use crate::support::{Case, case, play};

const VIP: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const CLIENT: &str = "198.18.0.7:40000";
const OTHER_CLIENT: &str = "198.18.0.8:40000";
const BACKEND: &str = "198.18.1.11:8080";
const DNS_BACKEND: &str = "198.18.1.12:5353";

fn routed() -> String {
    [
        SWITCH,
        &service("web", VIP, "tcp", "full-nat", &[(BACKEND, 1)]),
        &service("dns", DNS, "udp", "full-nat", &[(DNS_BACKEND, 1)]),
        &service("two", "198.18.0.101:80", "tcp", "full-nat", &[(BACKEND, 1), ("198.18.1.12:8080", 1)]),
        NETWORK,
        DEFAULT_ROUTE,
    ]
    .concat()
}

/// One interface, on which clients and backends are.
fn one_arm() -> String {
    let switch = "[switch]\ninterfaces = [\"eth0\"]\nsnat_addresses = [\"198.18.0.3\"]\n\
                  snat_ports = \"20000-20000\"\n";
    let facts = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24"]
[[neighbor]]
interface = "eth0"
address = "198.18.0.7"
mac = "02:00:00:00:01:07"
[[neighbor]]
interface = "eth0"
address = "198.18.0.20"
mac = "02:00:00:00:03:14"
"#;
    let web = service("web", VIP, "tcp", "full-nat", &[("198.18.0.20:8080", 1)]);
    let dns = service("dns", DNS, "udp", "full-nat", &[("198.18.0.20:5353", 1)]);
    [switch, &web, &dns, facts].concat()
}

pub fn cases() -> Vec<Case> {
    let mut cases = two_interfaces();
    cases.extend(one_interface());
    cases.extend(ports());
    cases
}

fn two_interfaces() -> Vec<Case> {
    let switch = &routed();
    let syn = tcp(CLIENT, VIP, SYN).in_at_eth0_from(CLIENT7);
    let query = udp(CLIENT, DNS).in_at_eth0_from(CLIENT7);
    vec![
        case("the backend sees a SYN from the SNAT address", switch)
            .arrives(ETH0, &syn)
            .leaves(ETH1, tcp(SNAT, BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63)),
        case("the backend's SYN+ACK to the SNAT address finds the client", switch)
            .after(ETH0, &syn)
            .arrives(ETH1, &tcp(BACKEND, SNAT, SYN | ACK).in_at_eth1_from(BACKEND11))
            .leaves(ETH0, tcp(VIP, CLIENT, SYN | ACK).out_of_eth0_to(CLIENT7).ttl(63)),
        case("a UDP request leaves with the SNAT address", switch)
            .arrives(ETH0, &query)
            .leaves(ETH1, udp(SNAT, DNS_BACKEND).out_of_eth1_to(BACKEND12).ttl(63)),
        case("the UDP reply to the SNAT address finds the client", switch)
            .after(ETH0, &query)
            .arrives(ETH1, &udp(DNS_BACKEND, SNAT).in_at_eth1_from(BACKEND12))
            .leaves(ETH0, udp(DNS, CLIENT).out_of_eth0_to(CLIENT7).ttl(63)),
        case("UDP without a checksum stays without one", switch)
            .arrives(ETH0, &query.clone().checksum(Checksum::Absent))
            .leaves(
                ETH1,
                udp(SNAT, DNS_BACKEND).out_of_eth1_to(BACKEND12).ttl(63).checksum(Checksum::Absent),
            ),
    ]
}

fn one_interface() -> Vec<Case> {
    let switch = &one_arm();
    let snat = "198.18.0.3:20000";
    let syn = tcp(CLIENT, VIP, SYN).in_at_eth0_from(CLIENT7);
    let query = udp(CLIENT, DNS).in_at_eth0_from(CLIENT7);
    vec![
        case("with one arm a request leaves where it came in", switch)
            .arrives(ETH0, &syn)
            .leaves(ETH0, tcp(snat, "198.18.0.20:8080", SYN).out_of_eth0_to(BACKEND20).ttl(63)),
        case("with one arm a reply leaves where it came in", switch)
            .after(ETH0, &syn)
            .arrives(ETH0, &tcp("198.18.0.20:8080", snat, SYN | ACK).in_at_eth0_from(BACKEND20))
            .leaves(ETH0, tcp(VIP, CLIENT, SYN | ACK).out_of_eth0_to(CLIENT7).ttl(63)),
        case("with one arm a UDP request leaves where it came in", switch)
            .arrives(ETH0, &query)
            .leaves(ETH0, udp(snat, "198.18.0.20:5353").out_of_eth0_to(BACKEND20).ttl(63)),
        case("with one arm a UDP reply leaves where it came in", switch)
            .after(ETH0, &query)
            .arrives(ETH0, &udp("198.18.0.20:5353", snat).in_at_eth0_from(BACKEND20))
            .leaves(ETH0, udp(DNS, CLIENT).out_of_eth0_to(CLIENT7).ttl(63)),
    ]
}

fn ports() -> Vec<Case> {
    let switch = &routed();
    let two = "198.18.0.101:80";
    vec![
        case("a second connection to the same backend finds the one port taken", switch)
            .after(ETH0, &tcp(CLIENT, VIP, SYN).in_at_eth0_from(CLIENT7))
            .arrives(ETH0, &tcp(OTHER_CLIENT, VIP, SYN).in_at_eth0_from(CLIENT8))
            .gets_dropped(DropReason::SnatPortsExhausted),
        case("towards another backend the same port is free", switch)
            .after(ETH0, &tcp(CLIENT, two, SYN).in_at_eth0_from(CLIENT7))
            .arrives(ETH0, &tcp(OTHER_CLIENT, two, SYN).in_at_eth0_from(CLIENT8))
            .leaves(ETH1, tcp(SNAT, "198.18.1.12:8080", SYN).out_of_eth1_to(BACKEND12).ttl(63)),
        case("a connection keeps its port while others find none", switch)
            .after(ETH0, &tcp(CLIENT, VIP, SYN).in_at_eth0_from(CLIENT7))
            .arrives(ETH0, &tcp(CLIENT, VIP, ACK).in_at_eth0_from(CLIENT7))
            .leaves(ETH1, tcp(SNAT, BACKEND, ACK).out_of_eth1_to(BACKEND11).ttl(63)),
        case("a late frame to the SNAT address and port has no connection any more", switch)
            .arrives(ETH1, &tcp(BACKEND, SNAT, ACK).in_at_eth1_from(BACKEND11))
            .gets_dropped(DropReason::NoConnection),
        case("a port outside the pool at the SNAT address is not ours", switch)
            .arrives(ETH1, &tcp(BACKEND, "198.18.1.2:20001", ACK).in_at_eth1_from(BACKEND11))
            .stays_with_the_kernel(),
    ]
}

#[test]
fn full_nat() {
    play(&cases());
}
