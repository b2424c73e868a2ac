//! SYN cookies (RFC 4987 §3.6) for `nat` and `full-nat`: under pressure a SYN makes no entry and reaches no backend.
//!
//! ```text
//!   client                              switch                             backend
//!     │ ── SYN ──────────────────────▶ [challenge]                            │
//!     │ ◀─ SYN-ACK, cookie, window 0 ──┘   nothing is kept                    │
//!     │ ── ACK of the cookie ────────▶ [redeem] ── SYN as the client's ─────▶ │   entry: spliced, SynReceived
//!     │ ◀─ ACK, window ────────────── [opening] ◀─ SYN-ACK ────────────────── │
//!     │                                   └─────── ACK ─────────────────────▶ │   entry: Established
//!     │ ◀─ ─ ─ ─ ─ ─ ─ numbers are moved on the way, both ways ─ ─ ─ ─ ─ ─ ─▶ │   [moving]
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`cookie`] | what a cookie remembers |
//! | [`siphash`] | its keyed hash |
//! | [`pressure`] | when cookies are needed |
//! | [`challenge`] | SYN: the answer with a cookie |
//! | [`redeem`] | the ACK that brings it back becomes the client's SYN |
//! | [`opening`] | frames before the backend has answered, and its answer |
//! | [`moving`] | frames afterwards |
//!
//! See docs/design/0032.

mod challenge;
pub mod cookie;
pub mod moving;
pub mod opening;
pub mod pressure;
mod redeem;
pub mod siphash;

use crate::tables::{BackendId, DropReason, Service, SynCookies};
use crate::wire::tcp::Flags;
use crate::wire::tcp::bare::Bare;
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::answer::version::Version;
use super::batch::Meta;
use super::family::{Pair, V4, V6};
use super::parse::Kind;
use super::turn::Turn;
use super::verdict::Verdict;

/// Decides on a segment of no connection that is addressed to a service with cookies. None where it is like any other.
#[cold]
pub fn guard(
    frame: &mut Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    if !may_be_one(meta) {
        return None;
    }
    match meta.parsed.family {
        Family::V4 => decide::<V4>(frame, meta, service, turn),
        Family::V6 => decide::<V6>(frame, meta, service, turn),
    }
}

fn decide<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    let flags = meta.parsed.flags;
    if flags.opens() {
        return begins::<P>(service, turn).then(|| challenge::answer::<P>(frame, meta, service, turn))?;
    }
    let may_come_back =
        !flags.any(Flags::SYN) && turn.flows.tables().may_come_back(service.id, turn.now.coarse());
    may_come_back.then(|| redeem::redeem::<P>(frame, meta, service, turn))
}

/// Counts a handshake that begins: whether it is to be answered with a cookie.
fn begins<P: Pair>(service: &Service, turn: &mut Turn<'_>) -> bool {
    let half_open = match service.syn_cookies {
        SynCookies::Off => return false,
        SynCookies::Always => return true,
        SynCookies::Auto { half_open } => half_open,
    };
    let (budget, now) = (turn.flows.share_of(half_open), turn.now);
    let scarce = P::side(turn.flows).table().is_scarce();
    let Some(meter) = turn.flows.meter(service.id) else { return false };
    let on = meter.begun(budget, scarce, now);
    if let Some(counters) = turn.counters.service(service.id) {
        counters.cookies_on.set(on.into());
    }
    on
}

/// Takes back that a handshake began, where its SYN was refused for what it is: no flood of such SYNs may have others pay for it.
/// One that found no room, at a backend or within a rate, is counted on: there cookies help.
pub fn refused(reason: DropReason, meta: &Meta, service: &Service, turn: &mut Turn<'_>) {
    let for_what_it_is =
        matches!(reason, DropReason::Denied | DropReason::BadSource | DropReason::L4Checksum);
    if for_what_it_is && may_be_one(meta) && meta.parsed.flags.opens() {
        completes(service, turn);
    }
}

/// Whether it is a segment that cookies are about.
fn may_be_one(meta: &Meta) -> bool {
    let flags = meta.parsed.flags;
    meta.parsed.kind == Kind::Flow && !flags.absurd() && !flags.any(Flags::RST)
}

/// Counts a handshake that completed, one way or another: of a service, …
fn completes(service: &Service, turn: &mut Turn<'_>) {
    if let SynCookies::Auto { half_open } = service.syn_cookies {
        let (budget, now) = (turn.flows.share_of(half_open), turn.now);
        if let Some(meter) = turn.flows.meter(service.id) {
            meter.completed(budget, now);
        }
    }
}

/// … or of whose backend this is.
#[cold]
pub fn completed(backend: BackendId, turn: &mut Turn<'_>) {
    let tables = turn.tables;
    if let Some(service) = tables.backend(backend).and_then(|backend| tables.service(backend.service)) {
        completes(service, turn);
    }
}

/// Replaces the packet in the frame by this segment between these addresses. None, and nothing changed but what lies behind the
/// packet, where the frame has no room.
fn put<P: Version>(frame: &mut Frame, meta: &Meta, addresses: P, bare: &Bare) -> Option<()> {
    let (mut segment, length) = bare.write();
    let ip = usize::from(meta.parsed.ip);
    if !frame.resize(ip + P::HEADER + length) {
        return None;
    }
    addresses.write_tcp(frame.bytes_mut().get_mut(ip..)?, segment.get_mut(..length)?)?;
    Some(())
}

/// The same, to go back to where the frame came from.
fn turn_around<P: Version>(frame: &mut Frame, meta: &Meta, bare: &Bare) -> Result<Verdict, DropReason> {
    // The room in front of what may have to be encapsulated is closed.
    if frame.has_room() && !frame.set_header(0, 0) {
        return Err(DropReason::NoHeadroom);
    }
    put(frame, meta, P::key(meta).addresses.reversed(), bare).ok_or(DropReason::NoHeadroom)?;
    Ok(super::answer::send_back(frame, meta))
}

/// The window of a segment as it stands in its header.
fn window(segment: &[u8]) -> u16 {
    segment.get(14..16).and_then(|field| field.first_chunk()).map_or(0, |field| u16::from_be_bytes(*field))
}
