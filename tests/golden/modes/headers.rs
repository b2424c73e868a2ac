//! What headers say besides where to: traffic class, time to live, options, extension headers, absent checksums.

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use super::world::*;
use crate::frames::flow::Flow;
use crate::frames::network::*;
use crate::frames::strict;
use crate::frames::{ACK, FIN, SYN, TCP, UDP};

/// EF (RFC 3246) and every ECN value; DSCP 63 with congestion experienced.
const CLASSES: [u8; 6] = [0, 0xB8, 0xB9, 0xBA, 0xBB, 0xFF];

const ROUTER_ALERT_V4: [u8; 8] = [0x94, 4, 0, 0, 1, 1, 1, 0];
const HOP_BY_HOP: [u8; 8] = [0, 0, 5, 2, 0, 0, 1, 0];
const DESTINATION_OPTIONS: [u8; 16] = [0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Routing header of type 4 with no segments left.
const ROUTING: [u8; 24] = [0, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
/// The only piece of its packet (RFC 6946).
const ATOMIC: [u8; 8] = [0, 0, 0, 0, 0xDE, 0xAD, 0xBE, 0xEF];

/// Requests with headers that are not plain.
fn dressed(row: Row) -> Vec<Flow> {
    if row.client == V4 {
        let options = |options: &'static [u8]| first(row).head(|head| head.options = options.to_vec());
        return vec![options(&ROUTER_ALERT_V4), options(&[1; 40])];
    }
    let chains: [&[(u8, &[u8])]; 6] = [
        &[(0, &HOP_BY_HOP)],
        &[(60, &DESTINATION_OPTIONS)],
        &[(43, &ROUTING)],
        &[(44, &ATOMIC)],
        &[(0, &HOP_BY_HOP), (60, &DESTINATION_OPTIONS), (43, &ROUTING), (44, &ATOMIC), (60, &HOP_BY_HOP)],
        &[(60, &HOP_BY_HOP[..]); 8],
    ];
    let with = |chain: &[(u8, &[u8])]| {
        let extensions = chain.iter().map(|(number, bytes)| (*number, bytes.to_vec())).collect();
        first(row).head(|head| head.extensions = extensions)
    };
    chains.map(with).into()
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    let world = World::default();
    let mut left = Vec::new();
    for row in rows() {
        for request in dressed(row) {
            left.push((row.says(), deliver(&world, &mut world.lab(), row, &request)));
        }
        for class in CLASSES {
            let request = first(row).head(|head| head.traffic_class = class);
            left.push((row.says(), deliver(&world, &mut world.lab(), row, &request)));
        }
    }
    left
}

#[test]
fn options_and_extension_headers_stay_where_they_are() {
    for row in rows() {
        for request in dressed(row) {
            for room in [0, 40] {
                let world = World { room, ..World::default() };
                let mut lab = world.lab();
                deliver(&world, &mut lab, row, &request);
                deliver(&world, &mut lab, row, &Flow { flags: ACK, ..request.clone() }.payload(b"more"));
            }
        }
        if row.replies_come_back() {
            let mut lab = World::default().lab();
            deliver(&World::default(), &mut lab, row, &first(row));
            for request in dressed(row) {
                let reply = Flow { head: request.head, ..row.reply(SYN | ACK) };
                answer(&World::default(), &mut lab, row, &reply);
            }
        }
    }
}

/// RFC 2983 uniform model, RFC 6040 normal mode.
#[test]
fn dscp_and_ecn_are_those_of_the_packet_inside_and_out() {
    for row in rows() {
        for class in CLASSES {
            let request = first(row).head(|head| head.traffic_class = class);
            let left = deliver(&World::default(), &mut World::default().lab(), row, &request);
            let layers = strict::layers(&left);
            assert_eq!(layers.len(), 1 + usize::from(row.is_tunnel()), "{}", row.says());
            assert!(layers.iter().all(|layer| layer.traffic_class == class), "{}", row.says());
        }
    }
}

#[test]
fn a_time_to_live_of_1_ends_everywhere_but_where_nothing_is_routed() {
    for row in rows() {
        let (mut lab, world) = (World::default().lab(), World::default());
        let request = |ttl: u8| first(row).head(|head| head.ttl = ttl);
        for flow in [request(1), {
            deliver(&world, &mut lab, row, &request(2));
            request(1)
        }] {
            if row.mode == "dsr" {
                deliver(&world, &mut lab, row, &flow);
                continue;
            }
            let outcome = lab.send(ETH0, &flow.frame(CLIENT7, SWITCH0));
            assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{}: time exceeded", row.says());
            strict::layers(&outcome.bytes);
        }
        assert_eq!(lab.counters.connections_new.get(), 1, "{}", row.says());
    }
}

#[test]
fn where_nothing_is_routed_a_connection_starts_over_on_its_last_hop() {
    for row in rows().into_iter().filter(|row| row.mode == "dsr" && row.protocol == TCP) {
        let (world, mut lab) = (World::default(), World::default().lab());
        for flags in [SYN, FIN | ACK, SYN] {
            let request = Flow { flags, ..first(row) }.head(|head| head.ttl = 1);
            deliver(&world, &mut lab, row, &request);
        }
        assert_eq!(lab.counters.connections_new.get(), 2, "{}", row.says());
    }
}

#[test]
fn the_outer_time_to_live_says_nothing_of_the_inner() {
    for row in rows().into_iter().filter(|row| row.is_tunnel()) {
        for ttl in [2, 255] {
            let request = first(row).head(|head| head.ttl = ttl);
            let left = deliver(&World::default(), &mut World::default().lab(), row, &request);
            let seen: Vec<_> = strict::layers(&left).iter().map(|layer| layer.ttl).collect();
            assert_eq!(seen, [64, ttl - 1], "{}", row.says());
        }
    }
}

#[test]
fn udp_without_a_checksum_passes_over_ipv4_alone() {
    for row in rows().into_iter().filter(|row| row.protocol == UDP) {
        let request = first(row).unchecked();
        if row.client == V4 {
            let left = deliver(&World::default(), &mut World::default().lab(), row, &request);
            assert!(strict::layers(&left).last().unwrap().unchecked, "{}", row.says());
        } else {
            let outcome = World::default().lab().send(ETH0, &request.frame(CLIENT7, SWITCH0));
            assert_eq!(outcome.verdict, Verdict::Drop(DropReason::L4Checksum), "{}", row.says());
        }
    }
}

#[test]
fn what_is_damaged_is_dropped_before_it_is_put_into_a_tunnel() {
    for row in rows() {
        let mut arrives = first(row).payload(b"a word").frame(CLIENT7, SWITCH0);
        *arrives.last_mut().unwrap() ^= 0x10;
        let outcome = World::default().lab().send(ETH0, &arrives);
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::L4Checksum), "{}", row.says());
        assert_eq!(outcome.bytes, arrives);
    }
}

/// Behind the packet: kept where the frame stays one, left off where the packet goes into another.
#[test]
fn padding_does_not_get_into_a_tunnel() {
    for row in rows() {
        let request = first(row).payload(b"");
        let padding = [0xEE; 6];
        let arrives = [&request.frame(CLIENT7, SWITCH0)[..], &padding].concat();
        let outcome = World::default().lab().send(ETH0, &arrives);
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
        let delivered = row.delivered(&request, &outcome.bytes[14..]);
        let mut expected = World::default().leaving(ETH1, BACKEND11, &delivered);
        if !row.is_tunnel() {
            expected.extend(padding);
        }
        same(&row.says(), &outcome, &expected);
    }
}

#[test]
fn a_segment_that_opens_nothing_finds_no_backend_by_any_mode() {
    for row in rows().into_iter().filter(|row| row.protocol == TCP) {
        let outcome = World::default().lab().send(ETH0, &row.request(ACK).frame(CLIENT7, SWITCH0));
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::NoConnection), "{}", row.says());
    }
}
