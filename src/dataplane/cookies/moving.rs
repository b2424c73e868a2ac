//! Frames of connections that a cookie opened, once the backend has answered: numbers are moved by what lies between the two ends.

use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::splice::Stage;
use crate::dataplane::conntrack::{Direction, Hit, Kind};
use crate::dataplane::family::Pair;
use crate::dataplane::turn::Turn;
use crate::tables::DropReason;
use crate::wire::{ipv4, ipv6};
use crate::xsk::Frame;

/// The window scale that clients are told: that of Linux with its default buffers (`tcp_rmem` of 6 MiB), so that most windows need not be
/// scaled anew.
pub const SCALE: u8 = 7;

/// Moves the numbers of a frame that is about to be rewritten.
#[inline(never)]
pub fn splice<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    hit: &Hit<P>,
    turn: &Turn<'_>,
) -> Result<(), DropReason> {
    // Of a segment in pieces the first has them all.
    if meta.parsed.fragment_offset != 0 {
        return Ok(());
    }
    let spliced = match turn.flows.stage(hit) {
        Some(Stage::Open(spliced)) => spliced,
        // What passes then was made here: the SYN, or the reset that answers it.
        Some(Stage::Opening(_)) => return Ok(()),
        // It has ended meanwhile.
        None => return Err(DropReason::NoConnection),
    };
    let segment = frame.bytes_mut().get_mut(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    match hit.direction {
        Direction::Reply => spliced.shift.reply(segment),
        Direction::Request => spliced.shift.request(segment),
    }
    if spliced.without_ecn && hit.direction == Direction::Request {
        let packet = frame.bytes_mut().get_mut(usize::from(meta.parsed.ip)..).unwrap_or_default();
        if P::IS_V4 { ipv4::clear_ecn(packet) } else { ipv6::clear_ecn(packet) }
    }
    Ok(())
}

/// What is added to the sequence numbers of the backend of this connection before its client sees them.
pub fn offset<P: Pair>(hit: &Hit<P>, turn: &Turn<'_>) -> u32 {
    if hit.kind != Kind::Spliced {
        return 0;
    }
    match turn.flows.stage(hit) {
        Some(Stage::Open(spliced)) => spliced.shift.sequence,
        _ => 0,
    }
}
