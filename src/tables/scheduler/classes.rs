//! Members of equal weight, together: among themselves they take turns in the order listed, so whoever hands out turns need
//! only compare one of them with those of other weights. There may be 100,000 members, but rarely many weights.

use std::collections::BTreeMap;

/// Members with the same weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// What each of them has.
    pub weight: u64,
    /// Turns that each of them has had at least.
    pub laps: u64,
    /// Positions in the list, ascending.
    members: Box<[u32]>,
    next: usize,
}

impl Class {
    /// Sorts the positions of `weights` by weight. Weight 0 is in no class.
    pub fn of(weights: impl IntoIterator<Item = u64>) -> Vec<Self> {
        let mut classes: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (position, weight) in (0..).zip(weights) {
            if weight > 0 {
                classes.entry(weight).or_default().push(position);
            }
        }
        let class =
            |(weight, members): (u64, Vec<u32>)| Self { weight, laps: 0, members: members.into(), next: 0 };
        classes.into_iter().map(class).collect()
    }

    /// The member that is the next of them to have a turn.
    pub fn head(&self) -> u32 {
        self.members.get(self.next).copied().unwrap_or_default()
    }

    /// Gives the head its turn. Says whether that completed a lap.
    pub fn advance(&mut self) -> bool {
        self.next += 1;
        let is_complete = self.next >= self.members.len();
        if is_complete {
            self.next = 0;
            self.laps += 1;
        }
        is_complete
    }
}
