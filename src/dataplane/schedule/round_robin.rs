//! `rr`, `wrr`, `resource`: each worker walks the round with a cursor of its own.
//!
//! So shares are exact for each worker within one round, and workers need not agree on whose turn it is.

use super::{Candidate, Scheduler};
use crate::tables::{BackendId, RoundRobin};

impl Scheduler for RoundRobin {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        self.advance(candidate.cursor)
    }
}

impl RoundRobin {
    /// The backend whose turn it is. Then it is the next one's.
    #[inline(always)]
    pub fn advance(&self, cursor: &mut u32) -> Option<BackendId> {
        // The round may be shorter than when the cursor was left.
        let turn = if (*cursor as usize) < self.turns.len() { *cursor } else { 0 };
        *cursor = turn + 1;
        self.turns.get(turn as usize).copied()
    }
}
