//! UDP flows: which of them are confirmed.
//!
//! A datagram proves nothing of its sender, and servers answer forged ones. So a flow counts as one that somebody means when its client
//! goes on two seconds after it was answered: until then it may give way in a full table.
//!
//! ```text
//!                  client    backend             client, 2 s later
//!   begun         ─────────▶ ─────────▶ answered ────────────────▶ confirmed
//!   sequences[0]:   0                   when                       CONFIRMED
//! ```
//!
//! Where the backend is not seen, the client's second datagram stands for the answer.

use super::Entry;
use crate::dataplane::conntrack::sync::Ordering;
use crate::dataplane::conntrack::tcp::{Direction, State};
use crate::dataplane::family::Pair;
use crate::tables::Coarse;

/// How long after the answer the client has to go on.
const PROVES: i32 = Coarse::from_seconds(2) as i32;
/// In place of the time of the answer, which is odd.
const CONFIRMED: u32 = 2;

/// What `last_seen` says when a connection begins: of a UDP flow one unit of time too early, so that what comes next is noted within
/// the same unit, too. So an answer is, however quick; and a timer is so much early.
#[inline(always)]
pub(super) fn begins(now: Coarse, state: State) -> Coarse {
    Coarse(now.0.wrapping_sub(u32::from(state == State::Udp)))
}

/// The time of an answer, as it is noted.
const fn answered(now: Coarse) -> u32 {
    now.0 << 1 | 1
}

impl<P: Pair> Entry<P> {
    /// Notes that a datagram was seen, unasked whether that is due. `one_way` says that the backend's are not seen.
    ///
    /// While it matters who speaks next, the time that is noted is one unit early, as in the beginning: else what comes later within
    /// the unit would not be looked at.
    pub fn touch_datagram(&self, direction: Direction, one_way: bool, now: Coarse) {
        let noted = self.sequences[0].load(Ordering::Relaxed);
        let note = |what| self.sequences[0].store(what, Ordering::Relaxed);
        // Another worker may have noted what is still to come for this one.
        let age = answered(now).wrapping_sub(noted) as i32 >> 1;
        let early = begins(now, State::Udp);
        let seen = match (noted, direction) {
            (CONFIRMED, _) => now,
            (0, Direction::Request) if !one_way => early,
            (0, _) => {
                note(answered(now));
                now
            }
            (_, Direction::Request) if age >= PROVES => {
                note(CONFIRMED);
                now
            }
            (_, Direction::Reply) if age >= PROVES => early,
            _ => now,
        };
        // The line stays shared where nothing changes.
        if self.last_seen.load(Ordering::Relaxed) != seen.0 {
            self.last_seen.store(seen.0, Ordering::Relaxed);
        }
    }

    /// Whether its client has gone on, so that it stays in a full table.
    pub(super) fn is_confirmed_datagram(&self) -> bool {
        self.sequences[0].load(Ordering::Relaxed) == CONFIRMED
    }
}
