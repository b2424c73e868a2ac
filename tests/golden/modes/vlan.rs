//! VLANs: each interface has its own, and what is of another is nobody's.

use xswitch::dataplane::Verdict;

use super::world::*;
use crate::frames::network::*;
use crate::frames::{ACK, Mac, SYN};
use crate::frames::{flow, strict};

const PRIORITY: u16 = 0xB000;

/// Into and out of VLANs, from none to two.
const WORLDS: [[&[u16]; 2]; 7] = [
    [&[], &[100]],
    [&[100], &[]],
    [&[100], &[100]],
    [&[100], &[4094]],
    [&[], &[200, 100]],
    [&[200, 100], &[]],
    [&[200, 100], &[7]],
];

fn worlds() -> impl Iterator<Item = World> {
    WORLDS.into_iter().map(|vlans| World { vlans, ..World::default() })
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    let mut left = Vec::new();
    for world in worlds() {
        for row in rows() {
            let mut lab = world.lab();
            let says = format!("{}, VLANs {:?}", row.says(), world.vlans);
            left.push((says.clone(), deliver(&world, &mut lab, row, &first(row))));
            left.push((says.clone(), deliver(&world, &mut lab, row, &row.request(ACK).payload(b"data"))));
            if row.replies_come_back() {
                left.push((says, answer(&world, &mut lab, row, &row.reply(SYN | ACK).payload(b"reply"))));
            }
        }
    }
    left
}

#[test]
fn every_mode_leads_from_one_vlan_into_another() {
    assert!(left().len() > 400);
}

#[test]
fn room_in_front_of_tagged_frames_changes_nothing_that_leaves() {
    for world in worlds() {
        for row in rows() {
            let plain = deliver(&world, &mut world.lab(), row, &first(row));
            for room in [8, 28, 60] {
                let world = World { room, ..world.clone() };
                assert_eq!(deliver(&world, &mut world.lab(), row, &first(row)), plain, "{}", row.says());
            }
        }
    }
}

/// A frame to the switch behind these tags.
fn tagged(from: Mac, tags: &[u16], row: Row) -> Vec<u8> {
    flow::frame(from, SWITCH0, tags, &first(row).packet())
}

#[test]
fn a_frame_of_another_vlan_stays_with_the_kernel_as_it_came() {
    for (vlans, others) in [
        ([&[][..], &[]], vec![&[0][..], &[100], &[200, 100]]),
        ([&[100], &[]], vec![&[], &[101], &[0], &[200, 100], &[100, 200], &[100, 100]]),
        (
            [&[200, 100], &[]],
            vec![&[], &[100], &[200], &[100, 200], &[200, 101], &[201, 100], &[1, 200, 100]],
        ),
    ] {
        let world = World { vlans, ..World::default() };
        for row in rows() {
            let mut lab = world.lab();
            for tags in &others {
                let arrives = tagged(CLIENT7, tags, row);
                let outcome = lab.send(ETH0, &arrives);
                assert_eq!(
                    (outcome.verdict, outcome.bytes),
                    (Verdict::ToKernel, arrives),
                    "{tags:?} {vlans:?}"
                );
            }
            deliver(&world, &mut lab, row, &first(row));
        }
    }
}

#[test]
fn the_priority_of_a_tag_makes_no_other_vlan_and_ends_where_the_vlan_does() {
    for row in rows() {
        let world = World { vlans: [&[100], &[7]], ..World::default() };
        let mut lab = world.lab();
        let outcome = lab.send(ETH0, &tagged(CLIENT7, &[PRIORITY | 100], row));
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{}", row.says());
        assert_eq!(strict::link(&outcome.bytes).0, [7]);
        let (_, at) = strict::link(&outcome.bytes);
        let delivered = row.delivered(&first(row), &outcome.bytes[at..]);
        same(&row.says(), &outcome, &world.leaving(ETH1, BACKEND11, &delivered));
    }
}

/// What the switch says itself goes back behind the very tags that it was asked behind.
#[test]
fn an_error_goes_back_into_the_vlan_that_the_frame_came_from() {
    for tags in [&[PRIORITY | 100][..], &[0x2000 | 200, 0x6000 | 100]] {
        let vlans: [&'static [u16]; 2] = [if tags.len() == 1 { &[100] } else { &[200, 100] }, &[7]];
        for row in rows().into_iter().filter(|row| row.mode != "dsr") {
            let request = first(row).head(|head| head.ttl = 1);
            let arrives = flow::frame(CLIENT7, SWITCH0, tags, &request.packet());
            for room in [0, 40] {
                let outcome = World { vlans, room, ..World::default() }.lab().send(ETH0, &arrives);
                assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{}", row.says());
                assert_eq!(strict::link(&outcome.bytes).0, tags, "{}", row.says());
                assert_eq!(outcome.bytes[..12], [CLIENT7, SWITCH0].concat());
                assert_eq!(strict::layers(&outcome.bytes)[0].destination.ip(), row.client().ip());
            }
        }
    }
}
