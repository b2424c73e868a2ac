//! Connections whose backend is down, in a service that does not keep them (`on_down`).
//!
//! | fate | TCP, from the client | UDP | TCP in fragments | ICMP errors |
//! |---|---|---|---|---|
//! | `reset` | a RST; the connection is over | to another backend | dropped | dropped |
//! | `reschedule` | to another backend, which answers for itself | to another backend | likewise, if the first comes first | dropped |
//!
//! A first frame (SYN, UDP) starts over like any other: see [`super::known::starts_over`]. What remains is the segment in
//! the middle of a connection. Where it ends, its entry stays for as long as after any RST: a client whose RST was lost
//! asks again and is told again. The RST itself is tier 3's ([`super::answer`]), which is where dropped frames are
//! answered.

use crate::tables::{DropReason, Fate};
use crate::wire::tcp::Flags;
use crate::xsk::Frame;

use super::admit;
use super::batch::Meta;
use super::conntrack::{Hit, Segment, State};
use super::family::Pair;
use super::parse::{self, Kind, TCP};
use super::turn::Turn;
use super::verdict::Verdict;

/// Decides on a client's frame of a connection whose backend has a fate.
#[cold]
pub fn meet<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    hit: &Hit<P>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let key = P::key(meta);
    let fate = turn.tables.backend(hit.backend).map_or(Fate::Keep, |backend| backend.fate);
    if key.protocol != TCP {
        return Err(DropReason::BackendDown);
    }
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    let is_reset = meta.parsed.flags.any(Flags::RST);
    if fate == Fate::Reschedule && !is_reset && !hit.is_finished() {
        return admit::resume(frame, meta, hit, turn);
    }
    if meta.parsed.kind != Kind::Fragment && !hit.is_finished() {
        let (sequence, acknowledgment) = (meta.parsed.sequence, meta.parsed.acknowledgment);
        let entry = turn.flows.entry::<P>(hit.entry);
        entry.touch(hit, sequence, turn.now.coarse());
        let states = entry.transition(hit, |_| State::Reset, Segment { sequence, acknowledgment });
        if let Some(states) = states {
            turn.flows.count_moved(hit, states);
        }
    }
    Err(DropReason::BackendDown)
}
