//! Picking a backend for a new connection.

use crate::tables::{BackendId, Maglev, RoundRobin, SchedulerTable};

/// What a scheduler may know of the connection it places.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Unkeyed hash of the flow ([`crate::tables::hash::flow_hash`]): the same on every switch of a fleet.
    pub flow_hash: u64,
    /// This worker's place in the service's round.
    pub cursor: &'a mut u32,
}

/// A way to pick a backend. Implemented by the prepared tables; a pick is bounded and never allocates.
pub trait Scheduler {
    /// The backend for a new connection, if any may take one.
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId>;
}

impl Scheduler for RoundRobin {
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        // The round may be shorter than when the cursor was left.
        let turn = if (*candidate.cursor as usize) < self.turns.len() { *candidate.cursor } else { 0 };
        *candidate.cursor = turn + 1;
        self.turns.get(turn as usize).copied()
    }
}

impl Scheduler for Maglev {
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        Maglev::pick(self, candidate.flow_hash)
    }
}

/// The scheduler that reads this table.
pub fn of(table: &SchedulerTable) -> &dyn Scheduler {
    match table {
        SchedulerTable::RoundRobin(round) => round,
        SchedulerTable::Maglev(maglev) => maglev,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_walked_and_started_over() {
        let round = RoundRobin::weighted(&[(BackendId(0), 2), (BackendId(1), 3), (BackendId(2), 5)]);
        let mut cursor = 0;
        let mut counts = [0; 3];
        for _ in 0..100 {
            counts[round.pick(Candidate { flow_hash: 0, cursor: &mut cursor }).unwrap().index()] += 1;
        }
        assert_eq!(counts, [20, 30, 50]);
    }

    #[test]
    fn a_shorter_round_after_a_reload_is_no_trap() {
        let round = RoundRobin::equal(&[(BackendId(4), 1)]);
        let mut cursor = 99;
        assert_eq!(round.pick(Candidate { flow_hash: 0, cursor: &mut cursor }), Some(BackendId(4)));
        assert_eq!(RoundRobin::default().pick(Candidate { flow_hash: 0, cursor: &mut cursor }), None);
    }
}
