//! A SYN, answered with a cookie in the name of a backend that is not chosen yet.

use super::{moving, turn_around};
use crate::dataplane::admit;
use crate::dataplane::answer::version::Version;
use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::Kind;
use crate::dataplane::parse;
use crate::dataplane::rewrite;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, MssClamp, Service, Snapshot};
use crate::wire::tcp::bare::Bare;
use crate::wire::tcp::options::{Options, Timestamps};
use crate::wire::tcp::{self, Flags};
use crate::xsk::Frame;

/// Answers. None where no backend takes new connections: what becomes of the SYN then, others say.
pub(super) fn answer<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    if service.takers.is_empty() {
        return None;
    }
    Some(challenge::<P>(frame, meta, service, turn).inspect_err(|reason| {
        super::refused(*reason, meta, service, turn);
        admit::count_refused(service, turn);
    }))
}

fn challenge<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let key = P::key(meta);
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    let client = key.addresses.source();
    if !admit::may_connect(client, turn.tables) {
        return Err(DropReason::BadSource);
    }
    if !service.admits(client) {
        return Err(DropReason::Denied);
    }
    rewrite::has_time(meta, Kind::Spliced, turn)?;
    let asked = Options::parse(frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?);
    let wants = |flag| meta.parsed.flags.any(flag);
    let ecn = wants(Flags::ECE) && wants(Flags::CWR) && asked.timestamps.is_some();
    let (baker, now) = (turn.flows.tables().baker, turn.now);
    let mut options =
        Options { segment_size: Some(largest::<P>(service, turn.tables)), ..Options::default() };
    if let Some(Timestamps { value, .. }) = asked.timestamps {
        // What cannot be remembered is not offered.
        options.timestamps = Some(Timestamps { value: baker.stamp(&asked, ecn, now), echo: value });
        options.sack_permitted = asked.sack_permitted;
        options.window_scale = asked.window_scale.map(|_| moving::SCALE);
    }
    let flags = Flags::SYN.with(Flags::ACK);
    let bare = Bare {
        ports: key.ports.rotate_left(16),
        sequence: baker.bake(key, meta.parsed.sequence, &asked, now),
        acknowledgment: meta.parsed.sequence.wrapping_add(1),
        flags: if ecn { flags.with(Flags::ECE) } else { flags },
        window: 0,
        options,
    };
    let verdict = turn_around::<P>(frame, meta, &bare)?;
    turn.flows.tables().note_baked(service.id, now.coarse());
    if let Some(counters) = turn.counters.service(service.id) {
        counters.cookies_sent.add(1);
    }
    Ok(verdict)
}

/// The largest segment that is sure to fit on its way to any backend, as far as the switch knows it, in bytes.
fn largest<P: Version>(service: &Service, tables: &Snapshot) -> u16 {
    let mtu = tables.interfaces.iter().map(|interface| interface.mtu).min().unwrap_or(1500);
    let fits = mtu.saturating_sub((P::HEADER + tcp::HEADER) as u16);
    match service.mss_clamp {
        MssClamp::Bytes(bytes) => fits.min(bytes),
        MssClamp::Off | MssClamp::Auto => fits,
    }
}
