//! `lc`, `wlc`, `lrt`: the backend with the least load for its weight, of all of them.
//!
//! The connection that is being placed counts, too: (open + 1) / weight is what the load would become. So weights matter from
//! the first connection on, and nothing is divided: a/b < c/d where a·d < c·b.

use super::{Candidate, Scheduler};
use crate::tables::{BackendId, Loads, Weighted};

/// `lc` and `wlc`: the fewest open connections for its weight.
#[derive(Debug, Clone, Copy)]
pub struct LeastConnections<'a>(pub &'a Weighted);

impl Scheduler for LeastConnections<'_> {
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        let Candidate { cursor, loads, .. } = candidate;
        least(self.0, cursor, |id| connections(loads, id))
    }
}

/// `lrt`: the least open connections × response time for its weight.
///
/// A backend of which no response time is known counts as fast as the fastest: it gets its chance to show how fast it is,
/// and where none is known at all this is `wlc`.
#[derive(Debug, Clone, Copy)]
pub struct LeastResponseTime<'a>(pub &'a Weighted);

impl Scheduler for LeastResponseTime<'_> {
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        let Candidate { cursor, loads, .. } = candidate;
        let known = self.0.members.iter().map(|(id, _)| loads.response_us(*id));
        let fastest = known.filter(|response_us| *response_us > 0).min().unwrap_or(1);
        least(self.0, cursor, |id| {
            let response_us = match loads.response_us(id) {
                0 => fastest,
                known => known,
            };
            connections(loads, id) * u64::from(response_us)
        })
    }
}

/// Connections that the backend would have with one more.
#[inline]
pub(super) fn connections(loads: &Loads, id: BackendId) -> u64 {
    u64::from(loads.open(id)) + 1
}

/// Whether `load` is less for its weight than `than` is for its own.
#[inline]
pub(super) fn is_less(load: (u64, u32), than: (u64, u32)) -> bool {
    u128::from(load.0) * u128::from(than.1) < u128::from(than.0) * u128::from(load.1)
}

/// The member with the least load for its weight. The search begins where the cursor stands, which is behind the one picked
/// last, so that equals take turns.
#[inline]
fn least(weighted: &Weighted, cursor: &mut u32, load: impl Fn(BackendId) -> u64) -> Option<BackendId> {
    let members = &weighted.members;
    let start = if (*cursor as usize) < members.len() { *cursor as usize } else { 0 };
    let (before, after) = members.split_at(start);
    let (mut best, mut least) = (None, (u64::MAX, 1));
    for (at, (id, weight)) in after.iter().chain(before).enumerate() {
        let load = (load(*id), *weight);
        if best.is_none() || is_less(load, least) {
            (best, least) = (Some((at, *id)), load);
        }
    }
    let (at, id) = best?;
    *cursor = ((start + at) % members.len()) as u32 + 1;
    Some(id)
}
