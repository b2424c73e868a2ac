//! UDP flows: which of them are confirmed.
//!
//! A datagram proves nothing of its sender, and servers answer forged ones. So a flow counts as one that somebody means when its client
//! goes on after it was answered, and not before the flow is two seconds old: until then it may give way in a full table.
//!
//! ```text
//!             client    backend   client, later than 2 s
//!   begun  ─────────▶ ─────────▶ ──────────────────────▶ confirmed
//!   sequences[0]: when it began                          0
//!   sequences[1]: µs    0
//! ```
//!
//! Where the backend is not seen, it is taken to have answered.

use super::{Entry, Kind, Moment};
use crate::dataplane::conntrack::sync::Ordering;
use crate::dataplane::conntrack::tcp::Direction;
use crate::dataplane::family::Pair;
use crate::tables::Coarse;

/// How old a flow has to be.
const PROVES: u32 = Coarse::from_seconds(2);

/// What `last_seen` and `sequences` hold when a flow begins.
#[inline(always)]
pub(super) fn first(now: Moment, kind: Kind) -> (Coarse, [u32; 2]) {
    let before = before(now.coarse);
    let last_seen = if kind.one_way() { now.coarse } else { before };
    // The time, or one unit earlier, and never 0.
    (last_seen, [before.0 | 1, now.clock_us | 1])
}

/// One unit earlier: what comes next is noted, within the same unit of time, too. So an answer is, however quick.
#[inline(always)]
const fn before(now: Coarse) -> Coarse {
    Coarse(now.0.wrapping_sub(1))
}

impl<P: Pair> Entry<P> {
    /// Notes that a datagram was seen, unasked whether that is due. `one_way` says that the backend's are not seen.
    pub fn touch_datagram(&self, direction: Direction, one_way: bool, now: Coarse) {
        let [born, asked] = self.sequences();
        let mut seen = now;
        if direction == Direction::Reply {
            self.sequences[1].store(0, Ordering::Relaxed);
        } else if asked != 0 && !one_way {
            seen = before(now);
        } else if born != 0 && now.since(Coarse(born)) >= PROVES {
            self.sequences[0].store(0, Ordering::Relaxed);
        }
        self.last_seen.store(seen.0, Ordering::Relaxed);
    }

    /// Whether its client has gone on, so that it stays in a full table.
    pub(super) fn is_confirmed_datagram(&self) -> bool {
        self.sequences[0].load(Ordering::Relaxed) == 0
    }
}
