//! The ACK that brings a cookie back: it opens a connection like any first frame, and leaves as the SYN that the client had sent.

use super::cookie::{NO_SCALE, Remembered};
use super::{completes, put, window};
use crate::dataplane::admit::{self, First};
use crate::dataplane::answer::version::Version;
use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::splice::Promise;
use crate::dataplane::conntrack::{Kind as Rewriting, State};
use crate::dataplane::known;
use crate::dataplane::parse::{Kind, Parsed};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, Service};
use crate::wire::tcp::Flags;
use crate::wire::tcp::bare::Bare;
use crate::wire::tcp::options::{Options, Timestamps};
use crate::xsk::Frame;

/// Opens the connection of a segment that brings a cookie back.
pub(super) fn redeem<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let segment = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    let (timestamps, window) = (Options::parse(segment).timestamps, window(segment));
    let cookie = meta.parsed.acknowledgment.wrapping_sub(1);
    let (baker, now, key) = (turn.flows.tables().baker, turn.now, P::key(meta));
    // Where the first ACK was lost, a probe of the closed window comes in its place: one behind.
    let found = [1, 0].into_iter().find_map(|ahead| {
        let first = meta.parsed.sequence.wrapping_sub(ahead);
        Some((first, baker.read(key, first, cookie, timestamps, now)?))
    });
    let counters = turn.counters.service(service.id);
    let Some((first, remembered)) = found else {
        counters.into_iter().for_each(|counters| counters.cookies_invalid.add(1));
        admit::count_refused(service, turn);
        return Err(DropReason::BadCookie);
    };
    let seen = std::mem::replace(&mut meta.parsed.sequence, first);
    let first_of_all = First { state: State::SynReceived, kind: Rewriting::Spliced, lost: None };
    let hit = match admit::connect::<P>(frame, meta, service, first_of_all, turn) {
        Ok(hit) => hit,
        Err(reason) => {
            meta.parsed.sequence = seen;
            admit::count_refused(service, turn);
            return Err(reason);
        }
    };
    counters.into_iter().for_each(|counters| counters.cookies_valid.add(1));
    completes(service, turn);
    // Another worker may have been as fast.
    if turn.flows.stage(&hit).is_none() {
        let stamp = timestamps.map_or(NO_SCALE, |timestamps| timestamps.echo);
        turn.flows.promise(&hit, Promise { cookie, stamp, window });
    }
    ask::<P>(frame, meta, (first, remembered), (timestamps, window))?;
    known::forward_first(frame, meta, &hit, turn)
}

/// Makes the SYN that a client sent of a segment that it sent later, which had these timestamps and this window.
pub(super) fn ask<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    (sequence, remembered): (u32, Remembered),
    (timestamps, window): (Option<Timestamps>, u16),
) -> Result<(), DropReason> {
    let Remembered { segment_size, window_scale, sack_permitted, ecn } = remembered;
    let bytes = u32::from(window) << window_scale.unwrap_or(0);
    let bare = Bare {
        ports: P::key(meta).ports,
        sequence,
        acknowledgment: 0,
        flags: if ecn { Flags::SYN.with(Flags::ECE).with(Flags::CWR) } else { Flags::SYN },
        window: bytes.min(u16::MAX.into()) as u16,
        options: Options {
            segment_size: Some(segment_size),
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|Timestamps { value, .. }| Timestamps { value, echo: 0 }),
        },
    };
    put(frame, meta, P::key(meta).addresses, &bare).ok_or(DropReason::NoHeadroom)?;
    let ip = usize::from(meta.parsed.ip);
    meta.parsed = Parsed {
        kind: Kind::Flow,
        flags: bare.flags,
        sequence,
        acknowledgment: 0,
        transport: (ip + P::HEADER) as u16,
        ip_len: (frame.len() - ip) as u16,
        dont_fragment: true,
        ..meta.parsed
    };
    meta.mtu = 0;
    Ok(())
}
