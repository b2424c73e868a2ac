//! Picking a backend for a new connection.

use crate::tables::{BackendId, Loads, Maglev, RoundRobin, SchedulerTable};

/// What a scheduler may know of the connection it places.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Unkeyed hash of the flow ([`crate::tables::hash::flow_hash`]): the same on every switch of a fleet.
    pub flow_hash: u64,
    /// Unkeyed hash of the client's address ([`crate::tables::hash::source_hash`]): likewise.
    pub source_hash: u64,
    /// This worker's place in the service's round.
    pub cursor: &'a mut u32,
    /// What is known of the backends at this moment.
    pub loads: &'a Loads,
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

struct Nobody;

impl Scheduler for Nobody {
    fn pick(&self, _: Candidate<'_>) -> Option<BackendId> {
        None
    }
}

/// The scheduler that reads this table.
pub fn of(table: &SchedulerTable) -> &dyn Scheduler {
    match table {
        SchedulerTable::RoundRobin(round) | SchedulerTable::FlowHash(round) => round,
        SchedulerTable::Maglev(maglev) | SchedulerTable::SourceHash(maglev) => maglev,
        SchedulerTable::LeastConnections(_)
        | SchedulerTable::LeastResponseTime(_)
        | SchedulerTable::TwoChoices(_) => &Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate<'a>(cursor: &'a mut u32, loads: &'a Loads) -> Candidate<'a> {
        Candidate { flow_hash: 0, source_hash: 0, cursor, loads }
    }

    #[test]
    fn a_round_is_walked_and_started_over() {
        let loads = Loads::new(1, 8);
        let round = RoundRobin::weighted(&[(BackendId(0), 2), (BackendId(1), 3), (BackendId(2), 5)]);
        let mut cursor = 0;
        let mut counts = [0; 3];
        for _ in 0..100 {
            counts[round.pick(candidate(&mut cursor, &loads)).unwrap().index()] += 1;
        }
        assert_eq!(counts, [20, 30, 50]);
    }

    #[test]
    fn a_shorter_round_after_a_reload_is_no_trap() {
        let loads = Loads::new(1, 8);
        let round = RoundRobin::equal(&[(BackendId(4), 1)]);
        let mut cursor = 99;
        assert_eq!(round.pick(candidate(&mut cursor, &loads)), Some(BackendId(4)));
        assert_eq!(RoundRobin::default().pick(candidate(&mut cursor, &loads)), None);
    }
}
