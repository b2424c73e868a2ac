//! A connection that a cookie opened, before its backend has answered, and the answer.
//!
//! | who | what | becomes |
//! |---|---|---|
//! | client | anything that acknowledges the cookie | the SYN once more; where the backend is lost, one to another backend |
//! | client | a reset | the end |
//! | client | anything else | dropped: it is sent again |
//! | backend | SYN-ACK | the ACK that it waits for, and one for the client, whose window opens |
//! | backend | a reset that answers the SYN | the client's reset |
//! | backend | an ACK of something else | a reset, as from whoever sent the SYN (RFC 9293 §3.10.7.3) |
//!
//! A backend that repeats its SYN-ACK has not heard the ACK, or its client is gone meanwhile: it is told again.

use super::cookie::{remembered, size_of};
use super::moving::SCALE;
use super::{redeem, turn_around, window};
use crate::dataplane::answer::version::Version;
use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::splice::{Promise, Spliced, Stage};
use crate::dataplane::conntrack::{Direction, Hit, Segment, State};
use crate::dataplane::family::{Pair, V4, V6};
use crate::dataplane::parse::{self, Kind};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::dataplane::{known, passive, sweep};
use crate::tables::{DropReason, Fate};
use crate::wire::tcp::Flags;
use crate::wire::tcp::bare::Bare;
use crate::wire::tcp::options::{Options, Timestamps};
use crate::wire::tcp::shift::{self, Scale, Shift};
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

/// Whether a frame of a connection that a cookie opened is for here.
#[inline]
pub fn concerns<P: Pair>(hit: &Hit<P>, meta: &Meta) -> bool {
    hit.state() == State::SynReceived
        || (hit.direction == Direction::Reply && meta.parsed.flags.any(Flags::SYN))
}

/// Decides on such a frame. None where its connection has ended, and it may open another.
#[cold]
pub fn decide(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> Option<Verdict> {
    let decided = match meta.parsed.family {
        Family::V4 => of_family::<V4>(frame, meta, turn)?,
        Family::V6 => of_family::<V6>(frame, meta, turn)?,
    };
    Some(decided.unwrap_or_else(Verdict::Drop))
}

fn of_family<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    let hit = turn.flows.find(P::key(meta), meta.hash)?;
    if meta.parsed.kind != Kind::Flow {
        return Some(Err(DropReason::NotOpen));
    }
    if meta.parsed.flags.absurd() {
        return Some(Err(DropReason::TcpFlags));
    }
    if let Err(reason) = parse::verify(frame.bytes(), &meta.parsed, &P::key(meta)) {
        return Some(Err(reason));
    }
    let stage = turn.flows.stage(&hit);
    match (hit.direction, hit.state(), stage) {
        (Direction::Request, _, Some(Stage::Opening(promise))) => {
            of_client(frame, meta, (&hit, &promise), turn)
        }
        (Direction::Reply, State::SynReceived, Some(Stage::Opening(promise))) => {
            Some(of_backend(frame, meta, (&hit, &promise), turn))
        }
        (Direction::Reply, state, _) if state.is_over() => Some(refuse::<P>(frame, meta)),
        (Direction::Reply, state, Some(Stage::Open(spliced))) if state != State::SynReceived => {
            Some(welcome(frame, meta, (&hit, &spliced), turn))
        }
        _ => Some(Err(DropReason::NotOpen)),
    }
}

fn of_client<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    (hit, promise): (&Hit<P>, &Promise),
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    let flags = meta.parsed.flags;
    let [first, _] = turn.flows.entry::<P>(hit.entry).sequences();
    if flags.any(Flags::RST) && meta.parsed.sequence == first.wrapping_add(1) {
        known::reset(hit, meta, turn);
    }
    let acknowledges = flags.any(Flags::ACK) && meta.parsed.acknowledgment == promise.cookie.wrapping_add(1);
    if !acknowledges || flags.any(Flags::SYN.with(Flags::RST)) {
        return Some(Err(DropReason::NotOpen));
    }
    let backend = turn.tables.backend(hit.backend);
    if backend.is_none_or(|backend| backend.down || backend.fate != Fate::Keep) {
        turn.flows.end(hit, turn.counters);
        return None;
    }
    passive::asked_again(hit, turn);
    Some(ask_again(frame, meta, (hit, promise), first, turn))
}

fn ask_again<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    (hit, promise): (&Hit<P>, &Promise),
    first: u32,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    // A frame that is refused is as it came in.
    known::egress(hit, meta, turn)?;
    let segment = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    let (timestamps, window) = (Options::parse(segment).timestamps, window(segment));
    let remembered = remembered(size_of::<P>(promise.cookie), promise.stamp);
    redeem::ask::<P>(frame, meta, (first, remembered), (timestamps, window))?;
    known::forward(frame, meta, hit, turn)
}

fn of_backend<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    (hit, promise): (&Hit<P>, &Promise),
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let flags = meta.parsed.flags;
    let [first, _] = turn.flows.entry::<P>(hit.entry).sequences();
    let answers = flags.any(Flags::ACK) && meta.parsed.acknowledgment == first.wrapping_add(1);
    if answers && flags.any(Flags::SYN) {
        let spliced = open(frame, meta, (hit, promise), turn)?;
        return welcome(frame, meta, (hit, &spliced), turn);
    }
    if answers && flags.any(Flags::RST) {
        known::egress(hit, meta, turn)?;
        let segment = frame.bytes_mut().get_mut(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
        shift::set_sequence(segment, promise.cookie.wrapping_add(1));
        return known::forward(frame, meta, hit, turn);
    }
    match flags.any(Flags::ACK) && !flags.any(Flags::RST) {
        true => refuse::<P>(frame, meta),
        false => Err(DropReason::NotOpen),
    }
}

/// Learns from the backend's SYN-ACK what lies between it and what the client was promised.
fn open<P: Version>(
    frame: &Frame,
    meta: &Meta,
    (hit, promise): (&Hit<P>, &Promise),
    turn: &mut Turn<'_>,
) -> Result<Spliced, DropReason> {
    let segment = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    let said = Options::parse(segment);
    let client = remembered(size_of::<P>(promise.cookie), promise.stamp);
    let none = Scale::default();
    let (replies, requests) = match (client.window_scale, said.window_scale) {
        (None, _) => (none, none),
        (Some(_), Some(backend)) => (Scale { from: backend, to: SCALE }, none),
        (Some(client), None) => (Scale { from: 0, to: SCALE }, Scale { from: client, to: 0 }),
    };
    let Segment { sequence, .. } = numbers(meta);
    let shift = Shift {
        sequence: promise.cookie.wrapping_sub(sequence),
        timestamp: said.timestamps.map_or(0, |timestamps| promise.stamp.wrapping_sub(timestamps.value)),
        replies,
        requests,
    };
    let without_ecn = client.ecn && !meta.parsed.flags.any(Flags::ECE);
    let spliced = Spliced { shift, without_ecn, window: promise.window };
    turn.flows.splice(hit, &spliced);
    let entry = turn.flows.entry::<P>(hit.entry);
    let asked_us = entry.asked_us();
    let next = |state| if state == State::SynReceived { State::Established } else { state };
    entry.touch(hit, sequence, turn.now.coarse());
    if let Some((State::SynReceived, _)) = entry.transition(hit, next, numbers(meta)) {
        passive::heed(hit, (State::SynReceived, State::SynAnswered), asked_us, turn);
    }
    Ok(spliced)
}

/// Answers the backend's SYN-ACK, and opens the client's window, as far as there is a spare frame for that: who has something to
/// send asks for it.
fn welcome<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    (hit, spliced): (&Hit<P>, &Spliced),
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let segment = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    let (offered, said) = (window(segment), Options::parse(segment).timestamps);
    known::count(turn.counters, hit, frame.len());
    let Spliced { shift, window, .. } = spliced;
    let Segment { sequence, acknowledgment } = numbers(meta);
    let next = sequence.wrapping_add(1);
    let stamps = |value: u32, echo: u32| Options {
        timestamps: said.map(|_| Timestamps { value, echo }),
        ..Options::default()
    };
    let Timestamps { value, echo } = said.unwrap_or_default();
    tell(hit, turn, |ports| Bare {
        ports,
        sequence: next.wrapping_add(shift.sequence),
        acknowledgment,
        flags: Flags::ACK,
        // That of a SYN is not scaled (RFC 7323 §2.2).
        window: Scale { from: 0, to: shift.replies.to }.apply(offered),
        options: stamps(value.wrapping_add(shift.timestamp), echo),
    });
    let bare = Bare {
        ports: P::key(meta).ports.rotate_left(16),
        sequence: acknowledgment,
        acknowledgment: next,
        flags: Flags::ACK,
        window: shift.requests.apply(*window),
        options: stamps(echo, value),
    };
    turn_around::<P>(frame, meta, &bare)
}

/// Sends the client a segment besides.
fn tell<P: Version>(hit: &Hit<P>, turn: &mut Turn<'_>, bare: impl FnOnce(u32) -> Bare) {
    let Ok(next_hop) = sweep::towards_client(hit, turn) else { return };
    let Some(spare) = turn.extras.spare() else { return };
    let (mut segment, length) = bare(hit.ports).write();
    sweep::send(spare, (hit, &next_hop), segment.get_mut(..length).unwrap_or_default(), turn);
}

/// Tells a backend that nobody waits for what it acknowledges.
fn refuse<P: Version>(frame: &mut Frame, meta: &Meta) -> Result<Verdict, DropReason> {
    let bare = Bare {
        ports: P::key(meta).ports.rotate_left(16),
        sequence: meta.parsed.acknowledgment,
        acknowledgment: 0,
        flags: Flags::RST,
        window: 0,
        options: Options::default(),
    };
    if meta.parsed.flags.any(Flags::ACK) {
        turn_around::<P>(frame, meta, &bare)
    } else {
        Err(DropReason::NotOpen)
    }
}

fn numbers(meta: &Meta) -> Segment {
    Segment { sequence: meta.parsed.sequence, acknowledgment: meta.parsed.acknowledgment }
}
