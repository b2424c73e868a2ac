//! As much as fits, and one byte more.

use xswitch::dataplane::Verdict;

use super::world::*;
use crate::frames::flow::{Flow, frame};
use crate::frames::network::*;
use crate::frames::pieces::{fragmentable, join};
use crate::frames::{ACK, TCP, strict};

/// Bytes of payload with which the packet, and what is put in front of it, is as long as the MTU.
fn fitting(row: Row) -> usize {
    let ip = if row.client == V4 { 20 } else { 40 };
    MTU - row.overhead() - ip - if row.protocol == TCP { 20 } else { 8 }
}

fn large(row: Row, bytes: usize) -> Flow {
    let payload: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    row.request(ACK).payload(&payload)
}

/// Sends a packet of one byte more than fits and that may be cut: the pieces that leave.
fn cut(row: Row, more: usize, room: usize) -> Vec<Vec<u8>> {
    let world = World { room, ..World::default() };
    let mut lab = world.lab();
    deliver(&world, &mut lab, row, &first(row));
    let request = large(row, fitting(row) + more).head(|head| (head.dont_fragment, head.id) = (false, 0x77));
    let outcomes = lab.send_all(ETH0, &[request.frame(CLIENT7, SWITCH0)]);
    assert_eq!(outcomes.len(), 2, "{}", row.says());
    let mut ids = Vec::new();
    let inner: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{}", row.says());
            assert_eq!(outcome.bytes[..12], [BACKEND11, SWITCH1].concat());
            let layers = strict::layers(&outcome.bytes);
            assert!(layers[0].packet.len() <= MTU, "{}", row.says());
            if row.is_tunnel() && row.backend == V4 {
                let outer = &layers[0].packet;
                assert_eq!(outer[6] & 0x40, 0, "it may be cut again");
                ids.push([outer[4], outer[5]]);
            }
            frame(SWITCH1, BACKEND11, &[], &layers.last().unwrap().packet)
        })
        .collect();
    ids.dedup();
    assert!(ids.is_empty() || ids.len() == 2, "{}: each piece is a packet of its own", row.says());
    // As if there were no tunnel: what the client sent, one hop further.
    let arrived = match row.mode {
        "dsr" => request.packet(),
        "ipip" | "gue" => request.routed().packet(),
        _ => request.routed().between(row.seen(), row.backend()).packet(),
    };
    assert_eq!(join(&inner), fragmentable(frame(SWITCH1, BACKEND11, &[], &arrived), 0x77), "{}", row.says());
    outcomes.into_iter().map(|outcome| outcome.bytes).collect()
}

fn may_be_cut() -> impl Iterator<Item = Row> {
    rows().into_iter().filter(|row| row.client == V4)
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    let mut left = Vec::new();
    for row in rows() {
        let (world, says) = (World::default(), format!("{}, as much as fits", row.says()));
        let mut lab = world.lab();
        deliver(&world, &mut lab, row, &first(row));
        left.push((says, deliver(&world, &mut lab, row, &large(row, fitting(row)))));
    }
    for row in may_be_cut() {
        left.extend(cut(row, 1, 0).into_iter().map(|frame| (format!("{}, in pieces", row.says()), frame)));
    }
    left
}

#[test]
fn as_much_as_the_mtu_holds_leaves_in_one_piece() {
    for row in rows() {
        for room in [0, 8, 60] {
            let world = World { room, ..World::default() };
            let mut lab = world.lab();
            deliver(&world, &mut lab, row, &first(row));
            for less in 0..3 {
                let left = deliver(&world, &mut lab, row, &large(row, fitting(row) - less));
                assert_eq!(left.len(), 14 + MTU - less, "{}", row.says());
            }
        }
    }
}

#[test]
fn one_byte_more_that_may_not_be_cut_is_told_to_the_client() {
    for row in rows() {
        for room in [0, 40] {
            let world = World { room, ..World::default() };
            let mut lab = world.lab();
            deliver(&world, &mut lab, row, &first(row));
            let outcome = lab.send(ETH0, &large(row, fitting(row) + 1).frame(CLIENT7, SWITCH0));
            assert_eq!(outcome.verdict, Verdict::Reply(ETH0), "{}", row.says());
            let error = &strict::layers(&outcome.bytes)[0].packet;
            let (at, kind, field) = if row.client == V4 { (20, [3, 4], 26) } else { (40, [2, 0], 46) };
            let mtu = u16::from_be_bytes([error[field], error[field + 1]]);
            assert_eq!((&error[at..at + 2], usize::from(mtu)), (&kind[..], MTU - row.overhead()));
        }
    }
}

#[test]
fn one_byte_more_that_may_be_cut_leaves_in_two_pieces() {
    for row in may_be_cut() {
        for more in [1, 7, 8, 9, 700] {
            let plain = cut(row, more, 0);
            for room in [20, 60] {
                let lengths = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).collect::<Vec<_>>();
                assert_eq!(lengths(&cut(row, more, room)), lengths(&plain), "{}", row.says());
            }
        }
    }
}
