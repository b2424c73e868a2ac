//! `rr`, `wrr`, `resource`: each worker walks the round with a cursor of its own.
//!
//! So shares are exact for each worker within one round, and workers need not agree on whose turn it is.

use super::{Candidate, Scheduler};
use crate::tables::{BackendId, RoundRobin};

impl Scheduler for RoundRobin {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        // The round may be shorter than when the cursor was left.
        let turn = if (*candidate.cursor as usize) < self.turns.len() { *candidate.cursor } else { 0 };
        *candidate.cursor = turn + 1;
        self.turns.get(turn as usize).copied()
    }
}
