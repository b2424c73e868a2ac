//! `nat`: the destination is rewritten on the way in, the source on the way out.

use crate::frames::network::*;
use crate::frames::{ACK, Checksum, PSH, Packet, SYN, tcp, udp};
use crate::support::{Case, case, play};

const VIP: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const CLIENT: &str = "198.18.0.7:40000";
const FAR_CLIENT: &str = "203.0.113.9:40001";
const BACKEND: &str = "198.18.1.11:8080";
const DNS_BACKEND: &str = "198.18.1.12:5353";

fn switch() -> String {
    [
        SWITCH,
        &service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]),
        &service("dns", DNS, "udp", "nat", &[(DNS_BACKEND, 1)]),
        &service("behind", "198.18.0.101:80", "tcp", "nat", &[("10.9.0.5:8080", 1)]),
        NETWORK,
        DEFAULT_ROUTE,
    ]
    .concat()
}

fn request(flags: u8) -> Packet {
    tcp(CLIENT, VIP, flags).in_at_eth0_from(CLIENT7)
}

fn reply(flags: u8) -> Packet {
    tcp(BACKEND, CLIENT, flags).in_at_eth1_from(BACKEND11)
}

fn query() -> Packet {
    udp(CLIENT, DNS).in_at_eth0_from(CLIENT7)
}

fn answer() -> Packet {
    udp(DNS_BACKEND, CLIENT).in_at_eth1_from(BACKEND12)
}

pub fn cases() -> Vec<Case> {
    let switch = &switch();
    let to_backend = |flags| tcp(CLIENT, BACKEND, flags).out_of_eth1_to(BACKEND11).ttl(63);
    let to_client = |flags| tcp(VIP, CLIENT, flags).out_of_eth0_to(CLIENT7).ttl(63);
    let query_leaves = udp(CLIENT, DNS_BACKEND).out_of_eth1_to(BACKEND12).ttl(63);
    let answer_leaves = udp(DNS, CLIENT).out_of_eth0_to(CLIENT7).ttl(63);
    let odd = b"GET / HTTP/1.1\r\nHost: odd!\r\n\r\n\0";
    vec![
        case("a client's SYN goes to the backend: its address, port and MAC, one hop less to live", switch)
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_backend(SYN)),
        case("the backend's SYN+ACK goes to the client as if the VIP had sent it", switch)
            .after(ETH0, &request(SYN))
            .arrives(ETH1, &reply(SYN | ACK))
            .leaves(ETH0, to_client(SYN | ACK)),
        case("data of an odd length is forwarded unchanged", switch)
            .after(ETH0, &request(SYN))
            .after(ETH1, &reply(SYN | ACK))
            .arrives(ETH0, &request(ACK | PSH).payload(odd))
            .leaves(ETH1, to_backend(ACK | PSH).payload(odd)),
        case("as much data as the MTU holds comes back", switch)
            .after(ETH0, &request(SYN))
            .after(ETH1, &reply(SYN | ACK))
            .arrives(ETH1, &reply(ACK).payload(&[0xA5; 1460]))
            .leaves(ETH0, to_client(ACK).payload(&[0xA5; 1460])),
        case("a UDP request goes to the backend", switch)
            .arrives(ETH0, &query())
            .leaves(ETH1, query_leaves.clone()),
        case("the UDP reply goes to the client as if the VIP had sent it", switch)
            .after(ETH0, &query())
            .arrives(ETH1, &answer())
            .leaves(ETH0, answer_leaves.clone()),
        case("an empty UDP datagram is forwarded", switch)
            .arrives(ETH0, &query().payload(&[]))
            .leaves(ETH1, query_leaves.clone().payload(&[])),
        case("a UDP request without a checksum goes on without one", switch)
            .arrives(ETH0, &query().checksum(Checksum::Absent))
            .leaves(ETH1, query_leaves.clone().checksum(Checksum::Absent)),
        case("and so does the reply", switch)
            .after(ETH0, &query())
            .arrives(ETH1, &answer().checksum(Checksum::Absent))
            .leaves(ETH0, answer_leaves.checksum(Checksum::Absent)),
        case("IPv4 options stay where they are", switch)
            .arrives(ETH0, &request(SYN).options(&[0x94, 4, 0, 0, 1, 1, 1, 0]))
            .leaves(ETH1, to_backend(SYN).options(&[0x94, 4, 0, 0, 1, 1, 1, 0])),
        case("IPv4 options stay where they are before UDP, too", switch)
            .arrives(ETH0, &query().options(&[0x94, 4, 0, 0]))
            .leaves(ETH1, query_leaves.options(&[0x94, 4, 0, 0])),
        case("padding behind the packet is kept and is in no checksum", switch)
            .arrives(ETH0, &request(SYN).padding(&[0xEE; 6]))
            .leaves(ETH1, to_backend(SYN).padding(&[0xEE; 6])),
        case("a time to live of 2 is enough for one more hop", switch)
            .arrives(ETH0, &request(SYN).ttl(2))
            .leaves(ETH1, to_backend(SYN).ttl(1)),
        case("a reply to a far client goes to the router", switch)
            .after(ETH0, &tcp(FAR_CLIENT, VIP, SYN).in_at_eth0_from(ROUTER0))
            .arrives(ETH1, &tcp(BACKEND, FAR_CLIENT, SYN | ACK).in_at_eth1_from(BACKEND11))
            .leaves(ETH0, tcp(VIP, FAR_CLIENT, SYN | ACK).out_of_eth0_to(ROUTER0).ttl(63)),
        case("a request for a far backend goes to the router on its side", switch)
            .arrives(ETH0, &tcp(CLIENT, "198.18.0.101:80", SYN).in_at_eth0_from(CLIENT7))
            .leaves(ETH1, tcp(CLIENT, "10.9.0.5:8080", SYN).out_of_eth1_to(ROUTER1).ttl(63)),
    ]
}

#[test]
fn nat() {
    play(&cases());
}
