//! `hash`, `maglev`, `sh`: the hash alone decides, so every worker and every switch with the same backends decides alike.

use super::{Candidate, Scheduler};
use crate::tables::scheduler::below;
use crate::tables::{BackendId, Maglev, RoundRobin};

/// `hash`: the flow's hash picks a turn of the round. Any change of the backends moves most flows.
#[derive(Debug, Clone, Copy)]
pub struct FlowTurns<'a>(pub &'a RoundRobin);

impl Scheduler for FlowTurns<'_> {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        let turns = &self.0.turns;
        turns.get(below(candidate.flow_hash, turns.len() as u64) as usize).copied()
    }
}

/// `maglev`: the flow's hash picks a slot.
#[derive(Debug, Clone, Copy)]
pub struct FlowSlots<'a>(pub &'a Maglev);

impl Scheduler for FlowSlots<'_> {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        self.0.pick(candidate.flow_hash)
    }
}

/// `sh`: the hash of the client's address picks a slot, so a client stays with its backend, and moves only if that leaves.
#[derive(Debug, Clone, Copy)]
pub struct SourceSlots<'a>(pub &'a Maglev);

impl Scheduler for SourceSlots<'_> {
    #[inline]
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        self.0.pick(candidate.source_hash)
    }
}
