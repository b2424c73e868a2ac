//! What is dropped, and what is left to the kernel.

use xswitch::tables::{DropReason, Event};

use crate::frames::network::*;
use crate::frames::{ACK, IP, Packet, RST, SYN, check, tcp, udp};
use crate::support::{Case, case, play};

const VIP: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const CLIENT: &str = "198.18.0.7:40000";
const BACKEND: &str = "198.18.1.11:8080";

fn switch() -> String {
    [
        SWITCH,
        &service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]),
        &service("dns", DNS, "udp", "nat", &[("198.18.1.12:5353", 1)]),
        &service("idle", "198.18.0.101:80", "tcp", "nat", &[("198.18.1.12:81", 0), ("198.18.1.11:81", 0)]),
        &service("silent", "198.18.0.102:80", "tcp", "nat", &[("198.18.1.13:8080", 1)]),
        &service("twin", "198.18.0.103:80", "tcp", "nat", &[(BACKEND, 1)]),
        &service("lost", "198.18.0.104:80", "tcp", "nat", &[("203.0.113.5:8080", 1)]),
        NETWORK,
    ]
    .concat()
}

fn syn_to(vip: &str) -> Packet {
    tcp(CLIENT, vip, SYN).in_at_eth0_from(CLIENT7)
}

pub fn cases() -> Vec<Case> {
    let mut cases = not_ours();
    cases.extend(unreachable());
    cases.extend(limits());
    cases.extend(cut_short());
    cases
}

fn not_ours() -> Vec<Case> {
    let switch = &switch();
    vec![
        case("a frame for another MAC address is not looked at", switch)
            .arrives(ETH0, &tcp(CLIENT, VIP, SYN).macs(CLIENT7, CLIENT8))
            .stays_with_the_kernel(),
        case("nor is one for the MAC address of the other interface", switch)
            .arrives(ETH0, &tcp(CLIENT, VIP, SYN).macs(CLIENT7, SWITCH1))
            .stays_with_the_kernel(),
        case("a port of the VIP without a service is nobody's", switch)
            .arrives(ETH0, &syn_to("198.18.0.100:81"))
            .gets_dropped(DropReason::NotServed),
        case("a TCP service has no UDP", switch)
            .arrives(ETH0, &udp(CLIENT, VIP).in_at_eth0_from(CLIENT7))
            .gets_dropped(DropReason::NotServed),
        case("the switch's own address is the kernel's", switch)
            .arrives(ETH0, &syn_to("198.18.0.2:22"))
            .stays_with_the_kernel(),
        case("a backend's answer to the switch itself is the kernel's", switch)
            .arrives(ETH1, &tcp(BACKEND, "198.18.1.1:51000", SYN | ACK).in_at_eth1_from(BACKEND11))
            .stays_with_the_kernel(),
    ]
}

fn unreachable() -> Vec<Case> {
    let switch = &switch();
    let ask = |interface, address: &str| Event::Resolve { interface, address: address.parse().unwrap() };
    let silent = "198.18.0.9:40000";
    vec![
        case("a service whose backends all have weight 0 takes no connection", switch)
            .arrives(ETH0, &syn_to("198.18.0.101:80"))
            .gets_dropped(DropReason::NoBackend),
        case("while a backend's MAC address is unknown frames are dropped and the kernel is asked", switch)
            .arrives(ETH0, &syn_to("198.18.0.102:80"))
            .gets_dropped(DropReason::NextHopUnresolved)
            .raising(ask(ETH1, "198.18.1.13")),
        case("a request from a client whose MAC address is unknown goes on, and the kernel is asked", switch)
            .arrives(ETH0, &tcp(silent, VIP, SYN).in_at_eth0_from(CLIENT9))
            .leaves(ETH1, tcp(silent, BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63))
            .raising(ask(ETH0, "198.18.0.9")),
        case("the reply that follows at once goes to the MAC address that the request came from", switch)
            .after(ETH0, &tcp(silent, VIP, SYN).in_at_eth0_from(CLIENT9))
            .arrives(ETH1, &tcp(BACKEND, silent, SYN | ACK).in_at_eth1_from(BACKEND11))
            .leaves(ETH0, tcp(VIP, silent, SYN | ACK).out_of_eth0_to(CLIENT9).ttl(63))
            .raising(ask(ETH0, "198.18.0.9")),
        case("a reply seconds later is dropped if it is still unknown", switch)
            .after(ETH0, &tcp(silent, VIP, SYN).in_at_eth0_from(CLIENT9))
            .after_a_pause(5000)
            .arrives(ETH1, &tcp(BACKEND, silent, SYN | ACK).in_at_eth1_from(BACKEND11))
            .gets_dropped(DropReason::NextHopUnresolved)
            .raising(ask(ETH0, "198.18.0.9")),
        case("loopback is no client", switch)
            .arrives(ETH0, &tcp("127.0.0.1:40000", VIP, SYN).in_at_eth0_from(ROUTER0))
            .gets_dropped(DropReason::BadSource),
        case("a multicast address is no client", switch)
            .arrives(ETH0, &tcp("224.0.0.1:40000", VIP, SYN).in_at_eth0_from(ROUTER0))
            .gets_dropped(DropReason::BadSource),
        case("a VIP is no client", switch)
            .arrives(ETH0, &tcp("198.18.0.100:40000", VIP, SYN).in_at_eth0_from(ROUTER0))
            .gets_dropped(DropReason::BadSource),
        case("the switch's own address is no client", switch)
            .arrives(ETH0, &tcp("198.18.0.2:40000", VIP, SYN).in_at_eth0_from(ROUTER0))
            .gets_dropped(DropReason::BadSource),
        case("a client to whom there is no way back gets no connection", switch)
            .arrives(ETH0, &tcp("203.0.113.9:40000", VIP, SYN).in_at_eth0_from(ROUTER0))
            .gets_dropped(DropReason::NoRoute),
        case("a backend to which there is no way gets no connection", switch)
            .arrives(ETH0, &syn_to("198.18.0.104:80"))
            .gets_dropped(DropReason::NoRoute),
    ]
}

fn limits() -> Vec<Case> {
    let switch = &switch();
    let syn_ack = tcp(BACKEND, CLIENT, SYN | ACK).in_at_eth1_from(BACKEND11);
    let full = |says| {
        (0..64).fold(case(says, switch).table(64), |case, port| {
            let client = format!("198.18.0.7:{}", 40_000 + port);
            let syn_ack = tcp(BACKEND, &client, SYN | ACK).in_at_eth1_from(BACKEND11);
            case.after(ETH0, &tcp(&client, VIP, SYN).in_at_eth0_from(CLIENT7))
                .after(ETH1, &syn_ack)
                .after(ETH0, &tcp(&client, VIP, ACK).in_at_eth0_from(CLIENT7))
        })
    };
    // 64 UDP flows are answered, then their clients go on so often. A frame takes a millisecond.
    let full_of_datagrams = |says, rounds| {
        let client = |port| format!("198.18.0.7:{}", 40_000 + port);
        let asks = |case: Case, port| case.after(ETH0, &udp(&client(port), DNS).in_at_eth0_from(CLIENT7));
        let answered = (0..64).fold(case(says, switch).table(64), |case, port| {
            let answer = udp("198.18.1.12:5353", &client(port)).in_at_eth1_from(BACKEND12);
            asks(case, port).after(ETH1, &answer)
        });
        (0..64 * rounds).fold(answered, |case, frame| asks(case, frame % 64))
    };
    vec![
        case("a SYN with one hop left goes nowhere", switch)
            .arrives(ETH0, &syn_to(VIP).ttl(1))
            .gets_dropped(DropReason::TtlExpired),
        case("nor does a frame of a connection", switch)
            .after(ETH0, &syn_to(VIP))
            .arrives(ETH1, &syn_ack.clone().ttl(1))
            .gets_dropped(DropReason::TtlExpired),
        case("a request one byte larger than the MTU is dropped", switch)
            .after(ETH0, &syn_to(VIP))
            .arrives(ETH0, &tcp(CLIENT, VIP, ACK).in_at_eth0_from(CLIENT7).payload(&[1; 1461]))
            .gets_dropped(DropReason::TooBig),
        case("a UDP request larger than the MTU starts nothing", switch)
            .arrives(ETH0, &udp(CLIENT, DNS).in_at_eth0_from(CLIENT7).payload(&[1; 1473]))
            .gets_dropped(DropReason::TooBig),
        full("a full table refuses a new connection")
            .arrives(ETH0, &tcp("198.18.0.8:40000", VIP, SYN).in_at_eth0_from(CLIENT8))
            .gets_dropped(DropReason::TableFull),
        (0..64)
            .fold(
                case("in a full table those give way that are not confirmed", switch).table(64),
                |case, port| {
                    let client = format!("198.18.0.7:{}", 40_000 + port);
                    case.after(ETH0, &tcp(&client, VIP, SYN).in_at_eth0_from(CLIENT7))
                },
            )
            .arrives(ETH0, &tcp("198.18.0.7:39999", VIP, SYN).in_at_eth0_from(CLIENT7))
            .leaves(ETH1, tcp("198.18.0.7:39999", BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63)),
        full_of_datagrams("a UDP flow that was answered gives way", 0)
            .after_a_pause(3000)
            .arrives(ETH0, &tcp("198.18.0.8:40000", VIP, SYN).in_at_eth0_from(CLIENT8))
            .leaves(ETH1, tcp("198.18.0.8:40000", BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63)),
        full_of_datagrams("also one whose client goes on within two seconds", 10)
            .after_a_pause(3000)
            .arrives(ETH0, &tcp("198.18.0.8:40000", VIP, SYN).in_at_eth0_from(CLIENT8))
            .leaves(ETH1, tcp("198.18.0.8:40000", BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63)),
        full_of_datagrams("one whose client goes on for longer stays", 35)
            .arrives(ETH0, &tcp("198.18.0.8:40000", VIP, SYN).in_at_eth0_from(CLIENT8))
            .gets_dropped(DropReason::TableFull),
        full("a full table does not touch those that exist")
            .arrives(ETH1, &syn_ack)
            .leaves(ETH0, tcp(VIP, CLIENT, SYN | ACK).out_of_eth0_to(CLIENT7).ttl(63)),
        (0..64)
            .fold(full("a full table takes back a connection that is over"), |case, port| {
                let reset = RST | ACK;
                let client = format!("198.18.0.7:{}", 40_000 + port);
                case.after(ETH1, &tcp(BACKEND, &client, reset).in_at_eth1_from(BACKEND11))
            })
            .arrives(ETH0, &tcp("198.18.0.7:39999", VIP, SYN).in_at_eth0_from(CLIENT7))
            .leaves(ETH1, tcp("198.18.0.7:39999", BACKEND, SYN).out_of_eth1_to(BACKEND11).ttl(63)),
        case("two services share a backend: one client port can use one of them at a time", switch)
            .after(ETH0, &syn_to(VIP))
            .arrives(ETH0, &syn_to("198.18.0.103:80"))
            .gets_dropped(DropReason::TupleConflict),
    ]
}

fn cut_short() -> Vec<Case> {
    let switch = &switch();
    let syn = syn_to(VIP).build();
    let query = udp(CLIENT, DNS).in_at_eth0_from(CLIENT7).build();
    // The IP header says how long the packet is, so that only the header behind it is too short.
    let cut = |frame: &[u8], packet_len: usize| {
        let mut frame = frame[..IP + packet_len].to_vec();
        frame[IP + 2..IP + 4].copy_from_slice(&(packet_len as u16).to_be_bytes());
        repair_ip_checksum(&mut frame);
        frame
    };
    let changed = |at: usize, byte: u8| {
        let mut frame = syn.clone();
        frame[at] = byte;
        repair_ip_checksum(&mut frame);
        frame
    };
    let mut long_udp = query.clone();
    long_udp[IP + 25] += 1;
    let mut short_udp = query.clone();
    short_udp[IP + 24..IP + 26].copy_from_slice(&[0, 7]);
    let malformed = [
        ("an empty frame", vec![]),
        ("a frame that ends within the Ethernet header", syn[..13].to_vec()),
        ("a frame that ends with the Ethernet header", syn[..14].to_vec()),
        ("a frame that ends within the IP header", syn[..IP + 19].to_vec()),
        ("a packet longer than its frame", syn[..IP + 39].to_vec()),
        ("IP version 6 in an IPv4 frame", changed(IP, 0x65)),
        ("an IP header shorter than 20 bytes", changed(IP, 0x44)),
        ("an IP header longer than its packet", cut(&syn_to(VIP).options(&[1; 40]).build(), 59)),
        ("a total length shorter than the header", {
            let mut frame = syn.clone();
            frame[IP + 2..IP + 4].copy_from_slice(&[0, 19]);
            repair_ip_checksum(&mut frame);
            frame
        }),
        ("a packet that ends within the TCP header", cut(&syn, 39)),
        ("a packet that ends with the IP header", cut(&syn, 20)),
        ("a TCP header shorter than 20 bytes", changed(IP + 32, 0x40)),
        ("a TCP header longer than its segment", changed(IP + 32, 0x60)),
        ("a packet that ends within the UDP header", cut(&query, 27)),
        ("a UDP datagram longer than its packet", long_udp),
        ("a UDP datagram shorter than its header", short_udp),
    ];
    malformed
        .into_iter()
        .map(|(says, frame)| case(says, switch).arrives_raw(ETH0, frame).gets_dropped(DropReason::Malformed))
        .collect()
}

fn repair_ip_checksum(frame: &mut [u8]) {
    let header_len = (usize::from(frame[IP] & 15) * 4).clamp(20, frame.len() - IP);
    frame[IP + 10..IP + 12].fill(0);
    let checksum = !check::sum(&frame[IP..IP + header_len]);
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn refused() {
    play(&cases());
}
