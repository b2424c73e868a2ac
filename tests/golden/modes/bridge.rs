//! The switch as a piece of wire: services are found in the frames that cross it, and nothing else is touched.

use std::net::SocketAddr;

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, InterfaceId};

use super::world::*;
use crate::frames::flow::{Flow, Head, flow, frame};
use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::{ACK, Mac, PSH, SYN, TCP, UDP, strict};

/// clients ── router .1 ── eth0 [switch] eth1 ── backend .11, one subnet.
fn config(vlan: &[u16]) -> String {
    let mut text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\ntopology = \"bridge\"\n".to_owned();
    for (protocol, family) in KINDS {
        let name = format!("{protocol}-{family:?}");
        let protocol = if protocol == TCP { "tcp" } else { "udp" };
        let backend = backend(family).to_string();
        text += &service(&name, &vip(family).to_string(), protocol, "nat", &[(&backend, 1)]);
    }
    for (number, addresses) in [(0, r#""198.18.0.2/24", "2001:db8::2/64""#), (1, "")] {
        text += &format!(
            "[[interface]]\nname = \"eth{number}\"\nmac = \"02:00:00:00:00:0{}\"\nvlan = {vlan:?}\n\
             addresses = [{addresses}]\n",
            number + 1
        );
    }
    for family in [V4, V6] {
        for (interface, host, mac) in [("eth0", 1, "02:01"), ("eth1", 11, "03:0b")] {
            let address = outside(family, host);
            text += &format!(
                "[[neighbor]]\ninterface = \"{interface}\"\naddress = \"{address}\"\nmac = \"02:00:00:00:{mac}\"\n"
            );
        }
    }
    text
}

const KINDS: [(u8, Family); 4] = [(TCP, V4), (UDP, V4), (TCP, V6), (UDP, V6)];

fn vip(family: Family) -> SocketAddr {
    SocketAddr::new(outside(family, 100), 80)
}

fn backend(family: Family) -> SocketAddr {
    SocketAddr::new(outside(family, 11), 8080)
}

/// Beyond the router.
fn client(family: Family) -> SocketAddr {
    if family == V4 { "203.0.113.9:40000" } else { "[2001:db8:77::9]:40000" }.parse().unwrap()
}

/// Of a frame that crosses.
struct Crossing<'a> {
    from: Mac,
    to: Mac,
    tags: &'a [u16],
    flow: Flow,
}

fn crosses(lab: &mut Lab, way: [InterfaceId; 2], before: &Crossing<'_>, to: Mac, after: &Flow) -> Vec<u8> {
    let arrives = frame(before.from, before.to, before.tags, &before.flow.packet());
    let outcome = lab.send(way[0], &arrives);
    assert_eq!(outcome.verdict, Verdict::Forward(way[1]));
    same("it crosses", &outcome, &frame(before.from, to, before.tags, &after.packet()));
    outcome.bytes
}

fn journeys(vlan: &[u16], tags: &[u16], ttl: u8) -> Vec<Vec<u8>> {
    let mut left = Vec::new();
    for (protocol, family) in KINDS {
        let mut lab = Lab::new(&config(vlan), 64);
        let dressed = |flow: Flow| flow.head(|head| *head = Head { ttl, traffic_class: 0xB9, ..Head::new() });
        let request = |to, flags| dressed(flow(protocol, client(family), to, flags));
        let reply = |from, flags| dressed(flow(protocol, from, client(family), flags));
        for flags in [SYN, ACK | PSH] {
            // To whichever MAC address the router took the VIP to have.
            let (asked, seen) = (request(vip(family), flags), request(backend(family), flags));
            let before = Crossing { from: ROUTER0, to: SWITCH0, tags, flow: asked };
            left.push(crosses(&mut lab, [ETH0, ETH1], &before, BACKEND11, &seen));
            let (said, told) = (reply(backend(family), flags | ACK), reply(vip(family), flags | ACK));
            let before = Crossing { from: BACKEND11, to: ROUTER0, tags, flow: said };
            left.push(crosses(&mut lab, [ETH1, ETH0], &before, ROUTER0, &told));
        }
        assert_eq!(lab.counters.connections_new.get(), 1);
    }
    left
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    let plain = journeys(&[], &[], 64);
    let tagged = journeys(&[200, 100], &[200, 100], 64);
    [plain, tagged].concat().into_iter().map(|frame| ("bridge".to_owned(), frame)).collect()
}

#[test]
fn requests_and_replies_cross_with_their_source_mac_and_time_to_live() {
    assert_eq!(left().len(), 32);
}

#[test]
fn a_bridge_is_no_router_so_that_the_last_hop_is_not_ended_here() {
    journeys(&[], &[], 1);
}

#[test]
fn tags_cross_with_their_priorities() {
    journeys(&[100], &[0xE000 | 100], 64);
    journeys(&[200, 100], &[0x7000 | 200, 0x3000 | 100], 64);
}

#[test]
fn what_belongs_to_no_service_is_not_changed() {
    let mut lab = Lab::new(&config(&[]), 64);
    for (protocol, family) in KINDS {
        let other = SocketAddr::new(outside(family, 11), 22);
        for (ingress, from, to, packet) in [
            (ETH0, ROUTER0, BACKEND11, flow(protocol, client(family), other, SYN)),
            (ETH1, BACKEND11, ROUTER0, flow(protocol, other, client(family), SYN | ACK)),
            // From the backend's port, but no reply: somebody talks to the backend directly.
            (ETH1, BACKEND11, ROUTER0, flow(protocol, backend(family), client(family), ACK)),
        ] {
            for tags in [&[][..], &[100], &[200, 100]] {
                let arrives = frame(from, to, tags, &packet.packet());
                let outcome = lab.send(ingress, &arrives);
                assert_eq!((outcome.verdict, outcome.bytes), (Verdict::ToKernel, arrives));
            }
        }
    }
}

#[test]
fn what_only_looks_like_a_services_crosses_though_the_kernel_is_out_of_reach() {
    for (protocol, family) in KINDS {
        let mut lab = Lab::new(&config(&[]), 64).without_kernel();
        // Somebody talks to the backend's port directly: the question crosses in XDP, the answer comes to us.
        let answer = flow(protocol, backend(family), client(family), SYN | ACK).packet();
        for (ingress, egress) in [(ETH1, ETH0), (ETH0, ETH1)] {
            let arrives = frame(BACKEND11, ROUTER0, &[], &answer);
            let outcome = lab.send(ingress, &arrives);
            assert_eq!((outcome.verdict, outcome.bytes), (Verdict::Forward(egress), arrives));
        }
        let for_host = lab.send(ETH1, &frame(BACKEND11, SWITCH0, &[], &answer));
        assert_eq!(for_host.verdict, Verdict::Drop(DropReason::NotSteered));
        lab.snapshot.interfaces[0].mtu = 20;
        let too_big = lab.send(ETH1, &frame(BACKEND11, ROUTER0, &[], &answer));
        assert_eq!(too_big.verdict, Verdict::Drop(DropReason::TooBig));
    }
}

#[test]
fn a_reply_leaves_by_the_other_end_whichever_that_is() {
    let mut lab = Lab::new(&config(&[]), 64);
    let request = flow(TCP, client(V4), vip(V4), SYN);
    assert_eq!(lab.send(ETH0, &request.frame(ROUTER0, SWITCH0)).verdict, Verdict::Forward(ETH1));
    let reply = flow(TCP, backend(V4), client(V4), SYN | ACK).frame(BACKEND11, ROUTER0);
    for (ingress, egress) in [(ETH1, ETH0), (ETH0, ETH1)] {
        let outcome = lab.send(ingress, &reply);
        assert_eq!(outcome.verdict, Verdict::Forward(egress));
        assert_eq!(strict::layers(&outcome.bytes)[0].source, vip(V4));
    }
}
