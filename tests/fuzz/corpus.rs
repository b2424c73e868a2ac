//! Valid frames of every kind that the data path knows, and the switches they go through.

use xswitch::config;
use xswitch::control::compile::{Compiler, Usage};
use xswitch::control::network::NetworkView;
use xswitch::control::standing::Standings;
use xswitch::control::topology::Topology;
use xswitch::tables::{InterfaceId, Snapshot};

use crate::frames::network::*;
use crate::frames::pieces::split;
use crate::frames::{ACK, Arp, Checksum, FIN, IP, PSH, Packet, RST, SYN, tcp, udp};

pub const VIP: &str = "198.18.0.100:80";
const FULL: &str = "198.18.0.101:80";
const DNS: &str = "198.18.0.100:53";
const FULL_DNS: &str = "198.18.0.101:53";
const TWIN: &str = "198.18.0.102:80";

/// Two configurations in turn, as reloads have it: rows keep their places, services, neighbours and ports change.
pub fn snapshots() -> [Snapshot; 2] {
    let full = |name, vip, protocol| {
        service(name, vip, protocol, "full-nat", &[("198.18.1.11:8080", 1), ("198.18.1.12:8080", 2)])
    };
    let web = service("web", VIP, "tcp", "nat", &[("198.18.1.11:8080", 1), ("198.18.1.12:8080", 1)]);
    let first = [
        &SWITCH.replace("20000-20000", "20000-20015"),
        &web,
        &full("full", FULL, "tcp"),
        &full("full-dns", FULL_DNS, "udp"),
        &service("dns", DNS, "udp", "nat", &[("198.18.1.12:5353", 1), ("10.9.0.5:5353", 1)]),
        &service("twin", TWIN, "tcp", "nat", &[("198.18.1.11:8080", 1)]),
        NETWORK,
        DEFAULT_ROUTE,
    ]
    .concat();
    let second: String = [
        SWITCH.replace("20000-20000", "20008-20023"),
        web.replace("198.18.1.12:8080", "198.18.1.13:8080"),
        full("full", FULL, "tcp").replace("weight = 1", "weight = 0"),
        service("dns", DNS, "udp", "nat", &[("198.18.1.12:5353", 1)]),
        service("new", "198.18.0.103:80", "tcp", "nat", &[("198.18.1.11:81", 1)]),
        NETWORK.replace("198.18.0.8", "198.18.0.10"),
    ]
    .concat();
    let mut compiler = Compiler::default();
    [first, second].map(|text| {
        let config = config::parse(&text, "fuzz").unwrap_or_else(|error| panic!("{error}")).config;
        let topology = Topology::new(&config, &NetworkView::default());
        compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE).unwrap().snapshot
    })
}

/// The frames, each with the interface it arrives at.
pub fn frames() -> Vec<(InterfaceId, Vec<u8>)> {
    let mut frames = Vec::new();
    for port in 40_000..40_006 {
        let (near, far) = (format!("198.18.0.7:{port}"), format!("203.0.113.9:{port}"));
        for flags in [SYN, ACK, ACK | PSH, FIN | ACK, RST] {
            for vip in [VIP, FULL, TWIN] {
                frames.push((ETH0, tcp(&near, vip, flags).in_at_eth0_from(CLIENT7)));
                frames.push((ETH0, tcp(&far, vip, flags).in_at_eth0_from(ROUTER0)));
            }
        }
        for vip in [DNS, FULL_DNS] {
            frames.push((ETH0, udp(&near, vip).in_at_eth0_from(CLIENT7)));
            frames.push((ETH0, udp(&near, vip).in_at_eth0_from(CLIENT7).checksum(Checksum::Absent)));
        }
        for flags in [SYN | ACK, ACK, ACK | PSH, FIN | ACK, RST | ACK] {
            for client in [&near, &far] {
                frames.push((ETH1, tcp("198.18.1.11:8080", client, flags).in_at_eth1_from(BACKEND11)));
                frames.push((ETH1, tcp("198.18.1.12:8080", client, flags).in_at_eth1_from(BACKEND12)));
            }
        }
        frames.push((ETH1, udp("198.18.1.12:5353", &near).in_at_eth1_from(BACKEND12)));
    }
    for port in 20_000..20_024 {
        let snat = format!("198.18.1.2:{port}");
        frames.push((ETH1, tcp("198.18.1.11:8080", &snat, SYN | ACK).in_at_eth1_from(BACKEND11)));
        frames.push((ETH1, tcp("198.18.1.12:8080", &snat, FIN | ACK).in_at_eth1_from(BACKEND12)));
        frames.push((ETH1, udp("198.18.1.12:8080", &snat).in_at_eth1_from(BACKEND12)));
    }
    let variants = variants(&frames);
    let mut frames: Vec<_> = frames.iter().map(|(ingress, packet)| (*ingress, packet.build())).collect();
    frames.extend(variants);
    frames.extend(others());
    frames
}

/// Some of them with options, payload and padding.
fn variants(frames: &[(InterfaceId, Packet)]) -> Vec<(InterfaceId, Vec<u8>)> {
    let dressed = |packet: &Packet| {
        let options: &[u8] = &[0x94, 4, 0, 0, 1, 1, 1, 0];
        packet.clone().options(options).payload(&[0xA5; 333]).padding(&[0xEE; 5]).build()
    };
    frames.iter().step_by(9).map(|(ingress, packet)| (*ingress, dressed(packet))).collect()
}

/// Frames that are no flow.
fn others() -> Vec<(InterfaceId, Vec<u8>)> {
    let ask = |target| Arp::request((CLIENT7, [198, 18, 0, 7]), target);
    let answer = Arp { operation: 2, ..ask([198, 18, 0, 100]) };
    let mut fragment = tcp("198.18.0.7:1", VIP, ACK).in_at_eth0_from(CLIENT7).build();
    fragment[IP + 6] = 0x20;
    let mut ipv6 = fragment.clone();
    ipv6[12..14].copy_from_slice(&[0x86, 0xDD]);
    let mut tagged = tcp("198.18.0.7:1", VIP, SYN).in_at_eth0_from(CLIENT7).build();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let to_switch = tcp("198.18.0.7:1", "198.18.0.2:22", SYN).in_at_eth0_from(CLIENT7).build();
    let arp =
        [ask([198, 18, 0, 100]), ask([198, 18, 1, 2]), ask([198, 18, 0, 9]), answer].map(|arp| arp.build());
    let rest = [fragment, ipv6, tagged, to_switch, Vec::new()];
    let datagram = |vip| udp("198.18.0.7:40000", vip).in_at_eth0_from(CLIENT7).payload(&[0x5A; 700]).build();
    let pieces = [(DNS, 1), (FULL_DNS, 2), (DNS, 3)].map(|(vip, id)| split(&datagram(vip), id, 200));
    arp.into_iter().chain(rest).chain(pieces.concat()).map(|frame| (ETH0, frame)).collect()
}
