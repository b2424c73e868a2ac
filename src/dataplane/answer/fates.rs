//! Frames of connections whose backend is down, in a service that does not keep them (`on_down`).
//!
//! | fate | TCP, from the client | UDP | fragments, ICMP errors |
//! |---|---|---|---|
//! | `reset` | a RST; the connection is over | to another backend | dropped |
//! | `reschedule` | to another backend, which answers for itself | to another backend | go the way of the first; dropped |
//!
//! What may begin a connection (SYN, UDP) starts over in tier 1. What remains, and comes here, is the segment in the middle
//! of a connection. Where it ends, its entry stays for as long as after any RST: a client whose RST was lost asks again and
//! is told again.

use crate::dataplane::admit;
use crate::dataplane::batch::Meta;
use crate::dataplane::family::{V4, V6};
use crate::dataplane::known;
use crate::dataplane::parse::{self, Kind, TCP};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, Fate};
use crate::wire::tcp::Flags;
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::complain::about;
use super::host;
use super::version::Version;

/// Decides on a frame that is to be dropped because its backend is down.
#[cold]
pub(super) fn meet(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> Verdict {
    let met = match meta.parsed.family {
        Family::V4 => segment::<V4>(frame, meta, turn),
        Family::V6 => segment::<V6>(frame, meta, turn),
    };
    match met {
        Ok(verdict) => verdict,
        Err(DropReason::BackendDown) => Verdict::Drop(DropReason::BackendDown),
        // It got as far as a first frame does, and is treated like one.
        Err(reason) => about(frame, meta, reason, turn).unwrap_or(Verdict::Drop(reason)),
    }
}

fn segment<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    const DOWN: DropReason = DropReason::BackendDown;
    let key = P::key(meta);
    let begins = match meta.parsed.kind {
        Kind::Flow => true,
        Kind::Fragment => meta.parsed.fragment_offset == 0,
        _ => false,
    };
    if key.protocol != TCP || !begins {
        return Err(DOWN);
    }
    let hit = turn.flows.find(key, meta.hash).ok_or(DOWN)?;
    let fate = turn.tables.backend(hit.backend).ok_or(DOWN)?.fate;
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    if fate == Fate::Reschedule && !meta.parsed.flags.any(Flags::RST) && !hit.is_finished() {
        return admit::resume(frame, meta, &hit, turn);
    }
    if meta.parsed.kind == Kind::Fragment {
        return Err(DOWN);
    }
    if !hit.is_finished() {
        known::reset(&hit, meta, turn);
    }
    // One reset for one segment, which is no shorter: nobody can be flooded by that, and so many must be told at once that
    // the rate of other messages would not do.
    host::reset::<P>(frame, meta).ok_or(DOWN)
}
