//! Members with their weights, for schedulers that decide at the moment of the pick.

use crate::tables::BackendId;

/// Backends that may be picked.
#[derive(Debug, Clone, Default)]
pub struct Weighted {
    /// Each with its weight, which is never 0.
    pub members: Box<[(BackendId, u32)]>,
    /// Sums of the weights up to and with each member: where a random number of the whole sum falls.
    pub sums: Box<[u64]>,
}

impl Weighted {
    /// Those of `members` that have a weight.
    pub fn of(members: &[(BackendId, u32)]) -> Self {
        let members: Box<[_]> = members.iter().copied().filter(|(_, weight)| *weight > 0).collect();
        let mut sum = 0;
        let sums = members.iter().map(|(_, weight)| {
            sum += u64::from(*weight);
            sum
        });
        Self { sums: sums.collect(), members }
    }
}
