//! `p2c`: chance proposes two backends, and the less loaded of them gets the connection (Mitzenmacher, "The Power of Two
//! Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001).
//!
//! Two draws come close to the best of all, at a cost that does not grow with the number of backends; and workers that decide
//! at the same moment do not all rush to the one backend that happens to have the least.

use super::least::{connections, is_less};
use super::{Candidate, Scheduler};
use crate::tables::hash::mix;
use crate::tables::scheduler::below;
use crate::tables::{BackendId, Weighted};

/// The better of two that chance proposes in proportion to their weights; the two differ where there are two.
#[derive(Debug, Clone, Copy)]
pub struct TwoChoices<'a>(pub &'a Weighted);

impl Scheduler for TwoChoices<'_> {
    fn pick(&self, candidate: Candidate<'_>) -> Option<BackendId> {
        let Candidate { flow_hash, cursor, loads, .. } = candidate;
        let Weighted { members, sums } = self.0;
        let sum = *sums.last()?;
        // Chance that a replay repeats: the flow, and how many were placed before it.
        *cursor = cursor.wrapping_add(1);
        let chance = mix(u64::from(*cursor), flow_hash);
        let first = proposed(sums, below(chance, sum));
        let (id, weight) = *members.get(first)?;
        let rest = sum - u64::from(weight);
        if rest == 0 {
            return Some(id);
        }
        // The second is drawn from what is left of the line of weights when the first is cut out of it.
        let drawn = below(mix(chance, flow_hash.rotate_left(32)), rest);
        let cut = sums.get(first)? - u64::from(weight);
        let second = proposed(sums, if drawn < cut { drawn } else { drawn + u64::from(weight) });
        let (other, its_weight) = *members.get(second)?;
        let is_better = is_less((connections(loads, other), its_weight), (connections(loads, id), weight));
        Some(if is_better { other } else { id })
    }
}

/// The member on whose part of the line of weights this point is.
#[inline]
fn proposed(sums: &[u64], point: u64) -> usize {
    sums.partition_point(|sum| *sum <= point)
}
