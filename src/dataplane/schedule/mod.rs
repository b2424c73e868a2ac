//! Picking a backend for a new connection.
//!
//! | file | schedulers | a pick costs |
//! |---|---|---|
//! | [`round_robin`] | `rr`, `wrr`, `resource` | one turn of a round that is written out |
//! | [`hashed`] | `hash`, `sh`, `maglev` | one slot of a table |
//! | [`two_choices`] | `p2c` | two binary searches, whatever the number of backends |
//! | [`least`] | `lc`, `wlc`, `lrt` | one look at every backend |
//!
//! What can be prepared is in [`crate::tables::scheduler`]. A worker brings a cursor of its own for each service, so picking
//! waits for nobody; counts of open connections are shared, so that what one worker places the others weigh.

use crate::tables::{BackendId, Loads, SchedulerTable};

pub mod hashed;
pub mod least;
pub mod round_robin;
#[cfg(test)]
mod tests;
pub mod two_choices;

use hashed::{FlowSlots, FlowTurns, SourceSlots};
use least::{LeastConnections, LeastResponseTime};
use two_choices::TwoChoices;

/// What a scheduler may know of the connection it places.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Unkeyed hash of the flow ([`crate::tables::hash::flow_hash`]): the same on every switch of a fleet. Means nothing where
    /// the table is not [hashed](SchedulerTable::is_hashed).
    pub flow_hash: u64,
    /// Unkeyed hash of the client's address ([`crate::tables::hash::source_hash`]): likewise.
    pub source_hash: u64,
    /// This worker's place in the service's round. Any number will do to begin with.
    pub cursor: &'a mut u32,
    /// What is known of the backends at this moment.
    pub loads: &'a Loads,
}

/// A way to pick a backend. A pick looks at each backend twice at the most, and never allocates or waits.
pub trait Scheduler {
    /// The backend for a new connection, if any may take one.
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId>;
}

impl Scheduler for SchedulerTable {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        match self {
            Self::RoundRobin(round) => round.pick(candidate),
            Self::FlowHash(round) => FlowTurns(round).pick(candidate),
            Self::Maglev(slots) => FlowSlots(slots).pick(candidate),
            Self::SourceHash(slots) => SourceSlots(slots).pick(candidate),
            Self::LeastConnections(members) => LeastConnections(members).pick(candidate),
            Self::LeastResponseTime(members) => LeastResponseTime(members).pick(candidate),
            Self::TwoChoices(members) => TwoChoices(members).pick(candidate),
        }
    }
}
