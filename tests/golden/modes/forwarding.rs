//! One row of the forwarding table after the other: what leaves, byte for byte.

use std::collections::HashSet;

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use super::world::*;
use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::strict;
use crate::frames::{ACK, FIN, PSH, SYN, TCP, UDP};

/// A connection's life, as far as the switch sees it. What left.
fn journey(world: &World, row: Row) -> Vec<Vec<u8>> {
    let mut lab = world.lab();
    let mut left = vec![deliver(world, &mut lab, row, &first(row))];
    if row.replies_come_back() {
        left.push(answer(world, &mut lab, row, &row.reply(SYN | ACK)));
    }
    let data = row.request(ACK | PSH).payload(b"some data of an odd length!");
    left.push(deliver(world, &mut lab, row, &data));
    if row.replies_come_back() {
        left.push(answer(world, &mut lab, row, &row.reply(ACK | PSH).payload(&[0xA5; 1000])));
        left.push(answer(world, &mut lab, row, &row.reply(ACK | FIN)));
    }
    left.push(deliver(world, &mut lab, row, &row.request(ACK | FIN)));
    assert_eq!(lab.counters.connections_new.get(), 1, "{}", row.says());
    left
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    let world = World::default();
    let journeys = rows().into_iter().map(|row| (row, journey(&world, row)));
    journeys.flat_map(|(row, left)| left.into_iter().map(move |frame| (row.says(), frame))).collect()
}

#[test]
fn every_mode_forwards_tcp_and_udp_of_both_families() {
    assert_eq!(rows().len(), 28);
    assert!(left().len() > 100);
}

/// The XDP program makes the room that the service needs; more, less or none of it gives the same frames.
#[test]
fn room_in_front_of_a_frame_changes_nothing_that_leaves() {
    for row in rows() {
        let plain = journey(&World::default(), row);
        for room in [8, 20, 32, 40, 52, 60] {
            assert_eq!(journey(&World { room, ..World::default() }, row), plain, "{}, {room}", row.says());
        }
    }
}

#[test]
fn a_full_chunk_has_no_headroom_for_a_tunnel() {
    let row = Row::of("ipip", UDP, V4, V4);
    let config = World::default().config().replace("vlan = []", "vlan = []\nmtu = 9000");
    let request = first(row).payload(&[7; 4096 - 14 - 28]);
    let mut lab = Lab::new(&config, 64);
    let arrives = request.frame(CLIENT7, SWITCH0);
    let outcome = lab.send(ETH0, &arrives);
    assert_eq!(
        (outcome.verdict, outcome.bytes.len()),
        (Verdict::Drop(DropReason::NoHeadroom), arrives.len())
    );
    assert_eq!(lab.send(ETH0, &first(row).frame(CLIENT7, SWITCH0)).verdict, Verdict::Forward(ETH1));
}

#[test]
fn the_frames_of_a_flow_look_alike_to_routers_and_those_of_others_do_not() {
    for row in rows().into_iter().filter(|row| row.is_tunnel()) {
        let mut lab = World::default().lab();
        let mut spread = HashSet::new();
        for client in 0..200 {
            let mut flow = first(row);
            flow.source.set_port(30_000 + client);
            let seen = [(); 2].map(|()| {
                let left = deliver(&World::default(), &mut lab, row, &flow);
                let outer = &strict::layers(&left)[0];
                let label = if row.backend == V6 { outer.packet[..4].to_vec() } else { Vec::new() };
                (label, outer.source.port())
            });
            assert_eq!(seen[0], seen[1], "{}", row.says());
            spread.insert(seen[0].clone());
        }
        let varies = row.mode == "gue" || row.backend == V6;
        assert!(if varies { spread.len() > 190 } else { spread.len() == 1 }, "{}", row.says());
    }
}

/// An ID that is always the same would let the pieces of two packets be taken for those of one (RFC 6864 §4.3).
#[test]
fn outer_packets_that_may_be_cut_each_have_an_id_of_their_own() {
    for row in rows().into_iter().filter(|row| row.is_tunnel() && row.client == V4 && row.backend == V4) {
        let mut lab = World::default().lab();
        let ids: HashSet<_> = (0..500u16)
            .map(|number| {
                let request = first(row).head(|head| (head.dont_fragment, head.id) = (false, number));
                let left = deliver(&World::default(), &mut lab, row, &request);
                [left[18], left[19]]
            })
            .collect();
        assert_eq!(ids.len(), 500, "{}", row.says());
    }
}

#[test]
fn one_vip_has_backends_of_both_families_behind_tunnels() {
    for mode in ["ipip", "gue"] {
        for client in [V4, V6] {
            let vip = "198.18.0.90:80".parse().unwrap();
            let vip = if client == V4 { vip } else { std::net::SocketAddr::new(outside(V6, 90), 80) };
            let backends = [inside(V4, 11), inside(V6, 11)].map(|address| (address, 80));
            let texts = backends.map(|(address, port)| std::net::SocketAddr::new(address, port).to_string());
            let mixed = service("mixed", &vip.to_string(), "tcp", mode, &[(&texts[0], 1), (&texts[1], 1)]);
            let world = World::default();
            let (switch, rest) =
                world.config().split_once("[[service]]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            let facts = &rest[rest.find("[[interface]]").unwrap()..];
            let mut lab = Lab::new(&format!("{switch}{mixed}{facts}"), 64);
            for number in 0..8 {
                let backend = [V4, V6][number % 2];
                let row = Row::of(mode, TCP, client, backend);
                let mut request = first(row);
                request.destination = vip;
                request.source.set_port(40_000 + number as u16);
                deliver(&world, &mut lab, row, &request);
                deliver(&world, &mut lab, row, &crate::frames::flow::Flow { flags: ACK, ..request });
            }
        }
    }
}

#[test]
fn without_an_address_to_send_from_there_is_no_tunnel() {
    for (client, backend) in [(V6, V4), (V4, V6)] {
        let row = Row::of("ipip", UDP, client, backend);
        let arrives = first(row).frame(CLIENT7, SWITCH0);
        let [far, near] = [outside(backend, 2), inside(backend, 1)];
        let of = |config: &str| Lab::new(config, 64).send(ETH0, &arrives);
        let source = |config: &str| strict::layers(&of(config).bytes)[0].source.ip();
        let lacks = |config: &str, address: std::net::IpAddr| {
            let mut length = if backend == V4 { "/24" } else { "/64" }.to_owned();
            length.insert_str(0, &format!("\"{address}"));
            length.push('"');
            config.replace(&format!("{length}, "), "").replace(&format!(", {length}"), "")
        };
        let network = if backend == V4 { "198.18.1.0/24" } else { "2001:db8:1::/64" };
        let config =
            World::default().config() + &format!("[[route]]\nprefix = \"{network}\"\ninterface = \"eth1\"\n");
        assert_eq!(source(&config), near, "{}", row.says());
        let config = lacks(&config, near);
        assert_eq!(source(&config), far, "{}: another address of the switch", row.says());
        let config = lacks(&config, far);
        let outcome = of(&config);
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::NoTunnelSource), "{}", row.says());
        assert_eq!(outcome.bytes, arrives);
        let named = inside(backend, 99);
        let config = config.replacen("[switch]", &format!("[switch]\ntunnel_sources = [\"{named}\"]"), 1);
        assert_eq!(source(&config), named, "{}", row.says());
    }
}

/// Nothing that a backend sends directly is changed, should it cross the switch all the same.
#[test]
fn a_direct_reply_that_crosses_the_switch_is_no_business_of_its_services() {
    for row in rows().into_iter().filter(|row| !row.replies_come_back()) {
        let mut lab = World::default().lab();
        deliver(&World::default(), &mut lab, row, &first(row));
        let reply = crate::frames::flow::flow(row.protocol, row.vip(), row.client(), SYN | ACK);
        let arrives = reply.frame(BACKEND11, SWITCH1);
        let outcome = lab.send(ETH1, &arrives);
        assert_eq!((outcome.verdict, outcome.bytes), (Verdict::ToKernel, arrives), "{}", row.says());
    }
}
