//! `rr` and `wrr`: one round, written out.
//!
//! Smooth weighted round robin gives each backend its exact share within one round and spreads its turns
//! over it. Weights change rarely and connections come often, so the control plane writes the whole round
//! out once and a pick is one array access. `rr` is the same with every weight equal.

use std::cmp::Ordering;

use super::classes::Class;
use super::greatest_common_divisor;
use crate::tables::BackendId;

/// The longest round that is written out: 2^16 turns (256 KiB per service).
///
/// Weights whose round would be longer are scaled to fit: shares are then right to 1/65536 instead of exact.
pub const LONGEST_ROUND: u64 = 1 << 16;

/// The order of one round.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    /// One entry per turn; a worker walks it with a cursor of its own.
    pub turns: Box<[BackendId]>,
}

impl RoundRobin {
    /// A round in which each backend has `weight` turns, interleaved. Weight 0 has none.
    pub fn weighted(members: &[(BackendId, u32)]) -> Self {
        Self { turns: smooth_sequence(members) }
    }

    /// A round with one turn for each backend whose weight is not 0.
    pub fn equal(members: &[(BackendId, u32)]) -> Self {
        Self { turns: members.iter().filter(|(_, weight)| *weight > 0).map(|(id, _)| *id).collect() }
    }
}

/// One round of smooth weighted round robin.
///
/// In each turn every backend gains its weight, the highest is picked and pays the sum of all weights. Backends of one weight
/// have the same gains, so those that have had as many turns are level: a turn costs a step for each different weight. There
/// are not many of them (361 different ones that add up to 65,536 are the most), so 100,000 backends are as quick as ten.
pub fn smooth_sequence(members: &[(BackendId, u32)]) -> Box<[BackendId]> {
    let members: Vec<_> = members.iter().filter(|(_, weight)| *weight > 0).collect();
    let weights = scaled(members.iter().map(|(_, weight)| u64::from(*weight)).collect());
    let total = weights.iter().sum::<u64>();
    let mut classes = Class::of(weights);
    // Of the head of each class.
    let mut credit = vec![0i64; classes.len()];
    (0..total)
        .filter_map(|_| {
            let mut best: Option<usize> = None;
            for (at, class) in classes.iter().enumerate() {
                credit[at] += class.weight as i64;
                let is_better = |best: usize| match credit[at].cmp(&credit[best]) {
                    Ordering::Equal => class.head() < classes[best].head(),
                    order => order.is_gt(),
                };
                if best.is_none_or(is_better) {
                    best = Some(at);
                }
            }
            let best = best?;
            let head = classes[best].head();
            if classes[best].advance() {
                credit[best] -= total as i64;
            }
            members.get(head as usize).map(|(id, _)| *id)
        })
        .collect()
}

/// The least whole numbers with the same proportions, or nearly the same where their sum would be longer than a round may be.
/// Everybody keeps at least 1, so a round of very many backends is longer, by as many turns at the most.
fn scaled(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| greatest_common_divisor(divisor, *weight)).max(1);
    let total = weights.iter().sum::<u64>() / divisor;
    for weight in &mut weights {
        *weight /= divisor;
        if total > LONGEST_ROUND {
            *weight = (*weight * LONGEST_ROUND / total).max(1);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(turns: &[BackendId], id: u32) -> usize {
        turns.iter().filter(|turn| turn.0 == id).count()
    }

    #[test]
    fn weights_2_3_5_over_100_turns_give_20_30_50_interleaved() {
        let round = smooth_sequence(&[(BackendId(0), 2), (BackendId(1), 3), (BackendId(2), 5)]);
        let hundred: Vec<_> = round.iter().copied().cycle().take(100).collect();
        assert_eq!((count(&hundred, 0), count(&hundred, 1), count(&hundred, 2)), (20, 30, 50));
        let longest_run = hundred.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
        assert!(longest_run <= 2, "the heaviest backend must not get its turns in a block: {longest_run}");
    }

    #[test]
    fn weight_zero_has_no_turn() {
        let round = smooth_sequence(&[(BackendId(0), 0), (BackendId(1), 1)]);
        assert_eq!(round.as_ref(), &[BackendId(1)]);
        assert!(smooth_sequence(&[(BackendId(0), 0)]).is_empty());
        assert_eq!(
            RoundRobin::equal(&[(BackendId(0), 0), (BackendId(1), 9)]).turns.as_ref(),
            &[BackendId(1)]
        );
    }

    #[test]
    fn a_long_round_is_scaled() {
        let round = smooth_sequence(&[(BackendId(0), 99_991), (BackendId(1), 99_989), (BackendId(2), 1)]);
        assert!(round.len() as u64 <= LONGEST_ROUND + 3);
        assert!(count(&round, 2) >= 1);
    }

    proptest! {
        #[test]
        fn each_backend_has_exactly_its_weight_in_turns(weights in proptest::collection::vec(0u32..40, 1..12)) {
            let members: Vec<_> = weights.iter().enumerate().map(|(i, w)| (BackendId(i as u32), *w)).collect();
            let round = smooth_sequence(&members);
            let divisor = weights.iter().fold(0, |d, w| greatest_common_divisor(d, u64::from(*w))).max(1) as usize;
            for (id, weight) in members {
                prop_assert_eq!(count(&round, id.0), weight as usize / divisor);
            }
        }
    }
}
