//! Nothing leaves with a checksum that was not right before and is not right after.

use xswitch::tables::DropReason;

use crate::frames::network::*;
use crate::frames::{ACK, Checksum, IP, PSH, SYN, tcp, udp};
use crate::support::{Case, case, play};

const VIP: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const CLIENT: &str = "198.18.0.7:40000";
const BACKEND: &str = "198.18.1.11:8080";
const DNS_BACKEND: &str = "198.18.1.12:5353";

fn switch(verify: &str) -> String {
    [
        SWITCH,
        &format!("verify_checksums = \"{verify}\"\n"),
        &service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]),
        &service("dns", DNS, "udp", "nat", &[(DNS_BACKEND, 1)]),
        NETWORK,
    ]
    .concat()
}

pub fn cases() -> Vec<Case> {
    let (always, state) = (&switch("always"), &switch("state"));
    let syn = tcp(CLIENT, VIP, SYN).in_at_eth0_from(CLIENT7);
    let syn_ack = tcp(BACKEND, CLIENT, SYN | ACK).in_at_eth1_from(BACKEND11);
    let ack = tcp(CLIENT, VIP, ACK).in_at_eth0_from(CLIENT7);
    let data = tcp(CLIENT, VIP, ACK | PSH).in_at_eth0_from(CLIENT7).payload(b"some data");
    let established =
        |says, config: &str| case(says, config).after(ETH0, &syn).after(ETH1, &syn_ack).after(ETH0, &ack);
    let query = udp(CLIENT, DNS).in_at_eth0_from(CLIENT7);
    let wrong = Checksum::WrongBy(0x1111);
    let mut bad_ip = syn.build();
    bad_ip[IP + 10] ^= 0x40;
    let mut bad_ip_established = data.build();
    bad_ip_established[IP + 11] ^= 1;
    let data_leaves = tcp(CLIENT, BACKEND, ACK | PSH).out_of_eth1_to(BACKEND11).ttl(63).payload(b"some data");
    vec![
        case("a SYN with a wrong IP checksum starts nothing", always)
            .arrives_raw(ETH0, bad_ip)
            .gets_dropped(DropReason::IpChecksum),
        established("a wrong IP checksum is noticed with verify \"state\", too", state)
            .arrives_raw(ETH0, bad_ip_established)
            .gets_dropped(DropReason::IpChecksum),
        case("a SYN with a wrong TCP checksum starts nothing", state)
            .arrives(ETH0, &syn.clone().checksum(wrong))
            .gets_dropped(DropReason::L4Checksum),
        established("data with a wrong TCP checksum is dropped", always)
            .arrives(ETH0, &data.clone().checksum(wrong))
            .gets_dropped(DropReason::L4Checksum),
        established("with verify \"state\" it goes on, wrong by the same amount", state)
            .arrives(ETH0, &data.clone().checksum(wrong))
            .leaves(ETH1, data_leaves.checksum(wrong)),
        established("with verify \"state\" a reset with a wrong checksum changes nothing", state)
            .arrives(ETH0, &tcp(CLIENT, VIP, crate::frames::RST).in_at_eth0_from(CLIENT7).checksum(wrong))
            .gets_dropped(DropReason::L4Checksum),
        case("a UDP request with a wrong checksum starts nothing", state)
            .arrives(ETH0, &query.clone().checksum(wrong))
            .gets_dropped(DropReason::L4Checksum),
        case("a UDP reply with a wrong checksum is dropped", always)
            .after(ETH0, &query)
            .arrives(ETH1, &udp(DNS_BACKEND, CLIENT).in_at_eth1_from(BACKEND12).checksum(wrong))
            .gets_dropped(DropReason::L4Checksum),
        case("a TCP checksum that was left to an offload is named as such", always)
            .arrives(ETH0, &syn.clone().checksum(Checksum::LeftToOffload))
            .gets_dropped(DropReason::ChecksumOffload),
        case("a UDP checksum that was left to an offload is named as such", always)
            .arrives(ETH0, &query.clone().checksum(Checksum::LeftToOffload))
            .gets_dropped(DropReason::ChecksumOffload),
    ]
}

#[test]
fn checksums() {
    play(&cases());
}
