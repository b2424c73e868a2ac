//! ICMP errors that the switch sends itself, in place of a frame that it drops.

use std::net::IpAddr;

use crate::dataplane::admit::may_connect;
use crate::dataplane::batch::Meta;
use crate::dataplane::family::{V4, V6};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::DropReason;
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::source::{is_broadcast, own_address};
use super::version::{Complaint, Version};
use super::{fates, host, is_for_one, send_back};

/// Turns a dropped frame into an error about it, where its sender can do something about the reason. None, and nothing
/// changed, where nothing is to be said, or too much was said already. A frame whose backend is down may have another way.
#[cold]
pub(super) fn about(
    frame: &mut Frame,
    meta: &mut Meta,
    reason: DropReason,
    turn: &mut Turn<'_>,
) -> Option<Verdict> {
    if reason == DropReason::BackendDown {
        return Some(fates::meet(frame, meta, turn));
    }
    match meta.parsed.family {
        Family::V4 => about_packet::<V4>(frame, meta, reason, turn),
        Family::V6 => about_packet::<V6>(frame, meta, reason, turn),
    }
}

fn about_packet<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    reason: DropReason,
    turn: &mut Turn<'_>,
) -> Option<Verdict> {
    let complaint = match reason {
        DropReason::TtlExpired => Complaint::TimeExceeded,
        DropReason::TooBig if meta.parsed.dont_fragment => P::too_big(meta.mtu, meta.parsed.ip_len)?,
        DropReason::NoRoute => Complaint::NetUnreachable,
        DropReason::NoBackend => return host::reject::<P>(frame, meta, turn),
        _ => return None,
    };
    let key = P::key(meta);
    let vip = Some(key.addresses.destination()).filter(|to| turn.tables.is_vip(*to));
    let source = own_address(turn.tables, meta.ingress, key.addresses.source()).or(vip)?;
    originate::<P>(frame, meta, complaint, source, turn)
}

/// Turns a frame, which is as it came in, into an error from `source` to its sender.
pub(super) fn originate<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    complaint: Complaint,
    source: IpAddr,
    turn: &mut Turn<'_>,
) -> Option<Verdict> {
    let sender = P::key(meta).addresses.source();
    let packet = frame.bytes().get(meta.parsed.packet())?;
    let to_one = is_for_one(frame)
        && may_connect(sender, turn.tables)
        && !is_broadcast(turn.tables, meta.ingress, sender);
    if !to_one || !P::may_answer(packet) || !turn.may_speak() {
        return None;
    }
    let id = turn.flows.next_id();
    let ip = usize::from(meta.parsed.ip);
    build::<P>(frame, ip, usize::from(meta.parsed.ip_len), complaint, source, id)?;
    turn.counters.icmp_errors.add(1);
    Some(send_back(frame, meta))
}

/// Turns the packet of `length` bytes that begins `ip` bytes into the frame into an error about it. None, and nothing
/// changed but what lies behind the packet, where the frame has no room.
pub(super) fn build<P: Version>(
    frame: &mut Frame,
    ip: usize,
    length: usize,
    complaint: Complaint,
    source: IpAddr,
    id: u16,
) -> Option<()> {
    let was = frame.len();
    let _ = !frame.has_room() || frame.set_header(0, 0);
    if !frame.resize(was.max(ip + P::ROOM)) {
        return None;
    }
    let packet = frame.bytes_mut().get_mut(ip..);
    let written = packet.and_then(|packet| P::complain(packet, length, source, complaint, id));
    let _ = frame.resize(written.map_or(was, |length| ip + length));
    written.map(|_| ())
}
